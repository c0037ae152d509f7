"""Align one frame to the head's appearance: pose, gain and bias by Gauss-Newton.

The residual of sample i at pyramid level l is ``a T_l[i] + b - I_l(pi(R X_i + t))`` (direct image
alignment as in DSO, Engel et al. 2018, with a mean appearance T in place of a reference frame).
A kernel computes it (``csrc/alignment.cpp``); :mod:`.reference` says in NumPy what.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from synctalk.head_sync import _alignment
from synctalk.head_sync.geometry import Float, Poses
from synctalk.head_sync.pyramid import Pyramid

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


def rolled(R: Float) -> tuple[float, float]:
    """Cosine and sine, up to a common factor, of what ``R`` turns about the camera's axis."""
    return R[0, 0] - R[1, 1], R[1, 0] + R[0, 1]


def upright(R: Float) -> Float:
    """The rotation of a head that faces the camera, rolled as ``R`` is."""
    c, s = np.array(rolled(R)) / np.hypot(*rolled(R))
    return np.array([[c, s, 0], [s, -c, 0], [0, 0, -1.0]])


def camera_points(points: Float, outline: NDArray[np.bool_], pose: FramePose) -> Float:
    """Points [N, 3] of the head in camera axes, [3, N] mm.

    The outline's plane faces the camera; only its distance behind the face turns with the head.
    """
    camera: Float = pose.R @ points.T
    turned = np.column_stack([upright(pose.R)[:, :2], pose.R[:, 2]])
    camera[:, outline] = turned @ points[outline].T
    return camera + pose.t[:, None]


def linearise(
    pyramid: Pyramid, level: int, appearance: Appearance, pose: FramePose, K: Float
) -> System:
    """Residuals, Jacobian and robust weights of a frame at ``pose``.

    ``appearance`` is what this frame sees of the head: its weights include visibility.
    """
    return _run(pyramid, appearance, pose, K, ((level, 0),), expose=False)[1]


def fit_exposure(
    pyramid: Pyramid, level: int, appearance: Appearance, pose: FramePose, K: Float
) -> tuple[FramePose, System]:
    """Gain and bias of a frame at a fixed pose, and the system there."""
    return _run(pyramid, appearance, pose, K, ((level, 0),), expose=True)


def align(
    pyramid: Pyramid,
    appearance: Appearance,
    pose: FramePose,
    K: Float,
    schedule: tuple[tuple[int, int], ...],
) -> tuple[FramePose, System]:
    """Refine a frame's pose, coarse to fine. Other threads run meanwhile.

    Args:
        pyramid: the frame.
        appearance: what to align to; its points are in random order.
        pose: where to start.
        K: [3, 3] intrinsics.
        schedule: (level, iterations) in order; coarse levels use the first ``N >> level`` points,
            at least 600.

    Returns:
        The pose, and the system at the finest level there.
    """
    return _run(pyramid, appearance.seen_from(pose), pose, K, schedule, expose=True)


def _run(
    pyramid: Pyramid,
    appearance: Appearance,
    pose: FramePose,
    K: Float,
    schedule: tuple[tuple[int, int], ...],
    *,
    expose: bool,
) -> tuple[FramePose, System]:
    state = np.concatenate([pose.R.ravel(), pose.t, [pose.gain, pose.bias]])
    rows = np.empty((15, len(appearance.points)))
    sigma = _alignment.align(
        pyramid.levels,
        pyramid.origin,
        pyramid.octave,
        K,
        appearance.points,
        appearance.weights,
        appearance.outline,
        appearance.intensity,
        state,
        schedule,
        expose,
        rows,
    )
    refined = FramePose(state[:9].reshape(3, 3), state[9:12], float(state[12]), float(state[13]))
    system = System(rows[:8], rows[8], rows[9], sigma, rows[10:13], (rows[13], rows[14]))
    return refined, system


def stack_poses(poses: list[FramePose]) -> Poses:
    """Frame poses as one clip."""
    return Poses(np.stack([p.R for p in poses]), np.stack([p.t for p in poses]))
