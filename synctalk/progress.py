"""Progress of long work, as events that a terminal, a job record or a test can show."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

_T = TypeVar("_T")


@dataclass(frozen=True)
class ProgressEvent:
    """One observation of a running stage.

    Args:
        stage: name of the stage, e.g. ``"track"`` or ``"train"``.
        done: units finished.
        total: units in all; 0 when unknown.
        rate: units per second so far (0 until known).
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
    """Counts the units of one stage and reports at most every ``interval_s``."""

    def __init__(
        self, callback: ProgressCallback, stage: str, total: int, interval_s: float = 0.2
    ) -> None:
        self._callback = callback
        self._stage = stage
        self._total = total
        self._interval_s = interval_s
        self._start = time.monotonic()
        self._last = 0.0
        self.done = 0
        self._report({}, "")

    def advance(
        self, n: int = 1, metrics: Mapping[str, float] | None = None, message: str = ""
    ) -> None:
        """Count ``n`` finished units; report when due, when finished or when there is news."""
        self.done += n
        due = time.monotonic() - self._last >= self._interval_s
        if due or metrics or message or self.done == self._total:
            self._report(metrics or {}, message)

    def wrap(self, items: Iterable[_T]) -> Iterator[_T]:
        """Yield ``items``, counting each after it was used."""
        for item in items:
            yield item
            self.advance()

    def _report(self, metrics: Mapping[str, float], message: str) -> None:
        self._last = time.monotonic()
        elapsed = self._last - self._start
        rate = self.done / elapsed if self.done and elapsed > 0 else 0.0
        eta = (self._total - self.done) / rate if rate and self._total else None
        self._callback(
            ProgressEvent(self._stage, self.done, self._total, rate, eta, metrics, message)
        )
