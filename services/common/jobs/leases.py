"""The worker's side of a queue: lease, renew, report, finish. Synchronous, no threads."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, cast

from redis import Redis

from services.common.jobs import scripts
from services.common.jobs.model import Job, JobSettings, JobState, flat_to_fields, parse_job


class Signal(StrEnum):
    """What Redis answers to a sign of life."""

    OK = "ok"
    CANCEL = "cancel"
    LOST = "lost"


class Outcome(StrEnum):
    """How an attempt ends by its worker's account; without an account the lease runs out."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    RETRY = "retry"
    RELEASED = "released"


@dataclass(frozen=True)
class Ending:
    """The account of an attempt.

    Args:
        outcome: failed means that no retry can help; released, that it is nobody's fault. A job
            whose cancellation was requested ends as cancelled, whatever the account says.
        result_json: what to publish; only with succeeded.
    """

    outcome: Outcome
    result_json: str = ""
    reason: str = ""
    message: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Lease:
    """A job held by a worker; ``job.attempt`` is the fencing token."""

    job: Job
    payload_json: str


@dataclass(frozen=True)
class Maintained:
    """What one round of maintenance found."""

    ready: int
    lost: int
    forgotten: int


class Leases:
    """What workers may do to the jobs of a queue.

    Every method may raise :class:`redis.exceptions.RedisError` and may then be called again with
    the same arguments: a call whose reply was lost is not carried out twice.
    """

    def __init__(self, redis: Redis, prefix: str, settings: JobSettings) -> None:
        self._redis = redis
        self._prefix = prefix
        self._settings = settings
        self._lease_ms = round(settings.lease_s * 1000)

    def acquire(self, worker: str) -> Lease | None:
        """The next job in fair order, or None. A worker holds one at a time."""
        flat = self._run("lease", worker, self._lease_ms, self._settings.tenant_limit)
        if flat is None:
            return None
        fields = flat_to_fields(flat)
        return Lease(parse_job(fields), fields["payload"])

    def wait(self, timeout_s: float) -> None:
        """Return when there may be a job to lease, at the latest after ``timeout_s``."""
        self._redis.blpop([f"{self._prefix}wake"], timeout=timeout_s)

    def renew(self, job: Job) -> Signal:
        """Sign of life: the lease begins anew."""
        return self._report(job, self._lease_ms, (), ())

    def report(
        self, job: Job, fields: Mapping[str, str | int | float], lines: Sequence[str] = ()
    ) -> Signal:
        """Write progress and log lines, provided that this attempt still holds the job."""
        flat = [part for item in fields.items() for part in item]
        return self._report(job, 0, flat, lines)

    def finish(self, job: Job, ending: Ending) -> JobState | None:
        """End the attempt; with success, publish its result.

        Returns:
            The job's new state, or None when the attempt does not hold the job any more: then
            nothing has changed and nothing was published.
        """
        state = self._run(
            "finish", job.id, job.attempt, ending.outcome, ending.result_json, ending.reason,
            ending.message, ending.remedy, *self._backoff(),
        )  # fmt: skip
        return None if state == "lost" else JobState(state)

    def maintain(self) -> Maintained:
        """Queue jobs whose back-off is over, take jobs from lost workers, forget old history."""
        return Maintained(*self._run("maintain", *maintenance(self._settings)))

    def next_to_sweep(self) -> Job | None:
        """A job that ended some time ago and whose leavings are to be removed."""
        flat = self._run("sweep", round(self._settings.sweep_delay_s * 1000), 60_000)
        return None if flat is None else parse_job(flat_to_fields(flat))

    def void(self, job: Job) -> None:
        """This attempt had lost the job and has stopped: what it wrote since is to be swept."""
        self._run("void", job.id)

    def swept(self, job: Job) -> None:
        """Nothing is left of the job but what it published."""
        self._redis.zrem(f"{self._prefix}sweep", job.id)

    def _report(
        self, job: Job, lease_ms: int, flat: Sequence[str | int | float], lines: Sequence[str]
    ) -> Signal:
        kept = self._settings.log_kept
        args = (job.id, job.attempt, lease_ms, kept, len(flat), *flat, *lines)
        return Signal(self._run("report", *args))

    def _backoff(self) -> tuple[int, int, float]:
        return _backoff(self._settings)

    def _run(self, name: str, *args: str | int | float) -> Any:
        script = self._redis.register_script(scripts.source(name))
        return cast(Any, script(keys=[self._prefix], args=args))


def maintenance(settings: JobSettings) -> tuple[int | float, ...]:
    """The arguments of one round of maintenance."""
    lease_ms, history_ms = round(settings.lease_s * 1000), round(settings.history_s * 1000)
    return lease_ms, history_ms, 100, *_backoff(settings)


def _backoff(settings: JobSettings) -> tuple[int, int, float]:
    base, cap = settings.backoff_base_s, settings.backoff_cap_s
    return round(base * 1000), round(cap * 1000), random.random()


def progress_fields(
    stage: str, fraction: float, eta_s: float | None, metrics: Mapping[str, float]
) -> dict[str, str | int | float]:
    """The fields of a report."""
    return {
        "stage": stage,
        "fraction": min(1.0, max(0.0, fraction)),
        "eta_s": "" if eta_s is None else round(eta_s, 1),
        "metrics": json.dumps(dict(metrics)),
    }
