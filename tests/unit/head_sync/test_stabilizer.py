"""The whole stabilizer on the virtual subject, against the renderer's own poses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from synctalk.errors import FootageError
from synctalk.face import FaceTrack, make_tracker
from synctalk.face.face_models import load_face_model
from synctalk.face.remesh import remesh
from synctalk.head_sync import HeadSyncConfig, HeadTrack, PhotometricConfig, stabilize
from synctalk.head_sync.geometry import Poses, jitter, log_so3, nearest_rotation, project
from synctalk.media import VideoReader
from synctalk.progress import ProgressEvent

N = 150
QUICK = HeadSyncConfig(photometric=PhotometricConfig(keyframes=30, points=1200, rounds=3))
Image = np.ndarray


@pytest.fixture(scope="module")
def clip(shared_data: Path) -> list[Image]:
    return list(islice(VideoReader(shared_data / "virtual" / "subject_a" / "small.mp4"), N))


@pytest.fixture(scope="module")
def track(clip: list[Image]) -> FaceTrack:
    return make_tracker("mesh").track(clip)


@pytest.fixture(scope="module")
def truth(shared_data: Path) -> Poses:
    with np.load(shared_data / "virtual" / "subject_a" / "truth.npz") as data:
        return Poses(data["R_head"][:N], data["t_head"][:N])


@pytest.fixture(scope="module")
def head(clip: list[Image], track: FaceTrack) -> HeadTrack:
    return stabilize(lambda: clip, track, size=256)


def first(track: FaceTrack, n: int) -> FaceTrack:
    assert track.mesh is not None
    return replace(
        track,
        landmarks68=track.landmarks68[:n],
        mesh=track.mesh[:n],
        score=track.score[:n],
        n_faces=track.n_faces[:n],
    )


def poses_of(head: HeadTrack) -> Poses:
    return Poses(head.R.astype(np.float64), head.t.astype(np.float64))


def rotation_rmse_deg(ours: Poses, truth: Poses) -> float:
    C = nearest_rotation(np.einsum("tji,tjk->ik", ours.R, truth.R))
    off = log_so3(ours.R @ C @ truth.R.transpose(0, 2, 1))
    return float(np.rad2deg(np.sqrt((off**2).sum(1).mean())))


def test_poses_agree_with_the_truth(head: HeadTrack, truth: Poses) -> None:
    assert rotation_rmse_deg(poses_of(head), truth) < 1.0


def test_poses_are_no_more_jittery_than_the_truth(head: HeadTrack, truth: Poses) -> None:
    (ours_deg, ours_mm), (true_deg, true_mm) = (
        jitter(p, [slice(0, N)]) for p in (poses_of(head), truth)
    )
    assert ours_deg < 1.5 * true_deg
    assert ours_mm < 1.7 * true_mm  # our millimetres are about 15 % smaller: the scale is free


def test_each_step_lowers_what_it_is_there_to_lower(head: HeadTrack) -> None:
    steps = {step.step: step for step in head.report.steps}
    assert list(steps) == ["motion", "bundle", "photometric", "smooth"]
    assert steps["bundle"].jitter_deg < 0.3 * steps["motion"].jitter_deg
    before, after = steps["bundle"].points_px or (0.0, 1.0)
    assert after < 0.8 * before
    before, after = steps["photometric"].photometric or (0.0, 1.0)
    assert after < before
    assert steps["smooth"].jitter_deg < steps["photometric"].jitter_deg


def test_head_frame_lies_between_the_eyes_with_y_up(head: HeadTrack) -> None:
    eyes = head.vertices[[33, 133, 362, 263]]
    assert np.abs(eyes.mean(0)[:2]).max() < 3.0
    assert head.vertices[263, 0] > 20 > -20 > head.vertices[33, 0]  # x to the subject's left
    assert head.vertices[152, 1] < -50  # the chin is below
    assert head.vertices[4, 2] > 15  # the nose sticks out


def test_projected_mesh_lies_on_the_landmarks(head: HeadTrack, track: FaceTrack) -> None:
    assert track.mesh is not None
    rigid = [168, 6, 197, 133, 362]
    seen = project(poses_of(head).transform(head.vertices[rigid].astype(float)), head.K)
    off = np.linalg.norm((seen - track.mesh[:, rigid, :2]).mean(0), axis=-1)
    assert off.max() < 0.6


def test_frames_without_a_face_are_interpolated_and_flagged(
    clip: list[Image], track: FaceTrack, head: HeadTrack
) -> None:
    n, lost = 40, [0, 11, 12, 13, 39]
    score = track.score.copy()
    score[lost] = 0
    blind = replace(first(track, n), score=score[:n])
    out = stabilize(lambda: clip[:n], blind, size=256, config=QUICK)
    assert np.flatnonzero(~out.valid).tolist() == lost
    assert out.report.interpolated == tuple(lost)
    assert np.isfinite(out.R).all()
    relative = out.R[11:14] @ out.R[10].T
    true = head.R[11:14] @ head.R[10].T
    off = log_so3((relative @ true.transpose(0, 2, 1)).astype(float))
    assert np.rad2deg(np.abs(off).max()) < 0.7


def test_shots_of_one_frame_and_cuts_survive(clip: list[Image], track: FaceTrack) -> None:
    """Two shots joined by a jump of 30 frames, and a shot of one frame between them."""
    picked = [*range(20), 90, *range(120, 140)]
    assert track.mesh is not None
    joined = FaceTrack(
        track.landmarks68[picked],
        track.mesh[picked],
        track.score[picked],
        track.n_faces[picked],
        track.size,
    )
    frames = [clip[i] for i in picked]
    out = stabilize(lambda: frames, joined, cuts=(20, 21), size=256, config=QUICK)
    assert out.valid.all()
    jump = np.linalg.norm(track.mesh[120, 168, :2] - track.mesh[19, 168, :2])
    bridge = project(poses_of(out).transform(out.vertices[[168]].astype(float)), out.K)[:, 0]
    assert abs(np.linalg.norm(bridge[21] - bridge[19]) - jump) < 0.25 * jump + 0.5


def test_a_track_of_68_points_is_enough(clip: list[Image], track: FaceTrack, truth: Poses) -> None:
    n = 60
    points_only = replace(first(track, n), mesh=None)
    out = stabilize(lambda: clip[:n], points_only, size=256, config=QUICK)
    assert out.vertices.shape == (468, 3)
    assert rotation_rmse_deg(poses_of(out), truth.at(slice(0, n))) < 1.5


def test_a_users_face_model_gives_true_poses_too(
    clip: list[Image], track: FaceTrack, truth: Poses, ict_file: Path
) -> None:
    n = 60
    mine = remesh(load_face_model(ict_file))
    out = stabilize(lambda: clip[:n], first(track, n), size=256, config=QUICK, face_model=mine)
    assert rotation_rmse_deg(poses_of(out), truth.at(slice(0, n))) < 1.0
    ours = stabilize(lambda: clip[:n], first(track, n), size=256, config=QUICK)
    apart = np.linalg.norm(out.vertices - ours.vertices, axis=1)
    assert np.percentile(apart, 90) > 1.0  # mm: it was not the built-in face


def test_progress_counts_every_part_to_its_end(clip: list[Image], track: FaceTrack) -> None:
    events: list[ProgressEvent] = []
    n = 20
    stabilize(lambda: clip[:n], first(track, n), size=256, config=QUICK, progress=events.append)
    last = {event.stage: (event.done, event.total) for event in events}
    frames, tried = (n, n), len(QUICK.motion.focal_grid) + 1
    keyframes = n * QUICK.photometric.rounds  # fewer frames than key frames are wanted
    assert last == {
        "head motion": (tried, tried),
        "head points": frames,
        "head model": (keyframes, keyframes),
        "head poses": frames,
    }


def test_footage_without_any_face_is_refused(clip: list[Image], track: FaceTrack) -> None:
    blind = replace(track, score=np.zeros_like(track.score))
    with pytest.raises(FootageError) as caught:
        stabilize(lambda: clip, blind, size=256)
    assert caught.value.reason == "NO_FACE"


def test_a_clip_of_another_length_is_refused(clip: list[Image], track: FaceTrack) -> None:
    def longer() -> Iterator[Image]:
        yield from clip[:21]

    with pytest.raises(FootageError) as caught:
        stabilize(longer, first(track, 20), size=256, config=QUICK)
    assert caught.value.reason == "FRAME_COUNT"
