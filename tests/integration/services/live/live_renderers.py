"""Renderers for the tests of live sessions, and the frames that they should show."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from live_client import (
    CONTEXT,
    LiveCall,
    Rows,
    live_header,
)
from suite import RPC, RunningService, Suite

from services.common.artifacts import ArtifactRef
from services.common.rpc import open_channel
from services.gen.avatar.v1 import renderer_pb2 as pb
from services.gen.avatar.v1 import types_pb2
from services.renderer.loading import LoadedAvatar
from services.renderer.moments import FeatureWindow, LiveFeatures
from synctalk.backdrop import Backdrop, colour
from synctalk.live import FootageCache, LiveView
from synctalk.media import Yuv420

N_FRAMES = 80


@dataclass(frozen=True)
class Stage:
    """Two renderers, an avatar in the store, and the same avatar in this process."""

    suite: Suite
    renderers: tuple[RunningService, RunningService]
    bundle: ArtifactRef
    avatar: LoadedAvatar

    def header(
        self, before: list[types_pb2.DrivingFeatures] | None = None, **options: int
    ) -> pb.RenderLiveRequestHeader:
        return live_header(self.bundle, "talk-1", before, **options)

    @asynccontextmanager
    async def call(
        self, header: pb.RenderLiveRequestHeader | None = None, replica: int = 0
    ) -> AsyncIterator[LiveCall]:
        target = self.renderers[replica].target
        async with (
            open_channel(target, RPC) as channel,
            LiveCall(channel, header or self.header()) as call,
        ):
            yield call

    def metric(self, name: str) -> float:
        return self.renderers[0].metric(name)


def in_time(work: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(100):
            await work()

    asyncio.run(limited())


def rendered_live(
    stage: Stage, rows: Rows, first: int, faces: Rows | None = None, backdrop: bool = False
) -> list[Yuv420]:
    """Frames ``first`` on as a session renders them, in this process."""
    person = stage.avatar.avatar
    behind = Backdrop(person.bundle, colour("#00c800")) if backdrop else None
    view = LiveView(person, behind)
    features = [
        LiveFeatures(at, row, None if faces is None else faces[at]) for at, row in enumerate(rows)
    ]
    window = FeatureWindow(features[max(0, first - CONTEXT) : first])
    moments = [*map(window.push, features[first:]), window.finish()]
    walk = view.walk(FootageCache(1 << 20), first)
    return [
        view.frame(still, m.lip(person), m.expression(person, still.number))
        for m, still in zip(filter(None, moments), walk, strict=False)
    ]
