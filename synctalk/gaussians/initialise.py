"""Where the first Gaussians stand: the tracked face mesh, a shell for hair and ears, the mouth.

The tracker's mesh already has the subject's shape, so training starts from a recognisable head
instead of random points: that is most of why minutes are enough.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from synctalk.gaussians.scene import PIXELS_PER_UNIT, pack

FloatArray = NDArray[np.float64]

OPACITY = 0.8
NEIGHBOUR_SCALE = 0.6
FEATURE_DENSITY = 2.5
MOUTH_SHARE = 0.03


@dataclass(frozen=True)
class HeadViews:
    """A few tracked frames to seed from.

    Args:
        images: [F,H,W,3] uint8 RGB.
        mattes: [F,H,W] uint8 alpha of the head.
        R: [F,3,3]; t: [F,3] mm; K: [F,3,3] px, for these images.
    """

    images: NDArray[np.uint8]
    mattes: NDArray[np.uint8]
    R: NDArray[np.float32]
    t: NDArray[np.float32]
    K: NDArray[np.float32]


@dataclass(frozen=True)
class HeadGeometry:
    """The subject's face mesh and the vertex groups that deserve more Gaussians.

    Args:
        vertices: [V,3] mm, head frame.
        triangles: [M,3] int.
        feature_vertices: indices of eye and lip vertices (denser sampling).
        inner_lip: indices of the inner lip contour.
    """

    vertices: NDArray[np.float32]
    triangles: NDArray[np.int64]
    feature_vertices: NDArray[np.int64]
    inner_lip: NDArray[np.int64]


def unit_mm(t: NDArray[np.float32], K: NDArray[np.float32]) -> float:
    """Millimetres of one scene unit: ``PIXELS_PER_UNIT`` px at the median head distance."""
    return float(PIXELS_PER_UNIT * np.median(t[:, 2]) / K[0, 0])


def initial_gaussians(
    geometry: HeadGeometry, views: HeadViews, n: int, seed: int = 0
) -> tuple[torch.Tensor, float]:
    """Packed parameters [n,14], ordered by ascending height, and the scene unit in mm."""
    rng = np.random.default_rng(seed)
    unit = unit_mm(views.t, views.K[0])
    n_mouth = int(MOUTH_SHARE * n)
    face_share = _face_share(geometry, views)
    n_face = int((n - n_mouth) * face_share)
    face = _sample_mesh(geometry, n_face, rng)
    mouth = _sample_mouth(geometry, n_mouth, rng)
    shell = _sample_shell(geometry, views, n - n_face - n_mouth, rng)
    points = np.concatenate([face, mouth, shell])
    points = points[np.argsort(points[:, 1], kind="stable")]
    colors = _mean_colors(points, views)
    distance, _ = cKDTree(points).query(points, k=4)
    scales = NEIGHBOUR_SCALE * np.clip(distance[:, 1:].mean(1), 0.05, 12.0)
    packed = pack(
        torch.from_numpy(points / unit).float(),
        torch.from_numpy(scales / unit).float()[:, None].expand(-1, 3).clone(),
        torch.from_numpy(colors).float(),
        OPACITY,
    )
    return packed, unit


def random_gaussians(
    geometry: HeadGeometry, views: HeadViews, n: int, seed: int = 0
) -> tuple[torch.Tensor, float]:
    """As :func:`initial_gaussians`, evenly spread over the head's box and grey (Table IV)."""
    rng = np.random.default_rng(seed)
    unit = unit_mm(views.t, views.K[0])
    shell = _sample_shell(geometry, views, n, rng)
    around = np.concatenate([geometry.vertices.astype(float), shell])
    low, high = np.quantile(around, [0.01, 0.99], axis=0)
    points = rng.uniform(low, high, (n, 3))
    points = points[np.argsort(points[:, 1], kind="stable")]
    distance, _ = cKDTree(points).query(points, k=4)
    scales = NEIGHBOUR_SCALE * np.clip(distance[:, 1:].mean(1), 0.05, 12.0)
    packed = pack(
        torch.from_numpy(points / unit).float(),
        torch.from_numpy(scales / unit).float()[:, None].expand(-1, 3).clone(),
        torch.full((n, 3), 0.5),
        OPACITY,
    )
    return packed, unit


def project(
    points: FloatArray, R: NDArray[np.float32], t: NDArray[np.float32], K: NDArray[np.float32]
) -> FloatArray:
    """Head-frame points [P,3] mm to pixels [P,2]."""
    camera = points @ R.T.astype(float) + t
    pixels: FloatArray = (camera[:, :2] / camera[:, 2:]) * [K[0, 0], K[1, 1]] + K[:2, 2]
    return pixels


def _face_share(geometry: HeadGeometry, views: HeadViews) -> float:
    """Share of the head's silhouette that the face mesh covers, bounded."""
    pixels = project(geometry.vertices.astype(float), views.R[0], views.t[0], views.K[0])
    a, b, c = (pixels[geometry.triangles[:, i]] for i in range(3))
    ab, ac = b - a, c - a
    mesh_area = 0.5 * np.abs(ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0]).sum()
    head_area = max(float((views.mattes[0] > 127).sum()), 1.0)
    return float(np.clip(1.5 * mesh_area / head_area, 0.45, 0.75))


def _sample_mesh(geometry: HeadGeometry, n: int, rng: np.random.Generator) -> FloatArray:
    corners = geometry.vertices[geometry.triangles].astype(float)
    area = 0.5 * np.linalg.norm(
        np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
    )
    featured = np.isin(geometry.triangles, geometry.feature_vertices).any(axis=1)
    weight = area * np.where(featured, FEATURE_DENSITY, 1.0)
    chosen = rng.choice(len(weight), n, p=weight / weight.sum())
    u = np.sqrt(rng.random(n))
    v = rng.random(n)
    barycentric = np.stack([1 - u, u * (1 - v), u * v], axis=1)
    points: FloatArray = np.einsum("nk,nkd->nd", barycentric, corners[chosen])
    return points


def _sample_mouth(geometry: HeadGeometry, n: int, rng: np.random.Generator) -> FloatArray:
    """Points for teeth and tongue: behind the lips, as high as an open mouth."""
    lip = geometry.vertices[geometry.inner_lip].astype(float)
    centre, width = lip.mean(0), np.ptp(lip[:, 0])
    offset = rng.uniform([-0.45, -0.30, -0.35], [0.45, 0.14, -0.08], (n, 3)) * width
    points: FloatArray = centre + offset
    return points


def _sample_shell(
    geometry: HeadGeometry, views: HeadViews, n: int, rng: np.random.Generator
) -> FloatArray:
    """Points behind matte pixels that the face mesh leaves free, on an ellipsoid of the skull."""
    pieces = []
    per_view = -(-n // len(views.images))
    for index in range(len(views.images)):
        free = views.mattes[index] > 127
        free &= ~_mesh_mask(geometry, views, index)
        rows, columns = np.nonzero(free)
        if len(rows) == 0:
            continue
        pick = rng.integers(0, len(rows), per_view)
        pixels = np.stack([columns[pick], rows[pick]], axis=1) + rng.random((per_view, 2))
        pieces.append(_lift_to_ellipsoid(pixels, geometry, views, index))
    if not pieces:
        return _sample_mesh(geometry, n, rng)
    return np.concatenate(pieces)[:n] if len(pieces) * per_view >= n else _pad(pieces, n, rng)


def _pad(pieces: list[FloatArray], n: int, rng: np.random.Generator) -> FloatArray:
    points = np.concatenate(pieces)
    extra = points[rng.integers(0, len(points), n - len(points))]
    padded: FloatArray = np.concatenate([points, extra + rng.normal(0, 1.0, extra.shape)])
    return padded


def _mesh_mask(geometry: HeadGeometry, views: HeadViews, index: int) -> NDArray[np.bool_]:
    pixels = project(
        geometry.vertices.astype(float), views.R[index], views.t[index], views.K[index]
    )
    mask = np.zeros(views.mattes.shape[1:], np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(pixels.astype(np.int32)), 1)
    return mask.astype(bool)


def _lift_to_ellipsoid(
    pixels: FloatArray, geometry: HeadGeometry, views: HeadViews, index: int
) -> FloatArray:
    """Where rays through ``pixels`` first meet the skull (the rim if they miss), head frame."""
    R, t, K = (
        views.R[index].astype(float),
        views.t[index].astype(float),
        views.K[index].astype(float),
    )
    face = geometry.vertices.astype(float)
    width = np.ptp(face[:, 0])
    centre = np.array([0.0, face[:, 1].max() - 0.35 * width, face[:, 2].min() - 0.10 * width])
    axes = np.array([0.62, 0.95, 0.75]) * width
    rays = np.concatenate([(pixels - K[:2, 2]) / [K[0, 0], K[1, 1]], np.ones((len(pixels), 1))], 1)
    direction = (rays @ R) / axes
    origin = (-t @ R - centre) / axes
    a = (direction**2).sum(1)
    b = direction @ origin
    discriminant = b**2 - a * (origin @ origin - 1.0)
    depth = (-b - np.sqrt(np.maximum(discriminant, 0.0))) / a
    points: FloatArray = (rays * depth[:, None] - t) @ R
    return points


def _mean_colors(points: FloatArray, views: HeadViews) -> FloatArray:
    total = np.zeros((len(points), 3))
    weight = np.full((len(points), 1), 1e-6)
    height, width = views.mattes.shape[1:]
    for index in range(len(views.images)):
        pixels = np.floor(project(points, views.R[index], views.t[index], views.K[index])).astype(
            int
        )
        x, y = np.clip(pixels[:, 0], 0, width - 1), np.clip(pixels[:, 1], 0, height - 1)
        alpha = views.mattes[index, y, x, None] / 255.0 + 1e-3
        total += alpha * views.images[index, y, x] / 255.0
        weight += alpha
    mean: FloatArray = total / weight
    return mean
