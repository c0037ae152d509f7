"""What happens around every request: its id, a log line, figures, headers, a span."""

from __future__ import annotations

import time
from typing import Any

from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.common import logs
from services.gateway.errors import error_response, respond_unexpected
from services.gateway.metrics import IN_FLIGHT, SECONDS

log = logs.logger(__name__)

_TRACER = trace.get_tracer(__name__)
_W3C = TraceContextTextMapPropagator()
_BODY_BYTES = 2 << 20  # the longest text for captions, in any script
_DRAINED_BYTES = 32 << 20


class RequestScope:
    """Middleware, the outermost but for Starlette's own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        with (
            logs.request_scope(headers.get("x-request-id")) as request_id,
            _TRACER.start_as_current_span(
                scope["method"], _W3C.extract(headers), trace.SpanKind.SERVER
            ),
            IN_FLIGHT.track_inprogress(),
        ):
            answer = _Answer(scope, send, request_id)
            try:
                if (refusal := _refusal(scope)) is not None:
                    await _drain(receive)
                    await refusal(scope, receive, answer.send)
                else:
                    await self._app(scope, receive, answer.send)
            except Exception as error:
                if answer.status:  # under way: all that is left is to break the connection
                    log.error("answer broken off", exc_info=error)
                    raise
                await respond_unexpected(error)(scope, receive, answer.send)
            answer.log()
            answer.trace()


def _refusal(scope: Scope) -> Response | None:
    """The answer to a request whose body is too long, or may become so."""
    headers = Headers(scope=scope)
    if "transfer-encoding" in headers:
        return error_response(
            411, "LENGTH_REQUIRED", "the body has no length", "Send Content-Length."
        )
    if int(headers.get("content-length", "0")) > _BODY_BYTES:  # the server has checked that
        return error_response(
            413, "BODY_TOO_LARGE", f"the body is longer than {_BODY_BYTES} bytes",
            "Send large files by POST /v1/uploads.",
        )  # fmt: skip
    return None


async def _drain(receive: Receive) -> None:
    """Let a client finish its body, or it would not hear the answer; a very long one is cut off."""
    drained, more = 0, True
    while more and drained < _DRAINED_BYTES:
        message = await receive()
        drained += len(message.get("body", b""))
        more = message.get("more_body", False)


class _Answer:
    """Passes the answer on, with our headers, and remembers what it was."""

    def __init__(self, scope: Scope, send: Send, request_id: str) -> None:
        self._scope, self._send, self._request_id = scope, send, request_id
        self._began_s = time.monotonic()
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = self._request_id
            headers["X-Content-Type-Options"] = "nosniff"
            if self._scope["path"].startswith("/v1"):
                headers.setdefault("Cache-Control", "no-store")
            for name, value in self._state.get("rate_headers", {}).items():
                headers[name] = value
            labels = (self._scope["method"], self._route, str(self.status))
            SECONDS.labels(*labels).observe(time.monotonic() - self._began_s)
        await self._send(message)

    def log(self) -> None:
        caller = self._state.get("caller")
        log.info(
            "request", method=self._scope["method"], route=self._route, path=self._scope["path"],
            status=self.status, tenant=getattr(caller, "tenant", ""),
            ms=round((time.monotonic() - self._began_s) * 1000, 1),
        )  # fmt: skip

    def trace(self) -> None:
        """Complete the span, which is nobody's unless a collector is named."""
        span = trace.get_current_span()
        span.update_name(f"{self._scope['method']} {self._route}")
        span.set_attributes(
            {
                "http.request.method": self._scope["method"],
                "http.route": self._route,
                "http.response.status_code": self.status,
                logs.REQUEST_ID: self._request_id,
            }
        )
        if self.status >= 500:
            span.set_status(trace.StatusCode.ERROR)

    @property
    def _state(self) -> dict[str, Any]:
        state: dict[str, Any] = self._scope.get("state", {})
        return state

    @property
    def _route(self) -> str:
        """The pattern, never the path: labels must be few."""
        return getattr(self._scope.get("route"), "path", "") or "none"
