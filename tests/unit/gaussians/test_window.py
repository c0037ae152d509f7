"""The rectangle that follows the head."""

from __future__ import annotations

import numpy as np
import pytest

from synctalk.gaussians.window import HeadWindow, fit_window

SIZE = 256
K = np.array([[600, 0, 128], [0, 600, 128], [0, 0, 1]], np.float32)
FRONTAL = np.diag([1.0, -1.0, -1.0]).astype(np.float32)


def walk(n: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """A head that wanders and nods: R [n,3,3], t [n,3] mm."""
    phase = np.linspace(0, 2 * np.pi, n, dtype=np.float32)
    t = np.stack([40 * np.sin(phase), 20 * np.cos(2 * phase), 900 + 80 * np.sin(phase)], 1)
    turn = 0.3 * np.sin(phase)
    R = np.repeat(FRONTAL[None], n, 0)
    R[:, 0, 0], R[:, 0, 2], R[:, 2, 0], R[:, 2, 2] = (
        *(np.cos(turn), np.sin(turn), np.sin(turn)),
        -np.cos(turn),
    )
    return R, t.astype(np.float32)


def project(point: np.ndarray, R: np.ndarray, t: np.ndarray, K: np.ndarray) -> np.ndarray:
    camera = R @ point + t
    return camera[..., :2] / camera[..., 2:] * [K[0, 0], K[1, 1]] + K[:2, 2]


def boxes_around(point: np.ndarray, R: np.ndarray, t: np.ndarray) -> np.ndarray:
    """A head 120 mm wide, 160 mm high around a point of the head frame."""
    centre = project(point, R, t, K)
    half = 600 / t[:, 2:] * [60, 80]
    return np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)


def test_the_fitted_window_holds_the_head_in_every_frame_with_a_margin() -> None:
    R, t = walk()
    boxes = boxes_around(np.array([3.0, -10.0, -40.0], np.float32), R, t)
    window = fit_window(boxes, R, t, K, SIZE)
    low = window.corners(R, t, K)
    high = low + np.array([window.width, window.height])
    assert (low <= boxes[:, :2] - 4).all()
    assert (high >= boxes[:, 2:] + 4).all()
    assert window.width * window.height < 0.6 * SIZE**2  # and it is worth having


def test_the_window_has_one_size_that_encoders_and_halving_like() -> None:
    R, t = walk()
    window = fit_window(boxes_around(np.zeros(3, np.float32), R, t), R, t, K, SIZE)
    assert window.width % 16 == window.height % 16 == 0


def test_a_head_larger_than_the_frame_gets_the_whole_frame() -> None:
    R, t = walk()
    boxes = np.tile(np.array([[-50, -50, 400, 400]], np.float32), (len(t), 1))
    window = fit_window(boxes, R, t, K, SIZE)
    assert (window.width, window.height) == (SIZE, SIZE)
    assert not window.corners(R, t, K).any()


@pytest.mark.parametrize("shift", [-500.0, 500.0])
def test_it_never_leaves_the_frame(shift: float) -> None:
    window = HeadWindow(96, 128, (0.0, 0.0, 0.0), SIZE)
    R, t = walk()
    corners = window.corners(R, t + np.array([shift, -shift, 0], np.float32), K)
    assert (corners >= 0).all()
    assert (corners + np.array([96, 128]) <= SIZE).all()
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    assert all(window.cut(image, corner).shape == (128, 96, 3) for corner in corners)


def test_it_follows_the_head_to_within_two_pixels() -> None:
    window = HeadWindow(64, 64, (0.0, 0.0, 0.0), SIZE)
    R, t = walk()
    middle = window.corners(R, t, K) + 32
    assert np.abs(middle - project(np.zeros(3), R, t, K)).max() <= 1.5


def test_a_cut_is_a_view_of_the_right_pixels() -> None:
    image = np.arange(SIZE * SIZE, dtype=np.int64).reshape(SIZE, SIZE) % 251
    window = HeadWindow(32, 48, (0.0, 0.0, 0.0), SIZE)
    part = window.cut(image.astype(np.uint8), np.array([10, 20]))
    assert np.array_equal(part, image[20:68, 10:42])


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_moved_intrinsics_project_into_the_cut(scale: float) -> None:
    R, t = walk(12)
    window = HeadWindow(96, 128, (0.0, 0.0, 0.0), SIZE)
    corners = window.corners(R, t, K)
    Ks = window.intrinsics(K, corners, scale).numpy()
    point = np.array([20.0, -30.0, 10.0])
    for i in range(len(t)):
        seen = project(point, R[i], t[i], Ks[i])
        assert seen == pytest.approx((project(point, R[i], t[i], K) - corners[i]) * scale, abs=1e-2)
