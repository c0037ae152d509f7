"""The head's outline: how it moves, and that nothing at rest behind it passes for it."""

from __future__ import annotations

import cv2
import numpy as np

from synctalk.face import load_canonical_face
from synctalk.head_sync.alignment import Appearance, FramePose, camera_points, linearise
from synctalk.head_sync.geometry import exp_so3, project
from synctalk.head_sync.keyframes import Camera, Keyframe
from synctalk.head_sync.pyramid import Pyramid
from synctalk.head_sync.reference import moved
from synctalk.head_sync.selection import choose_samples
from synctalk.head_sync.surface import (
    SHELL_CENTRE_MM,
    SHELL_RADII_MM,
    Surface,
    head_surface,
    with_outline,
)

FRONTAL = np.diag([1.0, -1.0, -1.0])
K = np.array([[900.0, 0, 256], [0, 900.0, 256], [0, 0, 1]])
CAMERA = Camera(K, (512, 512), 0, 1)
RING = np.array([[80.0, 20.0, -75.0], [-70.0, 60.0, -70.0], [5.0, 130.0, -80.0]])


def face_surface() -> Surface:
    face = load_canonical_face()
    return with_outline(head_surface(face.vertices.astype(np.float64), face))


def test_the_outline_shifts_and_rolls_with_the_head_but_keeps_facing_the_camera() -> None:
    outline = np.ones(len(RING), bool)
    t = np.array([10.0, -5.0, 800.0])
    still = camera_points(RING, outline, FramePose(FRONTAL, t))
    np.testing.assert_allclose(still, FRONTAL @ RING.T + t[:, None])
    rolled = exp_so3(np.array([0, 0, 0.3])) @ FRONTAL
    np.testing.assert_allclose(
        camera_points(RING, outline, FramePose(rolled, t)), rolled @ RING.T + t[:, None]
    )
    nodded = camera_points(RING, outline, FramePose(exp_so3(np.array([0.2, 0, 0])) @ FRONTAL, t))
    np.testing.assert_allclose(np.diff(nodded, axis=1)[0], np.diff(still, axis=1)[0])
    spread = np.ptp(nodded[2] - 75 * np.cos(0.2))  # turned rigidly it would be 22 mm
    assert spread < 11.0


def test_the_jacobian_is_that_of_solid_and_outline_points() -> None:
    points = np.concatenate([RING, RING + np.array([0.0, -30.0, 60.0])])
    outline = np.array([True, True, True, False, False, False])
    pose = FramePose(exp_so3(np.array([0.1, -0.15, 0.2])) @ FRONTAL, np.array([15.0, 5.0, 800.0]))
    for axis in range(2):
        slopes = np.zeros((512, 512, 3), np.float32)  # intensity is the x (or y) coordinate
        slopes[..., 0] = np.indices((512, 512))[1 - axis] + 0.5
        slopes[..., 1 + axis] = 1
        look = Appearance(points, np.zeros_like(points), np.zeros((1, 6)), np.ones(6), outline)
        J = linearise(Pyramid((slopes,), (0, 0), 0), 0, look, pose, K).J[:6]
        for k in range(6):
            step = np.zeros(8)
            step[k] = 1e-5
            ahead, behind = (
                project(camera_points(points, outline, moved(pose, s)).T, K)[:, axis]
                for s in (step, -step)
            )
            np.testing.assert_allclose(J[k], (ahead - behind) / 2e-5, rtol=1e-3, atol=0.05)


def textured(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 255, (512, 512)).astype(np.float32)
    texture = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2.5), None, 0, 255, cv2.NORM_MINMAX)
    return np.asarray(texture, np.uint8)


def ellipsoids_before_a_wall(shifts_mm: np.ndarray) -> list[Keyframe]:
    """A textured head that shifts sideways before a textured background at rest."""
    skin, wall, keyframes = textured(1), textured(2), []
    for shift in shifts_mm:
        pose = FramePose(FRONTAL, np.array([shift, 0.0, 800.0]))
        centre = project((pose.R @ SHELL_CENTRE_MM + pose.t)[None], K)[0]
        mask = np.zeros((512, 512), np.uint8)
        radii = SHELL_RADII_MM[:2] * K[0, 0] / 875
        middle = tuple(np.round((centre - 0.5) * 16).astype(int).tolist())
        axes = tuple(np.round(radii * 16).astype(int).tolist())
        cv2.ellipse(mask, middle, axes, 0, 0, 360, 1, -1, shift=4)
        by = np.array([[1, 0, shift * K[0, 0] / 875], [0, 1, 0]])
        moved = cv2.warpAffine(skin, by, (512, 512), borderMode=cv2.BORDER_REFLECT)
        grey = np.where(mask > 0, moved, wall)
        keyframes.append(Keyframe(CAMERA.pyramid(grey, pose, face_surface().vertices), pose))
    return keyframes


def chosen_outline(keyframes: list[Keyframe]) -> np.ndarray:
    """Where the chosen outline points lie, as shares of the skull's radii."""
    surface = face_surface()
    chosen = choose_samples(keyframes, surface, CAMERA, 600, 0.25, np.random.default_rng(0))
    points = chosen.interpolate(surface.vertices)[chosen.on_outline(surface)]
    away = (points - SHELL_CENTRE_MM) / SHELL_RADII_MM
    return np.asarray(np.linalg.norm(away[:, :2], axis=1))


def test_the_background_is_not_taken_for_the_outline() -> None:
    reach = chosen_outline(ellipsoids_before_a_wall(10 * np.sin(np.arange(24))))
    assert len(reach) > 100
    assert np.quantile(reach, 0.98) < 1.04


def test_the_outline_of_a_head_at_rest_is_not_used() -> None:
    assert len(chosen_outline(ellipsoids_before_a_wall(np.zeros(12)))) == 0
