"""A gRPC server from start to the last call: health, reflection, TLS, and a drain on SIGTERM."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection

from services.common import logs
from services.common.errors import ConfigurationError
from services.common.rpc.interceptor import CallInterceptor
from services.common.rpc.tracing import server_interceptors
from services.common.settings import RpcSettings

log = logs.logger(__name__)

_HEALTH = "grpc.health.v1.Health"


@dataclass(frozen=True)
class Service:
    """A servicer to serve.

    Args:
        name: full name, e.g. ``"avatar.v1.TrainerService"``.
        add: adds it to a server: ``partial(add_TrainerServiceServicer_to_server, servicer)``.
        public: whether it checks by itself who calls, in place of the installation's token.
        leave: is told, when the server drains, how many seconds its calls have left.
    """

    name: str
    add: Callable[[grpc.aio.Server], None]
    public: bool = False
    leave: Callable[[float], None] = lambda seconds: None


class RpcServer:
    """Serves between :meth:`start` and :meth:`drain`."""

    def __init__(self, settings: RpcSettings, services: Sequence[Service]) -> None:
        self._settings = settings
        self._services = services
        self._health = HealthServicer()
        self._server = grpc.aio.server(
            # The first is the outermost.
            interceptors=[
                CallInterceptor(settings, {each.name for each in services if each.public}),
                *server_interceptors(),
            ],
            options=_options(settings),
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        for service in services:
            service.add(self._server)
        names = [service.name for service in services]
        reflection.enable_server_reflection(
            [*names, _HEALTH, reflection.SERVICE_NAME], self._server
        )

    async def start(self) -> int:
        """Listen, report healthy, and return the port.

        Raises:
            ConfigurationError: the port is taken or a certificate cannot be used.
        """
        port = self._bind()
        await self._server.start()
        for name in ("", *(service.name for service in self._services)):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        log.info("serving", port=port, services=[service.name for service in self._services])
        return port

    async def drain(self) -> None:
        """Report unhealthy, take no new calls, and give running ones ``drain_s`` to end."""
        log.info("draining", seconds=self._settings.drain_s)
        await self._health.enter_graceful_shutdown()
        for service in self._services:
            service.leave(self._settings.drain_s)
        await self._server.stop(self._settings.drain_s)
        log.info("stopped")

    def _bind(self) -> int:
        address = f"{self._settings.host}:{self._settings.port}"
        try:
            if (credentials := _credentials(self._settings)) is None:
                return self._server.add_insecure_port(address)
            return self._server.add_secure_port(address, credentials)
        except (RuntimeError, OSError) as error:
            raise ConfigurationError(
                f"cannot listen on {address}: {error}",
                reason="CANNOT_LISTEN",
                remedy="Free the port or set AVATAR_RPC__PORT; check the files of AVATAR_RPC__TLS.",
            ) from None


async def serve(
    settings: RpcSettings,
    services: Sequence[Service],
    on_ready: Callable[[int], None] = lambda port: None,
) -> None:
    """Serve until SIGTERM or SIGINT, drain, return. ``on_ready`` gets the port."""
    server = RpcServer(settings, services)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    on_ready(await server.start())
    await stop.wait()
    await server.drain()


def _options(settings: RpcSettings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        # Streams outlive their connection's age: no grace period is set, so they may end.
        ("grpc.max_connection_age_ms", int(settings.max_connection_age_s * 1000)),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.so_reuseport", 0),  # a second server on the port is a mistake and must be seen
    ]


def _credentials(settings: RpcSettings) -> grpc.ServerCredentials | None:
    if (tls := settings.tls) is None:
        return None
    return grpc.ssl_server_credentials(
        [(tls.key.read_bytes(), tls.certificate.read_bytes())],
        root_certificates=tls.authority.read_bytes() if tls.mutual else None,
        require_client_auth=tls.mutual,
    )
