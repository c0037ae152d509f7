"""The worker: leases a job, runs its handler in a child process, keeps the lease, accounts for it.

Its loop has one thread, and nothing that a handler does can hold it up: a lease depends on the
worker being alive, not on how long the job takes. When Redis is away the child works on; when it
is back, either the lease still stands or the attempt is void and its child is stopped.
"""

from __future__ import annotations

import os
import signal
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from types import FrameType
from typing import Generic

import structlog
from redis.exceptions import RedisError

from services.common.jobs.child import Account, Child, Handler, start_child
from services.common.jobs.connect import connect_worker
from services.common.jobs.leases import Ending, Lease, Leases, Outcome, Signal
from services.common.jobs.model import Job, JobSettings, JobState, JobType, PayloadT, ResultT
from services.common.origin import working_for

_log = structlog.get_logger(__name__)
_AWAY_S = 0.5
_TIDY_S = 5.0


class Stop(StrEnum):
    """Why a worker stops its child."""

    CANCEL = "cancel"
    LOST = "lost"
    SHUTDOWN = "shutdown"
    TIMEOUT = "timeout"


@dataclass(frozen=True)
class Finished:
    """An attempt that this worker ended.

    Args:
        state: the job's new state, or None when the attempt had lost it.
    """

    job: Job
    state: JobState | None
    duration_s: float
    account: Account


class Worker(Generic[PayloadT, ResultT]):
    """Works on the jobs of one queue, one at a time. Run several processes for more.

    Args:
        redis_url: where the jobs are.
        job_type: queue, payload and result.
        handler: does the work, in a child process for each job.
        settings: the same that the clients have.
        sweep: removes from the store what attempts of an ended job wrote and did not publish. It
            is called at least once for each job, some time after its end.
        on_finished: told of every attempt, for metrics.
        tidy: called at the start and every few seconds, also while a job runs; it must be quick.
    """

    def __init__(
        self,
        redis_url: str,
        job_type: JobType[PayloadT, ResultT],
        handler: Handler[PayloadT, ResultT],
        settings: JobSettings,
        *,
        sweep: Callable[[Job], None] | None = None,
        on_finished: Callable[[Finished], None] | None = None,
        tidy: Callable[[], None] | None = None,
    ) -> None:
        self.name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self._redis_url = redis_url
        self._type = job_type
        self._handler = handler
        self._settings = settings
        self._sweep = sweep or (lambda job: None)
        self._on_finished = on_finished or (lambda finished: None)
        self._leases = Leases(connect_worker(redis_url), job_type.prefix, settings)
        self._log = _log.bind(queue=job_type.queue, worker=self.name)
        self._tidy = tidy or (lambda: None)
        self._tidied_s = -_TIDY_S
        self._maintained_s = 0.0
        self._busy_s = 0.0
        self._shutdown = False

    def run(self) -> None:
        """Work until SIGTERM or SIGINT, which give the running job back unblamed, or until there is
        nothing to do for ``idle_exit_s``.

        Call it from the main thread.
        """
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        self._log.info("worker started")
        self._busy_s = time.monotonic()
        while not self._shutdown:
            self._turn()
        self._log.info("worker stopped")

    def shutdown(self) -> None:
        """Make :meth:`run` return soon."""
        self._shutdown = True

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.shutdown()

    def _turn(self) -> None:
        try:
            self._maintain()
            self._sweep_one()
            lease = self._leases.acquire(self.name)
            if lease is None:
                self._idle()
                return
        except RedisError as error:
            self._log.warning("redis is away", error=str(error))
            time.sleep(_AWAY_S)
            return
        with working_for(lease.job.origin):
            self._work(lease)
        self._busy_s = time.monotonic()

    def _idle(self) -> None:
        longest_s = self._settings.idle_exit_s
        if longest_s is not None and time.monotonic() - self._busy_s > longest_s:
            self._log.info("nothing to do", seconds=longest_s)
            self.shutdown()
        else:
            self._leases.wait(self._settings.heartbeat_s)

    def _work(self, lease: Lease) -> None:
        log = self._log.bind(job=lease.job.id, tenant=lease.job.tenant, attempt=lease.job.attempt)
        log.info("job leased")
        began_s = time.monotonic()
        child = start_child(lease, self._type, self._handler, self._settings, self._redis_url)
        try:
            stop = self._supervise(lease, child)
            if stop is not None:
                log.info("job told to stop", why=stop)
                child.stop(self._settings.stop_grace_s)
        except BaseException:
            os.killpg(child.pid, signal.SIGKILL)
            child.reap()
            raise
        account = child.reap()
        ending = _ending(account.ending, stop, self._settings)
        state = self._insist(lambda: self._finish(lease.job, ending, stop))
        log.info("job ended", state=state or "lost", reason=account.ending.reason)
        self._on_finished(Finished(lease.job, state, time.monotonic() - began_s, account))

    def _supervise(self, lease: Lease, child: Child) -> Stop | None:
        """Keep the lease until the child ends (None) or is to be stopped."""
        deadline_s = time.monotonic() + self._settings.max_run_s
        while not child.wait(self._settings.heartbeat_s):
            if self._shutdown:
                return Stop.SHUTDOWN
            if time.monotonic() > deadline_s:
                return Stop.TIMEOUT
            try:
                answer = self._leases.renew(lease.job)
                self._maintain()
            except RedisError as error:
                self._log.warning("heartbeat failed", job=lease.job.id, error=str(error))
                continue
            if answer is not Signal.OK:
                return Stop(answer.value)
        return None

    def _finish(self, job: Job, ending: Ending, stop: Stop | None) -> JobState | None:
        state = None if stop is Stop.LOST else self._leases.finish(job, ending)
        if state is None:
            self._leases.void(job)
        return state

    def _insist(self, tell: Callable[[], JobState | None]) -> JobState | None:
        """Tell Redis, as often as it takes; a worker that is shut down leaves it to the lease."""
        while True:
            try:
                return tell()
            except RedisError as error:
                self._log.warning("redis is away", error=str(error))
                if self._shutdown:
                    return None
                time.sleep(_AWAY_S)

    def _maintain(self) -> None:
        now_s = time.monotonic()
        if now_s - self._maintained_s < self._settings.heartbeat_s:
            return
        self._maintained_s = now_s
        done = self._leases.maintain()
        if done.lost:
            self._log.warning("took jobs from lost workers", jobs=done.lost)
        if now_s - self._tidied_s >= _TIDY_S:
            self._tidied_s = now_s
            try:
                self._tidy()
            except Exception as error:  # the next time will do
                self._log.warning("disk not tidied", error=repr(error))

    def _sweep_one(self) -> None:
        job = self._leases.next_to_sweep()
        if job is None:
            return
        try:
            self._sweep(job)
        except Exception:  # listed still: this or another worker tries again in a minute
            self._log.exception("sweep failed", job=job.id)
            return
        self._leases.swept(job)


def _ending(ending: Ending, stop: Stop | None, settings: JobSettings) -> Ending:
    """What a child says, in the light of why it was stopped. Work that got done stays done."""
    if ending.outcome is not Outcome.RETRY:
        return ending
    if stop is Stop.SHUTDOWN:
        return replace(ending, outcome=Outcome.RELEASED, reason="", message="", remedy="")
    if stop is Stop.TIMEOUT:
        return Ending(
            Outcome.RETRY,
            reason="JOB_TIMEOUT",
            message=f"the attempt ran longer than {settings.max_run_s:.0f} s",
            remedy="Give shorter input, or raise max_run_s.",
        )
    return ending
