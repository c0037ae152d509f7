"""Time as the engine sees it; tests bring their own."""

from __future__ import annotations

import asyncio
from typing import Protocol


class Clock(Protocol):
    """Seconds that only grow."""

    def now_s(self) -> float:
        """Seconds since some moment."""
        ...

    async def sleep_until(self, time_s: float) -> None:
        """Return at ``time_s`` or just after."""
        ...


class SystemClock:
    """The event loop's."""

    def now_s(self) -> float:
        """Seconds since some moment."""
        return asyncio.get_running_loop().time()

    async def sleep_until(self, time_s: float) -> None:
        """Return at ``time_s`` or just after."""
        await asyncio.sleep(max(0.0, time_s - self.now_s()))
