"""HTTP on the wire: uvicorn's protocol with bounds on what comes before a request's body.

The parser keeps headers of any length, for as long as they take to come. Here a connection is
refused whose request line and headers exceed a size or a time, and in the form of all errors.
"""

from __future__ import annotations

import asyncio

from starlette.responses import JSONResponse
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from services.common import logs
from services.gateway.errors import error_response

_HEAD_BYTES = 64 << 10
_HEAD_S = 20.0


class BoundedHttp(HttpToolsProtocol):
    """Give it to uvicorn as ``http``."""

    _in_head = True
    _head_bytes = 0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._begin_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is waited for any more."""
        self._end_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, and see that the head does not grow for ever."""
        super().data_received(data)
        if self._in_head and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > _HEAD_BYTES:
                self._refuse(
                    431, "HEADERS_TOO_LARGE", f"address and headers exceed {_HEAD_BYTES} bytes",
                    "Send less; large things go into the body.",
                )  # fmt: skip

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._begin_head()

    def on_headers_complete(self) -> None:
        """Its head is there."""
        self._end_head()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """What could not be parsed."""
        self._refuse(400, "INVALID_HTTP", "this is no HTTP request", "Send HTTP/1.1.")

    def _begin_head(self) -> None:
        self._end_head()
        self._in_head, self._head_bytes = True, 0
        self._timer = self.loop.call_later(_HEAD_S, self._too_slow)

    def _end_head(self) -> None:
        self._in_head = False
        if self._timer is not None:
            self._timer.cancel()

    def _too_slow(self) -> None:
        if not self._head_bytes:  # a connection made in advance
            self.transport.close()
        elif not self.transport.is_closing():
            self._refuse(
                408, "HEADERS_TOO_SLOW", f"no whole headers came within {_HEAD_S:g} s", "Try again."
            )

    def _refuse(self, status: int, code: str, message: str, remedy: str) -> None:
        with logs.request_scope(None) as request_id:
            answer: JSONResponse = error_response(status, code, message, remedy)
        self._end_head()
        answer.headers["X-Request-Id"] = request_id
        answer.headers["Connection"] = "close"
        head = b"".join(b"%s: %s\r\n" % header for header in answer.raw_headers)
        self.transport.write(b"HTTP/1.1 %d \r\n%s\r\n%s" % (status, head, bytes(answer.body)))
        self.transport.close()
