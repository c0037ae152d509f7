"""Server-sent events: a resource whenever it changes, until its final state.

All watchers of a process share one reader of each queue's events and one of the records'. An
event's id names the state that it shows, so one who comes back with ``Last-Event-ID`` is not shown
the same again, and is told by 204 that nothing follows a final state.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from services.common.errors import NotFound
from services.common.jobs import Job
from services.gateway.core import Gateway
from services.gateway.errors import LimitReached
from services.gateway.metrics import STREAMS
from services.gateway.records import Record

R = TypeVar("R", bound=Record)

EVENT_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "events until the final state; a comment at least every 15 s",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    },
    204: {"description": "nothing follows the event of Last-Event-ID"},
}
_FULL_RETRY_S = 10.0
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


@dataclass(frozen=True)
class Shown:
    """A state of the resource.

    Args:
        body: the resource.
        stamp: names the state.
        final: whether nothing follows.
    """

    body: BaseModel
    stamp: str
    final: bool


@dataclass(frozen=True)
class Source(Generic[R]):
    """A resource: its record, and the job that the record waits for.

    Args:
        member: name of the record in the stream of changes.
        load: reads the record; raises NotFound when it is gone.
        job_of: queue and id of the job, or None.
        show: both as users see them; the job is None where there is none.
    """

    member: str
    load: Callable[[], Awaitable[R]]
    job_of: Callable[[R], tuple[str, str] | None]
    show: Callable[[R, Job | None], Shown]


async def stream(gateway: Gateway, request: Request, source: Source[R]) -> Response:
    """The answer to who follows a resource.

    Raises:
        NotFound: before it starts.
        LimitReached: the tenant follows as many as it may.
    """
    events = _events(gateway, source, request.headers.get("last-event-id", ""))
    with ExitStack() as stack:
        stack.enter_context(_place(gateway, request.state.caller.tenant))
        try:
            first = await anext(events)
        except StopAsyncIteration:
            return Response(status_code=204)
        place = stack.pop_all()

    async def whole() -> AsyncIterator[bytes]:
        with STREAMS.track_inprogress():
            async with contextlib.aclosing(events):
                yield first
                async for event in events:
                    yield event

    return _EventStream(whole(), place)


class _EventStream(StreamingResponse):
    """Gives its place back however it ends, also where nobody waited for its first event."""

    def __init__(self, content: AsyncIterator[bytes], place: ExitStack) -> None:
        super().__init__(content, media_type="text/event-stream", headers=_HEADERS)
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._place:
            await super().__call__(scope, receive, send)


@contextmanager
def _place(gateway: Gateway, tenant: str) -> Iterator[None]:
    """One of those that a tenant may follow at once."""
    most = gateway.settings.sse_streams_tenant
    if gateway.streams[tenant] >= most:
        raise LimitReached(
            f"more than {most} event streams",
            reason="QUOTA_EVENT_STREAMS",
            remedy="Close streams that are no longer needed, or have events sent to a webhook.",
            retry_after_s=_FULL_RETRY_S,
        )
    gateway.streams[tenant] += 1
    try:
        yield
    finally:
        gateway.streams[tenant] -= 1
        if not gateway.streams[tenant]:
            del gateway.streams[tenant]


async def _events(gateway: Gateway, source: Source[R], last: str) -> AsyncGenerator[bytes, None]:
    feed = _Feed(gateway, source)
    with gateway.changes.subscribe(source.member, feed.on_record):
        try:
            async for shown in feed.states():
                if shown is None:
                    yield KEEPALIVE_COMMENT
                elif shown.stamp != last:
                    last = shown.stamp
                    yield format_sse_event(data_str=shown.body.model_dump_json(), id=last)
        finally:
            await feed.close()


class _Feed(Generic[R]):
    """Brings record and job together."""

    def __init__(self, gateway: Gateway, source: Source[R]) -> None:
        self._gateway = gateway
        self._source = source
        self._wake = asyncio.Event()
        self._stale = True
        self._target: tuple[str, str] | None = None
        self._job: Job | None = None
        self._waiting = False
        self._pump: asyncio.Task[None] | None = None

    def on_record(self) -> None:
        self._stale = True
        self._wake.set()

    async def states(self) -> AsyncIterator[Shown | None]:
        """States, and None after every silence."""
        heartbeat_s = self._gateway.settings.sse_heartbeat_s
        record: R | None = None
        while not self._gateway.stopping.is_set():
            self._wake.clear()
            if self._stale or record is None:
                self._stale = False
                try:
                    record = await self._source.load()
                except NotFound:
                    if record is None:
                        raise
                    return  # erased while it was followed
                await self._follow(self._source.job_of(record))
            if not self._waiting:
                shown = self._source.show(record, self._job)
                yield shown
                if shown.final:
                    return
            try:
                async with asyncio.timeout(heartbeat_s):
                    await self._wake.wait()
            except TimeoutError:
                self._stale = True
                yield None

    async def close(self) -> None:
        await self._follow(None)

    async def _follow(self, target: tuple[str, str] | None) -> None:
        if target == self._target:
            return
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.wait([self._pump])
        self._target, self._job, self._pump = target, None, None
        self._waiting = target is not None
        if target is not None:
            self._pump = asyncio.create_task(self._watch(*target))

    async def _watch(self, queue: str, job_id: str) -> None:
        jobs = cast(AsyncGenerator[Job, None], self._gateway.watchers[queue].watch(job_id))
        try:
            async with contextlib.aclosing(jobs) as changes:
                async for job in changes:
                    self._job, self._waiting = job, False
                    self._wake.set()
        except NotFound:  # forgotten: the record alone says what there is to say
            self._waiting = False
            self._wake.set()
