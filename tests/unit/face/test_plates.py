"""Background and plate arithmetic on made-up images."""

from __future__ import annotations

import numpy as np

from synctalk.face.parsing_matte import alpha_from_background, fill_smoothly
from synctalk.face.plates import _continue_rim, background_now, erase_mask, fit_background


def scene(size: int = 64) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(40, 200, (size, size, 3)).astype(np.uint8)


def passing_box(background: np.ndarray, n: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """A white column that passes over the scene, and a black one that never moves."""
    frames, visible = [], []
    for i in range(n):
        frame, mask = background.copy(), np.ones(background.shape[:2], bool)
        left = i * 40 // n
        frame[:, left : left + 16], mask[:, left : left + 16] = 255, False
        frame[:, -6:], mask[:, -6:] = 0, False
        frames.append(frame)
        visible.append(mask)
    return frames, visible


def test_background_is_recovered_behind_what_moves_and_continued_behind_what_does_not() -> None:
    truth = scene()
    found = fit_background(*passing_box(truth, 20))
    assert np.array_equal(found.image[:, :-6], truth[:, :-6])
    assert found.seen[:, :-6].all()
    assert not found.seen[:, -6:].any()
    assert found.image[:, -6:].min() > 30  # the black column left nothing


def test_a_background_that_changes_is_not_trusted() -> None:
    rng = np.random.default_rng(1)
    frames = [rng.integers(0, 255, (64, 64, 3)).astype(np.uint8) for _ in range(12)]
    restless = fit_background(frames, [np.ones((64, 64), bool)] * 12)
    still = fit_background([scene()] * 12, [np.ones((64, 64), bool)] * 12)
    assert restless.stillness < 0.1
    assert still.stillness == 1.0


def test_a_brighter_frame_brightens_the_background_behind_the_person() -> None:
    background = fit_background([scene()] * 3, [np.ones((64, 64), bool)] * 3)
    visible = np.ones((64, 64), bool)
    visible[20:50, 20:50] = False
    offset = background_now(background.image + np.uint8(10), background, visible)
    assert np.allclose(offset, 10, atol=0.01)


def test_fill_keeps_what_is_known_and_continues_it() -> None:
    image = np.full((50, 70, 3), (10.0, 100.0, 200.0), np.float32)
    weight = np.ones((50, 70), np.float32)
    image[10:40, 20:60], weight[10:40, 20:60] = 0, 0
    filled = fill_smoothly(image, weight)
    assert np.allclose(filled, (10, 100, 200), atol=0.01)


def test_alpha_is_solved_exactly_between_two_known_colours() -> None:
    rng = np.random.default_rng(2)
    alpha = rng.uniform(0, 1, 100).astype(np.float32)
    front = rng.uniform(150, 255, (100, 3)).astype(np.float32)
    back = rng.uniform(0, 100, (100, 3)).astype(np.float32)
    mixed = alpha[:, None] * front + (1 - alpha[:, None]) * back
    solved, contrast = alpha_from_background(mixed.T, front.T, back.T)
    assert np.allclose(solved, alpha, atol=1e-4)
    assert (contrast > 50**2).all()


def test_erased_area_is_the_matte_and_its_margin() -> None:
    matte = np.zeros((20, 20), np.float32)
    matte[10, 10] = 1
    erased = erase_mask(matte, 2)
    assert erased[10, 8:13].all()
    assert not erased[10, 7]
    assert not erased[8, 8]


def test_a_collar_goes_on_sharply_for_a_few_pixels_under_the_jaw() -> None:
    frame = np.full((64, 64, 3), 40, np.uint8)
    frame[:, 32:] = 220  # a jacket and a collar meet under the head
    erased = np.zeros((64, 64), np.uint8)
    erased[:40] = 1
    fill = np.full((64, 64, 3), 128, np.float32)
    body = np.full((64, 64), 255, np.uint8)
    rim = _continue_rim(fill.copy(), frame, erased, body, reach=4.0)
    assert (np.abs(rim[39, :32] - 40) < 10).all()
    assert (np.abs(rim[39, 32:] - 220) < 10).all()
    assert np.abs(rim[:20] - 128).max() < 1
    assert (_continue_rim(fill.copy(), frame, erased, 0 * body, reach=4.0) == fill).all()
