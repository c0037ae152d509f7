"""Where the first Gaussians stand, on a head whose shape and colours are known."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from synctalk.face import load_canonical_face
from synctalk.face_sync import EYE_POINTS, INNER_LIP, LIP_POINTS
from synctalk.gaussians.initialise import (
    HeadGeometry,
    HeadViews,
    initial_gaussians,
    project,
    unit_mm,
)
from synctalk.gaussians.scene import COLOR, MEAN, OPACITY, activate

SIZE, N = 256, 3000
K = np.array([[600, 0, 128], [0, 600, 128], [0, 0, 1]], np.float32)
SKIN, HAIR, WALL = (200, 150, 120), (60, 40, 20), (20, 90, 160)
FACE = load_canonical_face()


def geometry() -> HeadGeometry:
    return HeadGeometry(
        vertices=FACE.vertices,
        triangles=FACE.triangles.astype(np.int64),
        feature_vertices=np.array([*EYE_POINTS, *LIP_POINTS]),
        inner_lip=np.array(INNER_LIP),
    )


def look(yaw_deg: float) -> np.ndarray:
    """Head to camera for a head turned by ``yaw_deg``."""
    a = np.deg2rad(yaw_deg)
    turn = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    return np.diag([1.0, -1.0, -1.0]) @ turn


def views(yaws_deg: tuple[float, ...] = (0.0, 15.0, -15.0)) -> HeadViews:
    """A wall, before it an ellipse of hair, before it the face mesh in skin colour."""
    images, mattes, Rs, ts = [], [], [], []
    for yaw in yaws_deg:
        R, t = look(yaw), np.array([0.0, 0.0, 900.0])
        seen = project(FACE.vertices.astype(float), R, t, K).astype(np.int32)
        image, matte = np.full((SIZE, SIZE, 3), WALL, np.uint8), np.zeros((SIZE, SIZE), np.uint8)
        middle = tuple(int(v) for v in seen.mean(0) - [0, 12])
        for canvas, colour in ((image, HAIR), (matte, 255)):
            cv2.ellipse(canvas, middle, (66, 88), 0, 0, 360, colour, -1)
        cv2.fillConvexPoly(image, cv2.convexHull(seen), SKIN)
        cv2.fillConvexPoly(matte, cv2.convexHull(seen), 255)
        images.append(image)
        mattes.append(matte)
        Rs.append(R)
        ts.append(t)
    stacked = (np.stack(Rs).astype(np.float32), np.stack(ts).astype(np.float32))
    return HeadViews(np.stack(images), np.stack(mattes), *stacked, np.repeat(K[None], len(Rs), 0))


@pytest.fixture(scope="module")
def made() -> tuple[torch.Tensor, float]:
    return initial_gaussians(geometry(), views(), N)


def points_mm(made: tuple[torch.Tensor, float]) -> np.ndarray:
    packed, unit = made
    return packed[:, MEAN].numpy().astype(float) * unit


def mesh_distance(points: np.ndarray) -> np.ndarray:
    """Distance to a dense sampling of the face mesh, mm."""
    corners = FACE.vertices[FACE.triangles]
    weights = np.random.default_rng(0).dirichlet(np.ones(3), 60)
    dense = np.einsum("wk,mkd->wmd", weights, corners).reshape(-1, 3)
    return cKDTree(dense).query(points)[0]


def test_one_unit_is_a_hundred_pixels_at_the_heads_distance() -> None:
    unit = unit_mm(np.array([[0, 0, 800], [0, 0, 900], [0, 0, 5000]], np.float32), K)
    assert unit == pytest.approx(900 / 600 * 100)


def test_there_are_as_many_as_asked_for_finite_and_ordered_by_height(
    made: tuple[torch.Tensor, float],
) -> None:
    packed, unit = made
    assert packed.shape == (N, 14)
    assert unit == pytest.approx(150)
    assert torch.isfinite(packed).all()
    assert (packed[:, 1].diff() >= 0).all()
    assert torch.allclose(torch.sigmoid(packed[:, OPACITY]), torch.tensor(0.8))


def test_the_face_is_covered_by_splats_on_its_surface(made: tuple[torch.Tensor, float]) -> None:
    points = points_mm(made)
    on_mesh = mesh_distance(points) < 1.5
    assert 0.4 < on_mesh.mean() < 0.8
    gap = cKDTree(points[on_mesh]).query(FACE.vertices)[0]
    assert np.percentile(gap, 95) < 8  # mm: no hole


def test_eyes_and_lips_are_denser_than_the_cheeks(made: tuple[torch.Tensor, float]) -> None:
    points = points_mm(made)
    points = points[mesh_distance(points) < 1.5]
    nearest = cKDTree(FACE.vertices).query(points)[1]
    per_vertex = np.bincount(nearest, minlength=468).astype(float)
    corners = FACE.vertices[FACE.triangles].astype(float)
    areas = np.linalg.norm(
        np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
    )
    area = np.bincount(FACE.triangles.ravel(), np.repeat(areas, 3), minlength=468)
    featured = np.isin(np.arange(468), [*EYE_POINTS, *LIP_POINTS])
    dense = per_vertex[featured].sum() / area[featured].sum()
    sparse = per_vertex[~featured].sum() / area[~featured].sum()
    assert dense > 1.5 * sparse


def test_the_mouth_has_something_behind_its_lips(made: tuple[torch.Tensor, float]) -> None:
    points = points_mm(made)
    lip = FACE.vertices[list(INNER_LIP)]
    width = np.ptp(lip[:, 0])
    behind = (
        (np.abs(points[:, 0]) < 0.45 * width)
        & (np.abs(points[:, 1] - lip[:, 1].mean()) < 0.3 * width)
        & (points[:, 2] < lip[:, 2].mean() - 0.08 * width)
    )
    assert behind.sum() > 0.02 * N


def test_hair_is_seeded_inside_the_matte_beyond_the_mesh(made: tuple[torch.Tensor, float]) -> None:
    points, scene = points_mm(made), views()
    shell = points[mesh_distance(points) > 12]
    shell = shell[shell[:, 1] > FACE.vertices[:, 1].max()]
    assert len(shell) > 0.05 * N
    inside = []
    for R, t, matte in zip(scene.R, scene.t, scene.mattes, strict=True):
        x, y = np.floor(project(shell, R, t, K)).astype(int).T
        wide = cv2.dilate(matte, np.ones((15, 15), np.uint8))
        inside.append(wide[y.clip(0, SIZE - 1), x.clip(0, SIZE - 1)] > 0)
    assert np.mean(inside) > 0.95
    assert (shell[:, 2] < FACE.vertices[:, 2].max()).all()  # no further forward than the nose


def test_splats_begin_with_the_colours_that_the_frames_show(
    made: tuple[torch.Tensor, float],
) -> None:
    packed, _ = made
    points, colors = points_mm(made), packed[:, COLOR].numpy() * 255
    middle = (np.abs(points[:, 0]) < 30) & (np.abs(points[:, 1] + 20) < 30)
    assert np.abs(colors[middle & (mesh_distance(points) < 1.5)] - SKIN).max() < 12
    crown = points[:, 1] > FACE.vertices[:, 1].max() + 8
    assert np.median(np.abs(colors[crown] - HAIR), axis=0).max() < 12
    assert colors.min() >= 0
    assert colors.max() <= 255


def test_splats_are_as_large_as_their_neighbours_are_far(made: tuple[torch.Tensor, float]) -> None:
    packed, unit = made
    points = points_mm(made)
    away = cKDTree(points).query(points, k=4)[0][:, 1:].mean(1)
    scales = activate(packed, unit).scales.numpy()
    assert np.ptp(scales, axis=1).max() < 1e-4  # round
    ratio = scales[:, 0] / np.clip(away, 0.05, 12)
    assert ratio == pytest.approx(np.full(N, 0.6), rel=1e-3)


def test_the_seed_decides(made: tuple[torch.Tensor, float]) -> None:
    again, _ = initial_gaussians(geometry(), views(), N)
    other, _ = initial_gaussians(geometry(), views(), N, seed=1)
    assert torch.equal(again, made[0])
    assert not torch.equal(other, made[0])


def test_an_empty_matte_still_gives_a_face() -> None:
    scene = views((0.0,))
    blank = replace(scene, mattes=np.zeros_like(scene.mattes))
    packed, _ = initial_gaussians(geometry(), blank, 500)
    assert packed.shape == (500, 14)
    assert torch.isfinite(packed).all()
