"""Temporal prior on poses: small second differences inside a shot, nothing across a cut."""

from __future__ import annotations

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from synctalk.head_sync.geometry import Float, Poses, exp_so3, log_so3, nearest_rotation


def pose_vectors(poses: Poses) -> tuple[Float, Float]:
    """Poses as vectors [T, 6] (rotation vector from their mean rotation, translation), the mean."""
    mean = nearest_rotation(poses.R.sum(0))
    return np.concatenate([log_so3(poses.R @ mean.T), poses.t], axis=1), mean


def _second_difference_band(n: int) -> Float:
    """Lower band [3, n] of D'D for the second difference D."""
    band = np.zeros((3, n))
    if n > 2:
        for offset, diagonal, next_one in ((0, 1, -2), (1, 4, -2), (2, 1, 0)):
            rows = slice(offset, n - 2 + offset)
            band[0, rows] += diagonal
            band[1, rows] += next_one
        band[2, : n - 2] = 1
    return band


def _apply_band(band: Float, x: Float) -> Float:
    out: Float = band[0][:, None] * x
    for k in range(1, min(3, len(x))):
        out[k:] += band[k, :-k, None] * x[:-k]
        out[:-k] += band[k, :-k, None] * x[k:]
    return out


def _banded_system(H: Float, band: Float, precision: Float) -> Float:
    """Lower banded form [18, 6T] of blockdiag(H) + band (x) diag(precision)."""
    n = len(H)
    ab = np.zeros((18, n, 6))
    for k in range(6):
        for col in range(6 - k):
            ab[k, :, col] = H[:, col + k, col]
    for lag in range(min(3, n)):
        ab[6 * lag] += band[lag][:, None] * precision
    return ab.reshape(18, 6 * n)


def prior_terms(poses: Poses, precision: Float) -> tuple[Float, Float]:
    """The prior alone on one shot: lower banded matrix [18, 6T] and right-hand side [T, 6]."""
    x, _ = pose_vectors(poses)
    band = _second_difference_band(len(poses))
    none = np.zeros((len(poses), 6, 6))
    return _banded_system(none, band, precision), -_apply_band(band, x) * precision


def _regularised_step(poses: Poses, H: Float, g: Float, precision: Float) -> Float:
    ab, rhs = prior_terms(poses, precision)
    ab = ab + _banded_system(H + 1e-9 * np.eye(6), np.zeros((3, len(poses))), precision)
    step = scipy.linalg.solveh_banded(ab, (g + rhs).ravel(), lower=True)
    return np.asarray(step, np.float64).reshape(-1, 6)


def regularised_step(
    poses: Poses, H: Float, g: Float, shots: list[slice], precision: Float
) -> Float:
    """The Gauss-Newton step [T, 6] of the data terms plus the prior, shot by shot.

    Args:
        poses: current poses.
        H: [T, 6, 6] data information matrices, g: [T, 6] right-hand sides (step = H^-1 g alone).
        g: see ``H``.
        shots: the frames of each shot.
        precision: [6] inverse variances of a second difference (rad, mm).
    """
    parts = [_regularised_step(poses.at(s), H[s], g[s], precision) for s in shots]
    return np.concatenate(parts)


def fill_gaps(poses: Poses, valid: NDArray[np.bool_], shots: list[slice]) -> Poses:
    """Poses of invalid frames by interpolation inside their shot.

    Before the first and after the last valid frame of a shot its pose is held; a shot without any
    valid frame takes the nearest valid frame of the clip.
    """
    R, t = poses.R.copy(), poses.t.copy()
    known_anywhere = np.flatnonzero(valid)
    for shot in shots:
        frames = np.arange(shot.start, shot.stop)
        known = frames[valid[shot]]
        if len(known) == 0:
            nearest = known_anywhere[np.abs(known_anywhere - frames[0]).argmin()]
            R[shot], t[shot] = poses.R[nearest], poses.t[nearest]
            continue
        x, mean = pose_vectors(poses.at(known))
        lost = frames[~valid[shot]]
        filled = np.stack([np.interp(lost, known, x[:, k]) for k in range(6)], axis=1)
        R[lost], t[lost] = exp_so3(filled[:, :3]) @ mean, filled[:, 3:]
    return Poses(R, t)
