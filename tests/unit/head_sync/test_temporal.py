"""The temporal prior and the filling of gaps."""

from __future__ import annotations

import numpy as np

from synctalk.head_sync.geometry import Float, Poses, exp_so3, jitter, log_so3, shot_slices
from synctalk.head_sync.temporal import fill_gaps, pose_vectors, prior_terms, regularised_step

PRECISION = np.repeat([1 / np.deg2rad(0.1) ** 2, 1 / 0.3**2], 3)


def noisy_poses(n: int, seed: int = 0) -> Poses:
    rng = np.random.default_rng(seed)
    t = rng.normal([0.0, 0.0, 900.0], 2.0, (n, 3))
    return Poses(exp_so3(rng.normal(0, 0.01, (n, 3))), t)


def smoothed(poses: Poses, shots: list[slice], information: Float) -> Poses:
    zero = np.zeros((len(poses), 6))
    return poses.moved(regularised_step(poses, information, zero, shots, PRECISION))


def weak(n: int) -> Float:
    return np.repeat(np.diag([1e3] * 3 + [1e-2] * 3)[None], n, axis=0)


def test_smoothing_takes_out_jitter() -> None:
    poses, shots = noisy_poses(80), shot_slices(80, ())
    before, after = jitter(poses, shots), jitter(smoothed(poses, shots, weak(80)), shots)
    assert after[0] < 0.1 * before[0]
    assert after[1] < 0.1 * before[1]


def test_a_step_at_a_cut_stays_whole() -> None:
    t = np.tile([0.0, 0.0, 900.0], (40, 1))
    t[20:, 0] = 60.0
    turned = np.zeros((40, 3))
    turned[20:, 1] = 0.2
    poses = Poses(exp_so3(turned), t)
    cut = smoothed(poses, shot_slices(40, (20,)), weak(40))
    np.testing.assert_allclose(cut.t, t, atol=1e-6)
    np.testing.assert_allclose(cut.R, poses.R, atol=1e-9)
    uncut = smoothed(poses, shot_slices(40, ()), weak(40))
    assert abs(uncut.t[20, 0] - uncut.t[19, 0]) < 30


def test_shots_do_not_influence_each_other() -> None:
    a, b = noisy_poses(30, seed=1), noisy_poses(25, seed=2)
    joined = Poses(np.concatenate([a.R, b.R]), np.concatenate([a.t, b.t]))
    together = smoothed(joined, shot_slices(55, (30,)), weak(55))
    alone = smoothed(a, shot_slices(30, ()), weak(30))
    np.testing.assert_allclose(together.t[:30], alone.t, atol=1e-9)
    np.testing.assert_allclose(together.R[:30], alone.R, atol=1e-12)


def test_shots_of_one_and_two_frames_are_left_alone() -> None:
    poses = noisy_poses(3)
    out = smoothed(poses, shot_slices(3, (1,)), np.zeros((3, 6, 6)))
    np.testing.assert_allclose(out.t, poses.t, atol=1e-6)


def test_banded_prior_is_the_gradient_of_the_second_difference_energy() -> None:
    poses = noisy_poses(9)
    ab, rhs = prior_terms(poses, PRECISION)
    D = np.diff(np.eye(9), 2, axis=0)
    x, _ = pose_vectors(poses)
    np.testing.assert_allclose(rhs, -(D.T @ D @ x) * PRECISION, rtol=1e-9, atol=1e-6)
    expected = np.kron(D.T @ D, np.diag(PRECISION))
    for k in range(18):
        np.testing.assert_allclose(ab[k, : 54 - k], np.diag(expected, -k), atol=1e-6)


def test_gaps_are_filled_inside_their_shot_only() -> None:
    angle = np.linspace(0, 0.3, 12)
    truth = Poses(exp_so3(np.outer(angle, [0, 1, 0])), np.outer(np.arange(12), [1.0, 0, 0]))
    valid = np.ones(12, bool)
    valid[[3, 4, 5, 7, 11]] = False
    blank = truth.with_rows(np.flatnonzero(~valid), noisy_poses(5))
    filled = fill_gaps(blank, valid, shot_slices(12, (7,)))
    np.testing.assert_allclose(filled.t[3:6], truth.t[3:6], atol=1e-9)
    np.testing.assert_allclose(log_so3(filled.R)[3:6, 1], angle[3:6], atol=1e-4)
    np.testing.assert_allclose(filled.t[7], truth.t[8])  # held, not drawn to frame 6
    np.testing.assert_allclose(filled.t[11], truth.t[10])


def test_a_shot_without_any_face_takes_the_nearest_pose() -> None:
    poses = noisy_poses(6)
    valid = np.array([True, True, False, False, True, True])
    filled = fill_gaps(poses, valid, shot_slices(6, (2, 4)))
    np.testing.assert_allclose(filled.t[2], poses.t[1])
    np.testing.assert_allclose(filled.t[3], poses.t[1])
