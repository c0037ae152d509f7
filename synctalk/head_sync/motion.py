"""Head Motion Tracker: focal length, identity and a pose for every frame (SyncTalk++ §III-C).

The paper's order is kept: a grid search for the focal length, then rotation and translation of all
frames with the identity fixed. All frames are solved at once by batched Levenberg-Marquardt on 6x6
systems. The identity is the face model's mean shape plus one offset a vertex, learned in turn with
the poses; expression is not modelled but ignored: points that it moves have low weights.

The focal length is hardly identifiable from a talking head (0.95-1.00 px of error over 700-3000 px
on our footage): among the focal lengths within ``focal_slack`` of the best mean squared error the
one nearest to the prior, ``focal_prior`` x the shorter side, is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from synctalk.head_sync.geometry import (
    Float,
    Poses,
    intrinsics,
    nearest_rotation,
    pose_jacobian,
    project,
    projection_jacobian,
)

_CHUNK = 256
FRONTAL = np.diag([1.0, -1.0, -1.0])


@dataclass(frozen=True)
class Landmarks:
    """Tracked points of a face model.

    Args:
        points: [T, P, 2] float64, continuous px.
        weights: [P] float64 >= 0, how rigidly each point sits on the skull.
        model: [P, 3] float64, mean shape in the head frame, mm.
    """

    points: Float
    weights: Float
    model: Float

    def at(self, rows: NDArray[np.intp]) -> Landmarks:
        """The landmarks of some frames."""
        return replace(self, points=self.points[rows])


@dataclass(frozen=True)
class MotionConfig:
    """Settings of the Head Motion Tracker.

    Args:
        focal_grid: focal lengths tried, in units of the image's shorter side.
        focal_prior: the focal length preferred among equals, same units (a portrait lens).
        focal_slack: relative excess of the mean squared error that counts as equal.
        sample: most frames used for the focal length and the identity.
        rounds: alternations of poses and identity.
        shape_prior_mm: expected distance of the subject from the mean shape.
        huber_px: landmark error at which the robust loss turns linear.
    """

    focal_grid: tuple[float, ...] = (1.2, 1.6, 2.0, 2.3, 2.6, 3.2, 4.0)
    focal_prior: float = 2.3
    focal_slack: float = 0.05
    sample: int = 120
    rounds: int = 3
    shape_prior_mm: float = 4.0
    huber_px: float = 1.5


@dataclass(frozen=True)
class Motion:
    """Result of the Head Motion Tracker.

    Args:
        K: [3, 3] intrinsics, px.
        poses: one a frame.
        shape: [P, 3] float64, the subject's mean shape, mm.
        rms_px: weighted reprojection error of the landmarks.
    """

    K: Float
    poses: Poses
    shape: Float
    rms_px: float


def initial_poses(landmarks: Landmarks, shape: Float, K: Float) -> Poses:
    """Poses by PnP on the rigid points; where that fails, a frontal head of the right size."""
    strong = landmarks.weights >= 0.5 * landmarks.weights.max()
    model, focal = np.ascontiguousarray(shape[strong]), K[0, 0]
    R = np.repeat(FRONTAL[None], len(landmarks.points), axis=0)
    t = np.zeros((len(R), 3))
    for i, seen in enumerate(landmarks.points[:, strong]):
        depth = (
            focal
            * np.linalg.norm(np.ptp(model[:, :2], axis=0))
            / max(float(np.linalg.norm(np.ptp(seen, axis=0))), 1.0)
        )
        t[i] = [*((seen.mean(0) - K[:2, 2]) * depth / focal), depth]
        corners = np.ascontiguousarray(seen)
        ok, rvec, tvec = cv2.solvePnP(model, corners, K, None, flags=cv2.SOLVEPNP_SQPNP)
        # a mirrored or far solution is worse than the frontal guess
        if ok and 0.3 < tvec[2, 0] / depth < 3 and cv2.Rodrigues(rvec)[0][2, 2] < 0:
            R[i], t[i] = cv2.Rodrigues(rvec)[0], tvec[:, 0]
    return Poses(R, t)


def huber(error_px: Float, scale_px: float) -> Float:
    """IRLS weights of the Huber loss for errors >= 0."""
    return np.asarray(np.minimum(1.0, scale_px / np.maximum(error_px, 1e-9)))


def _lengths(v: Float) -> Float:
    return np.asarray(np.sqrt(np.einsum("...k,...k", v, v)))


def _robust_cost(error: Float, weights: Float, scale: float) -> Float:
    loss = np.where(error < scale, 0.5 * error**2, scale * (error - 0.5 * scale))
    return np.asarray((loss * weights).sum(-1))


def landmark_system(
    landmarks: Landmarks, shape: Float, poses: Poses, K: Float, huber_px: float
) -> tuple[Float, Float, Float]:
    """Gauss-Newton systems H [T, 6, 6], g [T, 6] (step = H^-1 g) and robust costs [T]."""
    X = poses.transform(shape)
    residual = landmarks.points - project(X, K)
    error = _lengths(residual)
    weights = landmarks.weights * huber(error, huber_px)
    columns = pose_jacobian(X, poses.t, K[0, 0]).transpose(0, 3, 2, 1)
    JW = (columns * weights[:, None, None]).reshape(len(X), 6, -1)
    J = columns.reshape(len(X), 6, -1)
    g = JW @ residual.transpose(0, 2, 1).reshape(len(X), -1, 1)
    return JW @ J.transpose(0, 2, 1), g[..., 0], _robust_cost(error, landmarks.weights, huber_px)


def chunks(n_frames: int) -> list[NDArray[np.intp]]:
    """Frame indices in runs short enough for their Jacobians to fit in memory."""
    return [np.arange(a, min(a + _CHUNK, n_frames)) for a in range(0, n_frames, _CHUNK)]


def landmark_evidence(
    landmarks: Landmarks, shape: Float, poses: Poses, K: Float, huber_px: float
) -> tuple[Float, Float]:
    """The Gauss-Newton systems H [T, 6, 6], g [T, 6] of a clip of any length."""
    parts = [
        landmark_system(landmarks.at(rows), shape, poses.at(rows), K, huber_px)
        for rows in chunks(len(poses))
    ]
    return np.concatenate([H for H, _, _ in parts]), np.concatenate([g for _, g, _ in parts])


def landmark_distance(landmarks: Landmarks, shape: Float, poses: Poses, K: Float) -> Float:
    """[T] weighted mean distance of the landmarks from the posed shape, in face widths."""
    uv = project(poses.transform(shape), K)
    away = np.linalg.norm(uv - landmarks.points, axis=-1) @ landmarks.weights
    return np.asarray(away / landmarks.weights.sum() / np.ptp(uv[..., 0], axis=1))


def _refine_chunk(
    landmarks: Landmarks, shape: Float, poses: Poses, K: Float, huber_px: float, iterations: int
) -> Poses:
    damping = np.full(len(poses), 1e-3)
    H, g, cost = landmark_system(landmarks, shape, poses, K, huber_px)
    for _ in range(iterations):
        diagonal = np.einsum("tii->ti", H)
        damped = H + np.eye(6) * (damping[:, None] * diagonal + 1e-9)[:, None, :]
        trial = poses.moved(np.linalg.solve(damped, g[..., None])[..., 0])
        H2, g2, cost2 = landmark_system(landmarks, shape, trial, K, huber_px)
        better = cost2 <= cost
        damping = np.where(better, damping * 0.2, damping * 10).clip(1e-9, 1e6)
        rows = np.flatnonzero(better)
        poses = poses.with_rows(rows, trial.at(rows))
        H[rows], g[rows], cost[rows] = H2[rows], g2[rows], cost2[rows]
    return poses


def refine_poses(
    landmarks: Landmarks, shape: Float, poses: Poses, K: Float, huber_px: float, iterations: int = 8
) -> Poses:
    """Batched Levenberg-Marquardt on R, t of every frame with the shape fixed."""
    parts = []
    for rows in chunks(len(poses)):
        part = landmarks.at(rows)
        parts.append(_refine_chunk(part, shape, poses.at(rows), K, huber_px, iterations))
    return Poses(np.concatenate([p.R for p in parts]), np.concatenate([p.t for p in parts]))


def refine_shape(
    landmarks: Landmarks, shape: Float, poses: Poses, K: Float, config: MotionConfig
) -> Float:
    """Vertex offsets given the poses: one 3x3 system a vertex, drawn to the mean shape.

    A network's landmark errors repeat from frame to frame, so that more frames do not make the
    mean surer: the data term counts as 30 independent frames at most.
    """
    X = poses.transform(shape)
    T, P = X.shape[:2]
    J = projection_jacobian(X, K[0, 0]).reshape(T, -1, 3) @ poses.R
    residual = landmarks.points - project(X, K)
    weights = huber(_lengths(residual), config.huber_px) * (min(T, 30) / T)
    J = J.reshape(T, P, 2, 3).transpose(1, 3, 0, 2).reshape(P, 3, -1)
    JW = J * np.repeat(weights.T, 2, axis=1)[:, None]
    H = JW @ J.transpose(0, 2, 1)
    g = (JW @ residual.transpose(1, 0, 2).reshape(P, -1, 1))[..., 0]
    prior = 1.0 / config.shape_prior_mm**2
    g += prior * (landmarks.model - shape)
    return shape + np.linalg.solve(H + prior * np.eye(3), g[..., None])[..., 0]


def rigid_alignment(shape: Float, target: Float, weights: Float) -> tuple[Float, Float]:
    """Rotation [3, 3] and translation [3] that move ``shape`` onto ``target`` best."""
    w = (weights / weights.sum())[:, None]
    a, b = (shape * w).sum(0), (target * w).sum(0)
    R = nearest_rotation(((target - b) * w).T @ (shape - a))
    return R, b - R @ a


def align_shape(shape: Float, target: Float, weights: Float) -> Float:
    """``shape`` moved, turned and scaled onto ``target`` by weighted least squares."""
    R, origin = rigid_alignment(shape, target, weights)
    moved, w = shape @ R.T + origin, weights[:, None]
    centre = (moved * w).sum(0) / w.sum()
    p, q = moved - centre, target - centre
    return np.asarray(centre + p * ((p * q * w).sum() / (p * p * w).sum()))


def landmark_rms_px(landmarks: Landmarks, shape: Float, poses: Poses, K: Float) -> float:
    """Weighted root mean square reprojection error in pixels."""
    error = ((landmarks.points - project(poses.transform(shape), K)) ** 2).sum(-1)
    return float(np.sqrt((error * landmarks.weights).sum() / landmarks.weights.sum() / len(poses)))


def fit_identity(landmarks: Landmarks, K: Float, config: MotionConfig) -> tuple[Float, float]:
    """The subject's shape [P, 3] and its rms error, poses and shape in turn."""
    shape = landmarks.model
    poses = initial_poses(landmarks, shape, K)
    poses = refine_poses(landmarks, shape, poses, K, config.huber_px)
    for _ in range(config.rounds):
        shape = refine_shape(landmarks, shape, poses, K, config)
        aligned = align_shape(shape, landmarks.model, landmarks.weights)
        poses = refine_poses(landmarks, aligned, poses, K, config.huber_px, iterations=3)
        shape = aligned
    return shape, landmark_rms_px(landmarks, shape, poses, K)


def track_motion(
    landmarks: Landmarks,
    size: tuple[int, int],
    config: MotionConfig,
    advance: Callable[[], None] = lambda: None,
) -> Motion:
    """Focal length, identity and the pose of every frame from landmarks alone.

    Args:
        landmarks: points of every frame; all frames must have a face.
        size: (width, height) of the image, px.
        config: settings.
        advance: called after each focal length tried and when all poses are found.
    """
    rows = np.unique(
        np.linspace(0, len(landmarks.points) - 1, config.sample).round().astype(np.intp)
    )
    sample, side = landmarks.at(rows), min(size)
    fits = []
    for focal in config.focal_grid:
        fits.append(fit_identity(sample, intrinsics(focal * side, size), config))
        advance()
    best = min(rms for _, rms in fits)
    equal = [i for i, fit in enumerate(fits) if fit[1] ** 2 <= best**2 * (1 + config.focal_slack)]
    chosen = min(equal, key=lambda i: abs(np.log(config.focal_grid[i] / config.focal_prior)))
    K, shape = intrinsics(config.focal_grid[chosen] * side, size), fits[chosen][0]
    poses = initial_poses(landmarks, shape, K)
    poses = refine_poses(landmarks, shape, poses, K, config.huber_px)
    rms_px = landmark_rms_px(landmarks, shape, poses, K)
    advance()
    return Motion(K, poses, shape, rms_px)
