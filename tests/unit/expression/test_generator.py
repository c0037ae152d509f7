from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from synctalk.errors import InputError
from synctalk.expression import ProsodicExpression, Prosody, measure_prosody
from synctalk.face import ARKIT_NAMES
from synctalk.media import read_audio

SPEECH = Path(__file__).parents[3] / "samples" / "speech.wav"
MINUTES = 60
BLINK = ARKIT_NAMES.index("eyeBlinkLeft")
BROW = ARKIT_NAMES.index("browInnerUp")


@pytest.fixture(scope="module")
def speech() -> Prosody:
    wav = read_audio(SPEECH)
    return measure_prosody(wav, len(wav) * 25 // 16_000)


@pytest.fixture(scope="module")
def hour(speech: Prosody) -> Prosody:
    """The same speech again and again."""
    n = MINUTES * 1500
    loop = np.arange(n) % len(speech)
    return Prosody(
        *(row[loop] for row in (speech.loudness_db, speech.pitch_semitones, speech.voiced))
    )


@pytest.mark.parametrize("rate", [8.0, 17.0, 25.0])
def test_eyes_blink_as_often_as_asked(hour: Prosody, rate: float) -> None:
    blinks = ProsodicExpression(blinks_per_minute=rate).plan(hour).blinks
    assert len(blinks) / MINUTES == pytest.approx(rate, rel=0.08)


def test_blinks_are_irregular_and_leave_the_eye_time_to_rest(hour: Prosody) -> None:
    closed = np.array([b.closed_s for b in ProsodicExpression().plan(hour).blinks])
    gaps = np.diff(closed)
    assert gaps.min() >= 0.6 - 1e-9
    assert 0.3 < gaps.std() / gaps.mean() < 0.7


def test_more_blinks_than_chance_fall_on_ends_of_phrases(hour: Prosody) -> None:
    closed = np.array([b.closed_s for b in ProsodicExpression().plan(hour).blinks])
    ends = hour.pauses[:, 0] / 25

    def near(times: np.ndarray) -> float:
        return float((np.abs(times[:, None] - ends).min(1) < 0.12).mean())

    chance = near(np.random.default_rng(0).uniform(0, MINUTES * 60, 1000))
    assert near(closed) > 2 * chance


def test_a_blink_closes_faster_than_it_opens_and_lasts_as_real_ones_do(hour: Prosody) -> None:
    plan = ProsodicExpression("neutral").plan(hour)
    lids = plan.blendshapes(0, 15_000)[:, BLINK]
    down = lids > 0.5
    begins = np.flatnonzero(down[1:] & ~down[:-1])
    lengths = [int(np.argmin(down[i + 1 :])) for i in begins]
    assert 3 <= np.mean(lengths) <= 6  # frames; 120 to 240 ms
    speed = np.diff(lids)
    assert speed.max() > 1.5 * -speed.min()


def test_without_blinks_the_eyes_stay_open(speech: Prosody) -> None:
    rows = ProsodicExpression("natural", blinks_per_minute=0).generate(speech)
    assert rows[:, BLINK].max() == 0


def test_brows_rise_with_stressed_syllables(hour: Prosody) -> None:
    from synctalk.expression.events import emphasis

    brow = ProsodicExpression().plan(hour).blendshapes(0, 15_000)[:, BROW]
    stress = emphasis(hour)[:15_000]
    speaking = ~hour.quiet[:15_000]
    assert np.corrcoef(brow[speaking], stress[speaking])[0, 1] > 0.2


def test_styles_differ_in_how_much_brows_move(speech: Prosody) -> None:
    moved = {
        style: ProsodicExpression(style).generate(speech)[:, BROW].mean()
        for style in ("neutral", "calm", "natural", "emphatic")
    }
    assert moved["neutral"] == 0
    assert moved["calm"] < moved["natural"] < moved["emphatic"]


def test_brows_rest_in_silence() -> None:
    silence = measure_prosody(np.zeros(160_000, "f4"), 250)
    plan = ProsodicExpression("emphatic").plan(silence)
    assert not plan.accents
    assert plan.blinks


def test_any_stretch_is_the_same_as_in_the_whole(hour: Prosody) -> None:
    plan = ProsodicExpression(seed=3).plan(hour)
    whole = plan.blendshapes(0, 4000)
    for first, stop in ((0, 1), (100, 163), (2051, 4000)):
        np.testing.assert_array_equal(plan.blendshapes(first, stop), whole[first:stop])


def test_the_seed_decides(speech: Prosody) -> None:
    a, b, c = (ProsodicExpression(seed=s).generate(speech) for s in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - c).max() > 0.5


def test_what_comes_later_changes_no_blink(hour: Prosody) -> None:
    part = Prosody(*(r[:3000] for r in (hour.loudness_db, hour.pitch_semitones, hour.voiced)))
    early = ProsodicExpression().plan(part).blinks
    late = ProsodicExpression().plan(hour).blinks
    assert early[:-1] == late[: len(early) - 1]  # the last may have waited for another pause


@pytest.mark.parametrize("rate", [-1.0, 61.0, float("nan")])
def test_a_rate_no_eye_has_is_refused(rate: float) -> None:
    with pytest.raises(InputError) as caught:
        ProsodicExpression(blinks_per_minute=rate)
    assert caught.value.reason == "BLINK_RATE"


def test_an_unknown_style_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        ProsodicExpression("grumpy")  # type: ignore[arg-type]
    assert caught.value.reason == "EXPRESSION_STYLE"
