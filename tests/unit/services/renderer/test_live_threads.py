"""Work in the threads of live sessions, and callers that are cancelled."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from typing import Any, cast

import pytest

from services.renderer.threads import StillsAhead, Threads


class Footage:
    """A walk whose steps take until they are let go, and that says when it was closed."""

    def __init__(self) -> None:
        self.begun, self.go = threading.Event(), threading.Event()
        self.open = 0

    def walk(self, first: int) -> Generator[Any, None, None]:
        self.open += 1
        try:
            while True:
                self.begun.set()
                assert self.go.wait(30)
                yield first
        finally:
            self.open -= 1


async def in_the_middle(footage: Footage) -> StillsAhead:
    ahead = StillsAhead(footage.walk, Threads(1))
    await ahead.aim(3)
    await asyncio.to_thread(footage.begun.wait, 30)
    return ahead


def test_a_walk_is_closed_though_its_closing_is_cancelled_again_and_again() -> None:
    async def work() -> None:
        footage = Footage()
        ahead = await in_the_middle(footage)
        closing = asyncio.create_task(ahead.close())
        for _ in range(3):
            await asyncio.sleep(0)
            closing.cancel()
        await asyncio.sleep(0)
        assert not closing.done()  # a step of the walk is still under way
        footage.go.set()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert footage.open == 0

    asyncio.run(work())


def test_a_cancelled_caller_waits_for_its_job_each_time() -> None:
    async def work() -> None:
        begun, go = threading.Event(), threading.Event()

        def job() -> bool:
            begun.set()
            return go.wait(30)

        task = asyncio.create_task(Threads(1).run(cast(Any, job)))
        await asyncio.to_thread(begun.wait, 30)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not task.done()
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(work())
