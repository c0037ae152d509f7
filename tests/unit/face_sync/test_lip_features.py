"""Driving spaces on meshes whose head pose and lips are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from synctalk.errors import InputError
from synctalk.face import MeshFaceTracker, load_canonical_face
from synctalk.face_sync import INNER_LIP, LIP_POINTS, DrivingSpace, LinearSpace, fit_driving_space
from synctalk.face_sync.lip_features import head_frame_offsets
from synctalk.media import VideoReader

T = 200


@dataclass
class Scene:
    """Tracks [T, ...] of a talking, turning head and the truth behind them."""

    mesh: Tensor
    R: Tensor
    t: Tensor
    K: Tensor
    vertices: Tensor
    offsets: Tensor  # [T, 478, 2] mm
    gap: Tensor  # [T] mm


@pytest.fixture(scope="module")
def scene() -> Scene:
    rng = np.random.default_rng(0)
    rest = rng.uniform([-60, -80, -40], [60, 50, 10], (478, 3))
    upper, lower = (13, 82, 312), (14, 87, 317)
    rest[list(lower)] = rest[list(upper)] - [0.0, 1.0, 0.0]
    offsets = np.zeros((T, 478, 2))
    movement = np.cumsum(rng.normal(0, 1, (T, 3)), 0)
    shapes = rng.normal(0, 0.3, (3, 478, 2))
    offsets += np.einsum("tk,kpc->tpc", movement, shapes)
    opening = 4.0 + 4.0 * np.sin(np.arange(T) / 3.0)
    offsets[:, list(upper), 1] += 0.3 * opening[:, None]
    offsets[:, list(lower), 1] -= 0.7 * opening[:, None]
    gap = 1.0 + (offsets[:, list(upper), 1] - offsets[:, list(lower), 1]).mean(1)
    turns = Rotation.from_euler("yxz", rng.normal(0, 12, (T, 3)), degrees=True)
    R = np.diag([1.0, -1.0, -1.0]) @ turns.as_matrix()
    t = np.array([0.0, 10.0, 700.0]) + rng.normal(0, 15, (T, 3))
    K = np.array([[1200.0, 0, 256], [0, 1200.0, 256], [0, 0, 1]])
    points = rest + np.concatenate([offsets, np.zeros((T, 478, 1))], axis=2)
    camera = points @ R.transpose(0, 2, 1) + t[:, None]
    pixels = camera @ K.T
    mesh = np.concatenate([pixels[..., :2] / pixels[..., 2:], pixels[..., 2:]], axis=2)
    arrays = (mesh, R, t, K, rest[:468], offsets, gap)
    return Scene(*(torch.tensor(a, dtype=torch.float32) for a in arrays))


def fitted(scene: Scene) -> DrivingSpace:
    train = torch.arange(T) < 180
    return fit_driving_space(scene.mesh, scene.R, scene.t, scene.K, scene.vertices, train)


def test_the_head_pose_is_taken_out_of_tracked_points(scene):
    points = LIP_POINTS
    found = head_frame_offsets(scene.mesh, scene.R, scene.t, scene.K, scene.vertices, points)
    truth = scene.offsets[:, list(points)].flatten(1)
    assert float((found - truth).abs().max()) < 0.02


def test_mouth_opening_is_reconstructed_in_millimetres(scene):
    space = fitted(scene)
    opening = space.mouth_opening(space.lip(scene.mesh, scene.R, scene.t, scene.K))
    assert float((opening - scene.gap).abs().max()) < 0.3


def test_coefficients_are_standardised_on_training_frames_and_clipped(scene):
    space = fitted(scene)
    lip = space.lip(scene.mesh, scene.R, scene.t, scene.K)
    torch.testing.assert_close(lip[:180].mean(0), torch.zeros(lip.shape[1]), atol=0.05, rtol=0)
    torch.testing.assert_close(lip[:180].std(0), torch.ones(lip.shape[1]), atol=0.05, rtol=0)
    wild = scene.mesh.clone()
    wild[5, list(INNER_LIP), 1] += 100.0
    assert float(space.lip(wild, scene.R, scene.t, scene.K)[5].abs().max()) == 4.0


def test_expression_and_pose_have_the_documented_sizes(scene):
    space = fitted(scene)
    expression = space.expression(scene.mesh, scene.R, scene.t, scene.K)
    assert expression.shape[0] == T
    assert expression.shape[1] <= 15
    pose = space.pose(scene.R, scene.t)
    assert pose.shape == (T, 6)
    torch.testing.assert_close(pose[:180].std(0), torch.ones(6), atol=0.05, rtol=0)


def test_frames_are_independent(scene):
    space = fitted(scene)
    whole = space.lip(scene.mesh, scene.R, scene.t, scene.K)
    one = space.lip(scene.mesh[77:78], scene.R[77:78], scene.t[77:78], scene.K)
    torch.testing.assert_close(one[0], whole[77], atol=1e-4, rtol=1e-4)


def test_state_survives_a_round_trip(scene):
    space = fitted(scene)
    again = DrivingSpace.from_state({k: v.clone() for k, v in space.state().items()})
    a = space.expression(scene.mesh, scene.R, scene.t, scene.K)
    b = again.expression(scene.mesh, scene.R, scene.t, scene.K)
    torch.testing.assert_close(a, b)
    assert again.opening.bias == space.opening.bias


def test_a_space_decodes_what_it_encodes():
    rows = torch.randn(100, 5) @ torch.randn(5, 30)
    space = LinearSpace.fit(rows, 12)
    assert len(space.scale) == 5
    torch.testing.assert_close(space.decode(space.encode(rows)), rows, atol=1e-3, rtol=1e-3)


def test_too_few_tracked_frames_are_refused(scene):
    with pytest.raises(InputError) as caught:
        fit_driving_space(
            scene.mesh, scene.R, scene.t, scene.K, scene.vertices, torch.arange(T) < 20
        )
    assert caught.value.reason == "TOO_FEW_TRACKED_FRAMES"


def test_tracked_lips_of_the_virtual_subject_follow_the_truth(shared_data):
    folder = shared_data / "virtual" / "subject_a"
    frames = range(0, 250)
    with VideoReader(folder / "train.mp4") as reader:
        track = MeshFaceTracker(1).track(list(reader.iter_rgb(0, len(frames))))
    truth = np.load(folder / "truth.npz")
    R, t = (torch.tensor(truth[k][: len(frames)]).float() for k in ("R_head", "t_head"))
    K = torch.tensor(truth["K"]).float()
    K[:2, 2] += 0.5  # the truth puts pixel centres at integers
    mesh = torch.from_numpy(track.mesh)
    vertices = torch.from_numpy(load_canonical_face().vertices)
    space = fit_driving_space(mesh, R, t, K, vertices, torch.ones(len(frames)).bool())
    opening = space.mouth_opening(space.lip(mesh, R, t, K)).numpy()
    assert np.corrcoef(opening, truth["lip_gap_mm"][: len(frames)])[0, 1] >= 0.9
