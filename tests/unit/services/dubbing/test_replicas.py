"""Which renderer a segment goes to."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from services.dubbing.replicas import ReplicaPool

TARGETS = ["one:1", "two:2", "three:3"]


@asynccontextmanager
async def connect(target: str) -> AsyncIterator[str]:
    yield target


async def first_choice(client: str) -> str:
    async with ReplicaPool(TARGETS, 1, connect, client) as pool, pool.place() as place:
        return place.target


def test_dubs_of_one_segment_spread_over_all_replicas() -> None:
    async def scenario() -> Counter[str]:
        return Counter([await first_choice(f"dubs/{i}") for i in range(300)])

    chosen = asyncio.run(scenario())
    assert set(chosen) == set(TARGETS)
    assert min(chosen.values()) > 60


def test_a_client_fills_every_replica_before_it_gives_one_more() -> None:
    async def scenario() -> list[str]:
        async with ReplicaPool(TARGETS, 2, connect, "dub") as pool, AsyncExitStack() as held:
            return [(await held.enter_async_context(pool.place())).target for _ in range(6)]

    taken = asyncio.run(scenario())
    assert sorted(taken[:3]) == sorted(taken[3:]) == sorted(TARGETS)


def test_a_replica_that_failed_is_shunned_while_there_is_another() -> None:
    async def scenario() -> str:
        async with ReplicaPool(TARGETS, 1, connect, "dub") as pool:
            async with pool.place() as place:
                failed = place.target
            async with pool.place(failed) as place:
                assert place.target != failed
            return failed

    assert asyncio.run(scenario()) in TARGETS
