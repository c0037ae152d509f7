"""Requests that are too much, not what they say, or mean to be read as something else."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

import httpx
import pytest
from attack_answers import refused
from attack_people import Person
from harness import Suite
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

JSON = {"Content-Type": "application/json"}
GOOD = {"subject_name": "Eve", "granted_by": "Eve"}


@pytest.fixture
def key(stranger: Person) -> dict[str, str]:
    return {"Authorization": f"Bearer {stranger.tenant.key}"}


def nested(opening: bytes, closing: bytes, depth: int) -> bytes:
    return opening * depth + closing * depth


BODIES: Mapping[str, bytes] = {
    "arrays in arrays": nested(b"[", b"]", 100_000),
    "objects in objects": nested(b'{"a":', b"}", 100_000) + b"0",
    "an opened array": b"[" * 1_000_000,
    "a field nested": b'{"subject_name":' + nested(b"[", b"]", 50_000) + b"}",
    "a number of a million digits": b'{"subject_name":' + b"9" * 1_000_000 + b"}",
    "a float beyond all": b'{"subject_name":1e999999999}',
    "no number": b'{"subject_name":NaN}',
    "infinity": b'{"subject_name":-Infinity}',
    "half a surrogate in a key": b'{"\\ud800":1}',
    "half a surrogate in a value": b'{"subject_name":"\\udfff","granted_by":"x"}',
    "half a surrogate in a nested key": b'{"subject_name":{"\\ud800":"\\ud800"}}',
    "bytes that are no UTF-8": b'{"subject_name":"\xff\xfe","granted_by":"x"}',
    "UTF-16": '{"subject_name":1}'.encode("utf-16"),
    "a null character": b'{"subject_name":"\x00"}',
    "a hundred thousand keys": json.dumps({f"k{n}": 0 for n in range(100_000)}).encode(),
    "one key many times": b"{" + b'"subject_name":0,' * 50_000 + b'"subject_name":0}',
    "another's prototype": b'{"__proto__":{"role":"admin"},"constructor":1}',
    "an array": b"[]",
    "a string": b'"x"',
    "null": b"null",
    "nothing": b"",
    "two documents": b'{"a":1}{"a":1}',
    "a comment": b'{"a":1}//',
    "XML that expands": b'<!DOCTYPE x [<!ENTITY a "aaaa">]><x>&a;</x>',
    "a pickle": b"cos\nsystem\n(S'true'\ntR.",
    "gzip": gzip.compress(b" " * 10_000_000),
}


@pytest.mark.parametrize("what", BODIES)
def test_a_body_that_is_not_what_it_should_be(
    what: str, key: dict[str, str], web: httpx.Client
) -> None:
    refused(web.post("/v1/consents", content=BODIES[what], headers={**key, **JSON}), 400, 413, 422)


def test_a_compressed_body_is_not_unpacked(key: dict[str, str], web: httpx.Client) -> None:
    packed = gzip.compress(json.dumps(GOOD).encode())
    headers = {**key, **JSON, "Content-Encoding": "gzip"}
    refused(web.post("/v1/consents", content=packed, headers=headers), 400, 415, 422)


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)
def test_a_body_of_another_type_is_refused(
    kind: str, key: dict[str, str], web: httpx.Client
) -> None:
    """A page elsewhere may send these without being asked for leave."""
    content = json.dumps(GOOD)
    refused(web.post("/v1/consents", content=content, headers={**key, "Content-Type": kind}), 422)


def test_a_form_of_many_parts_is_refused_before_it_is_read(
    key: dict[str, str], web: httpx.Client
) -> None:
    part = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
    headers = {**key, "Content-Type": "multipart/form-data; boundary=x"}
    refused(web.post("/v1/consents", content=part * 60_000, headers=headers), 413)


IDS = [
    "../system", "..%2f..%2fsystem", "%2e%2e", ".", "*", "?", "a:b", "a b", "a%00b", "a%0d%0ab",
    "a%0aSET%20x%201", "av_%s%n", "{{7*7}}", "${jndi:ldap://x}", "<script>", "'", '"', "%ff%fe",
    "a" * 4000, "%F0%9F%92%A9", "-1", "0", "null", "gw:victim:avatar:x", "__proto__", "a%252e",
]  # fmt: skip


@pytest.mark.parametrize("name", IDS, ids=lambda name: ascii(name)[:40])
def test_an_id_that_is_none(name: str, key: dict[str, str], web: httpx.Client) -> None:
    for path in ("avatars", "jobs", "uploads", "sessions"):
        answer = web.get(f"/v1/{path}/{name}", headers=key, follow_redirects=False)
        if answer.is_success or answer.is_redirect:  # "." and "?" are the list itself
            assert name in (".", "?", "%2e%2e", "../system")
            continue
        refused(answer, 403, 404, 405, 422)


QUERIES = [
    "limit=0", "limit=-1", "limit=201", "limit=1e9", "limit=" + "9" * 5000, "limit=NaN",
    "token=" + "A" * 5000, "token=%00", "token=..%2f", "token=%ff", "limit[]=1&limit=x",
    "token=MHwqDQpGTFVTSEFMTA", "limit=%F0%9F%92%A9",
]  # fmt: skip


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query[:40])
def test_a_page_that_is_none(query: str, key: dict[str, str], web: httpx.Client) -> None:
    for path in ("avatars", "events", "jobs"):
        refused(web.get(f"/v1/{path}?{query}", headers=key), 422)


def test_what_is_handed_in_is_never_a_header(key: dict[str, str], web: httpx.Client) -> None:
    text = "x\r\nSet-Cookie: a=b\r\n\r\n<script>"
    body = {"subject_name": text, "granted_by": text, "statement": text}
    headers = {**key, "Idempotency-Key": "a\tb", "X-Request-Id": "a b<script>"}
    answer = web.post("/v1/consents", json=body, headers=headers)
    assert answer.status_code == 201
    assert "set-cookie" not in answer.headers
    assert "<" not in answer.headers["x-request-id"]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"


ENDLESS = {
    "a header": (b"GET /v1/me HTTP/1.1\r\nHost: x\r\nA: ", b"x"),
    "headers": (b"GET /v1/me HTTP/1.1\r\nHost: x\r\n", b"A: bcdef\r\n"),
    "a path": (b"GET /", b"a"),
    "a query": (b"GET /v1/me?", b"a=%20&"),
    "the path of a second request": (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /", b"a"),
}


@pytest.mark.parametrize("what", ENDLESS)
def test_a_request_that_never_begins_is_cut_off(what: str, suite: Suite) -> None:
    """Long before it has cost memory."""
    api, (head, more) = urlsplit(suite.settings.url), ENDLESS[what]
    sent = 0
    with socket.create_connection((str(api.hostname), api.port or 80), timeout=20) as connection:
        connection.sendall(head)
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            while sent < 64 << 20:
                sent += connection.send(more * (65536 // len(more)))
    assert sent < 16 << 20


RAW = {
    "two lengths": b"POST /v1/consents HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
    b"Content-Length: 3\r\n\r\n{}",
    "a length and chunks": b"POST /v1/consents HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "a negative length": b"POST /v1/consents HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "a length beyond all": b"POST /v1/consents HTTP/1.1\r\nHost: x\r\nContent-Length: "
    + b"9" * 400 + b"\r\n\r\n",
    "a header over two lines": b"GET /v1/me HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\nB : c\r\n\r\n",
    "a null in a header": b"GET /v1/me HTTP/1.1\r\nHost: x\r\nA: \x00\r\n\r\n",
    "no version": b"GET /v1/me\r\n\r\n",
    "another protocol": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "Redis": b"*1\r\n$8\r\nFLUSHALL\r\n",
}  # fmt: skip


@pytest.mark.parametrize("what", RAW)
def test_bytes_that_are_no_request(what: str, suite: Suite) -> None:
    """Answered with an error or cut off, soon, and never with a success."""
    api = urlsplit(suite.settings.url)
    got = b""
    with socket.create_connection((str(api.hostname), api.port or 80), timeout=20) as connection:
        try:
            connection.sendall(RAW[what])
            connection.shutdown(socket.SHUT_WR)
            while data := connection.recv(65536):
                got += data
        except (ConnectionResetError, BrokenPipeError):
            pass
    assert not got or got.split(b" ", 2)[1][:1] == b"4", got[:200]
    assert b" 200 OK" not in got


@pytest.mark.parametrize("token", ["", "avs_x", "a" * 9000, "%0d%0a", "%00"])
def test_a_stream_without_its_token_ends_at_once(token: str, suite: Suite, victim: Person) -> None:
    answer = _told_over_a_websocket(suite, victim.ids["session_id"], token)
    assert answer in ("INVALID_SESSION_TOKEN", "refused")


def test_a_stream_of_another_session_ends_at_once(
    suite: Suite, victim: Person, stranger: Person
) -> None:
    said = _told_over_a_websocket(suite, victim.ids["session_id"], stranger.session_token)
    assert said == "INVALID_SESSION_TOKEN"


def _told_over_a_websocket(suite: Suite, session: str, token: str) -> str:
    base = suite.settings.url.replace("http", "ws", 1)
    try:
        with connect(f"{base}/v1/sessions/{session}/stream?token={token}") as stream:
            return str(json.loads(stream.recv(timeout=20))["code"])
    except (WebSocketException, OSError, EOFError):  # before there was a stream
        return "refused"


def test_errors_say_nothing_of_the_inside(key: dict[str, str], web: httpx.Client) -> None:
    for answer in (
        web.get("/v1/nothing", headers=key),
        web.request("TRACE", "/v1/me", headers=key),
        web.post("/v1/avatars", json={"name": 1}, headers=key),
        web.get("/studio/../../../etc/passwd"),
        web.get("/static/%2e%2e/%2e%2e/%2e%2e/etc/passwd"),
    ):
        for word in ("/work", "site-packages", "Traceback", "root:", ".py"):
            assert word not in answer.text
        assert "server" not in answer.headers
