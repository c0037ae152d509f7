"""Bundle adjustment: tracked points and head poses (SyncTalk++ §III-C, eq. for stages 1 and 2).

Stage 1 triangulates the points' 3D positions with the poses fixed. Stage 2 solves points, R and t
jointly with a Cauchy loss, landmarks as weak evidence, and small second differences inside a shot.

Points live for two reference intervals, so after eliminating them (Schur complement) the system on
poses is banded: 15,000 frames need seconds and a bounded band, not a dense matrix.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from synctalk.head_sync.geometry import (
    Float,
    Poses,
    pose_jacobian,
    project,
    projection_jacobian,
)
from synctalk.head_sync.points import PointGroup
from synctalk.head_sync.temporal import prior_terms


@dataclass(frozen=True)
class BundleConfig:
    """Settings of the bundle adjustment.

    Args:
        iterations: joint Gauss-Newton iterations.
        point_noise_px: expected error of a tracked point, also the scale of the Cauchy loss.
        depth_prior_mm: expected distance of a point from the surface.
    """

    iterations: int = 4
    point_noise_px: float = 0.5
    depth_prior_mm: float = 4.0


@dataclass(frozen=True)
class Bundle:
    """Result of the bundle adjustment.

    Args:
        poses: [T] adjusted poses.
        groups: the groups with adjusted 3D points.
        before_px: median reprojection error of the points at the given poses, after stage 1.
        after_px: the same at the end.
    """

    poses: Poses
    groups: list[PointGroup]
    before_px: float
    after_px: float


def reprojection_errors(group: PointGroup, poses: Poses, K: Float) -> Float:
    """[n, M] px; NaN where a point was not seen."""
    seen = project(poses.at(group.frames).transform(group.model), K)
    return np.asarray(np.linalg.norm(seen - group.xy, axis=-1))


def median_error_px(groups: list[PointGroup], poses: Poses, K: Float) -> float:
    """Median over all observations of all groups."""
    errors = [e[np.isfinite(e)] for e in (reprojection_errors(g, poses, K) for g in groups)]
    joined = np.concatenate(errors) if errors else np.zeros(0)
    return float(np.median(joined)) if len(joined) else 0.0


@dataclass(frozen=True)
class _Terms:
    """Linearised observations of a group: J_pose [n, M, 2, 6], J_point [n, M, 2, 3]."""

    residual: Float
    weights: Float
    J_pose: Float
    J_point: Float


def _linearise(group: PointGroup, poses: Poses, K: Float, config: BundleConfig) -> _Terms:
    part = poses.at(group.frames)
    X = part.transform(group.model)
    residual = group.xy - project(X, K)
    squared = (residual**2).sum(-1) / config.point_noise_px**2
    # a point that errs in all its frames does not sit on the skull: lower it as a whole too
    lost = ~np.isfinite(squared)
    habit = np.nanmedian(np.where(lost.all(0), 0.0, squared), axis=0)
    weights = group.weights / (1 + squared) / (1 + habit) / config.point_noise_px**2
    J_point = projection_jacobian(X, K[0, 0]) @ part.R[:, None]
    return _Terms(
        np.where(lost[..., None], 0.0, residual),
        np.where(lost, 0.0, weights),
        pose_jacobian(X, part.t, K[0, 0]),
        J_point,
    )


def _point_systems(
    terms: _Terms, group: PointGroup, origin: Float, config: BundleConfig
) -> tuple[Float, Float]:
    """V [M, 3, 3] and right-hand sides [M, 3] of the points, with their prior."""
    prior = 1 / config.depth_prior_mm**2
    weighted = terms.J_point * terms.weights[..., None, None]
    V = np.einsum("nmki,nmkj->mij", weighted, terms.J_point, optimize=True)
    g = np.einsum("nmki,nmk->mi", weighted, terms.residual, optimize=True)
    return V + prior * np.eye(3), g + prior * (origin - group.model)


def triangulate(
    groups: list[PointGroup], poses: Poses, K: Float, config: BundleConfig
) -> list[PointGroup]:
    """Stage 1: the points' positions with the poses fixed."""
    out = []
    for group in groups:
        moved = group
        for _ in range(3):
            terms = _linearise(moved, poses, K, config)
            V, g = _point_systems(terms, moved, group.model, config)
            step = np.linalg.solve(V, g[..., None])[..., 0]
            moved = replace(moved, model=moved.model + step)
        out.append(moved)
    return out


@dataclass
class _Banded:
    """A symmetric banded system on the poses of one shot, lower storage [band, 6T]."""

    ab: Float
    rhs: Float

    def add(self, first_frame: int, block: Float, rhs: Float) -> None:
        """Add a dense symmetric block on consecutive frames."""
        n, at = len(block), 6 * first_frame
        for k in range(n):
            self.ab[: n - k, at + k] += block[k:, k]
        self.rhs[at : at + n] += rhs


def _reduce_group(
    group: PointGroup, origin: Float, poses: Poses, K: Float, config: BundleConfig
) -> tuple[Float, Float, tuple[NDArray[np.float32], Float, Float]]:
    """The group's Schur complement on its frames' poses, and what back-substitution needs."""
    terms = _linearise(group, poses, K, config)
    n, m = terms.weights.shape
    weighted = terms.J_pose * terms.weights[..., None, None]
    H = np.einsum("nmki,nmkj->nij", weighted, terms.J_pose, optimize=True)
    g = np.einsum("nmki,nmk->ni", weighted, terms.residual, optimize=True)
    W = np.einsum("nmki,nmkj->nimj", weighted, terms.J_point, optimize=True).reshape(6 * n, m, 3)
    V, e = _point_systems(terms, group, origin, config)
    V_inv: Float = np.asarray(np.linalg.inv(V), np.float64)
    WV = np.einsum("amj,mjk->amk", W, V_inv, optimize=True).reshape(6 * n, -1)
    S: Float = -WV @ W.reshape(6 * n, -1).T
    for k in range(n):
        S[6 * k : 6 * k + 6, 6 * k : 6 * k + 6] += H[k]
    return S, g.ravel() - WV @ e.ravel(), (W.astype(np.float32), V_inv, e)


def _adjust_shot(
    groups: list[PointGroup],
    origins: list[Float],
    poses: Poses,
    landmarks: tuple[Float, Float],
    shot: slice,
    K: Float,
    precision: Float,
    config: BundleConfig,
) -> tuple[Float, list[Float]]:
    """One joint step of a shot: poses [n, 6], and the points of each group [M, 3]."""
    n = shot.stop - shot.start
    widest = max([3, *(len(g.xy) for g in groups)])
    system = _Banded(np.zeros((6 * widest, 6 * n)), np.zeros(6 * n))
    prior_ab, prior_rhs = prior_terms(poses.at(shot), precision)
    system.ab[: len(prior_ab)] += prior_ab
    system.rhs += prior_rhs.ravel()
    for k in range(n):
        system.add(k, landmarks[0][shot.start + k], landmarks[1][shot.start + k])
    kept = []
    for group, origin in zip(groups, origins, strict=True):
        S, rhs, rest = _reduce_group(group, origin, poses, K, config)
        system.add(group.start - shot.start, S, rhs)
        kept.append(rest)
    system.ab[0] += 1e-9
    solved = scipy.linalg.solveh_banded(system.ab, system.rhs, lower=True, overwrite_ab=True)
    steps: Float = np.asarray(solved).reshape(n, 6)
    points = []
    for group, (W, V_inv, e) in zip(groups, kept, strict=True):
        local = slice(group.start - shot.start, group.start - shot.start + len(group.xy))
        back = e - np.einsum("amj,a->mj", W, steps[local].ravel(), optimize=True)
        points.append(np.einsum("mij,mj->mi", V_inv, back))
    return steps, points


def adjust(
    groups: list[PointGroup],
    poses: Poses,
    landmark_terms: Callable[[Poses], tuple[Float, Float]],
    K: Float,
    shots: list[slice],
    precision: Float,
    config: BundleConfig,
) -> Bundle:
    """Both stages.

    Args:
        groups: tracked points; none crosses a shot's border.
        poses: [T] starting poses.
        landmark_terms: gives H [T, 6, 6] and g [T, 6] of the landmarks at given poses.
        K: [3, 3] intrinsics, fixed.
        shots: the frames of each shot.
        precision: [6] inverse variances of a second difference (rad, mm).
        config: settings.
    """
    origins = [group.model for group in groups]
    groups = triangulate(groups, poses, K, config)
    before = median_error_px(groups, poses, K)
    for _ in range(config.iterations):
        landmarks = landmark_terms(poses)
        step = np.zeros((len(poses), 6))
        moved: list[PointGroup] = []
        for shot in shots:
            inside = [k for k, g in enumerate(groups) if shot.start <= g.start < shot.stop]
            part, rest = [groups[k] for k in inside], [origins[k] for k in inside]
            step[shot], points = _adjust_shot(
                part, rest, poses, landmarks, shot, K, precision, config
            )
            moved += [replace(g, model=g.model + p) for g, p in zip(part, points, strict=True)]
        groups, poses = moved, poses.moved(step)
    return Bundle(poses, groups, before, median_error_px(groups, poses, K))
