"""``python -m services.gateway``: serve /v1."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import uvicorn
import uvloop
from fastapi import FastAPI
from prometheus_client import REGISTRY
from redis.exceptions import RedisError

from services.common import logs
from services.common.errors import ConfigurationError
from services.common.jobs.connect import connect_worker
from services.common.metrics import serve_metrics
from services.common.rpc import configure_tracing
from services.common.settings import load, printable
from services.gateway.app import ensure_bucket, make_app
from services.gateway.live.servicer import session_server
from services.gateway.metrics import StatesCollector
from services.gateway.protocol import BoundedHttp
from services.gateway.settings import GatewaySettings
from synctalk.errors import SyncTalkError

_STORE_CALLS = 32
_WEBSOCKET_BYTES = 2 << 20  # 1 MiB of sound as base64


def main() -> int:
    """Serve until SIGTERM; a line of JSON on stdout says on which ports."""
    try:
        settings = load(GatewaySettings)
        logs.configure("gateway", settings.log_level)
        logs.logger(__name__).info("starting", settings=printable(settings))
        configure_tracing("gateway", settings.otlp_endpoint)
        redis = connect_worker(settings.redis_url.get_secret_value())
        REGISTRY.register(StatesCollector(redis))
        with (
            serve_metrics(settings.metrics_host, settings.metrics_port) as metrics_port,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            runner.run(_serve(settings, metrics_port))
    except RedisError as error:
        print(f"Redis cannot be used ({error}). Check AVATAR_REDIS_URL.", file=sys.stderr)
        return 1
    except SyncTalkError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


async def _serve(settings: GatewaySettings, metrics_port: int) -> None:
    # Calls to the object store block; each of them has a thread.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_STORE_CALLS))
    shared = settings.gateway_share_port
    listening = [_listen(settings.gateway_host, settings.gateway_port, shared=shared)]
    if shared:  # a live session is held by one process, which is reached by a port of its own
        listening.append(_listen(settings.gateway_host, 0))
        settings = _with_live_url(settings, listening[1].getsockname()[1])
    app = make_app(settings)
    server = _Server(app, settings, listening[0].getsockname()[1], metrics_port)
    await server.serve(sockets=listening)
    if not server.started:
        raise ConfigurationError(
            "the gateway could not start; its log says why",
            reason="CANNOT_START",
            remedy="Check AVATAR_REDIS_URL and that Redis runs.",
        )


class _Server(uvicorn.Server):
    """Serves gRPC beside; says when it is ready; ends event streams and sessions at the end."""

    def __init__(
        self, app: FastAPI, settings: GatewaySettings, port: int, metrics_port: int
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=BoundedHttp,
                log_config=None,
                access_log=False,  # RequestScope writes one with more in it
                server_header=False,
                timeout_graceful_shutdown=max(1, round(settings.gateway_drain_s)),
                ws_max_size=_WEBSOCKET_BYTES,
                ws_per_message_deflate=False,  # media do not get smaller
            )
        )
        self._app = app
        self._settings = settings
        self._ports = {"port": port, "metrics_port": metrics_port}

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's own, but an orderly end is the end: it would raise the signal again."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._bucket = asyncio.create_task(ensure_bucket(self._app))
            self._grpc = session_server(self._app.state.gateway, self._settings.rpc)
            self._ports["grpc_port"] = await self._grpc.start()
            print(json.dumps(self._ports), flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        gateway = self._app.state.gateway
        gateway.stopping.set()
        gateway.changes.wake_all()
        self._bucket.cancel()
        await gateway.live.end_all()
        await self._grpc.drain()
        await super().shutdown(sockets)


def _with_live_url(settings: GatewaySettings, port: int) -> GatewaySettings:
    """Sessions lead to this process's own port, unless somebody has said where they lead."""
    url = settings.live.url or f"http://{settings.gateway_host}:{port}"
    return settings.model_copy(update={"live": settings.live.model_copy(update={"url": url})})


def _listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:  # the kernel gives each connection to one of those that listen
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {host}:{port}: {error.strerror}.",
            reason="CANNOT_LISTEN",
            remedy="Free the port or set AVATAR_GATEWAY_PORT.",
        ) from None
    return listening
