"""The mesh tracker on the virtual subject's truth and on real clips."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from synctalk.errors import FootageError
from synctalk.face import FaceTrack, MeshFaceTracker
from synctalk.progress import ProgressEvent

from .clips import Image, Truth, read_frames


def _error_percent(track: FaceTrack, truth: Truth, points: slice) -> float:
    error = np.linalg.norm(track.landmarks68 - truth.landmarks, axis=-1)
    percent = 100 * error / truth.eye_distance[:, None]
    return float(percent[:, points][truth.visible[:, points]].mean())


def test_landmarks_are_within_four_percent_of_the_truth(
    virtual_track: FaceTrack, virtual_truth: Truth
) -> None:
    assert virtual_track.found.all()
    assert _error_percent(virtual_track, virtual_truth, slice(17, 68)) < 3.5
    assert _error_percent(virtual_track, virtual_truth, slice(0, 17)) < 4.5
    assert _error_percent(virtual_track, virtual_truth, slice(0, 68)) < 3.6


def test_eye_corners_have_no_pixel_offset(virtual_track: FaceTrack, virtual_truth: Truth) -> None:
    # Left-right errors of the definition cancel over the four corners; a half-pixel slip does not.
    corners = [36, 39, 42, 45]
    error = virtual_track.landmarks68[:, corners] - virtual_truth.landmarks[:, corners]
    assert abs(error[..., 0].mean()) < 0.4


def test_the_lip_gap_follows_the_truth_without_shrinking(
    virtual_track: FaceTrack, virtual_truth: Truth
) -> None:
    def gap(points: np.ndarray) -> np.ndarray:
        return np.linalg.norm(points[:, 62] - points[:, 66], axis=-1)

    tracked, true = gap(virtual_track.landmarks68), gap(virtual_truth.landmarks)
    assert np.corrcoef(tracked, true)[0, 1] > 0.93
    assert 0.75 < np.polyfit(true, tracked, 1)[0] < 1.2


def test_jitter_stays_under_a_pixel(virtual_track: FaceTrack, virtual_truth: Truth) -> None:
    error = virtual_track.landmarks68 - virtual_truth.landmarks
    assert np.linalg.norm(np.diff(error, 2, axis=0), axis=-1).mean() < 0.75


def test_mesh_and_irises_are_whole(virtual_track: FaceTrack) -> None:
    mesh = virtual_track.mesh
    assert mesh is not None
    assert mesh.shape == (len(virtual_track), 478, 3)
    assert mesh.dtype == np.float32
    assert virtual_track.size == (512, 512)
    nose, ear = mesh[:, 4, 2], mesh[:, 234, 2]
    assert (nose < ear).all()  # nearer is smaller
    for centre, ring, corners in ((468, [469, 471], (33, 133)), (473, [474, 476], (362, 263))):
        assert np.allclose(mesh[:, centre, :2], mesh[:, ring, :2].mean(1), atol=2.0)
        left, right = mesh[:, corners[0], 0], mesh[:, corners[1], 0]
        assert ((mesh[:, centre, 0] > left) & (mesh[:, centre, 0] < right)).all()


@pytest.mark.parametrize(
    "clip",
    [
        "video/grid_speakers/lbbc2a.mpg",
        "video/grid_speakers/pwij3p.mpg",
        "video/glasses_5s_524.mp4",
        "video/speech_20s_450.mp4",
    ],
)
def test_real_faces_are_found_in_every_frame(
    shared_data: Path, mesh_tracker: MeshFaceTracker, clip: str
) -> None:
    track = mesh_tracker.track(read_frames(shared_data / clip, count=50))
    assert track.found.all()
    assert (track.n_faces == 1).all()
    low, high = track.landmarks68.min(axis=(0, 1)), track.landmarks68.max(axis=(0, 1))
    assert (low > 0).all()
    assert (high < track.size).all()
    eyes = np.linalg.norm(track.landmarks68[:, 36] - track.landmarks68[:, 45], axis=-1)
    assert eyes.std() < 0.1 * eyes.mean()


def test_two_people_side_by_side_are_counted_and_the_larger_is_tracked(
    shared_data: Path, mesh_tracker: MeshFaceTracker
) -> None:
    small = read_frames(shared_data / "video/grid_speakers/lbbc2a.mpg", count=5)
    large = read_frames(shared_data / "video/grid_speakers/pwij3p.mpg", count=5)
    large = [cv2.resize(frame, None, fx=1.5, fy=1.5) for frame in large]
    frames = []
    for a, b in zip(small, large, strict=True):
        canvas = np.zeros((b.shape[0], a.shape[1] + b.shape[1], 3), np.uint8)
        canvas[: a.shape[0], : a.shape[1]] = a
        canvas[:, a.shape[1] :] = b
        frames.append(canvas)
    track = mesh_tracker.track(frames)
    assert (track.n_faces == 2).all()
    assert (track.landmarks68[..., 0] > small[0].shape[1]).all()


def test_noise_has_no_face(mesh_tracker: MeshFaceTracker) -> None:
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (240, 320, 3)).astype(np.uint8) for _ in range(4)]
    track = mesh_tracker.track(frames)
    assert not track.found.any()
    assert (track.n_faces == 0).all()
    assert not track.landmarks68.any()


def test_tracking_recovers_after_a_cut_and_after_a_gap(
    mesh_tracker: MeshFaceTracker, virtual_frames: list[Image], virtual_truth: Truth
) -> None:
    blank = np.full_like(virtual_frames[0], 90)
    moved = [np.ascontiguousarray(np.roll(f, (60, 90), axis=(0, 1))) for f in virtual_frames[3:6]]
    track = mesh_tracker.track([*virtual_frames[:3], *moved, blank, virtual_frames[6]], cuts=[3])
    assert track.found.tolist() == [True] * 6 + [False, True]
    expected = virtual_truth.landmarks[3:6] + np.array([90, 60])
    inner = slice(27, 68)
    error = np.linalg.norm(track.landmarks68[3:6, inner] - expected[:, inner], axis=-1)
    assert error.mean() < 0.05 * virtual_truth.eye_distance.mean()
    error = np.linalg.norm(track.landmarks68[7] - virtual_truth.landmarks[6], axis=-1)
    assert error[inner].mean() < 0.05 * virtual_truth.eye_distance.mean()


def test_strided_frames_give_the_same_points(
    mesh_tracker: MeshFaceTracker, virtual_frames: list[Image]
) -> None:
    frame = virtual_frames[0]
    padded = np.zeros((512, 540, 3), np.uint8)
    padded[:, :512] = frame
    strided = padded[:, :512]
    assert not strided.flags.c_contiguous
    first, second = mesh_tracker.track([frame]), mesh_tracker.track([strided])
    assert np.array_equal(first.landmarks68, second.landmarks68)


def test_a_changed_frame_size_is_refused_and_named(
    mesh_tracker: MeshFaceTracker, virtual_frames: list[Image]
) -> None:
    other = np.zeros((100, 120, 3), np.uint8)
    with pytest.raises(FootageError, match="Frame 1 is 120x100") as caught:
        mesh_tracker.track([virtual_frames[0], other])
    assert caught.value.reason == "FRAME_SIZE_CHANGED"


def test_an_empty_clip_is_refused(mesh_tracker: MeshFaceTracker) -> None:
    with pytest.raises(FootageError) as caught:
        mesh_tracker.track([])
    assert caught.value.reason == "NO_FRAMES"


def test_progress_counts_every_frame(
    mesh_tracker: MeshFaceTracker, virtual_frames: list[Image]
) -> None:
    events: list[ProgressEvent] = []
    mesh_tracker.track(virtual_frames[:4], progress=events.append)
    assert events[-1].done == events[-1].total == 4
    assert {event.stage for event in events} == {"track"}
