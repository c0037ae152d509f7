"""The inpainter: it begins as a smooth fill, learns what holes hide, and leaves the rest alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from synctalk.training.inpainter import Inpainter, fill_loss, fit_inpainter

SIDE = 32


def striped(step: int) -> tuple[Tensor, Tensor, Tensor]:
    """Stripes of random phase with a square hole, filled with their mean."""
    random = np.random.default_rng(step)
    phase = random.integers(0, 8, 2)
    x = (np.arange(SIDE)[None] + phase[:, None]) // 4 % 2
    truth = np.broadcast_to(x[:, None, None], (2, 3, SIDE, SIDE)).astype(np.float32)
    hole = np.zeros((2, 1, SIDE, SIDE), np.float32)
    top = random.integers(4, SIDE - 14)
    hole[:, :, top : top + 10, 6:-6] = 1
    given = np.where(hole > 0, np.float32(0.5), truth)
    return tuple(
        torch.from_numpy(a.copy())
        for a in (np.concatenate([given, hole, np.zeros_like(hole)], 1), truth, hole)
    )  # type: ignore[return-value]


@pytest.fixture(scope="module")
def learnt() -> Inpainter:
    return fit_inpainter(striped, 150, 0, lambda loss: None)


def test_untrained_it_gives_the_fill_it_was_given() -> None:
    given, _, _ = striped(0)
    assert torch.equal(Inpainter()(given), given[:, :3])


def test_it_learns_what_holes_hide(learnt: Inpainter) -> None:
    given, truth, hole = striped(10_001)
    off = ((learnt(given) - truth).abs() * hole).sum() / (3 * hole.sum())
    assert off < 0.15  # the smooth fill is 0.5 off


def test_outside_the_hole_nothing_changes(learnt: Inpainter) -> None:
    given, _, hole = striped(10_002)
    same = (learnt(given) == given[:, :3]) | (hole > 0)
    assert bool(same.all())


def test_the_same_seed_gives_the_same_network() -> None:
    one, again = (fit_inpainter(striped, 3, 0, lambda loss: None) for _ in range(2))
    for a, b in zip(one.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_pixels_of_no_weight_cost_nothing() -> None:
    given, truth, hole = striped(3)
    known = hole.clone()
    known[:, :, :, 16:] = 0
    spoilt = torch.where(known > 0, truth, torch.full_like(truth, 9.0))
    assert fill_loss(given[:, :3], spoilt, known) == fill_loss(given[:, :3], truth, known)
