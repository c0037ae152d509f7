"""Depth of the head's surface from its appearance in many poses.

One unknown a vertex: a shift along its normal. For each key frame the 8 pose and exposure unknowns
are eliminated (Schur complement), so that depth and poses are solved as one problem. A Laplacian
keeps the correction smooth, a Gaussian prior keeps it small.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from synctalk.head_sync.geometry import Float

if TYPE_CHECKING:
    from synctalk.head_sync.alignment import System
    from synctalk.head_sync.keyframes import PointStatistics
from synctalk.head_sync.surface import Samples, Surface

FACE_PRIOR_MM, SHELL_PRIOR_MM, SMOOTH_MM = 6.0, 12.0, 1.0
CORRELATED_RESIDUALS = 10.0  # neighbouring residuals are not independent: divide the information


class DepthSolver:
    """Keeps the accumulated offsets of one surface's vertices."""

    def __init__(self, surface: Surface, samples: Samples) -> None:
        n = len(surface.vertices)
        self._base = surface
        self._along = samples.interpolate(surface.normals)
        self._matrix = samples.matrix(n)
        prior = np.full(n, 1 / SHELL_PRIOR_MM**2)
        prior[: surface.n_face] = 1 / FACE_PRIOR_MM**2
        laplacian = surface.laplacian()
        smooth = (laplacian.T @ laplacian).toarray() / SMOOTH_MM**2
        self._regulariser: Float = np.diag(prior) + smooth
        self._offsets: Float = np.zeros(n)

    def solve(
        self, frames: Iterable[tuple[Float, System]], stats: PointStatistics, focal: float
    ) -> Surface:
        """One joint Gauss-Newton step; returns the surface with all offsets so far."""
        n = len(self._offsets)
        g, diagonal = np.zeros(n), np.zeros(len(self._along))
        coupled: list[Float] = []
        eliminated: list[Float] = []
        for R, system in frames:
            column = self._column(R, system, stats, focal)
            weights = system.weights / system.sigma**2
            JW = system.J * weights
            pose_depth = (self._matrix.T @ (JW * column).T).T
            pose_H = JW @ system.J.T + 1e-9 * np.eye(8)
            solved: Float = np.asarray(
                np.linalg.solve(pose_H, np.c_[pose_depth, JW @ system.residual]), np.float64
            )
            coupled.append(pose_depth)
            eliminated.append(solved[:, :-1])
            g += (
                self._matrix.T @ (weights * column * system.residual) - pose_depth.T @ solved[:, -1]
            )
            diagonal += weights * column**2
        # one product for all frames: a small one for each would write H as often
        H = -np.concatenate(coupled).T @ np.concatenate(eliminated)
        H += (self._matrix.T @ sp.diags(diagonal) @ self._matrix).toarray()
        rhs = g / CORRELATED_RESIDUALS - self._regulariser @ self._offsets
        self._offsets += np.linalg.solve(H / CORRELATED_RESIDUALS + self._regulariser, rhs)
        return self._base.displaced(self._offsets)

    def _column(self, R: Float, system: System, stats: PointStatistics, focal: float) -> Float:
        # the appearance follows the depth, so only the deviation from its mean is information
        slope = depth_derivative(system.camera, system.gradient, R @ self._along.T, focal)
        return np.asarray(slope - stats.depth_column)


def depth_derivative(
    camera: Float, gradient: tuple[Float, Float], along: Float, focal: float
) -> Float:
    """[N] d intensity / d (shift along a direction), grey levels per mm.

    Args:
        camera: [3, N] camera points, mm.
        gradient: ([N], [N]) image gradient there, per pixel.
        along: [3, N] directions in camera axes.
        focal: focal length, px.
    """
    du = along[0] - camera[0] / camera[2] * along[2]
    dv = along[1] - camera[1] / camera[2] * along[2]
    return np.asarray((gradient[0] * du + gradient[1] * dv) * focal / camera[2])
