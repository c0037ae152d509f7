"""The photometric alignment of a frame in plain NumPy: readable, slow.

What the kernel of :mod:`.alignment` must equal.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from synctalk.head_sync.alignment import (
    Appearance,
    FramePose,
    System,
    camera_points,
    rolled,
)
from synctalk.head_sync.geometry import Float, exp_so3
from synctalk.head_sync.pyramid import Pyramid

GAIN_STEP = 0.01  # one unit of the gain unknown: keeps the 8x8 system well scaled
HUBER_SIGMAS = 1.5
MIN_SIGMA = 0.3  # grey levels
FEWEST_POINTS = 600  # of a coarse level


def moved(pose: FramePose, step: Float) -> FramePose:
    """After a solved step [8] (w, v, gain / GAIN_STEP, bias)."""
    gain = float(np.clip(pose.gain + GAIN_STEP * step[6], 0.2, 5.0))
    bias = pose.bias + float(step[7])
    return FramePose(exp_so3(step[:3]) @ pose.R, pose.t + step[3:6], gain, bias)


def _columns(
    J: Float, camera: Float, appearance: Appearance, pose: FramePose, focal: float, du: Float,
    dv: Float,
) -> None:  # fmt: skip
    """Fill rows 0-5 of J [8, N] with d intensity / d (w, v)."""
    a, b = (
        np.multiply(du, focal / camera[2], out=J[3]),
        np.multiply(dv, focal / camera[2], out=J[4]),
    )
    c = np.divide(-(a * camera[0] + b * camera[1]), camera[2], out=J[5])
    x, y, z = camera - pose.t[:, None]
    J[0], J[1], J[2] = y * c - z * b, z * a - x * c, x * b - y * a
    flat, R = appearance.outline, pose.R
    x, y, z = np.outer(R[:, 2], appearance.points[flat, 2])
    a, b, c = J[3:6, flat]
    tilt, nod = y * c - z * b, z * a - x * c
    roll = J[2, flat] - (x * b - y * a)  # of the plane alone
    cosine, sine = rolled(R)
    size = cosine**2 + sine**2
    J[0, flat] = tilt - roll * (cosine * R[2, 0] + sine * R[2, 1]) / size
    J[1, flat] = nod + roll * (cosine * R[2, 1] - sine * R[2, 0]) / size


def linearise(
    pyramid: Pyramid, level: int, appearance: Appearance, pose: FramePose, K: Float
) -> System:
    """Residuals, Jacobian and robust weights of a frame at ``pose``.

    ``appearance`` is what this frame sees of the head: its weights include visibility.
    """
    camera = camera_points(appearance.points, appearance.outline, pose)
    x, y = (K[0, 0] * camera[k] / camera[2] + K[k, 2] for k in range(2))
    image, du, dv = pyramid.lookup(x, y, level)
    target = appearance.intensity[level]
    residual = pose.gain * target + pose.bias - image
    size = np.abs(residual)
    seen = size[appearance.weights > 0.05]
    sigma = (1.4826 * float(np.median(seen)) if len(seen) else 0.0) + MIN_SIGMA
    weights = appearance.weights * np.minimum(1, HUBER_SIGMAS * sigma / np.maximum(size, 1e-9))
    J = np.empty((8, len(target)))
    _columns(J, camera, appearance, pose, K[0, 0], du, dv)
    J[6], J[7] = -GAIN_STEP * target, -1.0
    return System(J, residual, weights, sigma, camera, (du, dv))


def fit_exposure(
    pyramid: Pyramid, level: int, appearance: Appearance, pose: FramePose, K: Float
) -> FramePose:
    """Gain and bias of a frame at a fixed pose."""
    system = linearise(pyramid, level, appearance, replace(pose, gain=1.0, bias=0.0), K)
    H, g = system.normal_equations()
    step = np.concatenate([np.zeros(6), np.linalg.solve(H[6:, 6:], g[6:])])
    return moved(replace(pose, gain=1.0, bias=0.0), step)


def first(appearance: Appearance, count: int) -> Appearance:
    """The first ``count`` points (they are in random order, so an even subset)."""
    return Appearance(
        appearance.points[:count],
        appearance.normals[:count],
        appearance.intensity[:, :count],
        appearance.weights[:count],
        appearance.outline[:count],
    )


def align(
    pyramid: Pyramid,
    appearance: Appearance,
    pose: FramePose,
    K: Float,
    schedule: tuple[tuple[int, int], ...],
) -> tuple[FramePose, System]:
    """Refine a frame's pose, coarse to fine.

    Args:
        pyramid: the frame.
        appearance: what to align to.
        pose: where to start.
        K: [3, 3] intrinsics.
        schedule: (level, iterations) in order; coarse levels use a subset of the points.

    Returns:
        The pose, and the system at the finest level there.
    """
    count = len(appearance.points)
    appearance = appearance.seen_from(pose)
    pose = fit_exposure(pyramid, schedule[0][0], appearance, pose, K)
    for level, iterations in schedule:
        part = first(appearance, max(count >> level, FEWEST_POINTS)) if level else appearance
        for _ in range(iterations):
            pose = moved(pose, _newton_step(linearise(pyramid, level, part, pose, K)))
    return pose, linearise(pyramid, schedule[-1][0], appearance, pose, K)


def _newton_step(system: System) -> Float:
    H, g = system.normal_equations()
    H[np.arange(8), np.arange(8)] *= 1 + 1e-6
    return np.asarray(np.linalg.solve(H, g), np.float64)
