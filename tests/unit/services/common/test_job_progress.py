"""From stages to the whole job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from services.common import job_progress
from services.common.job_progress import JobProgress, shown_picture
from services.common.storage import ObjectRef
from synctalk.progress import ProgressEvent


@dataclass
class Seen:
    """Stands where a job's context would, and keeps what it is told."""

    reports: list[tuple[str, float, float | None, dict[str, float]]] = field(default_factory=list)
    rates: dict[str, float] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    preview: str = ""

    def report(
        self,
        stage: str,
        fraction: float,
        *,
        eta_s: float | None,
        metrics: Mapping[str, float],
        rate: float,
    ) -> None:
        if rate:
            self.rates[stage] = rate
        self.reports.append((stage, fraction, eta_s, dict(metrics)))

    def log(self, line: str) -> None:
        self.lines.append(line)

    def set_preview(self, key: str) -> None:
        self.preview = key


@dataclass
class Clock:
    now_s: float = 0.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(job_progress, "time", clock)
    return clock


def event(stage: str, done: int, total: int = 10, **metrics: float) -> ProgressEvent:
    return ProgressEvent(stage, done, total, metrics=metrics)


def progress(seen: Any) -> JobProgress:
    return JobProgress(seen, {"a": 1.0, "b": 2.0, "c": 1.0})


def test_the_rate_of_a_stage_is_passed_on(clock: Clock) -> None:
    seen = Seen()
    shown = progress(seen)
    for rate in (0.0, 12.0, 30.0):
        shown(ProgressEvent("b", 1, 10, rate=rate))
    assert seen.rates == {"b": 30.0}


def test_fractions_are_of_the_whole_and_never_fall(clock: Clock) -> None:
    seen = Seen()
    tell = progress(seen)
    for told in (event("a", 5), event("b", 5), event("a", 9), event("x", 9), event("c", 10)):
        tell(told)
    assert [fraction for _, fraction, _, _ in seen.reports] == [0.125, 0.5, 0.5, 0.5, 1.0]


def test_time_left_follows_from_the_stages_that_were_worked_on(clock: Clock) -> None:
    seen = Seen()
    tell = progress(seen)
    for second in range(1, 11):  # stage a, a quarter of the whole, takes 10 s
        clock.now_s = second
        tell(event("a", second))
    assert seen.reports[0][2] is None
    assert seen.reports[-1][2] == pytest.approx(30, rel=0.2)


def test_what_an_earlier_attempt_did_does_not_make_the_time_left_short(clock: Clock) -> None:
    seen = Seen()
    tell = progress(seen)
    tell(event("b", 0, 100))  # goes on at 50 of 100, 1 s each: 50 s left there, 50 s in c
    for second in range(1, 21):
        clock.now_s = second
        tell(event("b", 50 + second, 100))
    assert seen.reports[-1][2] == pytest.approx(80, rel=0.2)


def test_figures_stay_until_newer_ones_come(clock: Clock) -> None:
    seen = Seen()
    tell = progress(seen)
    tell(event("a", 1, held_out_psnr_db=30.0))
    tell(event("a", 2))
    tell(event("a", 3, held_out_psnr_db=31.0))
    values = [metrics["held_out_psnr_db"] for _, _, _, metrics in seen.reports]
    assert values == [30.0, 30.0, 31.0]


def test_stages_and_notes_are_logged_once(clock: Clock) -> None:
    seen = Seen()
    tell = progress(seen)
    tell(event("a", 1))
    tell(ProgressEvent("a", 2, 10, message="a face was lost"))
    tell(event("b", 1))
    assert [line.partition(" ")[2] for line in seen.lines] == ["a", "a: a face was lost", "b"]


def test_a_picture_is_shown_as_a_whole_reference(clock: Clock) -> None:
    seen = Seen()
    picture = ObjectRef("tenants/acme/x.jpg", 5, "0" * 64)
    progress(seen).show(picture)
    assert shown_picture(seen.preview) == picture
    assert shown_picture("") is None


def test_being_past_a_stage(clock: Clock) -> None:
    tell = progress(Seen())
    passed = []
    for stage in ("a", "b", "c"):
        tell(event(stage, 1))
        passed.append(tell.after("b"))
    assert passed == [False, False, True]
