"""The threads in which live sessions decode, render and encode, and footage decoded ahead."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar

import torch

from synctalk.live import Still

P = ParamSpec("P")
T = TypeVar("T")
_AHEAD = 8


class Threads:
    """Serves jobs in the order in which they come.

    Args:
        count: jobs at once.
    """

    def __init__(self, count: int) -> None:
        self._pool = ThreadPoolExecutor(count, "live", torch.set_num_threads, (1,))

    async def run(self, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What ``job`` returns; a cancelled caller waits until it has ended."""
        future = asyncio.ensure_future(asyncio.wrap_future(self._pool.submit(job, *args, **kwargs)))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await ended([future])
            with suppress(Exception):  # looked at, so that it is not reported as lost
                future.result()
            raise


async def ended(futures: Iterable[asyncio.Future[Any]]) -> None:
    """Wait for all of them, though the waiting itself be cancelled meanwhile, and raise that then.

    A caller may be cancelled twice: what the first time sets going must not be left half done.
    """
    left, cancelled = set(futures), False
    while left:
        try:
            _, left = await asyncio.wait(left)
        except asyncio.CancelledError:
            cancelled, left = True, {future for future in left if not future.done()}
    if cancelled:
        raise asyncio.CancelledError


class StillsAhead:
    """The footage under the coming frames of a session.

    Args:
        walk: stills from a frame on.
        threads: where they are decoded.
    """

    def __init__(
        self, walk: Callable[[int], Generator[Still, None, None]], threads: Threads
    ) -> None:
        self._walk, self._threads = walk, threads
        self._next: int | None = None
        self._stills: asyncio.Queue[Still | Exception] = asyncio.Queue(_AHEAD)
        self._task: asyncio.Task[None] | None = None

    async def aim(self, frame: int) -> None:
        """Begin to decode at ``frame``, unless it is the next one anyway."""
        if frame == self._next:
            return
        await self.close()
        self._next, self._stills = frame, asyncio.Queue(_AHEAD)
        self._task = asyncio.create_task(self._decode(frame, self._stills))

    async def take(self, frame: int) -> Still:
        """The still of ``frame``; whatever its decoding raised is raised here."""
        await self.aim(frame)
        still = await self._stills.get()
        if isinstance(still, Exception):
            raise still
        self._next = frame + 1
        return still

    async def close(self) -> None:
        """Stop decoding and let go of the footage."""
        if self._task is not None:
            task, self._task, self._next = self._task, None, None
            task.cancel()
            await ended([task])

    async def _decode(self, frame: int, stills: asyncio.Queue[Still | Exception]) -> None:
        walk = self._walk(frame)
        try:
            while True:
                await stills.put(await self._threads.run(next, walk))
        except Exception as error:
            await stills.put(error)
        finally:
            walk.close()
