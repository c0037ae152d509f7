"""What a job is: its type, its states, and the record that clients and watchers read.

queued ──lease──▶ running ──▶ succeeded
  ▲                 │ │ └───▶ failed      what was handed in cannot be used: no retry
  │                 │ └─────▶ cancelled   on request, from any state that is not an end
  └──── waiting ◀───┘ └─────▶ dead        out of attempts: the dead-letter list
        (back-off)                        failed, cancelled and dead can be queued again
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any, Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from services.common.origin import Origin
from synctalk.errors import InputError

PayloadT = TypeVar("PayloadT")
ResultT = TypeVar("ResultT")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DEAD = "dead"

    @property
    def terminal(self) -> bool:
        """Whether nothing more happens by itself."""
        return self not in (JobState.QUEUED, JobState.WAITING, JobState.RUNNING)


class JobSettings(BaseModel):
    """How a queue behaves. Clients and workers of one queue are given the same values.

    A lost worker is noticed after ``lease_s``; a cancelled job stops within ``heartbeat_s +
    stop_grace_s``, after which it is killed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    lease_s: float = Field(15.0, gt=0, description="a worker is lost when silent for so long")
    heartbeat_s: float = Field(1.0, gt=0, description="time between two signs of life")
    stop_grace_s: float = Field(2.5, ge=0, description="time from SIGTERM to SIGKILL")
    report_s: float = Field(0.5, gt=0, description="time between two writes of progress")
    max_attempts: int = Field(5, ge=1, description="failures after which a job is dead")
    max_run_s: float = Field(21_600.0, gt=0, description="an attempt that runs longer has failed")
    backoff_base_s: float = Field(2.0, ge=0, description="longest wait after the first failure")
    backoff_cap_s: float = Field(300.0, ge=0, description="longest wait after any failure")
    tenant_limit: int = Field(2, ge=1, description="jobs of one tenant that run at once")
    history_s: float = Field(604_800.0, ge=0, description="how long a finished job is kept")
    log_kept: int = Field(500, ge=1, description="lines of log kept of a job")
    sweep_delay_s: float = Field(
        30.0, ge=0, description="from a job's end to sweeping its leavings"
    )
    idle_exit_s: float | None = Field(
        None, gt=0, description="a worker that finds no job for so long ends; absent: it stays"
    )

    @model_validator(mode="after")
    def _some_beats_may_get_lost(self) -> Self:
        if self.lease_s < 3 * self.heartbeat_s:
            raise ValueError("lease_s must be at least three times heartbeat_s")
        return self


@dataclass(frozen=True)
class JobType(Generic[PayloadT, ResultT]):
    """A queue and what travels through it, as JSON.

    Args:
        queue: name of the queue, e.g. ``"train"``.
        payload: pydantic model or dataclass that the client hands in.
        result: pydantic model or dataclass that the handler returns and thereby publishes.
    """

    queue: str
    payload: type[PayloadT]
    result: type[ResultT]

    def __post_init__(self) -> None:
        check_name("queue", self.queue)

    @property
    def prefix(self) -> str:
        """What all keys of the queue begin with."""
        return f"jobs:{{{self.queue}}}:"

    @cached_property  # making one costs half a millisecond
    def _payloads(self) -> TypeAdapter[PayloadT]:
        return TypeAdapter(self.payload)

    @cached_property
    def _results(self) -> TypeAdapter[ResultT]:
        return TypeAdapter(self.result)

    def dump_payload(self, payload: PayloadT) -> str:
        """The payload as JSON."""
        return self._payloads.dump_json(payload).decode()

    def load_payload(self, text: str) -> PayloadT:
        """Parse and validate. Raises :class:`InputError` naming the field that is wrong."""
        try:
            return self._payloads.validate_json(text)
        except ValidationError as error:
            raise InputError(
                f"payload of a {self.queue} job: {error}",
                reason="INVALID_PAYLOAD",
                remedy="Bring the workers to the release of those who create jobs.",
            ) from None

    def dump_result(self, result: ResultT) -> str:
        """The result as JSON, after validation: a wrong type must not be published."""
        return self._results.dump_json(self._results.validate_python(result)).decode()

    def load_result(self, text: str) -> ResultT:
        """Parse :attr:`Job.result_json` or :attr:`Publication.result_json`."""
        return self._results.validate_json(text)


@dataclass(frozen=True)
class Failure:
    """Why a job, or its last attempt, did not succeed."""

    reason: str
    message: str
    remedy: str


@dataclass(frozen=True)
class Progress:
    """What the running, or the last, attempt reported.

    Args:
        stage: name of the stage; empty until the handler reports one.
        fraction: of the stage, 0 to 1.
        eta_s: estimated seconds left, or None.
        metrics: figures worth showing.
        preview: object key of the newest preview; empty when none.
        log_lines: lines logged so far by all attempts, also those no longer kept.
    """

    stage: str
    fraction: float
    eta_s: float | None
    metrics: Mapping[str, float] = field(hash=False)
    preview: str
    log_lines: int


@dataclass(frozen=True)
class Job:
    """A job as of one moment. Times are seconds since the epoch by the clock of Redis.

    Args:
        attempt: attempts begun so far; the number of the running one is its fencing token.
        failures: attempts that failed or were lost since the job was (re)queued.
        worker: who runs it; empty when nobody does.
        checkpoint: what a handler saved to resume from; empty when nothing.
        publish_as: name under which the result is published, or empty.
        failure: why it failed, or why the last attempt did; None when nothing went wrong.
        result_json: the published result; see :meth:`JobType.load_result`.
        revision: grows with every change.
        origin: the request that made it, or queued it again.
    """

    id: str
    tenant: str
    state: JobState
    attempt: int
    failures: int
    max_attempts: int
    worker: str
    cancel_requested: bool
    progress: Progress
    checkpoint: str
    publish_as: str
    failure: Failure | None
    result_json: str | None
    created_s: float
    started_s: float | None
    updated_s: float
    finished_s: float | None
    revision: int
    origin: Origin = field(default_factory=Origin)


@dataclass(frozen=True)
class AttemptRecord:
    """One attempt that has ended.

    Args:
        outcome: succeeded, failed, retry, cancelled, released or lost.
    """

    attempt: int
    worker: str
    started_s: float
    ended_s: float
    outcome: str
    reason: str
    message: str


@dataclass(frozen=True)
class Publication:
    """What a name stands for: the result of the one attempt that published last under it."""

    name: str
    job_id: str
    attempt: int
    published_s: float
    result_json: str


@dataclass(frozen=True)
class LogTail:
    """Some lines of a job's log.

    Args:
        first: number of the first line here, counted from 0 over the whole life of the job.
        lines: the lines.
    """

    first: int
    lines: tuple[str, ...]


@dataclass(frozen=True)
class JobPage:
    """Some jobs, and the token that asks for those that follow; empty at the end."""

    jobs: tuple[Job, ...]
    next_token: str


def parse_job(fields: Mapping[str, str]) -> Job:
    """A job from its Redis hash."""

    def seconds(name: str) -> float | None:
        return int(fields[name]) / 1000 if fields.get(name) else None

    return Job(
        id=fields["id"],
        tenant=fields["tenant"],
        state=JobState(fields["state"]),
        attempt=int(fields["attempt"]),
        failures=int(fields["failures"]),
        max_attempts=int(fields["max_attempts"]),
        worker=fields.get("worker", ""),
        cancel_requested=fields.get("cancel") == "1",
        progress=_parse_progress(fields),
        checkpoint=fields.get("checkpoint", ""),
        publish_as=fields["publish_as"],
        failure=_parse_failure(fields),
        result_json=fields.get("result"),
        created_s=int(fields["created_ms"]) / 1000,
        started_s=seconds("started_ms"),
        updated_s=int(fields["updated_ms"]) / 1000,
        finished_s=seconds("finished_ms"),
        revision=int(fields["revision"]),
        origin=Origin(fields.get("request_id", ""), fields.get("traceparent", "")),
    )


def parse_attempt(text: str) -> AttemptRecord:
    """An attempt from the JSON that the scripts write."""
    raw: Any = json.loads(text)
    return AttemptRecord(
        attempt=raw["attempt"],
        worker=raw["worker"],
        started_s=raw["started_ms"] / 1000,
        ended_s=raw["ended_ms"] / 1000,
        outcome=raw["outcome"],
        reason=raw["reason"],
        message=raw["message"],
    )


def parse_publication(name: str, text: str) -> Publication:
    """A publication from the JSON that the scripts write."""
    raw: Any = json.loads(text)
    return Publication(
        name, raw["job_id"], raw["attempt"], raw["published_ms"] / 1000, raw["result"]
    )


def flat_to_fields(flat: Sequence[str]) -> dict[str, str]:
    """Field, value, field, value, … as scripts reply a hash."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def check_name(what: str, name: str) -> str:
    """Names become parts of Redis keys. Raises :class:`InputError` on anything else."""
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{what} {name!r} is not a name",
            reason="INVALID_NAME",
            remedy="Use 1 to 128 letters, digits, '.', '_' and '-'; a letter or digit comes first.",
        )
    return name


def _parse_progress(fields: Mapping[str, str]) -> Progress:
    return Progress(
        stage=fields.get("stage", ""),
        fraction=float(fields.get("fraction", 0)),
        eta_s=float(fields["eta_s"]) if fields.get("eta_s") else None,
        metrics=json.loads(fields.get("metrics", "{}")),
        preview=fields.get("preview", ""),
        log_lines=int(fields.get("log_lines", 0)),
    )


def _parse_failure(fields: Mapping[str, str]) -> Failure | None:
    if not fields.get("reason"):
        return None
    return Failure(fields["reason"], fields.get("message", ""), fields.get("remedy", ""))
