"""Rates and remaining times as a stage reports them, against a clock that the test moves."""

from __future__ import annotations

import pytest

from synctalk import progress
from synctalk.progress import ProgressEvent, StageProgress


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


@pytest.fixture
def events() -> list[ProgressEvent]:
    return []


def work(stage: StageProgress, clock: Clock, seconds: list[float]) -> None:
    for one in seconds:
        clock.now += one
        stage.advance()


def test_a_slow_first_unit_does_not_show_in_rate_and_eta(
    clock: Clock, events: list[ProgressEvent]
) -> None:
    stage = StageProgress(events.append, "head_sync", 1000)
    work(stage, clock, [8.0])
    assert (events[-1].done, events[-1].rate, events[-1].eta_s) == (1, 0.0, None)
    work(stage, clock, [0.01] * 300)
    assert events[-1].rate == pytest.approx(100, rel=0.02)
    assert events[-1].eta_s == pytest.approx(7.0, rel=0.1)


def test_no_eta_is_given_before_two_seconds_of_work_were_seen(
    clock: Clock, events: list[ProgressEvent]
) -> None:
    stage = StageProgress(events.append, "train", 100)
    work(stage, clock, [3.0, 0.5, 0.5, 0.5])
    assert [e.eta_s for e in events] == [None] * 5
    assert events[-1].rate == pytest.approx(2.0)
    work(stage, clock, [0.5])
    assert events[-1].eta_s == pytest.approx(95 / 2)


def test_the_rate_follows_work_that_becomes_slower(
    clock: Clock, events: list[ProgressEvent]
) -> None:
    stage = StageProgress(events.append, "train", 1000)
    work(stage, clock, [0.1] * 400)
    work(stage, clock, [1.0] * 30)
    assert events[-1].rate == pytest.approx(1.0, rel=0.05)
    assert events[-1].eta_s == pytest.approx(570, rel=0.05)


def test_the_last_event_has_the_rate_of_the_whole_stage(
    clock: Clock, events: list[ProgressEvent]
) -> None:
    stage = StageProgress(events.append, "track", 10)
    work(stage, clock, [6.0] + [1.0] * 9)
    assert events[-1].rate == pytest.approx(10 / 15)
    assert events[-1].eta_s == 0.0


def test_units_of_an_earlier_run_count_as_done_but_not_as_speed(
    clock: Clock, events: list[ProgressEvent]
) -> None:
    stage = StageProgress(events.append, "train", 900)
    stage.done = 500
    work(stage, clock, [1.0] * 11)
    assert events[-1].done == 511
    assert events[-1].rate == pytest.approx(1.0)
    assert events[-1].eta_s == pytest.approx(389)
    work(stage, clock, [1.0] * 389)
    assert events[-1].rate == pytest.approx(1.0)


def test_work_of_unknown_length_has_a_rate_but_no_eta(
    clock: Clock, events: list[ProgressEvent]
) -> None:
    stage = StageProgress(events.append, "decode", 0)
    work(stage, clock, [0.5] * 20)
    assert events[-1].rate == pytest.approx(2.0)
    assert events[-1].eta_s is None


def test_reports_come_no_more_often_than_asked(clock: Clock, events: list[ProgressEvent]) -> None:
    stage = StageProgress(events.append, "track", 1001)
    work(stage, clock, [0.01] * 1000)
    assert len(events) <= 10 / 0.2 + 3


def test_news_are_reported_at_once(clock: Clock, events: list[ProgressEvent]) -> None:
    stage = StageProgress(events.append, "train", 100)
    work(stage, clock, [0.01, 0.01])
    stage.advance(metrics={"loss": 0.5}, message="half way")
    assert (events[-1].done, events[-1].metrics, events[-1].message) == (
        3,
        {"loss": 0.5},
        "half way",
    )
