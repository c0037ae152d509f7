"""The client's side of a queue: create, look at, cancel and requeue jobs. For asyncio services."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, cast

from redis.asyncio import Redis

from services.common.errors import Conflict, FailedPrecondition, NotFound
from services.common.jobs import scripts
from services.common.jobs.leases import maintenance
from services.common.jobs.model import (
    AttemptRecord,
    Job,
    JobPage,
    JobSettings,
    JobState,
    JobType,
    LogTail,
    PayloadT,
    Publication,
    ResultT,
    check_name,
    parse_attempt,
    parse_job,
    parse_publication,
)
from services.common.origin import origin
from synctalk.errors import InputError


@dataclass(frozen=True)
class Enqueued:
    """The job that stands for a request, and whether the request made it."""

    job: Job
    created: bool


class JobQueue(Generic[PayloadT, ResultT]):
    """Jobs of one type in Redis.

    Args:
        redis: client with ``decode_responses=True``; see :func:`services.common.jobs.connect`.
        job_type: queue, payload and result.
        settings: the same that the workers have.
    """

    def __init__(
        self, redis: Redis, job_type: JobType[PayloadT, ResultT], settings: JobSettings
    ) -> None:
        self._redis = redis
        self._type = job_type
        self._settings = settings
        self._prefix = job_type.prefix

    async def enqueue(
        self,
        tenant: str,
        payload: PayloadT,
        *,
        idempotency_key: str = "",
        publish_as: str = "",
        job_id: str = "",
    ) -> Enqueued:
        """Put a job at the end of its tenant's line; it works for the request that asks.

        Args:
            tenant: whose job it is; tenants take turns.
            payload: what the handler gets.
            idempotency_key: asking again with the same key and payload gives the same job, for as
                long as it is kept.
            publish_as: name that :meth:`published` resolves to the result, also after the job is
                forgotten.
            job_id: chosen by the caller; a random one by default.

        Raises:
            Conflict: key or id was used before with another payload.
            InputError: tenant, key or id is not a name.
        """
        text = self._type.dump_payload(payload)
        job_id = check_name("job id", job_id or uuid.uuid4().hex)
        check_name("tenant", tenant)
        if len(idempotency_key) > 255:
            raise InputError("idempotency key longer than 255 characters", reason="INVALID_NAME")
        digest = hashlib.sha256(f"{tenant}\n{publish_as}\n{text}".encode()).hexdigest()
        attempts, asked = self._settings.max_attempts, origin()
        status, found = await self._run(
            "enqueue",
            (
                job_id, tenant, text, digest, attempts, publish_as, idempotency_key,
                asked.request_id, asked.traceparent,
            ),
        )  # fmt: skip
        if status == "conflict":
            raise Conflict(
                f"job {found} was created by this key or id with another payload",
                reason="IDEMPOTENCY_CONFLICT",
                remedy="Use a new idempotency key for a new request.",
            )
        return Enqueued(await self.get(found), status == "created")

    async def get(self, job_id: str, *, tenant: str = "") -> Job:
        """The job now. Raises :class:`NotFound`, also when it is not ``tenant``'s (if given)."""
        fields = await self._await(self._redis.hgetall(self._key("job", job_id)))
        if not fields or (tenant and fields["tenant"] != tenant):
            raise _not_found(job_id)
        return parse_job(fields)

    async def payload(self, job_id: str) -> PayloadT:
        """What the job was created with. Raises :class:`NotFound`."""
        text = await self._await(self._redis.hget(self._key("job", job_id), "payload"))
        if text is None:
            raise _not_found(job_id)
        return self._type.load_payload(text)

    async def list(self, tenant: str, *, limit: int = 50, token: str = "") -> JobPage:
        """Jobs of one tenant, newest first. ``token`` comes from the page before."""
        return await self._page(self._key("tenant", tenant), limit, token)

    async def dead_letters(self, *, limit: int = 50, token: str = "") -> JobPage:
        """Jobs that ran out of attempts, last died first; each says why in ``failure``."""
        return await self._page(self._key("state", JobState.DEAD), limit, token)

    async def cancel(self, job_id: str) -> Job:
        """Stop a job: at once while it waits, within 5 s while it runs. No effect on an ended one.

        Raises:
            NotFound: no such job.
        """
        if await self._run("cancel", (job_id,)) is None:
            raise _not_found(job_id)
        return await self.get(job_id)

    async def requeue(self, job_id: str) -> Job:
        """Give a dead, failed or cancelled job new attempts.

        Raises:
            NotFound: no such job.
            FailedPrecondition: it succeeded, or has not ended.
        """
        asked = origin()
        reply = await self._run("requeue", (job_id, asked.request_id, asked.traceparent))
        if reply is None:
            raise _not_found(job_id)
        if reply[0] != "ok":
            raise FailedPrecondition(
                f"job {job_id} is {reply[1]}",
                reason="JOB_NOT_REQUEUEABLE",
                remedy="Only dead, failed and cancelled jobs can be queued again.",
            )
        return await self.get(job_id)

    async def delete(self, job_id: str) -> None:
        """Forget an ended job, its log and its idempotency key. Deleting twice does no harm.

        Raises:
            FailedPrecondition: it has not ended.
        """
        status = await self._run("delete", (job_id,))
        if status not in ("deleted", "missing"):
            raise FailedPrecondition(
                f"job {job_id} is {status}",
                reason="JOB_NOT_ENDED",
                remedy="Cancel it and wait until it has stopped.",
            )

    async def log(self, job_id: str, *, after: int = 0) -> LogTail:
        """Lines from number ``after`` on, as far as they are kept."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hget(self._key("job", job_id), "log_lines")
            pipe.lrange(self._key("job", job_id) + ":log", 0, -1)
            total, lines = await pipe.execute()
        first = int(total or 0) - len(lines)
        skip = max(0, after - first)
        return LogTail(first + skip, tuple(lines[skip:]))

    async def attempts(self, job_id: str) -> tuple[AttemptRecord, ...]:
        """The attempts that have ended, oldest first; the last 50 are kept."""
        key = self._key("job", job_id) + ":attempts"
        return tuple(
            parse_attempt(text) for text in await self._await(self._redis.lrange(key, 0, -1))
        )

    async def published(self, name: str) -> Publication | None:
        """The last result that was published under ``name``; None when there is none."""
        text = await self._await(self._redis.hget(f"{self._prefix}published", name))
        return None if text is None else parse_publication(name, text)

    async def unpublish(self, name: str) -> bool:
        """Forget a publication; whether there was one."""
        return bool(await self._await(self._redis.hdel(f"{self._prefix}published", name)))

    async def maintain(self) -> None:
        """One round of what workers do beside their work: put jobs whose wait is over in line, and
        take jobs from lost workers. For queues whose workers are started only for jobs in line.
        """
        await self._run("maintain", maintenance(self._settings))

    async def _page(self, key: str, limit: int, token: str) -> JobPage:
        # Newest first by (score, id), which is a total order: pages neither skip nor repeat a job
        # when others come or go between two of them.
        score, _, last = token.partition("|")
        ties = await self._await(self._redis.zcount(key, score, score)) if token else 0
        rows: list[tuple[str, float]] = await self._await(
            self._redis.zrange(
                key, score or "+inf", "-inf", desc=True, byscore=True, offset=0,
                num=limit + 1 + ties, withscores=True,
            )
        )  # fmt: skip
        if token:
            rows = [row for row in rows if (row[1], row[0]) < (float(score), last)]
        jobs = await self.many(job_id for job_id, _ in rows[:limit])
        more = len(rows) > limit
        return JobPage(jobs, f"{rows[limit - 1][1]:.0f}|{rows[limit - 1][0]}" if more else "")

    async def many(self, job_ids: Iterable[str]) -> tuple[Job, ...]:
        """Those of the jobs that are there, in order."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                pipe.hgetall(self._key("job", job_id))
            return tuple(parse_job(fields) for fields in await pipe.execute() if fields)

    def _key(self, kind: str, name: str) -> str:
        return f"{self._prefix}{kind}:{name}"

    async def _run(self, name: str, args: tuple[str | int | float, ...]) -> Any:
        script = self._redis.register_script(scripts.source(name))
        return await self._await(script(keys=[self._prefix], args=args))

    @staticmethod
    async def _await(reply: Awaitable[Any] | Any) -> Any:
        """redis-py types the replies of both its clients at once; ours is the awaitable one."""
        return await cast(Awaitable[Any], reply)


def _not_found(job_id: str) -> NotFound:
    return NotFound(
        f"no job {job_id}",
        reason="JOB_NOT_FOUND",
        remedy="Check the id; finished jobs are kept for a limited time.",
    )
