"""Nobody is shown without consent: the renderer asks for itself, and goes on asking.

Whoever calls, over whichever way, a face leaves this process only while the person's consent
stands and covers what it is used for. Once a second all that is shown or cached is looked at
again: what was revoked, has expired or was erased ends, and its copies here go.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.common import logs
from services.common.consents import ConsentReader, Scope, Shown
from synctalk.errors import SyncTalkError

T = TypeVar("T")
log = logs.logger(__name__)
_LOOK_S = 1.0


class Hold:
    """A person who is being shown.

    Args:
        scope: what for; None: for nothing yet.
        key: of the avatar in the cache.
    """

    def __init__(self, shown: Shown, scope: Scope | None, key: str) -> None:
        self.shown, self.scope, self.key = shown, scope, key
        self._fallen = asyncio.Event()
        self._why: SyncTalkError | None = None

    def fall(self, why: SyncTalkError) -> None:
        """The consent does not stand any more."""
        self._why = why
        self._fallen.set()

    def check(self) -> None:
        """Raise if it does not; to be called from any thread."""
        if self._why is not None:
            raise self._why

    async def guard(self, messages: AsyncIterator[T]) -> AsyncIterator[T]:
        """The messages; raises in place of the next one when the consent falls."""
        fallen = asyncio.ensure_future(self._fallen.wait())
        try:
            while True:
                coming = asyncio.ensure_future(anext(messages, None))
                try:
                    await asyncio.wait({coming, fallen}, return_when=asyncio.FIRST_COMPLETED)
                    self.check()
                    message = await coming
                finally:
                    coming.cancel()
                if message is None:
                    return
                yield message
        finally:
            fallen.cancel()


class ConsentGuard:
    """Holds and caches of one replica.

    Args:
        cached: keys of the avatars in the cache.
        drop: forgets one of them.
    """

    def __init__(
        self, redis: Redis, cached: Callable[[], list[str]], drop: Callable[[str], None]
    ) -> None:
        self._reader = ConsentReader(redis)
        self._cached, self._drop = cached, drop
        self._holds: set[Hold] = set()
        self._known: dict[str, Shown] = {}
        self._watching: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def held(self, shown: Shown, scope: Scope | None, key: str) -> AsyncIterator[Hold]:
        """While this is open, the person may be shown, or :meth:`Hold.check` raises.

        Raises:
            SyncTalkError: see :meth:`ConsentReader.require`.
        """
        if self._watching is None:  # not before: Ray makes replicas without a loop
            self._watching = asyncio.create_task(self._watch())
        await self._reader.require(shown, scope)
        self._known[key] = shown
        hold = Hold(shown, scope, key)
        self._holds.add(hold)
        try:
            yield hold
        finally:
            self._holds.discard(hold)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            try:
                await self._look()
            except RedisError:  # nothing new begins while it is away
                continue
            except Exception as error:  # whatever it is: the next revocation is still to be seen
                log.error("consents not looked at", exc_info=error)

    async def _look(self) -> None:
        used = {*self._cached(), *(hold.key for hold in self._holds)}
        self._known = {key: shown for key, shown in self._known.items() if key in used}
        refused = await self._reader.refusals(dict.fromkeys(self._known.values()))
        for hold in list(self._holds):
            if (why := refused.get(hold.shown)) is not None:
                hold.fall(why)
        for key, shown in list(self._known.items()):
            if (why := refused.get(shown)) is not None:
                log.warning("dropped", avatar=shown.avatar, tenant=shown.tenant, reason=why.reason)
                self._drop(key)
