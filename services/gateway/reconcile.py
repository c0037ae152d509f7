"""The reconciler: in every replica, looks at all that is unfinished until it is not.

What is due stands in Redis, so work that a killed replica left is taken up by any other, or by
this one when it is back. A look is a claim for some time, not a lock: all that looks do may be
done twice.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Generic, TypeVar

from redis.exceptions import RedisError

from services.common import logs
from services.common.errors import Unavailable
from services.gateway import events, uploads
from services.gateway.avatar_work import AvatarWork
from services.gateway.consent_work import ConsentWork
from services.gateway.core import Gateway
from services.gateway.delivery import Sender
from services.gateway.dub_work import DubWork
from services.gateway.erasure import Eraser
from services.gateway.metrics import FAILED_LOOKS
from services.gateway.records import Claim, Record, Table

log = logs.logger(__name__)
R = TypeVar("R", bound=Record)

_IDLE_S = 1.0
_AWAY_S = 2.0
_FAILED_S = 10.0
_AT_ONCE = 3  # requests come first: looks share their event loop
_SENT_AT_ONCE = 64  # webhooks keep one waiting, and cost nothing
_SENT_AT_ONCE_TENANT = 4  # one whose webhooks never answer is not to have them all
_HASHING = 4


@asynccontextmanager
async def reconciling(gateway: Gateway) -> AsyncIterator[None]:
    """Look after everything while the context is open."""
    hashing = asyncio.Semaphore(_HASHING)
    tables = gateway.tables
    async with AsyncExitStack() as stack:
        sender = await stack.enter_async_context(Sender(gateway))
        loops: list[Loop[Any]] = [
            Loop(gateway, tables.avatars, AvatarWork(gateway, hashing).look),
            Loop(gateway, tables.dubs, DubWork(gateway, hashing).look),
            Loop(gateway, tables.consents, ConsentWork(gateway).look),
            Loop(gateway, tables.erasures, Eraser(gateway).look),
            Loop(gateway, tables.deliveries, sender.look, _SENT_AT_ONCE, _SENT_AT_ONCE_TENANT),
            Loop(gateway, tables.uploads, partial(uploads.sweep, gateway)),
            Loop(gateway, tables.events, partial(events.sweep, gateway)),
            Loop(gateway, tables.sessions, gateway.live.sweep),
        ]
        for loop in loops:
            await stack.enter_async_context(loop.running())
        keeper = asyncio.create_task(_keep_queues(gateway))
        try:
            yield
        finally:
            keeper.cancel()
            await asyncio.wait([keeper])


async def _keep_queues(gateway: Gateway) -> None:
    """Have jobs put in line again whose wait is over or whose worker was lost, also while no worker
    is there to do so: an autoscaler starts workers for jobs in line, and for those alone.
    """
    while True:
        try:
            for queue in gateway.queues.values():
                await queue.maintain()
        except RedisError as error:
            log.warning("queues not looked after", error=repr(error))
        await asyncio.sleep(gateway.settings.jobs.lease_s / 3)


class Loop(Generic[R]):
    """Looks at the records of one kind, several at once.

    Args:
        look: takes a record as far as it goes and says in how many seconds to look again, should
            nothing happen to it before.
        at_once: how many.
        of_tenant: how many of one tenant; None: as many as there are.
    """

    def __init__(
        self,
        gateway: Gateway,
        table: Table[R],
        look: Callable[[R], Awaitable[float]],
        at_once: int = _AT_ONCE,
        of_tenant: int | None = None,
    ) -> None:
        self._at_once = at_once
        self._of_tenant = of_tenant
        self._changes = gateway.changes
        self._lease_s = gateway.settings.gateway_poll_s
        self._table = table
        self._look = look
        self._under_way: dict[asyncio.Task[None], str] = {}  # whose it is

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run while the context is open; looks that are under way at its end are broken off."""
        wake = self._table.poked.set
        with self._changes.subscribe(self._table.kind, wake):
            task = asyncio.create_task(self._run())
            try:
                yield
            finally:
                doomed = {task, *self._under_way}
                for each in doomed:
                    each.cancel()
                await asyncio.wait(doomed)

    async def _run(self) -> None:
        poked = self._table.poked
        while True:
            poked.clear()
            try:
                claims = await self._claims()
            except RedisError as error:
                log.warning("redis is away", error=repr(error))
                await asyncio.sleep(_AWAY_S)
                continue
            for claim in claims:
                task = asyncio.create_task(self._one(claim))
                self._under_way[task] = claim.tenant
                task.add_done_callback(self._done)
            if not claims:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_IDLE_S):
                        await poked.wait()

    async def _claims(self) -> list[Claim]:
        free = self._at_once - len(self._under_way)
        if not free:
            return []
        has = Counter(self._under_way.values())
        return await self._table.claim(free, self._lease_s, self._of_tenant, has)

    def _done(self, task: asyncio.Task[None]) -> None:
        del self._under_way[task]
        self._table.poked.set()

    async def _one(self, claim: Claim) -> None:
        with logs.request_scope(None):
            again_s = _FAILED_S
            try:
                record = await self._table.find(claim.tenant, claim.id)
                if record is None:
                    await self._table.drop(claim)
                    return
                async with self._kept(claim) as kept:
                    again_s = await self._look(record)
                claim = kept[-1]
            except (Unavailable, RedisError) as error:
                log.warning("put off", record=claim.member, error=str(error))
                again_s = _AWAY_S
            except Exception as error:
                FAILED_LOOKS.labels(self._table.kind).inc()
                log.error("look failed", record=claim.member, exc_info=error)
            with contextlib.suppress(RedisError):  # its claim ends by itself
                await self._table.postpone(claim, again_s)

    @asynccontextmanager
    async def _kept(self, claim: Claim) -> AsyncIterator[list[Claim]]:
        """Renew a claim while a long look lasts; the last of the list is the one that stands."""
        claims = [claim]

        async def renew() -> None:
            while True:
                await asyncio.sleep(self._lease_s / 3)
                with contextlib.suppress(RedisError):
                    claims.append(await self._table.postpone(claims[-1], self._lease_s))

        renewing = asyncio.create_task(renew())
        try:
            yield claims
        finally:
            renewing.cancel()
            await asyncio.wait([renewing])
