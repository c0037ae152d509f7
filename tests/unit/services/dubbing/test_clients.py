"""What the expression service says to a dub arrives, however long the speech is."""

from __future__ import annotations

import asyncio
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from pydantic import SecretStr

from services.common.errors import ResourceExhausted
from services.common.rpc.errors import to_status
from services.common.settings import RpcSettings
from services.dubbing.clients import connect, spool_features
from services.dubbing.sound import Pcm
from services.gen.avatar.v1 import expression_pb2_grpc as wire


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
