"""A neck that an open mouth's jaw hides is taken from a frame that shows it, and put into place."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from synctalk.face.parsing_matte import fill_coarsely
from synctalk.render.torso import NeckWindow
from synctalk.training.filmed_neck import ClosedNecks
from synctalk.training.neck import NeckView

SIZE, HEIGHT, WIDTH = 256, 128, 160
LEFT, TOP = 48, 100
OPEN, CLOSED, NEARLY, ELSEWHERE = range(4)
JAW_Y = (176, 156, 170, 156)
"""Row of the crop where the face ends."""
MOVED = ((0, 0), (3, 2), (0, 0), (0, 0))
"""px by which the body stands elsewhere."""
WINDOW = NeckWindow(
    WIDTH, HEIGHT, np.array([(LEFT, TOP), (LEFT, TOP - 12), (LEFT, TOP - 4), (LEFT, TOP)], np.int32)
)


def cloth(seed: int) -> NDArray[np.uint8]:
    """A fine pattern [S,S,3], which nothing but itself foretells."""
    grain = np.random.default_rng(seed).uniform(0, 255, (SIZE // 8, SIZE // 8, 3))
    return (
        cv2.resize(grain, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)
    )


def view(index: int) -> NeckView:
    """A plain face above a patterned body, all of the window's width."""
    dx, dy = MOVED[index]
    body = cloth(index == ELSEWHERE)
    move = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
    frame = cv2.warpAffine(body, move, (SIZE, SIZE), borderMode=cv2.BORDER_REFLECT)
    frame[: JAW_Y[index]] = 128
    here = np.ascontiguousarray(WINDOW.cut(frame, index))
    face = np.zeros((HEIGHT, WIDTH), bool)
    face[: JAW_Y[index] - WINDOW.corners[index, 1]] = True
    covers = np.ones(face.shape, np.float32)
    return NeckView(index, here, here, face, ~face, face, covers, (0.0, 1.0))


@pytest.fixture(scope="module")
def necks() -> ClosedNecks:
    return ClosedNecks([view(i) for i in (CLOSED, NEARLY, ELSEWHERE)], WINDOW, SIZE)


def test_what_the_jaw_hides_is_laid_where_it_belongs(necks: ClosedNecks) -> None:
    seen = view(OPEN)
    hole = seen.hole(2.0)
    truth = cloth(0)[TOP : TOP + HEIGHT, LEFT : LEFT + WIDTH].astype(np.float32) / 255
    filmed = necks.laid(seen, hole, 0)
    shown = slice(JAW_Y[CLOSED] + 8 - TOP, JAW_Y[OPEN] - TOP)
    assert (filmed.weight[shown, 8:-8] == 1).all()
    off = np.abs(filmed.colours - truth)[shown, 8:-8].mean()
    guessed = fill_coarsely(
        seen.plate.astype(np.float32) / 255, (seen.body & ~hole).astype(np.float32)
    )
    assert off < 0.2 * np.abs(guessed - truth)[shown, 8:-8].mean()


def test_what_no_frame_shows_has_no_weight(necks: ClosedNecks) -> None:
    seen = view(OPEN)
    filmed = necks.laid(seen, seen.hole(2.0), 0)
    assert (filmed.weight[: JAW_Y[CLOSED] - MOVED[CLOSED][1] - TOP] == 0).all()


def test_the_neck_is_chosen_that_is_alike_and_shows_most(necks: ClosedNecks) -> None:
    seen = view(OPEN)
    hole = seen.hole(2.0)
    differ = necks.differences(seen, hole)
    assert differ[2] > differ[:2].max()  # other cloth
    still = ClosedNecks([view(i) for i in (NEARLY, OPEN)], WINDOW, SIZE)
    assert still.chosen(seen, hole, None) == 0  # the frame itself shows nothing of its hole


def test_a_choice_is_kept_until_another_is_much_better(necks: ClosedNecks) -> None:
    seen = view(OPEN)
    hole = seen.hole(2.0)
    best = necks.chosen(seen, hole, None)
    assert best is not None
    assert necks.chosen(seen, hole, 2) == best
    assert necks.chosen(seen, hole, best) == best
    twins = ClosedNecks([view(NEARLY), view(NEARLY)], WINDOW, SIZE)
    assert twins.chosen(seen, hole, 1) == 1


def test_without_necks_nothing_is_chosen() -> None:
    none = ClosedNecks([], WINDOW, SIZE)
    seen = view(OPEN)
    assert none.chosen(seen, seen.hole(2.0), None) is None
