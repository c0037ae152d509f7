"""Mouths that were never filmed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from synctalk.face_sync import FilmedMouths
from synctalk.face_sync.filmed import APART, FILMED_SHARE, NEIGHBOURS

N = 1200


def filmed() -> NDArray[np.float32]:
    """Mouths that move along a ring, with a little of everything else."""
    angle = np.cumsum(np.random.default_rng(0).normal(0.2, 0.1, N))
    lips = np.random.default_rng(1).normal(0, 0.1, (N, 6)).astype(np.float32)
    lips[:, 0] += 3 * np.cos(angle)
    lips[:, 1] += 3 * np.sin(angle)
    return lips


def test_mouths_like_those_that_were_filmed_stay_the_same_bits() -> None:
    lips = filmed()
    kept = (FilmedMouths(lips).draw_in(lips) == lips).all(1)
    assert kept.mean() > FILMED_SHARE  # each is its own neighbour here


def test_a_mouth_beyond_them_comes_within_reach_on_the_side_that_it_is_on() -> None:
    lips = filmed()
    mouths = FilmedMouths(lips)
    far = np.array([[9, 0, 0, 0, 0, 0], [0, -3, 4, 0, 0, 0]], np.float32)
    drawn = mouths.draw_in(far)
    np.testing.assert_allclose(drawn[0, :2], [3, 0], atol=mouths.reach + 0.2)
    assert drawn[0, 0] > 3
    np.testing.assert_allclose(drawn[1, :2], [0, -3], atol=0.3)
    assert 0 < drawn[1, 2] < mouths.reach + 0.3
    nearest = np.linalg.norm(drawn[:, None] - lips, axis=-1).min(1)
    assert (nearest < mouths.reach + 0.3).all()


def test_between_two_kinds_of_mouths_there_is_none() -> None:
    lips = filmed()
    (drawn,) = FilmedMouths(lips).draw_in(np.array([[0.5, 0, 0, 0, 0, 0]], np.float32))
    assert np.hypot(drawn[0], drawn[1]) > 2


def test_what_is_drawn_in_does_not_jump() -> None:
    mouths = FilmedMouths(filmed())
    path = np.zeros((400, 6), np.float32)
    path[:, 0], path[:, 2] = 3, np.linspace(0, 2, 400)
    steps = np.linalg.norm(np.diff(mouths.draw_in(path), axis=0), axis=1)
    assert steps.max() < 0.1


def test_footage_too_short_to_tell_draws_nothing_in() -> None:
    lips = filmed()[: 2 * APART + NEIGHBOURS - 1]
    far = np.full((1, 6), 9, np.float32)
    np.testing.assert_array_equal(FilmedMouths(lips).draw_in(far), far)


def test_of_long_footage_some_mouths_are_enough() -> None:
    lips = filmed()
    few, many = FilmedMouths(lips), FilmedMouths(np.repeat(lips, 5, axis=0))
    far = np.array([[9, 0, 0, 0, 0, 0]], np.float32)
    np.testing.assert_allclose(many.draw_in(far), few.draw_in(far), atol=0.3)
