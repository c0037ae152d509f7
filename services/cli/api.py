"""A client of ``/v1`` that rides out restarts: what cannot be reached is asked again.

Every call may be repeated: what creates something carries an idempotency key. Progress comes as
server-sent events and, where they fail, by asking.
"""

from __future__ import annotations

import json
import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import httpx

from services.common.errors import (
    Conflict,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    ServiceError,
    Unauthenticated,
    Unavailable,
)
from synctalk.errors import InputError, SyncTalkError

Resource = dict[str, Any]
"""A resource as the API gave it: JSON, shown and printed but never computed with."""

Method = Literal["GET", "POST", "DELETE"]

PATIENCE_S = 15.0
FOREVER_S = float("inf")
_ANSWER_S = 30.0
_SILENCE_S = 45.0  # three heartbeats of the event stream
_BACKOFF_S, _BACKOFF_CAP_S = 0.25, 5.0
_AWAY = (429, 502, 503, 504)
_KINDS: Mapping[int, type[SyncTalkError]] = {
    401: Unauthenticated,
    403: PermissionDenied,
    404: NotFound,
    409: Conflict,
    410: NotFound,
    429: ResourceExhausted,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


@dataclass(frozen=True)
class _Event:
    id: str
    data: Resource


class Api:
    """``/v1`` of one suite, as one tenant.

    Args:
        url: of the suite, without ``/v1``.
        key: an API key.
        patience_s: how long a suite that is away is waited for.
        note: told in words when it is waited for, and when it is back.
    """

    def __init__(
        self, url: str, key: str, patience_s: float, note: Callable[[str], None] = lambda text: None
    ) -> None:
        self.url = url.rstrip("/")
        self.patience_s = patience_s
        self._note = note
        self._http = httpx.Client(
            base_url=self.url + "/v1",
            headers={"authorization": f"Bearer {key}"},
            trust_env=not self.url.startswith("http://127.0.0.1"),
        )

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def get(self, path: str, **query: str | int) -> Resource:
        """One resource. Raises :class:`SyncTalkError` as :meth:`call`."""
        return self.call("GET", path, query=query)

    def post(
        self, path: str, body: Mapping[str, object] | None = None, *, answer_s: float = _ANSWER_S
    ) -> Resource:
        """Create or do something, once, however often it has to be said.

        Args:
            answer_s: how long the suite may take over it before it counts as away.
        """
        return self.call("POST", path, body=body or {}, answer_s=answer_s)

    def delete(self, path: str, **query: str | int) -> Resource:
        """Remove something; what the answer says of it."""
        return self.call("DELETE", path, query=query)

    def list(self, path: str, limit: int, **query: str) -> Sequence[Resource]:
        """The newest ``limit``, however many pages that takes."""
        found: list[Resource] = []
        token = ""
        while len(found) < limit:
            page = self.get(
                path,
                limit=min(limit - len(found), 100),
                **query,
                **({"token": token} if token else {}),
            )
            found += page["data"]
            token = page["next_token"] or ""
            if not token:
                break
        return found

    def call(
        self,
        method: Method,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: Mapping[str, object] | None = None,
        answer_s: float = _ANSWER_S,
    ) -> Resource:
        """One request, repeated while the suite is away, for ``patience_s`` at most.

        Raises:
            Unavailable: it stays away.
            SyncTalkError: the API refuses, in its own words.
        """
        headers = {"idempotency-key": uuid.uuid4().hex} if method == "POST" else {}
        timeout = httpx.Timeout(answer_s, connect=5.0)

        def once() -> Resource:
            answer = self._http.request(
                method, path, params=query, json=body, headers=headers, timeout=timeout
            )
            raise_for(answer)
            return dict(answer.json()) if answer.content else {}

        return self.insist(once)

    def insist(self, work: Callable[[], Resource], what: str = "") -> Resource:
        """Do ``work`` again while it fails because ``what``, by default the API, is away.

        Raises:
            Unavailable: it stays away.
            SyncTalkError: whatever else ``work`` raises.
        """
        what = what or self.url
        began_s = time.monotonic()
        backoff_s = _BACKOFF_S
        while True:
            try:
                done = work()
            except (httpx.TransportError, _Away) as error:
                wait_s = max(backoff_s * random.uniform(0.5, 1.0), getattr(error, "after_s", 0.0))
                if time.monotonic() + wait_s - began_s > self.patience_s:
                    raise _gone(what, error) from None
                if backoff_s > 1:  # a blip is nobody's business
                    self._note(f"{what} is away ({_words(error)}); trying again …")
                time.sleep(wait_s)
                backoff_s = min(2 * backoff_s, _BACKOFF_CAP_S)
            else:
                if backoff_s > 2:
                    self._note(f"{what} is back.")
                return done

    def watch(self, path: str, ended: Callable[[Resource], bool]) -> Iterator[Resource]:
        """A resource as it changes, until ``ended`` says so of it; the last one is given too.

        Raises:
            SyncTalkError: as :meth:`call`.
        """
        last_id = ""
        while True:
            resource = self.get(path)
            yield resource
            if ended(resource):
                return
            try:
                for event in self._events(path, last_id):
                    last_id = event.id or last_id
                    yield event.data
                    if ended(event.data):
                        return
            except (httpx.TransportError, _Away, ServiceError, InputError):
                pass  # asking is the fallback, and says better what is wrong
            time.sleep(1.0)

    def _events(self, path: str, last_id: str) -> Iterator[_Event]:
        headers = {"accept": "text/event-stream"} | ({"last-event-id": last_id} if last_id else {})
        timeout = httpx.Timeout(30.0, connect=5.0, read=_SILENCE_S)
        with self._http.stream("GET", f"{path}/events", headers=headers, timeout=timeout) as answer:
            if answer.is_error:
                answer.read()
            raise_for(answer)
            yield from parse_events(answer.iter_lines())


def parse_events(lines: Iterator[str]) -> Iterator[_Event]:
    """Server-sent events whose data is JSON. https://html.spec.whatwg.org/#event-stream"""
    event_id, data = "", list[str]()
    for line in lines:
        if not line and data:
            yield _Event(event_id, json.loads("\n".join(data)))
            data = []
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            data.append(value)
        elif name == "id":
            event_id = value


class _Away(Exception):
    """The suite, or a part of it, says that it is overloaded or away."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__(f"HTTP {answer.status_code}")
        self.answer = answer
        after = answer.headers.get("retry-after", "")
        self.after_s = float(after) if after.isdecimal() else 0.0


def raise_for(answer: httpx.Response) -> None:
    """Raise what an error answer says.

    Raises:
        _Away: it may be different soon.
        SyncTalkError: it will not.
    """
    if answer.status_code in _AWAY:
        raise _Away(answer)
    if answer.is_error:
        raise error_of(answer)


def error_of(answer: httpx.Response) -> SyncTalkError:
    """The error that the answer describes."""
    try:
        said = answer.json()["error"]
    except (ValueError, KeyError, TypeError):
        said = {"message": f"{answer.request.url} answers HTTP {answer.status_code}."}
    usual = InputError if answer.status_code < 500 else ServiceError
    kind = _KINDS.get(answer.status_code, usual)
    message = str(said.get("message", ""))
    param = str(said.get("param") or "")
    if not message.startswith(param):
        message = f"{param}: {message}"
    if answer.status_code >= 500 and (request_id := said.get("request_id")):
        message = f"{message} (request {request_id})"
    return kind(
        message, reason=str(said.get("code") or "HTTP_ERROR"), remedy=str(said.get("remedy") or "")
    )


def _gone(what: str, error: Exception) -> SyncTalkError:
    if isinstance(error, _Away):
        return error_of(error.answer)
    return Unavailable(
        f"{what} cannot be reached ({_words(error)}).",
        reason="API_AWAY",
        remedy="Start it with avatar up, or say where it is: --url or AVATAR_URL.",
    )


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
