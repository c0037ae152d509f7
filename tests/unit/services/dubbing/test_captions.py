"""Captions of a given text."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from services.dubbing.captions import LINE_CHARS, Cue, spread_text, to_srt, to_vtt
from services.dubbing.plan import VoicedSpan

PAUSED = [VoicedSpan(25, 75), VoicedSpan(125, 175)]


def test_sentences_share_the_voiced_time_and_skip_the_pause() -> None:
    first, second = spread_text("One two three four. Six ten two five one.", PAUSED, 25)
    assert (first.begin_s, second.end_s) == (1.0, 7.0)
    assert 2.5 < first.end_s < 3.0
    assert first.end_s <= second.begin_s
    assert second.text == "Six ten two five one."


def test_a_cue_that_ends_with_the_voice_ends_before_the_pause() -> None:
    first, second = spread_text("Just as long. Just as long.", PAUSED, 25)
    assert (first.end_s, second.begin_s) == (3.0, 5.0)


@given(st.text(st.characters(codec="utf-8"), max_size=600))
def test_every_word_is_shown_once_in_order_on_at_most_two_lines(text: str) -> None:
    cues = spread_text(text, PAUSED, 25)
    assert "".join("".join(cue.text.split()) for cue in cues) == "".join(text.split())
    assert all(a.end_s <= b.begin_s + 1e-9 for a, b in pairwise(cues))
    for cue in cues:
        assert len(lines := cue.text.split("\n")) <= 2
        assert all(len(line) <= LINE_CHARS for line in lines)


def test_without_a_voice_there_is_nothing_to_show() -> None:
    assert spread_text("Hello.", [], 25) == ()


def test_the_formats_are_those_of_players() -> None:
    cues = [Cue(0.5, 3661.25, "a < b"), Cue(3662, 3663, "c")]
    assert to_vtt(cues) == (
        "WEBVTT\n\n00:00:00.500 --> 01:01:01.250\na &lt; b\n\n01:01:02.000 --> 01:01:03.000\nc\n"
    )
    assert to_srt(cues) == (
        "1\n00:00:00,500 --> 01:01:01,250\na < b\n\n2\n01:01:02,000 --> 01:01:03,000\nc\n"
    )
