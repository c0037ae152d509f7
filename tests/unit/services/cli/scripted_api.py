"""An HTTP server that answers as a test tells it to, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from services.common.local_server import HOST


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    announced: int | None = None  # Content-Length, where it is to be a lie


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


def said(value: object, status: int = 200, **headers: str) -> Answer:
    return Answer(status, json.dumps(value).encode(), headers)


def refusal(status: int, code: str, message: str = "no", **headers: str) -> Answer:
    error = {"code": code, "message": message, "param": None, "remedy": "Do.", "request_id": "r1"}
    return said({"error": error}, status, **headers)


@dataclass
class ScriptedApi:
    answer: Callable[[Asked], Answer]
    asked: list[Asked] = field(default_factory=list)
    url: str = ""


@contextmanager
def serving(answer: Callable[[Asked], Answer], port: int = 0) -> Iterator[ScriptedApi]:
    api = ScriptedApi(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(self.command, self.path, headers, body)
            api.asked.append(asked)
            given = api.answer(asked)
            self.send_response(given.status)
            for name, value in given.headers.items():
                self.send_header(name.replace("_", "-"), value)
            length = len(given.body) if given.announced is None else given.announced
            self.send_header("content-length", str(length))
            self.end_headers()
            self.wfile.write(given.body)
            self.close_connection = given.announced is not None

        do_GET = do_POST = do_PUT = do_DELETE = _handle  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer((HOST, port), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    api.url = f"http://{HOST}:{server.server_address[1]}"
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
