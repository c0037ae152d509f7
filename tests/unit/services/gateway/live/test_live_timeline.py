"""Clocks by themselves: long sessions, processes that stood still, microphones that drift."""

from __future__ import annotations

import random

import pytest
from live_doubles import tone

from services.gateway.live.sound import JitterBuffer
from services.gateway.live.timeline import Timeline


def test_a_process_that_was_held_up_goes_on_from_now() -> None:
    timeline = Timeline(JitterBuffer(40, 10), 0.0, 200)
    timeline.step(1.0)
    last = timeline.next_played
    assert timeline.slip(1.3) == 0
    assert timeline.slip(31.0) == pytest.approx(29.96)
    step = timeline.step(31.0)
    assert [played.index for played in step.played] == [last, last + 1]


def test_picture_and_sound_stay_together_for_eight_hours() -> None:
    rng = random.Random(5)
    timeline = Timeline(JitterBuffer(40, 10), 0.0, 200)
    seconds, now_s, worst_s = 8 * 3600, 0.0, 0.0
    while now_s < seconds:
        now_s = max(now_s, timeline.next_s) + rng.random() ** 2 * 0.4  # a loop that is often late
        for played in timeline.step(now_s).played:
            due_s = 0.2 + played.index * 0.02
            worst_s = max(worst_s, now_s - due_s)

    assert timeline.next_played == pytest.approx((seconds - 0.2) / 0.02, abs=25)
    assert worst_s < 0.4


@pytest.mark.parametrize("ppm", [-200, 200])
def test_a_microphones_clock_may_drift(ppm: int) -> None:
    """It speaks half of the time; what its clock is ahead is left out where it says nothing."""
    buffer = JitterBuffer(40, 10)
    loud, quiet = tone(0.02), bytes(1920)
    sent = heard = 0
    deepest_s = 0.0
    for block in range(3600 * 50):
        now_s = block * 0.02
        while sent * 0.02 <= now_s * (1 + ppm / 1e6):
            speaks = sent // 100 % 2 == 0
            buffer.push(loud if speaks else quiet, now_s, live=True)
            sent += 1
        heard += buffer.pop(now_s).pcm == loud
        deepest_s = max(deepest_s, buffer.buffered_s)
    assert deepest_s < 2.3  # at most what came while it spoke
    assert heard == pytest.approx(sent / 2, abs=110)
    assert (buffer.left_out_blocks > 0) == (ppm > 0)
