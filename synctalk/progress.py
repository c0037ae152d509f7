"""Progress of long work, as events that a terminal, a job record or a test can show."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

_T = TypeVar("_T")

WINDOW_S = 20.0
SETTLED_S = 2.0


@dataclass(frozen=True)
class ProgressEvent:
    """One observation of a running stage.

    Args:
        stage: name of the stage, e.g. ``"track"`` or ``"train"``.
        done: units finished.
        total: units in all; 0 when unknown.
        rate: units per second of late (0 until known).
        eta_s: estimated seconds left in this stage, or None.
        metrics: figures worth showing, e.g. ``{"held_out_psnr_db": 35.2}``.
        message: a short note for people.
    """

    stage: str
    done: int
    total: int
    rate: float = 0.0
    eta_s: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    message: str = ""


ProgressCallback = Callable[[ProgressEvent], None]
"""Receives events. May raise :class:`synctalk.errors.Cancelled` to stop the work."""


def ignore_progress(event: ProgressEvent) -> None:
    """The callback that shows nothing."""


class StageProgress:
    """Counts the units of one stage and reports at most every ``interval_s``.

    The rate is that of the last ``WINDOW_S`` and begins with the first finished unit: what comes
    before it is loading and warming up. An ETA is given once ``SETTLED_S`` of that were seen; the
    last event has the rate of the whole stage.
    """

    def __init__(
        self, callback: ProgressCallback, stage: str, total: int, interval_s: float = 0.2
    ) -> None:
        self._callback = callback
        self._stage = stage
        self._total = total
        self._interval_s = interval_s
        self._start = time.monotonic()
        self._last = 0.0
        self._seen: deque[tuple[float, int]] = deque()  # (time, done) of the reports in the window
        self._base = 0  # units that an earlier run had finished
        self.done = 0
        self._report({}, "")

    def advance(
        self, n: int = 1, metrics: Mapping[str, float] | None = None, message: str = ""
    ) -> None:
        """Count ``n`` finished units; report when due, when finished or when there is news."""
        first = not self._seen
        if first:
            self._base = self.done
        self.done += n
        due = first or time.monotonic() - self._last >= self._interval_s
        if due or metrics or message or self.done == self._total:
            self._report(metrics or {}, message)

    def wrap(self, items: Iterable[_T]) -> Iterator[_T]:
        """Yield ``items``, counting each after it was used."""
        for item in items:
            yield item
            self.advance()

    def _report(self, metrics: Mapping[str, float], message: str) -> None:
        self._last = now = time.monotonic()
        rate, eta = self._pace(now)
        self._callback(
            ProgressEvent(self._stage, self.done, self._total, rate, eta, metrics, message)
        )

    def _pace(self, now: float) -> tuple[float, float | None]:
        """Units a second, 0 when not known yet, and seconds left, None when not known yet."""
        if self.done and self.done == self._total:
            return (self.done - self._base) / max(now - self._start, 1e-9), 0.0
        if self.done:
            self._seen.append((now, self.done))
        while len(self._seen) > 2 and now - self._seen[0][0] > WINDOW_S:
            self._seen.popleft()
        span = now - self._seen[0][0] if self._seen else 0.0
        rate = (self.done - self._seen[0][1]) / span if span > 0 else 0.0
        settled = rate > 0 and span >= SETTLED_S and self._total
        return rate, (self._total - self.done) / rate if settled else None
