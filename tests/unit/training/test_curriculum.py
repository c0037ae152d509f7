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


def test_every_frame_keeps_a_chance_and_more_power_favours_the_rare_more() -> None:
    rng = np.random.default_rng(0)
    opening, blink = rng.exponential(2.0, 2000), (rng.random(2000) < 0.05).astype(float)
    rare = opening > np.quantile(opening, 0.97)
    shares = []
    for power in (0.0, 0.5, 1.0):
        weights = rarity(opening, blink, power)
        assert weights.min() > 0
        assert np.isclose(weights.sum(), 1)
        shares.append(weights[rare].sum())
    assert shares[0] < 0.04
    assert shares[0] < 0.5 * shares[1] < 0.5 * shares[2]


def test_one_wild_measurement_does_not_put_all_others_into_one_bin() -> None:
    opening = np.r_[np.linspace(0, 10, 1000), 1e6]
    weights = rarity(opening, np.zeros(1001), 1.0)
    assert weights[1000] < 0.05  # alone in its bin it would weigh a half
    assert weights[900:1000].sum() > 1.2 * weights[:100].sum()  # the others still differ


def test_a_mouth_that_never_moves_is_sampled_evenly() -> None:
    assert np.allclose(rarity(np.full(300, 2.0), np.zeros(300), 1.0), 1 / 300)


def test_batches_follow_the_probability_over_many_steps() -> None:
    p = np.array([0.5, 0.3, 0.2, 0.0])
    drawn = np.concatenate([batch(p, 2, 3, step) for step in range(5000)])
    share = np.bincount(drawn, minlength=4) / len(drawn)
    assert np.abs(share - p).max() < 0.02  # four standard deviations
    assert share[3] == 0


def test_thinning_is_a_function_of_the_seed() -> None:
    p = np.full(500, 1 / 500)
    assert thin(p, 50, seed=1).tolist() == thin(p, 50, seed=1).tolist()
    assert thin(p, 50, seed=1).tolist() != thin(p, 50, seed=2).tolist()
    assert len(set(thin(p, 50, seed=1).tolist())) == 50
