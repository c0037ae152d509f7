"""From the stages of a job's work to how far the whole job is, for whoever watches it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import accumulate

from pydantic import TypeAdapter

from services.common.jobs import JobContext
from services.common.storage import ObjectRef
from synctalk.progress import ProgressEvent

_OBJECT_REF = TypeAdapter(ObjectRef)
_SETTLED_S = 5.0
_SETTLED_SHARE = 0.02


class JobProgress:
    """A :data:`synctalk.progress.ProgressCallback` that reports through a job's context.

    The fraction is of the whole job and never falls. The time left follows from the time that the
    stages worked on so far took, so stages which a resumed attempt skips do not count. Figures
    stay until newer ones of the same name come.

    Args:
        context: of the job.
        shares: the stages in order, and how long each takes in proportion to the others.
    """

    def __init__(self, context: JobContext, shares: Mapping[str, float]) -> None:
        self._context = context
        whole = sum(shares.values())
        self._shares = {stage: share / whole for stage, share in shares.items()}
        ends = accumulate(self._shares.values(), initial=0.0)
        self._begins = dict(zip(self._shares, ends, strict=False))
        self._stage = ""
        self._done: float | None = None
        self._fraction, self._worked = 0.0, 0.0
        self._metrics: dict[str, float] = {}
        self._began_s = time.monotonic()

    def __call__(self, event: ProgressEvent) -> None:
        """Report an event; raises :class:`synctalk.errors.Cancelled` when the job is to stop."""
        if event.message:
            self.log(f"{event.stage}: {event.message}")
        self._metrics |= event.metrics
        self.report(event.stage, event.done / event.total if event.total else 0.0, event.rate)

    def report(self, stage: str, done: float = 0.0, rate: float = 0.0) -> None:
        """``done`` (0 to 1) of ``stage``, ``rate`` its units a second, where it has any.

        Raises:
            Cancelled: the work is to stop.
        """
        if stage != self._stage:
            self.log(stage)
            self._stage, self._done = stage, None
        share = self._shares.get(stage, 0.0)
        self._count(share, done)
        reached = self._begins.get(stage, 0.0) + share * done
        self._fraction = max(self._fraction, min(reached, 1.0))
        self._context.report(
            stage, self._fraction, eta_s=self._eta_s(), metrics=self._metrics, rate=rate
        )

    def after(self, stage: str) -> bool:
        """Whether the work is past ``stage``."""
        return self._begins.get(self._stage, 0.0) > self._begins[stage]

    def log(self, line: str) -> None:
        """Add to the job's log, with the time of day (UTC)."""
        self._context.log(f"{datetime.now(UTC):%H:%M:%S} {line}")

    def show(self, picture: ObjectRef) -> None:
        """Make ``picture`` the job's preview."""
        self._context.set_preview(_OBJECT_REF.dump_json(picture).decode())

    def _count(self, share: float, done: float) -> None:
        """Stages begin at 0; the next they say may be where an earlier attempt had come to."""
        if self._done is not None:
            self._worked += share * max(0.0, done - self._done)
        if done > 0:
            self._done = done

    def _eta_s(self) -> float | None:
        spent_s = time.monotonic() - self._began_s
        if spent_s < _SETTLED_S or self._worked < _SETTLED_SHARE:
            return None
        return spent_s / self._worked * (1.0 - self._fraction)


def shown_picture(preview: str) -> ObjectRef | None:
    """What :meth:`JobProgress.show` wrote into :attr:`services.common.jobs.Progress.preview`."""
    return _OBJECT_REF.validate_json(preview) if preview else None
