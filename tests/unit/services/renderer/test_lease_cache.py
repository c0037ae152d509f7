"""The avatar cache: one load for all, a byte budget, and nobody's avatar taken away."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from services.common.errors import ResourceExhausted, Unavailable
from services.renderer.cache import LeaseCache, Plan, Size
from synctalk.errors import BundleError


class Shelf:
    """A cache of strings with a record of what happened."""

    def __init__(self, memory_bytes: int = 100, disk_bytes: int = 1000) -> None:
        self.loads: list[str] = []
        self.discarded: list[str] = []
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.broken = False
        self.cache: LeaseCache[str, str] = LeaseCache(
            Size(memory_bytes, disk_bytes), self.discarded.append
        )

    def lease(self, name: str, memory_bytes: int = 40, disk_bytes: int = 0) -> Any:
        async def load() -> str:
            self.loads.append(name)
            await self.go_on.wait()
            if self.broken:
                raise BundleError("damaged", reason="BUNDLE_DAMAGED")
            return name

        async def plan() -> Plan[str]:
            await asyncio.sleep(0)
            return Plan(Size(memory_bytes, disk_bytes), load)

        return self.cache.lease(name, plan)

    async def touch(self, name: str, memory_bytes: int = 40, disk_bytes: int = 0) -> str:
        async with self.lease(name, memory_bytes, disk_bytes) as value:
            return str(value)


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


def test_many_who_ask_at_once_share_one_load() -> None:
    async def work() -> None:
        shelf = Shelf()
        assert await asyncio.gather(*(shelf.touch("ann") for _ in range(20))) == ["ann"] * 20
        assert shelf.loads == ["ann"]

    run(work())


def test_the_longest_unused_one_makes_room() -> None:
    async def work() -> None:
        shelf = Shelf()
        await shelf.touch("ann")
        await shelf.touch("bob")
        await shelf.touch("ann")
        await shelf.touch("cyd")
        assert shelf.discarded == ["bob"]
        assert shelf.cache.peek("ann") == "ann"
        assert shelf.cache.peek("bob") is None

    run(work())


def test_the_disk_has_a_budget_of_its_own() -> None:
    async def work() -> None:
        shelf = Shelf()
        await shelf.touch("ann", 1, 600)
        await shelf.touch("bob", 1, 600)
        assert shelf.discarded == ["ann"]

    run(work())


def test_what_is_in_use_is_never_evicted() -> None:
    async def work() -> None:
        shelf = Shelf()
        async with shelf.lease("ann"), shelf.lease("bob"):
            with pytest.raises(Unavailable) as caught:
                await shelf.touch("cyd")
            assert caught.value.reason == "AVATAR_CACHE_FULL"
            assert shelf.discarded == []
        await shelf.touch("cyd")
        assert shelf.discarded == ["ann"]

    run(work())


def test_what_is_still_being_loaded_is_not_evicted_either() -> None:
    async def work() -> None:
        shelf = Shelf()
        shelf.go_on.clear()
        impatient = asyncio.create_task(shelf.touch("ann", 90))
        while not shelf.loads:
            await asyncio.sleep(0)
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient
        with pytest.raises(Unavailable):
            await shelf.touch("bob")
        shelf.go_on.set()
        assert await shelf.touch("ann", 90) == "ann"
        assert shelf.loads == ["ann"]

    run(work())


def test_one_larger_than_the_budget_is_refused_for_good() -> None:
    async def work() -> None:
        shelf = Shelf()
        await shelf.touch("ann")
        with pytest.raises(ResourceExhausted) as caught:
            await shelf.touch("huge", 101)
        assert caught.value.reason == "AVATAR_TOO_LARGE"
        assert shelf.discarded == []

    run(work())


def test_a_load_that_fails_is_tried_again_by_the_next() -> None:
    async def work() -> None:
        shelf = Shelf()
        shelf.broken = True
        with pytest.raises(BundleError):
            await shelf.touch("ann")
        shelf.broken = False
        assert await shelf.touch("ann") == "ann"
        assert shelf.loads == ["ann", "ann"]

    run(work())
