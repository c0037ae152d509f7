"""Align one frame to the head's appearance: pose, gain and bias by Gauss-Newton.

The residual of sample i at pyramid level l is ``a T_l[i] + b - I_l(pi(R X_i + t))`` (direct image
alignment as in DSO, Engel et al. 2018, with a mean appearance T in place of a reference frame).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from synctalk.head_sync.geometry import Float, Poses, exp_so3
from synctalk.head_sync.pyramid import Pyramid

GAIN_STEP = 0.01  # one unit of the gain unknown: keeps the 8x8 system well scaled
HUBER_SIGMAS = 1.5
MIN_SIGMA = 0.3  # grey levels
GRAZING, FACING = 0.15, 0.5  # cosines between which a point fades in


@dataclass(frozen=True)
class Appearance:
    """What the rigid head looks like: points on its surface with mean intensities.

    Args:
        points: [N, 3] mm, head frame.
        normals: [N, 3] outward unit normals.
        intensity: [L, N] high-passed grey levels, one row a pyramid level, finest first.
        weights: [N] reliability, from rigidity and from how well the points kept to their mean.
        outline: [N] which of the points are the outline's; the others are the solid head's.
    """

    points: Float
    normals: Float
    intensity: Float
    weights: Float
    outline: NDArray[np.bool_]

    def head(self, count: int) -> Appearance:
        """The first ``count`` points (they are in random order, so an even subset)."""
        return Appearance(
            self.points[:count],
            self.normals[:count],
            self.intensity[:, :count],
            self.weights[:count],
            self.outline[:count],
        )

    def seen_from(self, pose: FramePose) -> Appearance:
        """The same with the weights of points that do not face the camera taken away."""
        seen = visibility(self.points, self.normals, self.outline, pose)
        return replace(self, weights=self.weights * seen)


@dataclass(frozen=True)
class FramePose:
    """Pose and exposure of one frame.

    Args:
        R: [3, 3].
        t: [3] mm.
        gain: contrast relative to the appearance.
        bias: grey levels.
    """

    R: Float
    t: Float
    gain: float = 1.0
    bias: float = 0.0

    def moved(self, step: Float) -> FramePose:
        """After a solved step [8] (w, v, gain / GAIN_STEP, bias)."""
        gain = float(np.clip(self.gain + GAIN_STEP * step[6], 0.2, 5.0))
        bias = self.bias + float(step[7])
        return FramePose(exp_so3(step[:3]) @ self.R, self.t + step[3:6], gain, bias)


@dataclass(frozen=True)
class System:
    """The linearised alignment of one frame at one level.

    Args:
        J: [8, N] d(image - model)/d(w, v, gain, bias).
        residual: [N] grey levels, model minus image.
        weights: [N] robust weights.
        sigma: robust standard deviation of the residual, grey levels.
        camera: [3, N] camera points, mm.
        gradient: ([N], [N]) image gradient at the points, per frame pixel.
    """

    J: Float
    residual: Float
    weights: Float
    sigma: float
    camera: Float
    gradient: tuple[Float, Float]

    def normal_equations(self) -> tuple[Float, Float]:
        """H [8, 8] and g [8]; the step is H^-1 g."""
        JW = self.J * self.weights
        return JW @ self.J.T + 1e-9 * np.eye(8), JW @ self.residual

    def pose_information(self) -> Float:
        """[6, 6] information on (w, v) with gain and bias marginalised, unit-variance pixels."""
        H, _ = self.normal_equations()
        schur = H[:6, :6] - H[:6, 6:] @ np.linalg.solve(H[6:, 6:], H[6:, :6])
        return np.asarray(schur / self.sigma**2)


def visibility(points: Float, normals: Float, outline: NDArray[np.bool_], pose: FramePose) -> Float:
    """[N] in [0, 1]: how far surface points [N, 3] face the camera; the outline always does."""
    eye = -pose.R.T @ pose.t
    towards = eye - points
    distance = np.sqrt(np.einsum("nk,nk->n", towards, towards))
    facing = np.einsum("nk,nk->n", normals, towards) / distance
    return np.where(outline, 1.0, np.clip((facing - GRAZING) / (FACING - GRAZING), 0, 1))


def _rolled(R: Float) -> tuple[float, float]:
    """Cosine and sine, up to a common factor, of what ``R`` turns about the camera's axis."""
    return R[0, 0] - R[1, 1], R[1, 0] + R[0, 1]


def upright(R: Float) -> Float:
    """The rotation of a head that faces the camera, rolled as ``R`` is."""
    c, s = np.array(_rolled(R)) / np.hypot(*_rolled(R))
    return np.array([[c, s, 0], [s, -c, 0], [0, 0, -1.0]])


def camera_points(points: Float, outline: NDArray[np.bool_], pose: FramePose) -> Float:
    """Points [N, 3] of the head in camera axes, [3, N] mm.

    The outline's plane faces the camera; only its distance behind the face turns with the head.
    """
    camera: Float = pose.R @ points.T
    turned = np.column_stack([upright(pose.R)[:, :2], pose.R[:, 2]])
    camera[:, outline] = turned @ points[outline].T
    return camera + pose.t[:, None]


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
    cosine, sine = _rolled(R)
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
    return replace(pose, gain=1.0, bias=0.0).moved(step)


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
        part = appearance.head(max(count >> level, 600)) if level else appearance
        for _ in range(iterations):
            pose = pose.moved(_newton_step(linearise(pyramid, level, part, pose, K)))
    return pose, linearise(pyramid, schedule[-1][0], appearance, pose, K)


def _newton_step(system: System) -> Float:
    H, g = system.normal_equations()
    H[np.arange(8), np.arange(8)] *= 1 + 1e-6
    return np.asarray(np.linalg.solve(H, g), np.float64)


def stack_poses(poses: list[FramePose]) -> Poses:
    """Frame poses as one clip."""
    return Poses(np.stack([p.R for p in poses]), np.stack([p.t for p in poses]))
