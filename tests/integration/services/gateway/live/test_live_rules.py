"""Who may hold live sessions, how many, and how they end."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from gateway_suite import OPERATOR, Json, client
from live_guests import (
    LIVE,
    Guest,
    start_renderer,
    streaming,
)
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed


def test_limits_refuse_with_a_reason(guest: Guest) -> None:
    full = start_renderer(guest.stage.house, 30, places=1)
    settings = {
        **guest.stage.settings, "RENDERER_TARGETS": [full.target],
        "LIVE": {**LIVE, "quota_sessions": 2, "max_sessions": 3},
    }  # fmt: skip
    with guest.stage.house.another_gateway(**settings) as url:
        key = guest.tenant.http.headers["Authorization"].removeprefix("Bearer ")
        with client(url, key) as http:
            body = {"avatar": guest.avatar["id"]}
            first = http.post("/v1/sessions", json=body)
            assert first.status_code == 201, first.text
            refused = http.post("/v1/sessions", json=body)
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "RENDERER_FULL")
            assert int(refused.headers["Retry-After"]) > 0
            assert len(http.get("/v1/sessions").json()["data"]) == 1
            guest.open()
            refused = http.post("/v1/sessions", json=body)
            assert (refused.status_code, refused.json()["error"]["code"]) == (429, "QUOTA_SESSIONS")
            unready = guest.tenant.new_avatar(refuse=True)
            refused = http.post("/v1/sessions", json={"avatar": unready["id"]})
            assert (refused.status_code, refused.json()["error"]["code"]) == (
                409, "AVATAR_NOT_READY",
            )  # fmt: skip
    full.process.terminate()
    full.process.wait(20)


def test_the_operator_says_how_many_sessions_one_tenant_may_have(guest: Guest) -> None:
    assert guest.http.get("/v1/me").json()["quotas"]["sessions"] == LIVE["quota_sessions"]
    with client(guest.stage.url, OPERATOR) as operator:
        path = f"/v1/tenants/{guest.tenant.name}/limits"
        operator.put(path, json={"sessions": 1}).raise_for_status()
    first, body = guest.open(), {"avatar": guest.avatar["id"]}
    refused = guest.http.post("/v1/sessions", json=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "QUOTA_SESSIONS")
    guest.http.delete(f"/v1/sessions/{first['id']}").raise_for_status()
    assert guest.open()["id"] != first["id"]


def test_without_its_services_a_gateway_says_so(guest: Guest) -> None:
    answer = guest.tenant.http.post("/v1/sessions", json={"avatar": guest.avatar["id"]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "LIVE_NOT_CONFIGURED")


def test_another_gateway_says_who_has_the_session_and_may_end_it(guest: Guest) -> None:
    async def main() -> None:
        session = guest.open()
        path = f"/v1/sessions/{session['id']}"
        with guest.stage.house.another_gateway(**guest.stage.settings) as url:
            key = guest.tenant.http.headers["Authorization"].removeprefix("Bearer ")
            with client(url, key) as http:
                elsewhere = http.get(path)
                assert elsewhere.status_code == 421
                assert elsewhere.json()["error"]["code"] == "SESSION_ELSEWHERE"
                assert elsewhere.headers["Location"] == session["url"]
                assert [each["id"] for each in http.get("/v1/sessions").json()["data"]] == [
                    session["id"]
                ]
                wrong = f"ws{url.removeprefix('http')}{path}/stream?token={session['token']}"
                async with connect(wrong) as socket:
                    await socket.recv()
                    with pytest.raises(ConnectionClosed) as closed:
                        await socket.recv()
                assert closed.value.rcvd is not None
                assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (
                    4421, session["websocket_url"],
                )  # fmt: skip
                async with streaming(session) as stream:
                    assert http.delete(path).status_code == 204
                    await stream.until(lambda: stream.has("ended"))
                    assert stream.news[-1]["code"] == "DELETED"
            assert guest.http.get(path).status_code == 404

    asyncio.run(main())


def test_erasing_an_avatar_ends_its_sessions(guest: Guest) -> None:
    async def main() -> None:
        session = guest.open()
        async with streaming(session) as stream:
            await stream.until(lambda: stream.has("ready"))
            guest.tenant.delete(f"/v1/avatars/{guest.avatar['id']}")
            await stream.until(lambda: stream.has("ended"))
            assert stream.news[-1]["code"] == "AVATAR_ERASED"
        refused = guest.http.post("/v1/sessions", json={"avatar": guest.avatar["id"]})
        assert refused.json()["error"]["code"] == "AVATAR_NOT_FOUND"

    asyncio.run(main())


def test_the_audit_log_tells_who_opened_a_session_and_that_a_revocation_ended_it(
    guest: Guest,
) -> None:
    consent = guest.avatar["consent"]

    async def main() -> str:
        session = guest.open()
        async with streaming(session) as stream:
            await stream.until(lambda: stream.has("ready"))
            guest.tenant.post(f"/v1/consents/{consent}/revoke")
            await stream.until(lambda: stream.has("ended"))
        return str(session["id"])

    session = asyncio.run(main())
    actions = ("session.open", "session.end")
    log = guest.tenant.poll(
        "/v1/audit", lambda it: any(each["action"] == actions[1] for each in it["data"])
    )
    opened, ended = (each for each in log["data"] if each["action"] in actions)
    assert opened["resource"] == ended["resource"] == f"sessions/{session}"
    about = {"avatar": guest.avatar["id"], "consent": consent}
    assert (opened["actor"], opened["detail"]) == (guest.tenant.get("/v1/me")["key"], about)
    assert (ended["actor"], ended["detail"]) == ("system", {**about, "why": "AVATAR_ERASED"})


def test_a_token_opens_its_own_session_and_nothing_else(guest: Guest) -> None:
    one, two = guest.open(), guest.open()
    with client(guest.stage.url, one["token"]) as http:
        assert http.get(f"/v1/sessions/{one['id']}").status_code == 200
        assert http.post(f"/v1/sessions/{one['id']}/keep_alive").status_code == 200
        for path in (f"/v1/sessions/{two['id']}", "/v1/sessions", "/v1/avatars", "/v1/keys"):
            refused = http.get(path)
            assert refused.status_code == 403, path
        assert http.delete(f"/v1/sessions/{one['id']}").status_code == 204
        assert http.get(f"/v1/sessions/{one['id']}").status_code == 401  # the token went with it


def test_a_token_ends_when_nobody_uses_it(guest: Guest) -> None:
    async def refused(session: Json) -> Json:
        async with streaming(session) as stream:
            message: Json = json.loads(await stream.socket.recv())
            return message

    settings = {**guest.stage.settings, "LIVE": {**LIVE, "token_s": 1}}
    with guest.stage.house.another_gateway(**settings) as url:
        key = guest.tenant.http.headers["Authorization"].removeprefix("Bearer ")
        with client(url, key) as http:
            session = http.post("/v1/sessions", json={"avatar": guest.avatar["id"]}).json()
            deadline = time.monotonic() + 20
            with client(url, session["token"]) as mine:
                while mine.get("/v1/me").status_code == 403:
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
            message = asyncio.run(refused(session))
            assert message["code"] == "INVALID_SESSION_TOKEN"
            assert http.get(f"/v1/sessions/{session['id']}").status_code == 200


def test_a_repeated_request_opens_one_session_with_a_token_that_works(guest: Guest) -> None:
    body = {"avatar": guest.avatar["id"]}
    headers = {"Idempotency-Key": "once"}
    first, second = (
        guest.http.post("/v1/sessions", json=body, headers=headers).json() for _ in range(2)
    )
    assert first["id"] == second["id"]
    assert len(guest.http.get("/v1/sessions").json()["data"]) == 1
    with client(guest.stage.url, second["token"]) as http:
        assert http.get(f"/v1/sessions/{first['id']}").status_code == 200


def test_a_gateway_that_stops_tells_its_sessions(guest: Guest) -> None:
    async def main() -> None:
        service = guest.stage.house.suite.start("services.gateway", **guest.stage.settings)
        url = f"http://127.0.0.1:{service.ports['port']}"
        key = guest.tenant.http.headers["Authorization"].removeprefix("Bearer ")
        with client(url, key) as http:
            session = http.post("/v1/sessions", json={"avatar": guest.avatar["id"]}).json()
        async with streaming(session) as stream:
            await stream.until(lambda: stream.has("ready"))
            service.process.terminate()
            await stream.until(lambda: stream.has("ended"))
            assert stream.news[-1]["code"] == "STOPPING"
        assert await asyncio.to_thread(service.process.wait, 20) == 0
        assert guest.http.get(f"/v1/sessions/{session['id']}").status_code == 404

    asyncio.run(main())
