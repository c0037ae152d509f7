"""What happens around every call on the server, whichever of the four kinds it is.

In this order: the request id is taken over or made, the call is counted, caller and token are
checked, a deadline is demanded, and whatever the servicer raises becomes a status.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Set
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeAlias

import grpc
from prometheus_client import Counter, Gauge, Histogram

from services.common import logs
from services.common.errors import PermissionDenied, ServiceError, Unauthenticated
from services.common.rpc.errors import to_status
from services.common.settings import RpcSettings
from synctalk.errors import InputError, SyncTalkError

log = logs.logger(__name__)

# Health checks come from orchestrators, which have no token; reflection shows public contracts.
_OPEN = ("/grpc.health.", "/grpc.reflection.")
_LABELS = ("grpc_type", "grpc_service", "grpc_method")
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

STARTED = Counter("grpc_server_started_total", "Calls begun", _LABELS)
HANDLED = Counter("grpc_server_handled_total", "Calls ended", (*_LABELS, "grpc_code"))
SECONDS = Histogram("grpc_server_handling_seconds", "Time of calls", _LABELS, buckets=_BUCKETS)
IN_FLIGHT = Gauge("grpc_server_in_flight", "Calls that run", _LABELS)
RECEIVED = Counter("grpc_server_msg_received_total", "Messages in", _LABELS)
SENT = Counter("grpc_server_msg_sent_total", "Messages out", _LABELS)

# Generic in the stubs only.
_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps the handlers of our services.

    Args:
        public: names of services that check by themselves who calls.
    """

    def __init__(self, settings: RpcSettings, public: Set[str] = frozenset()) -> None:
        self._public = public
        self._token = settings.token.get_secret_value().encode()
        self._max_deadline_s = settings.max_deadline_s
        self._callers = frozenset(settings.tls.callers if settings.tls else ())

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler | None:
        """Wrap the handler of one call."""
        handler = await continuation(handler_call_details)
        path = handler_call_details.method
        if handler is None or path.startswith(_OPEN):
            return handler
        return self._wrap(handler, path)

    def _wrap(self, handler: _Handler, path: str) -> _Handler:
        kind = _kind(handler)
        _, service, method = path.split("/")
        labels = (kind, service, method)
        inner = getattr(handler, kind)

        # Responses are written rather than yielded: a generator that is cancelled between two
        # messages would be closed later, in another context, and its call counted late.
        async def respond(request: Any, context: _Context) -> Any:
            async with self._call(labels, context):
                if handler.request_streaming:
                    request = _counted(request, labels)
                else:
                    RECEIVED.labels(*labels).inc()
                if not handler.response_streaming:
                    response = await inner(request, context)
                    SENT.labels(*labels).inc()
                    return response
                async with aclosing(inner(request, context)) as responses:
                    async for response in responses:
                        await context.write(response)
                        SENT.labels(*labels).inc()

        make: Any = getattr(grpc, f"{kind}_rpc_method_handler")
        wrapped: _Handler = make(respond, handler.request_deserializer, handler.response_serializer)
        return wrapped

    @asynccontextmanager
    async def _call(self, labels: tuple[str, str, str], context: _Context) -> AsyncIterator[None]:
        metadata = {key: value for key, value in context.invocation_metadata() or ()}
        given = metadata.get("x-request-id")
        with logs.request_scope(given if isinstance(given, str) else None), _count(labels) as ended:
            try:
                if labels[1] not in self._public:
                    self._check_caller(context.auth_context())
                    self._check_token(metadata.get("authorization"))
                self._check_deadline(context.time_remaining())
                yield
                ended.code = "OK"
            except asyncio.CancelledError:
                left = context.time_remaining()
                ended.code = "DEADLINE_EXCEEDED" if left is not None and left <= 0 else "CANCELLED"
                raise
            except grpc.aio.AbortError:
                ended.code = grpc.StatusCode(context.code()).name
                raise
            except Exception as error:
                status = to_status(_presentable(error, labels[2]))
                ended.code = status.code.name
                await context.abort(status.code, status.details, status.trailing_metadata)

    def _check_caller(self, shown: Mapping[str, Iterable[bytes]]) -> None:
        """By the names in its certificate, which the authority has signed."""
        if not self._callers:
            return
        names = {name.decode() for name in shown.get("x509_subject_alternative_name", ())}
        if not names & self._callers:
            raise PermissionDenied(
                "this service takes no calls of this caller",
                reason="CALLER_NOT_ALLOWED",
                remedy="Name one of its certificate's names in AVATAR_RPC__TLS__CALLERS.",
            )

    def _check_token(self, given: str | bytes | None) -> None:
        shown = given.encode() if isinstance(given, str) else given or b""
        if not hmac.compare_digest(shown, b"Bearer " + self._token):
            raise Unauthenticated(
                "the call shows no valid token",
                reason="INVALID_TOKEN",
                remedy="Give every service the same AVATAR_RPC__TOKEN.",
            )

    def _check_deadline(self, left_s: float | None) -> None:
        if left_s is None or left_s > self._max_deadline_s:
            raise InputError(
                "the call has no deadline, or one too far away",
                reason="DEADLINE_REQUIRED",
                remedy=f"Set a timeout of at most {self._max_deadline_s:g} s.",
            )


class _Ended:
    code = "UNKNOWN"


class _count:  # noqa: N801 - used like a function
    def __init__(self, labels: tuple[str, str, str]) -> None:
        self._labels = labels
        self._ended = _Ended()
        self._begin = time.monotonic()

    def __enter__(self) -> _Ended:
        STARTED.labels(*self._labels).inc()
        IN_FLIGHT.labels(*self._labels).inc()
        return self._ended

    def __exit__(self, *_: object) -> None:
        IN_FLIGHT.labels(*self._labels).dec()
        SECONDS.labels(*self._labels).observe(time.monotonic() - self._begin)
        HANDLED.labels(*self._labels, self._ended.code).inc()


async def _counted(
    requests: AsyncIterator[Any], labels: tuple[str, str, str]
) -> AsyncIterator[Any]:
    async for request in requests:
        RECEIVED.labels(*labels).inc()
        yield request


def _kind(handler: _Handler) -> str:
    left = "stream" if handler.request_streaming else "unary"
    return f"{left}_{'stream' if handler.response_streaming else 'unary'}"


def _presentable(error: Exception, method: str) -> SyncTalkError:
    if isinstance(error, SyncTalkError):
        log.info("call failed", method=method, reason=error.reason, error=error.message)
        return error
    log.error("call failed unexpectedly", method=method, exc_info=error)
    return ServiceError(  # without the text of the exception, which may hold anything
        f"{method} failed unexpectedly; its log has the request id {logs.request_id()}",
        reason="INTERNAL",
        remedy="Report this with the request id.",
    )
