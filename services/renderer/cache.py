"""Avatars in memory: leased while in use, loaded once however many ask, evicted only when idle.

Ray Serve's and others' model caches destroy a model that a stream still uses; here a lease keeps
it. The cache knows nothing of avatars but what they take.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from prometheus_client import Counter, Gauge

from services.common.errors import ResourceExhausted, Unavailable

KeyT = TypeVar("KeyT", bound=Hashable)
ValueT = TypeVar("ValueT")

HITS = Counter("synctalk_avatar_cache_requests_total", "Leases by whether they waited", ["result"])
EVICTIONS = Counter("synctalk_avatar_cache_evictions_total", "Avatars dropped to make room")
BYTES = Gauge("synctalk_avatar_cache_bytes", "What cached avatars take", ["where"])
AVATARS = Gauge("synctalk_avatar_cache_avatars", "Avatars cached or being loaded")


@dataclass(frozen=True)
class Size:
    """What an avatar takes, or may take, of a machine."""

    memory_bytes: int = 0
    disk_bytes: int = 0

    def __add__(self, other: Size) -> Size:
        return Size(self.memory_bytes + other.memory_bytes, self.disk_bytes + other.disk_bytes)

    def fits(self, budget: Size) -> bool:
        """Whether neither is above the budget."""
        return self.memory_bytes <= budget.memory_bytes and self.disk_bytes <= budget.disk_bytes


@dataclass
class _Entry(Generic[ValueT]):
    size: Size
    loading: asyncio.Task[ValueT]
    leases: int = 0
    dropped: bool = False


@dataclass(frozen=True)
class Plan(Generic[ValueT]):
    """How to load a value, and what it will take."""

    size: Size
    load: Callable[[], Awaitable[ValueT]] = field(hash=False)


class LeaseCache(Generic[KeyT, ValueT]):
    """Values within a budget.

    Args:
        budget: what all together may take.
        discard: frees what an evicted value holds beside memory.
    """

    def __init__(self, budget: Size, discard: Callable[[ValueT], None]) -> None:
        self._budget = budget
        self._discard = discard
        self._entries: OrderedDict[KeyT, _Entry[ValueT]] = OrderedDict()  # least recent first

    def peek(self, key: KeyT) -> ValueT | None:
        """The value, if it is loaded; takes no lease."""
        entry = self._entries.get(key)
        if entry is None or not entry.loading.done() or entry.loading.cancelled():
            return None
        return None if entry.loading.exception() else entry.loading.result()

    @asynccontextmanager
    async def lease(
        self, key: KeyT, plan: Callable[[], Awaitable[Plan[ValueT]]]
    ) -> AsyncIterator[ValueT]:
        """The value, which stays while the context is open.

        A caller who goes away does not end a load that others wait for, or may soon want.

        Raises:
            ResourceExhausted: it alone is larger than the budget.
            Unavailable: what is in use leaves no room for it.
        """
        entry = self._entries.get(key)
        if entry is None:
            planned = await plan()
            entry = self._entries.get(key) or self._begin(key, planned)
        HITS.labels("hit" if entry.loading.done() else "miss").inc()
        entry.leases += 1
        self._entries.move_to_end(key)
        try:
            yield await asyncio.shield(entry.loading)
        finally:
            entry.leases -= 1
            self._discard_dropped(entry)

    def drop(self, key: KeyT) -> None:
        """Forget a value, whoever wants it: at once, or as soon as its last lease has ended."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            entry.dropped = True
            entry.loading.add_done_callback(lambda _: self._discard_dropped(entry))
            self._account()

    def keys(self) -> list[KeyT]:
        """Of what is cached or being loaded."""
        return list(self._entries)

    def _begin(self, key: KeyT, plan: Plan[ValueT]) -> _Entry[ValueT]:
        self._make_room(plan.size)

        async def load() -> ValueT:
            return await plan.load()

        entry = _Entry(plan.size, asyncio.create_task(load()))
        self._entries[key] = entry
        entry.loading.add_done_callback(lambda _: self._loaded(key, entry))
        self._account()
        return entry

    def _loaded(self, key: KeyT, entry: _Entry[ValueT]) -> None:
        if _failed(entry.loading) and self._entries.get(key) is entry:
            del self._entries[key]  # who comes next tries again
            self._account()

    def _discard_dropped(self, entry: _Entry[ValueT]) -> None:
        if not entry.dropped or entry.leases or not entry.loading.done():
            return
        entry.dropped = False  # once
        if not _failed(entry.loading):
            self._discard(entry.loading.result())

    def _make_room(self, size: Size) -> None:
        if not size.fits(self._budget):
            raise ResourceExhausted(
                f"the avatar takes {size.memory_bytes} bytes of memory and {size.disk_bytes} of "
                "disk, more than this renderer may use",
                reason="AVATAR_TOO_LARGE",
                remedy="Raise AVATAR_RENDERER_CACHE_BYTES or AVATAR_RENDERER_CACHE_DISK_BYTES.",
            )
        idle = [k for k, e in self._entries.items() if e.leases == 0 and e.loading.done()]
        while not (self._used() + size).fits(self._budget):
            if not idle:
                raise Unavailable(
                    "every avatar in this renderer is in use, and there is no room for another",
                    reason="AVATAR_CACHE_FULL",
                    remedy="Try again, or another replica; more memory holds more avatars.",
                )
            entry = self._entries.pop(idle.pop(0))
            self._discard(entry.loading.result())
            EVICTIONS.inc()
        self._account()

    def _used(self) -> Size:
        return sum((entry.size for entry in self._entries.values()), Size())

    def _account(self) -> None:
        used = self._used()
        BYTES.labels("memory").set(used.memory_bytes)
        BYTES.labels("disk").set(used.disk_bytes)
        AVATARS.set(len(self._entries))


def _failed(task: asyncio.Task[ValueT]) -> bool:
    return task.cancelled() or task.exception() is not None
