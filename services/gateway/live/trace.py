"""Where the milliseconds of a session go: of frames in which something is said."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from services.gateway.live.metrics import STAGE_S

STAGES = ("wait", "hear", "features", "render", "ready", "total")
_KEPT = 1500  # a minute of frames
_OPEN = 256
_SECONDS = {stage: STAGE_S.labels(stage) for stage in STAGES}


@dataclass(frozen=True)
class StageTimes:
    """Of one stage over the last minute of speech, milliseconds."""

    stage: str
    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float


@dataclass
class _Marks:
    arrived: float
    left: float
    heard: float | None = None
    features: float | None = None
    frame: float | None = None


class Trace:
    """Times of frames from their sound to their picture; stages as docs/live.md names them."""

    def __init__(self) -> None:
        self._open: dict[int, _Marks] = {}
        self._times = {stage: deque[float](maxlen=_KEPT) for stage in STAGES}

    def left(self, slot: int, now_s: float, arrived_s: float | None) -> None:
        """A frame's first sample left the buffer; it came at ``arrived_s``, if from outside."""
        if arrived_s is None:
            return
        self._open[slot] = _Marks(arrived_s, now_s)
        if len(self._open) > _OPEN:
            self._open.pop(next(iter(self._open)))

    def heard(self, slot: int, now_s: float) -> None:
        """The last sample that a frame needs left the buffer."""
        if (marks := self._open.get(slot)) is not None:
            marks.heard = now_s

    def features(self, slot: int, now_s: float) -> None:
        """Its features came."""
        if (marks := self._open.get(slot)) is not None:
            marks.features = now_s

    def frame(self, slot: int, now_s: float) -> None:
        """Its picture came."""
        if (marks := self._open.get(slot)) is not None:
            marks.frame = now_s

    def out(self, slot: int, now_s: float) -> None:
        """It left."""
        marks = self._open.pop(slot, None)
        if marks is None:
            return
        points = (marks.arrived, marks.left, marks.heard, marks.features, marks.frame, now_s)
        for stage, begin, end in zip(STAGES, points, points[1:], strict=False):
            self._add(stage, begin, end)
        self._add("total", marks.arrived, now_s)

    def times(self) -> list[StageTimes]:
        """Every stage; zeros where nothing was measured."""
        return [_summary(stage, self._times[stage]) for stage in STAGES]

    def median_ms(self, stage: str) -> float | None:
        """Of the last minute; None before anything was measured."""
        times = self._times[stage]
        return 1000 * quantile(sorted(times), 0.5) if times else None

    def _add(self, stage: str, begin_s: float | None, end_s: float | None) -> None:
        if begin_s is not None and end_s is not None:
            self._times[stage].append(end_s - begin_s)
            _SECONDS[stage].observe(end_s - begin_s)


def quantile(ordered: list[float], share: float) -> float:
    """Of values in order; 0 where there are none."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def _summary(stage: str, times: Iterable[float]) -> StageTimes:
    ordered = sorted(times)
    p50, p95, p99 = (round(1000 * quantile(ordered, share), 1) for share in (0.5, 0.95, 0.99))
    return StageTimes(stage, len(ordered), p50, p95, p99)
