"""What the expression service says to a dub arrives, and renderers are asked once."""

from __future__ import annotations

import asyncio
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from pydantic import SecretStr

from services.common.artifacts import ArtifactRef
from services.common.dubs import DubRequest
from services.common.errors import ResourceExhausted, Unavailable
from services.common.rpc.errors import to_status
from services.common.settings import RpcSettings
from services.common.storage import ObjectRef
from services.dubbing.clients import connect, connect_renderer, render_segment, spool_features
from services.dubbing.features import SegmentRows
from services.dubbing.sound import Pcm
from services.gen.avatar.v1 import expression_pb2_grpc as wire
from services.gen.avatar.v1 import renderer_pb2_grpc


class _Full(wire.ExpressionServiceServicer):
    """Takes no stream."""

    async def Generate(  # noqa: N802 - gRPC's name
        self, requests: AsyncIterator[Any], context: Any
    ) -> AsyncIterator[Any]:
        await anext(requests)
        await context.abort_with_status(to_status(ResourceExhausted("full", reason="FULL")))
        yield


def test_why_a_long_speech_is_refused_is_not_lost(tmp_path: Path) -> None:
    n_samples = 16_000 * 120
    with wave.open(str(tmp_path / "speech.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(bytes(2 * n_samples))
    sound = Pcm(tmp_path / "speech.wav", 16_000, n_samples)

    async def ask() -> None:
        server = grpc.aio.server()
        wire.add_ExpressionServiceServicer_to_server(_Full(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with connect(f"127.0.0.1:{port}", RpcSettings(token=SecretStr("x"))) as channel:
            for _ in range(20):
                with pytest.raises(ResourceExhausted, match="full"):
                    await spool_features(channel, "acme", sound, tmp_path / "rows", 30)
        await server.stop(None)

    asyncio.run(ask())


class _Leaving(renderer_pb2_grpc.RendererServiceServicer):
    """Takes no segment any more."""

    asked = 0

    async def RenderSegment(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        self.asked += 1
        await context.abort_with_status(to_status(Unavailable("going", reason="GOING")))


def test_a_replica_that_is_away_is_asked_once_for_a_segment() -> None:
    """The dub gives the segment to another, and lets this one rest."""
    stored = ObjectRef("tenants/acme/x", 1, "0" * 64)
    request = DubRequest(
        avatar_version="tenants/acme/avatars/ann/versions/1",
        bundle=ArtifactRef("tenants/acme/avatars/ann/v1", stored),
        audio=stored,
    )
    none = np.zeros((0, 4), np.float32)
    rows = SegmentRows(0, np.zeros((1, 4), np.float32), none, none, 4)
    leaving = _Leaving()

    async def ask() -> None:
        server = grpc.aio.server()
        renderer_pb2_grpc.add_RendererServiceServicer_to_server(leaving, server)
        target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
        async with connect_renderer(target, RpcSettings(token=SecretStr("x"))) as channel:
            with pytest.raises(Unavailable, match="going"):
                await render_segment(channel, request, rows, "encoder", "tenants/acme/y", 30)
        await server.stop(None)

    asyncio.run(ask())
    assert leaving.asked == 1
