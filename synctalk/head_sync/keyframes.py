"""Key frames: where their points are looked up, and what the points' intensities are over all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from synctalk.head_sync.alignment import FramePose, camera_points, visibility
from synctalk.head_sync.depth import depth_derivative
from synctalk.head_sync.geometry import Float, project
from synctalk.head_sync.pyramid import Grey, Pyramid, box_around, build_pyramid
from synctalk.head_sync.surface import Samples, Surface


@dataclass(frozen=True)
class Camera:
    """What is needed to cut a head out of a frame.

    Args:
        K: [3, 3] intrinsics, px.
        size: (width, height), px.
        octave: halvings of the finest level used.
        n_levels: pyramid levels.
    """

    K: Float
    size: tuple[int, int]
    octave: int
    n_levels: int = 3

    def pyramid(self, grey: Grey, pose: FramePose, vertices: Float) -> Pyramid:
        """The pyramid of the head in a frame."""
        uv = project(vertices @ pose.R.T + pose.t, self.K)
        box = box_around(uv, 24 << self.octave, self.size)
        return build_pyramid(grey, box, self.octave, self.n_levels)


@dataclass(frozen=True)
class Keyframe:
    """A kept frame: its pyramid and where the head is now believed to be."""

    pyramid: Pyramid
    pose: FramePose


@dataclass(frozen=True)
class PointStatistics:
    """Moments of the points' intensities over key frames, and mean depth derivatives.

    Args:
        mean: [L, N], variance: [L, N] grey levels.
        variance: see ``mean``.
        gradient: [N] mean gradient magnitude at the finest level.
        depth_column: [N] mean d intensity / d depth.
        seen: [N] sum of visibilities.
    """

    mean: Float
    variance: Float
    gradient: Float
    depth_column: Float
    seen: Float


def measure_points(
    keyframes: Sequence[Keyframe], samples: Samples, surface: Surface, camera: Camera
) -> PointStatistics:
    """Look every sample up in every key frame at the present poses."""
    points, normals = samples.interpolate(surface.vertices), samples.unit_normals(surface)
    along, outline = samples.interpolate(surface.normals), samples.on_outline(surface)
    L, N = camera.n_levels, len(samples)
    first, second = np.zeros((L, N)), np.zeros((L, N))
    seen, gradient, depth = np.full(N, 1e-6), np.zeros(N), np.zeros(N)
    K, size = camera.K, camera.size
    for frame in keyframes:
        pose = frame.pose
        X = camera_points(points, outline, pose)
        x, y = (K[0, 0] * X[k] / X[2] + K[k, 2] for k in range(2))
        inside = (x > 2) & (x < size[0] - 2) & (y > 2) & (y < size[1] - 2)
        weight = visibility(points, normals, outline, pose) * inside
        seen += weight
        for level in range(L):
            image, du, dv = frame.pyramid.lookup(x, y, level)
            value = (image - pose.bias) / pose.gain
            first[level] += weight * value
            second[level] += weight * value**2
            if level == 0:
                gradient += weight * np.hypot(du, dv)
                depth += weight * depth_derivative(X, (du, dv), pose.R @ along.T, K[0, 0])
    mean = first / seen
    variance = np.maximum(second / seen - mean**2, 0)
    return PointStatistics(mean, variance, gradient / seen, depth / seen, seen)
