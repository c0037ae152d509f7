"""The way to another service: a channel that shows the token and passes the request id on.

Every call needs a ``timeout``; the server refuses it otherwise. UNAVAILABLE, and nothing else, is
tried again; that is safe because creating calls carry an idempotency key.
"""

from __future__ import annotations

import json
from typing import Any

import grpc
from grpc.aio import Metadata

from services.common import logs
from services.common.rpc.tracing import client_interceptors
from services.common.settings import RpcSettings

_BALANCED: dict[str, Any] = {"loadBalancingConfig": [{"round_robin": {}}]}
_RETRIED: dict[str, Any] = {
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.2s",
                "maxBackoff": "3s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}


def open_channel(target: str, settings: RpcSettings, *, retries: bool = True) -> grpc.aio.Channel:
    """A channel to ``target`` (``host:port`` or ``dns:///headless-service:port``).

    Use it as an async context manager, and one for each service: it balances over all addresses.

    Args:
        retries: whether UNAVAILABLE is tried again; not where the caller knows a better replica.
    """
    options: list[tuple[str, Any]] = [
        ("grpc.service_config", json.dumps({**_BALANCED, **(_RETRIED if retries else {})})),
        ("grpc.enable_retries", int(retries)),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
    ]
    token = settings.token.get_secret_value()
    interceptors = [kind(token) for kind in _KINDS] + client_interceptors()
    if (tls := settings.tls) is None:
        return grpc.aio.insecure_channel(target, options=options, interceptors=interceptors)
    if tls.server_name:
        options.append(("grpc.ssl_target_name_override", tls.server_name))
    credentials = grpc.ssl_channel_credentials(
        root_certificates=tls.authority.read_bytes(),
        private_key=tls.key.read_bytes() if tls.mutual else None,
        certificate_chain=tls.certificate.read_bytes() if tls.mutual else None,
    )
    return grpc.aio.secure_channel(target, credentials, options=options, interceptors=interceptors)


class _Identified:
    """Adds who calls, and for which request."""

    def __init__(self, token: str) -> None:
        self._authorization = f"Bearer {token}"

    async def _go(self, go_on: Any, details: Any, sent: Any) -> Any:
        metadata = Metadata(*(details.metadata or ()))
        metadata["authorization"] = self._authorization
        metadata["x-request-id"] = logs.request_id() or logs.new_request_id()
        return await go_on(details._replace(metadata=metadata), sent)


# grpc.aio looks at the base class, and takes only the first that fits.
class _UnaryUnary(_Identified, grpc.aio.UnaryUnaryClientInterceptor):
    intercept_unary_unary: Any = _Identified._go


class _UnaryStream(_Identified, grpc.aio.UnaryStreamClientInterceptor):
    intercept_unary_stream: Any = _Identified._go


class _StreamUnary(_Identified, grpc.aio.StreamUnaryClientInterceptor):
    intercept_stream_unary: Any = _Identified._go


class _StreamStream(_Identified, grpc.aio.StreamStreamClientInterceptor):
    intercept_stream_stream: Any = _Identified._go


_KINDS = (_UnaryUnary, _UnaryStream, _StreamUnary, _StreamStream)
