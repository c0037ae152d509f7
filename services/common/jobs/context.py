"""What a handler has in hand while it works on a job."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections import deque
from collections.abc import Mapping

from redis.exceptions import RedisError

from services.common.jobs.leases import Leases, Signal, progress_fields
from services.common.jobs.model import Job, JobSettings
from synctalk.errors import Cancelled
from synctalk.progress import ProgressEvent


class JobContext:
    """Progress out, cancellation in. Its methods are cheap, never block on Redis, and may be
    called from any thread: a thread of its own writes what is new every ``report_s``, and waits
    for Redis to come back when it is gone.

    All it writes is fenced: once another attempt has begun, nothing of this one is taken.
    """

    def __init__(self, job: Job, leases: Leases, settings: JobSettings, lifeline: int) -> None:
        self.job = job
        self._leases = leases
        self._report_s = settings.report_s
        self._lifeline = lifeline
        self._lock = threading.Lock()
        self._fields: dict[str, str | int | float] = {}
        self._lines: deque[str] = deque(maxlen=settings.log_kept)
        self._stop = False
        self._done = threading.Event()
        self._stage_began_s = time.monotonic()
        self._stage = ""
        self.stage_durations_s: dict[str, float] = {}
        self.stage_rates: dict[str, float] = {}
        self._half_way: tuple[float, float] | None = None
        self._thread = threading.Thread(target=self._write_until_done, daemon=True)

    @property
    def attempt(self) -> int:
        """Number of this attempt, from 1: write artifacts under ``…/attempts/{attempt}/``."""
        return self.job.attempt

    @property
    def checkpoint(self) -> str:
        """What the last attempt saved to resume from; empty when nothing."""
        return self.job.checkpoint

    @property
    def stopping(self) -> bool:
        """Whether the work is to stop: cancelled, lost to another attempt, or worker shut down."""
        return self._stop

    def check(self) -> None:
        """Raise :class:`synctalk.errors.Cancelled` if the work is to stop.

        Call it (or any reporting method) at least every two seconds: a handler that does not
        stop by itself is killed.
        """
        if self._stop:
            raise Cancelled(f"job {self.job.id}, attempt {self.attempt}, was told to stop")

    def report(
        self,
        stage: str,
        fraction: float,
        *,
        eta_s: float | None = None,
        metrics: Mapping[str, float] | None = None,
        rate: float = 0.0,
    ) -> None:
        """Say how far the work is: ``fraction`` (0 to 1) of ``stage``, seconds left, figures.

        Args:
            rate: units a second, where the stage has any; the last one counts.

        Raises:
            Cancelled: the work is to stop.
        """
        self.check()
        with self._lock:
            self._enter_stage(stage)
            if rate:
                self.stage_rates[stage] = rate
            if self._half_way is None and fraction >= 0.5 and eta_s:
                self._half_way = time.monotonic(), eta_s
            self._fields |= progress_fields(stage, fraction, eta_s, metrics or {})

    def on_progress(self, event: ProgressEvent) -> None:
        """A :data:`synctalk.progress.ProgressCallback`."""
        if event.message:
            self.log(f"{event.stage}: {event.message}")
        fraction = event.done / event.total if event.total else 0.0
        self.report(
            event.stage, fraction, eta_s=event.eta_s, metrics=event.metrics, rate=event.rate
        )

    def eta_ratio(self) -> float | None:
        """The time left as it was said half way, over the time it then took until now."""
        if self._half_way is None:
            return None
        said_at_s, eta_s = self._half_way
        return eta_s / max(time.monotonic() - said_at_s, 1e-3)

    def log(self, line: str) -> None:
        """Add to the job's log."""
        with self._lock:
            self._lines.extend(line.splitlines())

    def set_preview(self, key: str) -> None:
        """Object key of the newest preview."""
        self._set("preview", key)

    def save_checkpoint(self, key: str) -> None:
        """What the next attempt, if there is one, resumes from, once it lies in the store.

        It is written within ``report_s`` while Redis answers, so keep the checkpoint before it.
        """
        self._set("checkpoint", key)

    def start(self) -> None:
        """Begin to write. Called by the child before the handler."""
        self._thread.start()

    def request_stop(self) -> None:
        """Make :meth:`check` raise. Called by the signal handler, so it takes no lock."""
        self._stop = True

    def close(self) -> None:
        """End the last stage and write what is left, if Redis is there."""
        with self._lock:
            self._enter_stage("")
        self._done.set()
        self._thread.join()
        self._write()

    def _set(self, name: str, value: str) -> None:
        self.check()
        with self._lock:
            self._fields[name] = value

    def _enter_stage(self, stage: str) -> None:
        if stage == self._stage:
            return
        now = time.monotonic()
        if self._stage:
            spent = self.stage_durations_s.get(self._stage, 0.0)
            self.stage_durations_s[self._stage] = spent + now - self._stage_began_s
        self._stage, self._stage_began_s = stage, now

    def _write_until_done(self) -> None:
        while not self._done.wait(self._report_s):
            if select.select([self._lifeline], [], [], 0)[0]:
                # The worker is dead. Its lease will be given away: stop burning the machine,
                # with everything that the handler has started.
                os.killpg(0, signal.SIGKILL)
            self._write()

    def _write(self) -> None:
        with self._lock:
            fields, lines = self._fields, list(self._lines)
            self._fields = {}
            self._lines.clear()
        if not fields and not lines:
            return
        try:
            answer = self._leases.report(self.job, fields, lines)
        except RedisError:
            with self._lock:
                self._fields = fields | self._fields
                self._lines.extendleft(reversed(lines))
            return
        if answer is not Signal.OK:
            self._stop = True
