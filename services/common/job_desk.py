"""What the services of jobs have in common: jobs under resource names, each tenant seeing its own.

A servicer translates messages and asks its :class:`JobDesk`; nothing here knows protobuf.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Generic, cast

from redis.exceptions import RedisError

from services.common.errors import AlreadyExists, Conflict, NotFound, Unavailable
from services.common.jobs import Job, JobQueue, JobType, JobWatcher
from services.common.jobs.model import PayloadT, ResultT
from services.common.names import parse_name
from synctalk.errors import InputError

PAGE_SIZE = 50
MAX_PAGE_SIZE = 200
LOG_LINES = 50
_REQUEST_ID_CHARS = 128
_TOKEN = re.compile(r"\d{1,18}\|[A-Za-z0-9_.-]{1,128}")


@dataclass(frozen=True)
class JobView(Generic[PayloadT, ResultT]):
    """A job with all that its resource shows.

    Args:
        name: ``tenants/{tenant}/{collection}/{job}``.
        result: present when the job succeeded.
        log_tail: its last lines; empty in lists.
    """

    name: str
    job: Job
    payload: PayloadT
    result: ResultT | None
    log_tail: tuple[str, ...] = ()


class JobDesk(Generic[PayloadT, ResultT]):
    """Create, look at, cancel and watch the jobs of one queue.

    Every call may raise :class:`Unavailable` while Redis is away.

    Args:
        queue: of the jobs.
        watcher: open, of the same queue.
        job_type: the same that the queue has.
        collection: as resource names have it, e.g. ``"trainingJobs"``.
    """

    def __init__(
        self,
        queue: JobQueue[PayloadT, ResultT],
        watcher: JobWatcher,
        job_type: JobType[PayloadT, ResultT],
        collection: str,
    ) -> None:
        self._queue = queue
        self._watcher = watcher
        self._type = job_type
        self._collection = collection

    async def create(
        self, tenant: str, payload: PayloadT, *, request_id: str, publish_as: str
    ) -> JobView[PayloadT, ResultT]:
        """Queue a job, or find the one that the same request made.

        Raises:
            AlreadyExists: ``request_id`` made another job before.
            InputError: ``request_id`` is too long.
        """
        if len(request_id) > _REQUEST_ID_CHARS:
            raise InputError(
                f"request_id has more than {_REQUEST_ID_CHARS} characters",
                reason="INVALID_REQUEST_ID",
                remedy="Use a UUID.",
            )
        with _redis_errors():
            try:
                made = await self._queue.enqueue(
                    tenant, payload, idempotency_key=request_id, publish_as=publish_as
                )
            except Conflict as error:
                raise AlreadyExists(
                    error.message, reason=error.reason, remedy=error.remedy
                ) from None
            return await self._view(made.job)

    async def get(self, name: str) -> JobView[PayloadT, ResultT]:
        """One job. Raises :class:`NotFound`."""
        with _redis_errors():
            return await self._view(await self._find(name))

    async def list(
        self, parent: str, page_size: int, page_token: str
    ) -> tuple[tuple[JobView[PayloadT, ResultT], ...], str]:
        """A page of the tenant's jobs, newest first, and the token of the next."""
        (tenant,) = parse_name("parent", parent, "tenants")
        if page_size < 0 or (page_token and not _TOKEN.fullmatch(page_token)):
            raise InputError(
                "page_size or page_token cannot be used",
                reason="INVALID_PAGE",
                remedy="Give next_page_token of the page before, and a size from 0 to 200.",
            )
        limit = min(page_size or PAGE_SIZE, MAX_PAGE_SIZE)
        with _redis_errors():
            page = await self._queue.list(tenant, limit=limit, token=page_token)
            views = await asyncio.gather(*(self._listed(job) for job in page.jobs))
        return tuple(view for view in views if view is not None), page.next_token

    async def cancel(self, name: str) -> JobView[PayloadT, ResultT]:
        """Ask a job to stop. Raises :class:`NotFound`."""
        with _redis_errors():
            job = await self._find(name)
            return await self._view(await self._queue.cancel(job.id))

    async def watch(self, name: str) -> AsyncGenerator[JobView[PayloadT, ResultT], None]:
        """The job now and after each change until it has ended. Raises :class:`NotFound`."""
        with _redis_errors():
            job = await self._find(name)
            payload = await self._queue.payload(job.id)
            jobs = cast(AsyncGenerator[Job, None], self._watcher.watch(job.id))
            async with aclosing(jobs) as changes:
                async for job in changes:
                    yield self._show(job, payload, await self._log_tail(job))

    async def _find(self, name: str) -> Job:
        tenant, job_id = parse_name("name", name, "tenants", self._collection)
        return await self._queue.get(job_id, tenant=tenant)

    async def _listed(self, job: Job) -> JobView[PayloadT, ResultT] | None:
        try:
            return self._show(job, await self._queue.payload(job.id), ())
        except NotFound:  # forgotten since the page was read
            return None

    async def _view(self, job: Job) -> JobView[PayloadT, ResultT]:
        payload = await self._queue.payload(job.id)
        return self._show(job, payload, await self._log_tail(job))

    async def _log_tail(self, job: Job) -> tuple[str, ...]:
        return (await self._queue.log(job.id)).lines[-LOG_LINES:]

    def _show(
        self, job: Job, payload: PayloadT, log_tail: tuple[str, ...]
    ) -> JobView[PayloadT, ResultT]:
        name = f"tenants/{job.tenant}/{self._collection}/{job.id}"
        result = None if job.result_json is None else self._type.load_result(job.result_json)
        return JobView(name, job, payload, result, log_tail)


@contextmanager
def _redis_errors() -> Iterator[None]:
    try:
        yield
    except RedisError as error:
        raise Unavailable(
            f"the job queue cannot be reached: {type(error).__name__}",
            reason="QUEUE_UNAVAILABLE",
            remedy="Try again; if it stays away, check AVATAR_REDIS_URL and the server.",
        ) from error
