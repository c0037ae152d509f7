"""Requests made of the contract, right and wrong, and good requests damaged byte by byte."""

from __future__ import annotations

import contextlib
import json
import random
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
import schemathesis
from attack_contract import Operation
from fuzz_report import Report
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from mutate import mutated
from schemathesis import GenerationMode

_ANSWER = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_TIMEOUT_S = 60.0  # machines stand still at times
# Ends the caller's own key; events of what is open last as long as that.
_LEFT_OUT = {"DELETE /v1/keys/{key_id}"}


@dataclass(frozen=True)
class Aim:
    """Where requests go, and by whose key."""

    url: str
    key: str
    ids: Mapping[str, str]


class _Enough(Exception):
    """The time is over."""


def fuzz_schema(
    aim: Aim, document: Mapping[str, Any], number: int, count: int, seconds: float
) -> Report:
    """Up to ``count`` requests, evenly over all operations: half as the contract says, half not.

    Fewer where an operation has no more of a kind, a client could not send them, or ``seconds``
    are over.
    """
    report, began = Report("requests made of the contract", number), time.monotonic()
    schema = schemathesis.openapi.from_dict(dict(document))
    offered = [found.ok() for found in schema.get_all_operations()]
    each = max(1, count // (2 * len(offered)))
    with httpx.Client(timeout=_TIMEOUT_S) as web, contextlib.suppress(_Enough):
        for operation in offered:
            if operation.label in _LEFT_OUT:
                continue
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

                def send(case: Any, web: httpx.Client = web) -> None:
                    if time.monotonic() - began > seconds:
                        report.out_of_time = True
                        raise _Enough
                    _send(aim, web, case, report)

                with contextlib.suppress(Unsatisfiable):  # nothing in it can be wrong
                    _every(operation.as_strategy(generation_mode=mode), send, number, each)
    report.seconds = time.monotonic() - began
    return report


def _every(strategy: Any, send: Callable[[Any], None], number: int, count: int) -> None:
    @seed(number)
    @settings(
        max_examples=count, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(strategy)
    def go(case: Any) -> None:
        send(case)

    go()


def _send(aim: Aim, web: httpx.Client, case: Any, report: Report) -> None:
    given_ = case.as_transport_kwargs(base_url=aim.url)
    headers = {**dict(given_["headers"]), "Authorization": f"Bearer {aim.key}"}
    content = given_.get("data")
    try:
        request = web.build_request(
            given_["method"], given_["url"], params=given_["params"], json=given_.get("json"),
            content=content if isinstance(content, (bytes, str)) else None,
            headers={name: value.encode("utf-8", "replace") for name, value in headers.items()},
        )  # fmt: skip
    except (httpx.InvalidURL, UnicodeError, ValueError):
        return  # what no client can send
    report.count += 1
    where = f"{given_['method']} {given_['url']} {given_['params']} {given_.get('json')!r:.200}"
    try:
        answer = web.send(request, stream=True)
        with contextlib.closing(answer):
            endless = answer.headers.get("content-type", "").startswith("text/event-stream")
            _judge(report, answer.status_code, b"" if endless else answer.read(), where)
    except httpx.HTTPError as error:
        _judge(report, 0, repr(error).encode(), where)


def fuzz_bytes(
    aim: Aim, operations: tuple[Operation, ...], bodies: Mapping[str, list[dict[str, object]]],
    number: int, count: int, seconds: float,
) -> Report:  # fmt: skip
    """``count`` good requests with damage anywhere, fewer if ``seconds`` are over."""
    report, began = Report("damaged requests", number), time.monotonic()
    good = [
        _raw(aim, operation, body)
        for operation in operations
        if str(operation) not in _LEFT_OUT
        for body in bodies.get(str(operation), [None])
    ]
    for index in range(count):
        if time.monotonic() - began > seconds:
            report.out_of_time = True
            break
        rng = random.Random(f"{number}/{index}")
        request = mutated(rng.choice(good), good, rng)
        report.count += 1
        answer = _exchange(aim, request)
        found = _ANSWER.match(answer)
        status, body = int(found[1]) if found else 0, answer.partition(b"\r\n\r\n")[2]
        if not answer or found:  # cut off without a word is an answer to what is no request
            _judge(report, status, body, f"{request!r:.400}", broken=True)
        else:
            report.findings.setdefault("no HTTP", f"{request!r:.400} → {answer!r:.100}")
    report.seconds = time.monotonic() - began
    return report


def _raw(aim: Aim, operation: Operation, body: dict[str, object] | None) -> bytes:
    content = b"" if body is None else json.dumps(body).encode()
    head = (
        f"{operation.method} {operation.url(aim.ids)}?limit=1 HTTP/1.1\r\n"
        f"Host: {urlsplit(aim.url).netloc}\r\nConnection: close\r\n"
        f"Authorization: Bearer {aim.key}\r\nContent-Type: application/json\r\n"
        f"Idempotency-Key: fuzz\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def _exchange(aim: Aim, request: bytes) -> bytes:
    """The first part of what is answered; nothing where the connection is cut off."""
    api = urlsplit(aim.url)
    with socket.create_connection((str(api.hostname), api.port or 80), timeout=_TIMEOUT_S) as wire:
        try:
            wire.sendall(request)
            wire.shutdown(socket.SHUT_WR)
            return b"".join(_received(wire))
        except (ConnectionResetError, BrokenPipeError):
            return b""


def _received(wire: socket.socket) -> Iterator[bytes]:
    heard = 0
    while heard < 65536 and (data := wire.recv(65536)):
        heard += len(data)
        yield data
        if b"text/event-stream" in data:
            return


def _judge(report: Report, status: int, body: bytes, where: str, *, broken: bool = False) -> None:
    """An error has the promised form; none is ours."""
    report.outcomes[str(status or "cut off")] += 1
    if status >= 500 or (status == 0 and not broken):
        report.findings.setdefault(f"status {status}", f"{where} → {body!r:.300}")
    elif status >= 400 and not broken:
        try:
            error = json.loads(body)["error"]
            whole = all(error[name] for name in ("code", "message", "remedy", "request_id"))
        except (ValueError, KeyError, TypeError):
            whole = False
        if not whole:
            report.findings.setdefault(f"an odd {status}", f"{where} → {body!r:.300}")
