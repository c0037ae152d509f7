"""Watching jobs: one reader of the queue's event stream a process, however many watch."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, Self, cast

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.common.errors import NotFound
from services.common.jobs.model import Job, JobType, PayloadT, ResultT, parse_job

_log = structlog.get_logger(__name__)
_BLOCK_MS = 2000
_AWAY_S = 0.5


class JobWatcher:
    """Hands the changes of jobs to any number of watchers; an async context manager.

    A slow watcher gets fewer changes, never old ones, and holds up nobody: only the newest state
    of a job is kept.

    Args:
        redis: client of its own or shared; see :func:`services.common.jobs.connect`.
        job_type: whose queue to follow.
        on_change: told of every change of every job, as far as Redis still has the event.
    """

    def __init__(
        self,
        redis: Redis,
        job_type: JobType[PayloadT, ResultT],
        on_change: Callable[[Job], Awaitable[None]] | None = None,
    ) -> None:
        self._redis = redis
        self._prefix = job_type.prefix
        self._on_change = on_change
        self._topics: dict[str, _Topic] = {}
        self._reader: asyncio.Task[None] | None = None
        self._closing = False
        self._loading = asyncio.Lock()

    async def __aenter__(self) -> Self:
        # From here on every change is seen: a watcher reads its job after it has subscribed.
        last = await self._newest()
        self._reader = asyncio.create_task(self._read(last))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        assert self._reader is not None
        self._closing = True  # redis-py's timeouts may swallow a cancellation
        self._reader.cancel()
        await asyncio.wait([self._reader])

    async def watch(self, job_id: str) -> AsyncIterator[Job]:
        """The job now, then whenever it changes, until it has ended or is deleted.

        It lives through restarts of Redis.

        Raises:
            NotFound: no such job.
        """
        topic = self._topics.setdefault(job_id, _Topic())
        topic.watchers += 1
        try:
            await self._load()
            if topic.job is None:
                raise NotFound(
                    f"no job {job_id}",
                    reason="JOB_NOT_FOUND",
                    remedy="Check the id; finished jobs are kept for a limited time.",
                )
            seen = -1
            while not topic.deleted:
                if topic.job.revision != seen:
                    seen = topic.job.revision
                    yield topic.job
                    if topic.job.revision == seen and topic.job.state.terminal:
                        return
                else:
                    await topic.changed()
        finally:
            topic.watchers -= 1
            if not topic.watchers and self._topics.get(job_id) is topic:
                del self._topics[job_id]

    async def _load(self) -> None:
        """Read all jobs of new topics at once: five hundred watchers may come together."""
        async with self._loading:
            await self._refresh([name for name, topic in self._topics.items() if not topic.job])

    async def _read(self, last: str) -> None:
        while not self._closing:
            try:
                last = await self._follow(last)
            except Exception as error:  # whatever it is, watchers must not wait for ever
                _log.warning("event stream interrupted", error=repr(error))
                await asyncio.sleep(_AWAY_S)
                with contextlib.suppress(RedisError):
                    # Redis may have lost its newest events: begin anew from what it has.
                    last = await self._newest()
                    for topic in self._topics.values():
                        topic.stale = True
                    await self._refresh(list(self._topics))

    async def _follow(self, last: str) -> str:
        reply: Any = await cast(
            Any, self._redis.xread({f"{self._prefix}events": last}, count=500, block=_BLOCK_MS)
        )
        for _, events in reply or ():
            for last, fields in events:  # noqa: B007 - the last id of all
                topic = self._topics.get(fields["id"])
                if topic is not None:
                    topic.advance(parse_job(fields))
                if self._on_change is not None:
                    await self._on_change(parse_job(fields))
        return last

    async def _newest(self) -> str:
        reply: Any = await cast(Any, self._redis.xrevrange(f"{self._prefix}events", count=1))
        return str(reply[0][0]) if reply else "0-0"

    async def _refresh(self, job_ids: Sequence[str]) -> None:
        async with self._redis.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                pipe.hgetall(f"{self._prefix}job:{job_id}")
            replies = await pipe.execute()
        for job_id, fields in zip(job_ids, replies, strict=True):
            topic = self._topics.get(job_id)
            if topic is None:
                continue
            if fields:
                topic.advance(parse_job(fields))
            elif topic.job is not None:
                topic.delete()


class _Topic:
    """The newest state of one job, and those who wait for the next."""

    def __init__(self) -> None:
        self.job: Job | None = None
        self.deleted = False
        self.stale = False  # Redis may have gone back in time
        self.watchers = 0
        self._change = asyncio.Event()

    async def changed(self) -> None:
        await self._change.wait()

    def advance(self, job: Job) -> None:
        """Events and reads overtake each other; the newest revision stands."""
        if self.job is None or self.stale or job.revision > self.job.revision:
            self.job, self.stale = job, False
            self._wake()

    def delete(self) -> None:
        self.deleted = True
        self._wake()

    def _wake(self) -> None:
        self._change.set()
        self._change = asyncio.Event()
