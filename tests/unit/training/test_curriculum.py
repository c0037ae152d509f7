"""Frame sampling."""

from __future__ import annotations

import numpy as np

from synctalk.training.curriculum import batch, rarity, thin


def test_rare_mouth_shapes_and_blinks_are_shown_more_often() -> None:
    opening = np.r_[np.zeros(900), np.full(90, 5.0), np.full(10, 5.0)]
    blink = np.r_[np.zeros(990), np.ones(10)]
    even = rarity(opening, blink, 0.0)
    weighted = rarity(opening, blink, 1.0)
    assert np.allclose(even, 1 / 1000)
    assert np.isclose(weighted[:900].sum(), weighted[990:].sum())
    assert weighted.sum() == np.float64(1.0) or np.isclose(weighted.sum(), 1.0)


def test_a_steps_frames_depend_on_seed_and_step_alone() -> None:
    p = np.full(50, 0.02)
    assert (batch(p, 4, 0, 17) == batch(p, 4, 0, 17)).all()
    assert not all((batch(p, 4, 0, s) == batch(p, 4, 1, s)).all() for s in range(5))


def test_thinning_keeps_rare_frames_and_order() -> None:
    weights = np.full(1000, 1e-4)
    weights[500:510] = 0.09
    chosen = thin(weights / weights.sum(), 100, seed=0)
    assert len(chosen) == 100
    assert (np.diff(chosen) > 0).all()
    assert set(range(500, 510)) <= set(chosen.tolist())
    assert thin(weights, 2000, 0).tolist() == list(range(1000))
