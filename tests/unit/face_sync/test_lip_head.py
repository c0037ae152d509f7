"""The subject's lip head on features whose answer is known."""

from __future__ import annotations

import functools

import pytest
import torch

from synctalk.errors import InputError
from synctalk.face_sync import LAYOUT, LipOpening, LipRegressor, fit_lip_regressor
from synctalk.face_sync.lip_head import FUTURE_FRAMES, REACH_BACK
from synctalk.face_sync.visemes import BILABIAL, SILENCE

K = 4
OPENING = LipOpening(torch.tensor([2.0, 0.0, 0.0, 0.0]), 6.0)


def speaking(frames: int, seed: int = 0) -> torch.Tensor:
    """Feature rows of loud speech that is never silent and never bilabial."""
    rows = torch.randn(frames, LAYOUT.dim, generator=torch.Generator().manual_seed(seed))
    rows[:, LAYOUT.level] = 0.0
    rows[:, LAYOUT.visemes] = 0.0
    return rows


def linear_targets(rows: torch.Tensor) -> torch.Tensor:
    weights = torch.randn(20, K, generator=torch.Generator().manual_seed(9)) / 20**0.5
    return rows[:, :20] @ weights


@functools.cache
def fitted(frames: int = 6000, ridge: float = 1.0) -> tuple[LipRegressor, torch.Tensor]:
    rows = speaking(frames)
    # Some rest: quiet frames with nearly closed lips.
    rows[:200, LAYOUT.level] = -1.0
    rows[:200, LAYOUT.visemes.start + SILENCE] = 1.0
    targets = linear_targets(rows)
    targets[:200] = torch.tensor([-2.8, 0.5, 0.0, 0.0])
    valid = torch.ones(frames, dtype=torch.bool)
    return fit_lip_regressor(rows, targets, valid, [], OPENING, ridge=ridge), rows


def test_ridge_recovers_a_linear_map():
    regressor, _ = fitted()
    rows = speaking(500, seed=5)
    predicted, truth = regressor.predict(rows), linear_targets(rows)
    for k in range(K):
        assert float(torch.corrcoef(torch.stack([predicted[:, k], truth[:, k]]))[0, 1]) > 0.97


def test_silence_rests_the_mouth_closed():
    regressor, _ = fitted()
    rows = speaking(40, seed=5)
    rows[:, LAYOUT.level] = -1.0
    rows[:, LAYOUT.visemes.start + SILENCE] = 1.0
    predicted = regressor.predict(rows)
    rest = torch.tensor([-2.8, 0.5, 0.0, 0.0]).expand(40, K)
    torch.testing.assert_close(predicted, rest, atol=1e-3, rtol=0)
    assert float(OPENING(predicted).max()) < 0.5


def test_noise_without_a_voice_rests_the_mouth_too():
    regressor, _ = fitted()
    rows = speaking(40, seed=5)
    rows[:, LAYOUT.visemes.start + SILENCE] = 1.0  # loud, but heard as no speech
    assert float(OPENING(regressor.predict(rows)).max()) < 0.5


def test_a_bilabial_closes_the_lips_in_its_frame_alone():
    regressor, _ = fitted()
    rows = speaking(60, seed=5)
    before = OPENING(regressor.predict(rows))
    rows[30, LAYOUT.visemes.start + BILABIAL] = 1.0
    after = OPENING(regressor.predict(rows))
    assert float(after[30]) <= float(regressor.closed_mm) + 1e-3
    far = torch.arange(60).sub(30).abs() > 4
    torch.testing.assert_close(after[far], before[far])


def test_a_frame_depends_on_no_row_that_renderers_do_not_keep():
    regressor, _ = fitted()
    rows = speaking(150, seed=5)
    rows[60:, LAYOUT.level] = -1.0  # a pause, in which the mouth goes to rest by and by
    rows[60:, LAYOUT.visemes.start + SILENCE] = 1.0
    whole = regressor.predict(rows)
    for frame in range(REACH_BACK, 140):
        near = regressor.predict(rows[frame - REACH_BACK : frame + 1 + FUTURE_FRAMES])
        torch.testing.assert_close(near[REACH_BACK], whole[frame], atol=1e-4, rtol=0)


def test_invalid_frames_and_frames_at_cuts_teach_nothing():
    rows, cut = speaking(3000), 1500
    targets = linear_targets(rows)
    valid = torch.ones(3000, dtype=torch.bool)
    valid[2000:2100] = False
    clean = fit_lip_regressor(rows, targets, valid, [cut], OPENING)
    spoilt = targets.clone()
    spoilt[2000:2100] = 1e3
    spoilt[cut - 1 : cut + 3] = 1e3
    same = fit_lip_regressor(rows, spoilt, valid, [cut], OPENING)
    torch.testing.assert_close(same.weight, clean.weight)
    assert not torch.allclose(
        fit_lip_regressor(rows, spoilt, valid, [], OPENING).weight, clean.weight
    )


def test_copies_of_the_audio_count_as_one():
    rows = speaking(2000)
    targets, valid = linear_targets(rows), torch.ones(2000, dtype=torch.bool)
    once = fit_lip_regressor(rows, targets, valid, [], OPENING)
    thrice = fit_lip_regressor([rows, rows, rows], targets, valid, [], OPENING)
    torch.testing.assert_close(thrice.weight, once.weight, atol=1e-3, rtol=1e-2)


def test_state_survives_a_round_trip():
    regressor, rows = fitted(1000)
    state = regressor.state()
    assert all(isinstance(t, torch.Tensor) for t in state.values())
    again = LipRegressor.from_state({k: v.clone() for k, v in state.items()})
    torch.testing.assert_close(again.predict(rows), regressor.predict(rows))


def test_too_little_speech_is_refused():
    rows = speaking(100)
    valid = torch.zeros(100, dtype=torch.bool)
    valid[:30] = True
    with pytest.raises(InputError) as caught:
        fit_lip_regressor(rows, linear_targets(rows), valid, [], OPENING)
    assert caught.value.reason == "TOO_FEW_SPEECH_FRAMES"


def test_mismatched_lengths_are_refused():
    rows = speaking(100)
    with pytest.raises(InputError):
        fit_lip_regressor(rows, linear_targets(rows)[:90], torch.ones(100).bool(), [], OPENING)


def test_an_uncertain_prediction_still_opens_and_closes_the_mouth_as_far_as_the_subject() -> None:
    rows = speaking(9000)
    noise = torch.randn(9000, K, generator=torch.Generator().manual_seed(3))
    targets = linear_targets(rows) + noise
    valid = torch.ones(9000, dtype=torch.bool)
    regressor = fit_lip_regressor(rows, targets, valid, [], OPENING, ridge=100.0)
    gap = OPENING(regressor.predict(speaking(2000, seed=5)))
    quantiles = torch.tensor([0.1, 0.5, 0.9])
    shown, wanted = gap.quantile(quantiles), OPENING(targets).quantile(quantiles)
    torch.testing.assert_close(shown, wanted, atol=0.25, rtol=0)
