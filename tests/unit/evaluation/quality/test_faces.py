"""What tracked faces tell: pose, actions, own sync, identity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from synctalk.errors import InputError
from synctalk.evaluation.quality import Absent, OpenFacePair, QualityModels
from synctalk.evaluation.quality.actions import LOWER, UPPER, blendshape_errors, openface_errors
from synctalk.evaluation.quality.choose import Inputs
from synctalk.evaluation.quality.faces import measure_faces
from synctalk.evaluation.quality.identity import Identity
from synctalk.evaluation.quality.motion import flicker, head_poses, pose_errors, pose_jitter
from synctalk.evaluation.quality.recorded import cost_per_minute, peak_memory_mb
from synctalk.face import FaceTrack, load_canonical_face
from synctalk.face.ibug import landmarks68_of_mesh
from synctalk.head_sync.geometry import intrinsics, project

from .seeded import noisy, picture

SIDE = 512
NEUTRAL = np.diag([1.0, -1.0, -1.0])


def filmed(degrees: NDArray[np.float64], lost: tuple[int, ...] = ()) -> FaceTrack:
    """The mean face seen at yaw, pitch and roll [T,3] by the lens that is assumed."""
    face = load_canonical_face().vertices.astype(np.float64)
    R = NEUTRAL @ Rotation.from_euler("YXZ", degrees, degrees=True).as_matrix()
    X = face @ R.transpose(0, 2, 1) + np.array([0, 0, 800.0])
    uv = project(X, intrinsics(2.3 * SIDE, (SIDE, SIDE)))
    mesh = np.zeros((len(degrees), 478, 3), np.float32)
    mesh[:, : len(face), :2] = uv
    score = np.ones(len(degrees), np.float32)
    score[list(lost)] = 0
    mesh[list(lost)] = 0
    points = landmarks68_of_mesh(mesh)[..., :2]
    return FaceTrack(points, mesh, score, np.ones(len(mesh), np.int32), (SIDE, SIDE))


def test_the_pose_error_is_the_angle_between_the_heads() -> None:
    rng = np.random.default_rng(0)
    pose = rng.normal(0, 6, (12, 3))
    turned = pose + np.array([2.0, 0, 0])
    found = pose_errors(head_poses(filmed(turned, lost=(4,))), head_poses(filmed(pose)), 12)
    true = [Rotation.from_euler("YXZ", p, degrees=True) for p in (pose, turned)]
    expected = np.rad2deg((true[0].inv() * true[1]).magnitude())
    assert np.isnan(found[4])
    assert np.delete(found, 4) == pytest.approx(np.delete(expected, 4), abs=0.02)


def test_jitter_is_the_second_difference_within_shots() -> None:
    still, shaking = np.zeros((40, 3)), np.zeros((40, 3))
    steady = np.column_stack([np.linspace(0, 8, 40), still[:, :2]])
    shaking[:, 0] = np.resize([0.5, -0.5], 40)  # second differences of ±2 degrees
    assert pose_jitter(head_poses(filmed(steady)), ()) == pytest.approx(0, abs=0.02)
    assert pose_jitter(head_poses(filmed(shaking)), ()) == pytest.approx(2.0, abs=0.03)
    jump = still.copy()
    jump[20:, 0] = 10
    assert pose_jitter(head_poses(filmed(jump)), (20,)) == pytest.approx(0, abs=0.02)
    assert pose_jitter(head_poses(filmed(jump)), ()) > 0.4
    assert np.isnan(pose_jitter(head_poses(filmed(still[:2])), ()))


def openface_csv(path: Path, values: dict[str, list[float]], *, spaced: bool) -> Path:
    """As FeatureExtraction 2.2 writes it; older ones put a space before each name."""
    n = len(next(iter(values.values())))
    columns = {
        "frame": range(1, n + 1), "face_id": [0] * n, "timestamp": [0.04 * i for i in range(n)],
        "confidence": [0.98] * n, "success": [1] * n,
        **{f"{u}_r": values.get(u, [0.0] * n) for u in (*UPPER, *LOWER)},
        **{f"{u}_c": [0.0] * n for u in (*UPPER, *LOWER)},
    }  # fmt: skip
    comma = ", " if spaced else ","
    lines = [
        comma.join(columns),
        *(comma.join(map(str, row)) for row in zip(*columns.values(), strict=True)),
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("spaced", [False, True])
def test_aue_adds_up_what_openface_found(tmp_path: Path, spaced: bool) -> None:
    pair = OpenFacePair(
        openface_csv(tmp_path / "a.csv", {"AU01": [1, 2], "AU25": [3, 3]}, spaced=spaced),
        openface_csv(
            tmp_path / "b.csv", {"AU01": [1.5, 0], "AU45": [0, 1], "AU25": [2, 3]}, spaced=spaced
        ),
    )
    errors = openface_errors(pair, 2)
    assert errors.upper == pytest.approx([0.5, 3.0])
    assert errors.lower == pytest.approx([1.0, 0.0])
    assert errors.both == pytest.approx([1.5, 3.0])


def test_openface_files_of_other_frames_or_kinds_are_refused(tmp_path: Path) -> None:
    two = openface_csv(tmp_path / "a.csv", {"AU01": [1, 2]}, spaced=False)
    with pytest.raises(InputError, match=r"2 frames, the video 3"):
        openface_errors(OpenFacePair(two, two), 3)
    (tmp_path / "b.csv").write_text("frame,x_0\n1,2\n")
    with pytest.raises(InputError) as caught:
        openface_errors(OpenFacePair(two, tmp_path / "b.csv"), 2)
    assert caught.value.reason == "BAD_OPENFACE_FILE"


def test_own_aue_sees_an_open_jaw_below_and_not_above() -> None:
    track = filmed(np.zeros((30, 3)))
    assert track.mesh is not None
    opened = track.mesh.copy()
    chin = opened[:, :, 1] > opened[:, 14:15, 1]  # all below the lower lip goes down
    opened[10:20, :, 1] += 12 * chin[10:20]
    other = FaceTrack(track.landmarks68, opened, track.score, track.n_faces, track.size)
    same, errors = blendshape_errors(track, track), blendshape_errors(track, other)
    assert np.abs(same.both).max() == 0
    assert errors.lower[12:18].mean() > 1
    assert errors.upper.max() < 0.1
    assert errors.lower[:8].max() < 0.1


def test_without_tracker_source_or_sound_each_metric_says_what_is_missing() -> None:
    names = ("lmd", "pose_jitter", "sync_own_lag", "aue_own")
    nothing = Inputs(QualityModels(), None, None, 25, ())
    found = measure_faces(names, nothing, None).figures
    assert {v.reason for v in found.values() if isinstance(v, Absent)} == {"NO_TRACKER"}
    track = filmed(np.zeros((30, 3)))
    found = measure_faces(names, nothing, track).figures
    reasons = {k: v.reason for k, v in found.items() if isinstance(v, Absent)}
    assert reasons == {
        "lmd": "NO_SOURCE_TRACK", "aue_own": "NO_SOURCE_TRACK", "sync_own_lag": "NO_AUDIO",
    }  # fmt: skip
    assert found["pose_jitter"] == pytest.approx(0, abs=1e-3)


def test_flicker_is_what_changes_otherwise_than_the_source() -> None:
    a, b = picture(64, 64, 1), picture(64, 64, 2)
    lifted = [np.clip(x, 20, 200) for x in (a, b)]
    assert flicker(lifted[1] + 10, lifted[0] + 10, lifted[1], lifted[0]) == 0
    assert flicker(lifted[1] + 10, lifted[0], lifted[1], lifted[0]) == pytest.approx(10)


def varint(number: int) -> bytes:
    low, rest = number & 127, number >> 7
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def field(number: int, content: bytes | int) -> bytes:
    """A field of a protobuf message."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def floats(name: bytes, *sides: int) -> bytes:
    """An input or output of a network."""
    shape = b"".join(field(1, field(1, side)) for side in sides)
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, shape)))


def flattening_onnx() -> bytes:
    """A network that returns its input [1,3,112,112] as a vector."""
    node = field(1, b"data") + field(2, b"fc1") + field(4, b"Flatten")
    ends = field(11, floats(b"data", 1, 3, 112, 112)) + field(12, floats(b"fc1", 1, 3 * 112**2))
    graph = field(1, node) + field(2, b"g") + ends
    return field(1, 7) + field(7, graph) + field(8, field(2, 13))


def test_identity_compares_aligned_faces(tmp_path: Path) -> None:
    (tmp_path / "face_recognition_sface_2021dec.onnx").write_bytes(flattening_onnx())
    judge = Identity.load(QualityModels(tmp_path))
    assert isinstance(judge, Identity)
    points = filmed(np.zeros((1, 3))).landmarks68[0]
    a, b = picture(512, 512, 1), picture(512, 512, 2)
    assert judge.similarity(a, a, points) == pytest.approx(1, abs=1e-5)
    assert judge.similarity(a, noisy(a, 10), points) > judge.similarity(a, b, points)
    # what is far from the face does not count
    masked = a.copy()
    masked[:60], masked[:, :60] = 0, 0
    assert judge.similarity(a, masked, points) == pytest.approx(1, abs=1e-3)


def test_a_minutes_price_follows_from_the_machines() -> None:
    assert cost_per_minute(3.0, 100) == pytest.approx(3 / 60 * 25 / 100)
    with pytest.raises(InputError):
        cost_per_minute(3.0, 0)
    assert 10 < peak_memory_mb() < 1e6
