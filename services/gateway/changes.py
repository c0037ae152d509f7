"""Hears of every change of a record, whichever replica made it, from one stream."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, cast

from redis.asyncio import Redis

from services.common import logs
from services.gateway.records import CHANGES

log = logs.logger(__name__)
_BLOCK_MS = 2000
_AWAY_S = 0.5


class Changes:
    """Wakes whoever waits for a record: ``{kind}/{tenant}/{id}``, or for any of a ``kind`` that is
    due now.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._waiting: dict[str, set[Callable[[], None]]] = {}

    @contextmanager
    def subscribe(self, name: str, wake: Callable[[], None]) -> Iterator[None]:
        """Call ``wake`` at each change while the context is open; it must not block."""
        self._waiting.setdefault(name, set()).add(wake)
        try:
            yield
        finally:
            self._waiting[name].discard(wake)
            if not self._waiting[name]:
                del self._waiting[name]

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Read the stream while the context is open."""
        reader = asyncio.create_task(self._read())
        try:
            yield
        finally:
            reader.cancel()
            await asyncio.wait([reader])

    async def _read(self) -> None:
        last = "$"
        while True:
            try:
                if last == "$":
                    last = await self._newest()
                    self.wake_all()  # something may have happened before
                last = await self._follow(last)
            except Exception as error:  # whatever it is, nobody must wait for ever
                log.warning("stream of changes interrupted", error=repr(error))
                last = "$"
                await asyncio.sleep(_AWAY_S)

    async def _newest(self) -> str:
        reply: Any = await cast(Any, self._redis.xrevrange(CHANGES, count=1))
        return str(reply[0][0]) if reply else "0-0"

    async def _follow(self, last: str) -> str:
        reply: Any = await cast(Any, self._redis.xread({CHANGES: last}, count=500, block=_BLOCK_MS))
        for _, entries in reply or ():
            for last, fields in entries:  # noqa: B007 - the last id of all
                member = fields["member"]
                self._wake(member)
                if "due" in fields:
                    self._wake(member.partition("/")[0])
        return last

    def wake_all(self) -> None:
        """Have everyone look at what they wait for."""
        for name in list(self._waiting):
            self._wake(name)

    def _wake(self, name: str) -> None:
        for wake in list(self._waiting.get(name, ())):
            with contextlib.suppress(Exception):
                wake()
