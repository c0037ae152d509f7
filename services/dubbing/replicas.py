"""Renderer replicas: who is there, who is free, who has just failed.

Each address has a channel of its own, so that a segment that failed on one replica can be given
to another. Names are resolved again while the work runs: replicas come and go.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from services.common import logs
from services.common.errors import Unavailable
from services.common.resolve import resolve

log = logs.logger(__name__)
ChannelT = TypeVar("ChannelT")

_RESOLVE_S = 10.0
_REST_S, _LONGEST_REST_S = 1.0, 15.0
_LOOK_S = 0.5


@dataclass
class _Replica(Generic[ChannelT]):
    target: str
    channel: ChannelT
    busy: int = 0
    failures: int = 0
    rests_until_s: float = 0.0


@dataclass(frozen=True)
class Place(Generic[ChannelT]):
    """A replica that has room for one segment."""

    target: str
    channel: ChannelT


class ReplicaPool(Generic[ChannelT]):
    """Gives out places on replicas; an async context manager that closes their channels.

    Args:
        targets: ``host:port``, or ``dns:///host:port`` for all addresses of a name.
        places: segments that one replica may have at once.
        connect: opens a channel.
        client: who asks. Every client prefers equally busy replicas in an order of its own: workers
            do not see each other's segments, and would all go to the first one.
    """

    def __init__(
        self,
        targets: Sequence[str],
        places: int,
        connect: Callable[[str], AbstractAsyncContextManager[ChannelT]],
        client: str,
    ) -> None:
        self._targets = targets
        self._places = places
        self._connect = connect
        self._client = client
        self._replicas: dict[str, _Replica[ChannelT]] = {}
        self._resolved_s = float("-inf")
        self._changed = asyncio.Condition()
        self._channels = AsyncExitStack()

    async def __aenter__(self) -> ReplicaPool[ChannelT]:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channels.aclose()

    @asynccontextmanager
    async def place(self, shunned: str = "") -> AsyncIterator[Place[ChannelT]]:
        """A place on the least busy replica; not on ``shunned`` while there is another.

        An error that passes makes the replica rest for a while, a longer one each time.
        """
        replica = await self._take(shunned)
        try:
            yield Place(replica.target, replica.channel)
            replica.failures = 0
        except Exception:
            replica.failures += 1
            rest_s = min(_REST_S * 2 ** (replica.failures - 1), _LONGEST_REST_S)
            replica.rests_until_s = time.monotonic() + rest_s
            raise
        finally:
            replica.busy -= 1
            async with self._changed:
                self._changed.notify_all()

    async def _take(self, shunned: str) -> _Replica[ChannelT]:
        while True:
            await self.refresh()
            if (replica := self._choose(shunned)) is not None:
                replica.busy += 1
                return replica
            async with self._changed:
                with suppress(TimeoutError):  # also a rest may be over
                    await asyncio.wait_for(self._changed.wait(), _LOOK_S)

    def _choose(self, shunned: str) -> _Replica[ChannelT] | None:
        now_s = time.monotonic()
        awake = [each for each in self._replicas.values() if each.rests_until_s <= now_s]
        others = [each for each in awake if each.target != shunned] or awake
        free = [each for each in others if each.busy < self._places]
        return min(free, key=lambda each: (each.busy, self._rank(each.target)), default=None)

    def _rank(self, target: str) -> bytes:
        return hashlib.sha256(f"{self._client}\n{target}".encode()).digest()

    async def refresh(self) -> None:
        """Look who is there, unless that was done just now.

        Raises:
            Unavailable: nobody.
        """
        if time.monotonic() - self._resolved_s < _RESOLVE_S:
            return
        self._resolved_s = time.monotonic()
        found = [address for target in self._targets for address in await resolve(target)]
        for target in found:
            if target not in self._replicas:
                channel = await self._channels.enter_async_context(self._connect(target))
                self._replicas[target] = _Replica(target, channel)
        for gone in self._replicas.keys() - set(found):
            del self._replicas[gone]  # its channel is closed at the end: it may be in use
        if not self._replicas:
            raise Unavailable(
                f"none of {', '.join(self._targets)} has an address",
                reason="NO_RENDERER",
                remedy="Start a renderer, or correct AVATAR_RENDERER_TARGETS.",
            )
