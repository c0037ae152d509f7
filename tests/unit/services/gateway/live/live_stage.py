"""A session on virtual time, and somebody who notes what comes out of it and when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from live_doubles import SUBJECT, FakeExpression, FakeRenderer, FakeRenderers, loudness

from services.gateway.live.clock import SystemClock
from services.gateway.live.session import AudioOut, LiveSession, Out, VideoOut
from services.gateway.live.settings import LiveSettings

SETTINGS = LiveSettings()
FRAME_S = 0.04


@dataclass
class Seen:
    """What came out, and when."""

    items: list[tuple[float, Out]] = field(default_factory=list)

    @property
    def video(self) -> list[tuple[float, int, int]]:
        """(time, slot, loudness) of every frame."""
        return [
            (at, item.frame.slot, int(item.frame.data.split()[2]))
            for at, item in self.items
            if isinstance(item, VideoOut)
        ]

    @property
    def audio(self) -> list[tuple[float, int, int]]:
        """(time, block, loudness) of every block."""
        return [
            (at, item.index, loudness(item.pcm))
            for at, item in self.items
            if isinstance(item, AudioOut)
        ]

    def all_of(self, kind: type[Out]) -> list[Out]:
        return [item for _, item in self.items if isinstance(item, kind)]


@dataclass
class Stage:
    """A session with somebody who looks."""

    session: LiveSession
    expression: FakeExpression
    renderers: FakeRenderers
    seen: Seen

    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@asynccontextmanager
async def on_stage(
    *renderers: FakeRenderer, settings: LiveSettings = SETTINGS, rate_hz: int = 48_000
) -> AsyncIterator[Stage]:
    expression, seen = FakeExpression(), Seen()
    replicas = FakeRenderers(*(renderers or (FakeRenderer(),)))
    clock = SystemClock()
    session = LiveSession(SUBJECT, expression, replicas, settings, clock, rate_hz=rate_hz)
    await session.open()

    async def look() -> None:
        with session.subscribed() as subscription:
            async for item in subscription:
                seen.items.append((clock.now_s(), item))

    looking = asyncio.create_task(look())
    try:
        yield Stage(session, expression, replicas, seen)
    finally:
        await session.end("TEST", "over")
        await looking
        assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


def replace_settings(**changes: float) -> LiveSettings:
    return SETTINGS.model_copy(update=changes)
