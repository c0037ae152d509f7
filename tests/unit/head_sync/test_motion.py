"""Head Motion Tracker against exact synthetic landmarks."""

from __future__ import annotations

import numpy as np
import pytest

from synctalk.face import load_canonical_face
from synctalk.head_sync.geometry import (
    Float,
    Poses,
    exp_so3,
    intrinsics,
    jitter,
    log_so3,
    nearest_rotation,
    pose_jacobian,
    project,
    shot_slices,
)
from synctalk.head_sync.motion import (
    FRONTAL,
    Landmarks,
    MotionConfig,
    fit_identity,
    track_motion,
)

SIZE = (512, 512)
AVERAGE_FACE = np.ones(3)
WIDER_FACE = np.array([1.04, 0.97, 1.0])


def swaying_poses(n: int, rng: np.random.Generator) -> Poses:
    phase = np.linspace(0, 4 * np.pi, n)[:, None] * np.array([1.0, 0.7, 0.4])
    turn = np.deg2rad([12.0, 6.0, 4.0]) * np.sin(phase + rng.uniform(0, 6, 3))
    t = np.array([0.0, -20.0, 900.0]) + np.array([8.0, 4.0, 15.0]) * np.cos(phase)
    return Poses(FRONTAL @ exp_so3(turn[:, [1, 0, 2]]), t)


def synthetic_landmarks(
    poses: Poses, K: Float, noise_px: float, stretch: Float
) -> tuple[Landmarks, Float]:
    face = load_canonical_face()
    rng = np.random.default_rng(1)
    model = face.vertices.astype(np.float64)
    subject = model * stretch
    points = project(poses.transform(subject), K)
    points += rng.normal(0, noise_px, points.shape)
    return Landmarks(points, face.rigid_weight.astype(np.float64), model), subject


def rotation_errors_deg(ours: Poses, truth: Poses) -> Float:
    """After one constant rotation between the two head frames."""
    C = nearest_rotation(np.einsum("tji,tjk->ik", ours.R, truth.R))
    return np.rad2deg(np.linalg.norm(log_so3(ours.R @ C @ truth.R.transpose(0, 2, 1)), axis=1))


def test_known_poses_come_back_from_noisy_landmarks() -> None:
    truth = swaying_poses(60, np.random.default_rng(0))
    K = intrinsics(2.3 * 512, SIZE)
    landmarks, _ = synthetic_landmarks(truth, K, 0.5, AVERAGE_FACE)
    motion = track_motion(landmarks, SIZE, MotionConfig())
    assert motion.K[0, 0] == pytest.approx(2.3 * 512)
    assert np.sqrt((rotation_errors_deg(motion.poses, truth) ** 2).mean()) < 0.25
    assert motion.rms_px < 0.75


def test_an_unknown_face_costs_little_rotation() -> None:
    truth = swaying_poses(60, np.random.default_rng(0))
    K = intrinsics(2.3 * 512, SIZE)
    landmarks, _ = synthetic_landmarks(truth, K, 0.5, WIDER_FACE)
    motion = track_motion(landmarks, SIZE, MotionConfig())
    assert np.sqrt((rotation_errors_deg(motion.poses, truth) ** 2).mean()) < 0.6


def test_identity_is_learned_so_that_exact_landmarks_leave_almost_no_error() -> None:
    truth = swaying_poses(40, np.random.default_rng(2))
    K = intrinsics(2.3 * 512, SIZE)
    landmarks, _ = synthetic_landmarks(truth, K, 0.0, WIDER_FACE)
    shape, rms = fit_identity(landmarks, K, MotionConfig(rounds=6))
    unlearned = fit_identity(landmarks, K, MotionConfig(rounds=0))[1]
    assert rms < 0.1 < unlearned
    assert not np.allclose(shape, landmarks.model)


def test_pose_jacobian_agrees_with_finite_differences() -> None:
    pose = swaying_poses(3, np.random.default_rng(3))
    K = intrinsics(1200.0, SIZE)
    points = load_canonical_face().vertices[::40].astype(np.float64)
    J = pose_jacobian(pose.transform(points), pose.t, 1200.0)
    for k in range(6):
        step = np.zeros((3, 6))
        step[:, k] = 1e-5
        moved = project(pose.moved(step).transform(points), K)
        back = project(pose.moved(-step).transform(points), K)
        np.testing.assert_allclose(J[..., k], (moved - back) / 2e-5, rtol=1e-4, atol=1e-4)


def test_rotation_vectors_and_matrices_are_inverse() -> None:
    w = np.random.default_rng(4).normal(0, 0.8, (50, 3))
    np.testing.assert_allclose(log_so3(exp_so3(w)), w, atol=1e-9)
    np.testing.assert_allclose(log_so3(np.eye(3)[None]), 0, atol=1e-12)


def test_jitter_ignores_the_step_at_a_cut() -> None:
    t = np.zeros((10, 3))
    t[5:] = 100.0
    poses = Poses(np.repeat(np.eye(3)[None], 10, axis=0), t)
    assert jitter(poses, shot_slices(10, (5,))) == (0.0, 0.0)
    assert jitter(poses, shot_slices(10, ()))[1] > 10


def test_shots_are_cut_at_the_given_frames() -> None:
    assert shot_slices(10, (7, 3, 0, 3, 10)) == [slice(0, 3), slice(3, 7), slice(7, 10)]
