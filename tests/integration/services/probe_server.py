"""A service of its own process, wired as every ``main.py``: one method of each RPC kind.

A request is a word that says what to do: ``echo``, ``forward`` (ask the next server),
``raise CLASS``, ``crash``, ``wait FILE`` (until the file is there).
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc

from services.common import errors, logs
from services.common.metrics import serve_metrics
from services.common.rpc import Service, configure_tracing, open_channel, remote_errors, serve
from services.common.settings import ServiceSettings, load
from synctalk import errors as method_errors

NAME = "test.Probe"
log = logs.logger(__name__)


class Settings(ServiceSettings):
    next_target: str | None = None


class Probe:
    """The four kinds; a stream answers each request and a unary answer counts them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def unary_unary(self, request: bytes, context: Any) -> bytes:
        return await self._do(request.decode())

    async def unary_stream(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        for number in range(3):
            yield str(number).encode()
        yield await self._do(request.decode())

    async def stream_unary(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        count = 0
        async for request in requests:
            await self._do(request.decode())
            count += 1
        return str(count).encode()

    async def stream_stream(
        self, requests: AsyncIterator[bytes], context: Any
    ) -> AsyncIterator[bytes]:
        async for request in requests:
            yield await self._do(request.decode())

    async def _do(self, request: str) -> bytes:
        log.info("doing", what=request)
        command, _, argument = request.partition(" ")
        if command == "raise":
            kind = getattr(errors, argument, None) or getattr(method_errors, argument)
            raise kind("frame 7 of me.mp4 is wrong.", reason="TEST_REASON", remedy="Film anew — ä.")
        if command == "crash":
            raise ZeroDivisionError("secret detail")
        if command == "wait":
            while not Path(argument).exists():
                await asyncio.sleep(0.02)
        if command == "forward" and self._settings.next_target:
            async with open_channel(self._settings.next_target, self._settings.rpc) as channel:
                with remote_errors():
                    call: Any = channel.unary_unary(f"/{NAME}/unary_unary")
                    response: bytes = await call(argument.encode() or b"forward", timeout=20)
                    return response
        return logs.request_id().encode() if command != "echo" else argument.encode()


def add(probe: Probe, server: grpc.aio.Server) -> None:
    handlers = {
        kind: getattr(grpc, f"{kind}_rpc_method_handler")(getattr(probe, kind))
        for kind in ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(NAME, handlers),))


def main() -> None:
    settings = load(Settings)
    logs.configure("probe", settings.log_level)
    configure_tracing("probe", settings.otlp_endpoint)
    with serve_metrics(settings.metrics_host, settings.metrics_port) as metrics_port:

        def ready(port: int) -> None:
            print(
                json.dumps({"port": port, "metrics": metrics_port, "pid": os.getpid()}), flush=True
            )

        service = Service(NAME, lambda server: add(Probe(settings), server))
        asyncio.run(serve(settings.rpc, [service], ready))


if __name__ == "__main__":
    main()
