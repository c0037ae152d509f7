"""What the gateway refuses and how it says so; limits; idempotency; event streams."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest
from gateway_suite import OPERATOR, WEB, House, Json, Tenant, bearer, client, until

ERROR_FIELDS = {"code", "message", "param", "remedy", "request_id"}


def upload(**changed: object) -> Json:
    body = {"filename": "v.mp4", "content_type": "video/mp4", "size_bytes": 10, "kind": "video"}
    return {**body, **changed}


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/avatars/av_none", 404, "AVATAR_NOT_FOUND"),
        ("GET", "/v1/avatars/a%20b", 404, "AVATAR_NOT_FOUND"),
        ("GET", "/v1/nothing", 404, "NO_SUCH_ROUTE"),
        ("GET", "/nothing", 404, "NO_SUCH_ROUTE"),
        ("PUT", "/v1/avatars", 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/v1/avatars?limit=0", 422, "INVALID_REQUEST"),
        ("GET", "/v1/avatars?token=nonsense", 422, "INVALID_PAGE"),
        ("GET", "/v1/jobs/none/events", 404, "JOB_NOT_FOUND"),
    ],
)
def test_every_refusal_has_the_same_form(
    tenant: Tenant, method: str, path: str, status: int, code: str
) -> None:
    answer = tenant.http.request(method, path, headers={"X-Request-Id": "mine-1"})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code)
    assert error.keys() == ERROR_FIELDS
    assert error["request_id"] == answer.headers["X-Request-Id"] == "mine-1"
    assert error["message"]
    assert error["remedy"]


def test_a_tenant_follows_so_much_at_once_and_others_as_much(
    house: House, new_tenant: Callable[[], Tenant]
) -> None:
    busy, other = new_tenant(), new_tenant()
    paths = {
        tenant.name: f"/v1/avatars/{tenant.new_avatar(hold='preprocess')['id']}/events"
        for tenant in (busy, other)
    }

    def follow(stack: ExitStack, http: httpx.Client, tenant: Tenant) -> tuple[int, str]:
        answer = stack.enter_context(http.stream("GET", paths[tenant.name]))
        code = answer.json()["error"]["code"] if answer.is_error and answer.read() else ""
        return answer.status_code, code

    with ExitStack() as stack, house.another_gateway(SSE_STREAMS_TENANT=2) as url:
        mine, others = (
            stack.enter_context(client(url, tenant.http.headers["Authorization"][7:]))
            for tenant in (busy, other)
        )
        with ExitStack() as first:
            assert follow(first, mine, busy) == (200, "")
            assert follow(stack, mine, busy) == (200, "")
            assert follow(stack, mine, busy) == (429, "QUOTA_EVENT_STREAMS")
            assert follow(stack, others, other) == (200, "")
            assert mine.get(paths[busy.name].removesuffix("/events")).status_code == 200
        until(lambda: follow(stack, mine, busy) == (200, ""))  # once the gateway sees it closed
    for tenant in (busy, other):  # or they hold the house's workers for ever
        tenant.delete(paths[tenant.name].removesuffix("/events"))


@pytest.mark.parametrize(
    ("path", "body", "param", "code"),
    [
        ("uploads", upload(size_bytes=0), "size_bytes", "INVALID_REQUEST"),
        ("uploads", upload(size_bytes=600_001), "size_bytes", "UPLOAD_TOO_LARGE"),
        ("uploads", upload(content_type="text/html"), "content_type", "CONTENT_TYPE_UNSUPPORTED"),
        ("uploads", upload(surprise=1), "surprise", "INVALID_REQUEST"),
        ("avatars", {"name": "a", "consent": "c"}, "video", "INVALID_REQUEST"),
        ("avatars", {"name": "a", "consent": "c", "video": "v"}, "consent", "CONSENT_NOT_FOUND"),
        (
            "avatars", {"name": "a", "consent": "c", "video": "v", "size_px": 500}, "size_px",
            "INVALID_REQUEST",
        ),
        (
            "dubs", {"avatar": "a", "audio": "b", "background": {"kind": "image"}},
            "background.image", "BACKGROUND_IMAGE",
        ),
        (
            "dubs", {"avatar": "a", "audio": "b", "background": {"kind": "sea"}},
            "background.kind", "INVALID_REQUEST",
        ),
        (
            "dubs", {"avatar": "a", "audio": "b", "background": {"kind": "transparent"}},
            "format", "VIDEO_FORMAT",
        ),
        (
            "dubs", {"avatar": "a", "audio": "b", "background": {"kind": "colour"}},
            "background.colour", "BAD_COLOUR",
        ),
        ("dubs", {"avatar": "a", "audio": "b", "width_px": 3}, "width_px", "INVALID_REQUEST"),
        ("dubs", {"avatar": "a", "audio": "b", "format": "avi"}, "format", "INVALID_REQUEST"),
        (
            "dubs", {"avatar": "a", "audio": "b", "expression": "angry"}, "expression",
            "INVALID_REQUEST",
        ),
        (
            "dubs", {"avatar": "a", "audio": "b", "blinks_per_minute": 61}, "blinks_per_minute",
            "INVALID_REQUEST",
        ),
        ("webhooks", {"url": "ftp://x", "events": ["dub.failed"]}, "url", "WEBHOOK_URL_REFUSED"),
        ("webhooks", {"url": "https://x", "events": ["x"]}, "events.0", "INVALID_REQUEST"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named(
    tenant: Tenant, path: str, body: Json, param: str, code: str
) -> None:
    status, error = tenant.refused("POST", f"/v1/{path}", body)
    assert (status, error["param"], error["code"]) == (422, param, code)


def test_what_is_no_json_or_too_long_is_refused(tenant: Tenant) -> None:
    headers = {"Content-Type": "application/json"}
    answer = tenant.http.post("/v1/consents", content=b"{", headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "INVALID_JSON")
    answer = tenant.http.post("/v1/consents", content=b" " * (2 << 20) + b"{}", headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "BODY_TOO_LARGE")
    answer = tenant.http.post("/v1/consents", content=iter([b"{", b"}"]), headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (411, "LENGTH_REQUIRED")


def test_only_keys_that_are_known_are_let_in(house: House, tenant: Tenant) -> None:
    for headers in ({}, bearer("avk_wrong"), bearer("x"), {"Authorization": "Basic eDp5"}):
        answer = WEB.get(f"{house.url}/v1/me", headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "INVALID_API_KEY")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert WEB.get(f"{house.url}/v1/me", headers=bearer(OPERATOR)).status_code == 403
    for path in ("/healthz", "/readyz", "/docs", "/openapi.json"):
        assert WEB.get(house.url + path).status_code == 200


def test_members_work_and_admins_manage_keys_until_they_delete_them(
    house: House, tenant: Tenant
) -> None:
    made = tenant.post("/v1/keys", {"name": "build server"}, key="k")
    assert tenant.refused("POST", "/v1/keys", {"name": "x", "tenant": "other"})[1]["param"]
    member = Tenant(tenant.name, client(house.url, made["key"]), house.store)
    assert member.get("/v1/me")["role"] == "member"
    assert member.refused("POST", "/v1/keys", {"name": "x"})[1]["code"] == "ROLE_INSUFFICIENT"
    assert [key["name"] for key in tenant.get("/v1/keys")["data"]] == ["build server", "first"]
    repeated = tenant.http.post(
        "/v1/keys", json={"name": "build server"}, headers={"Idempotency-Key": "k"}
    )
    assert repeated.json()["error"]["code"] == "KEY_ALREADY_MADE"
    tenant.delete(f"/v1/keys/{made['id']}")
    assert member.refused("GET", "/v1/me")[0] == 401
    assert made["key"] not in house.gateway.log()


def test_without_active_consent_nothing_new_is_made(tenant: Tenant) -> None:
    consent = tenant.consent()
    tenant.post(f"/v1/consents/{consent}/revoke")
    body = {"name": "again", "video": tenant.upload(), "consent": consent}
    status, error = tenant.refused("POST", "/v1/avatars", body)
    assert (status, error["code"]) == (409, "CONSENT_REVOKED")
    late = {"subject_name": "A", "granted_by": "A", "expires_at": "2020-01-01T00:00:00Z"}
    assert tenant.refused("POST", "/v1/consents", late)[1]["code"] == "CONSENT_EXPIRED"


def test_consent_revoked_while_footage_is_preprocessed_ends_the_work(
    tenant: Tenant, house: House
) -> None:
    avatar = tenant.new_avatar(hold="preprocess")
    path = f"/v1/avatars/{avatar['id']}"
    tenant.until(path, lambda it: it["state"] == "preprocessing")
    tenant.post(f"/v1/consents/{avatar['consent']}/revoke")
    revoked = tenant.poll(f"/v1/consents/{avatar['consent']}", lambda it: it["erased"])
    assert revoked["state"] == "revoked"
    assert tenant.refused("GET", path)[0] == 404
    assert tenant.get("/v1/jobs")["data"] == []


def test_avatars_need_an_upload_that_is_there_and_dubs_one_that_is_ready(tenant: Tenant) -> None:
    ticket = tenant.post("/v1/uploads", upload())
    body = {"name": "a", "video": ticket["id"], "consent": tenant.consent()}
    assert tenant.refused("POST", "/v1/avatars", body)[1]["code"] == "UPLOAD_NOT_READY"
    body["video"] = tenant.upload("audio")
    assert tenant.refused("POST", "/v1/avatars", body)[1]["code"] == "UPLOAD_OF_WRONG_KIND"
    avatar = tenant.new_avatar(hold="preprocess")
    dub = {"avatar": avatar["id"], "audio": tenant.upload("audio")}
    assert tenant.refused("POST", "/v1/dubs", dub)[1]["code"] == "AVATAR_NOT_READY"
    tenant.delete(f"/v1/avatars/{avatar['id']}")


def test_a_repeated_request_is_done_once_and_answered_the_same(tenant: Tenant) -> None:
    body = {"subject_name": "Ann", "granted_by": "Ann"}

    def send(_: int) -> httpx.Response:
        return tenant.http.post("/v1/consents", json=body, headers={"Idempotency-Key": "once"})

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, range(8)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(tenant.get("/v1/consents")["data"]) == 1
    replayed = send(0)
    assert replayed.headers["Idempotent-Replayed"] == "true"
    assert replayed.json() == answers[0].json()
    other = tenant.http.post(
        "/v1/consents", json={**body, "granted_by": "Bob"}, headers={"Idempotency-Key": "once"}
    )
    assert (other.status_code, other.json()["error"]["code"]) == (409, "IDEMPOTENCY_CONFLICT")


def test_a_refused_request_may_be_corrected_under_its_key(tenant: Tenant) -> None:
    body = {"name": "Ann", "video": "up_none", "consent": tenant.consent()}
    headers = {"Idempotency-Key": "again"}
    assert tenant.http.post("/v1/avatars", json=body, headers=headers).status_code == 422
    made = tenant.post("/v1/avatars", {**body, "video": tenant.upload()}, key="again")
    assert made["id"].startswith("av_")


def test_quotas_are_kept_when_requests_come_together(tenant: Tenant) -> None:
    body = {"name": "Ann", "video": tenant.upload(refuse=True), "consent": tenant.consent()}
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: tenant.http.post("/v1/avatars", json=body), range(6)))
    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [429] * 3
    refused = next(answer for answer in answers if answer.is_error)
    assert refused.json()["error"]["code"] == "QUOTA_AVATARS"
    assert int(refused.headers["Retry-After"]) > 0
    use = tenant.get("/v1/me")
    assert (use["use"]["avatars"], use["quotas"]["avatars"]) == (3, 3)


def test_the_bytes_of_a_day_are_limited(tenant: Tenant) -> None:
    tenant.post("/v1/uploads", upload(size_bytes=600_000))
    status, error = tenant.refused("POST", "/v1/uploads", upload(size_bytes=400_001))
    assert (status, error["code"]) == (429, "QUOTA_UPLOAD_BYTES")
    tenant.post("/v1/uploads", upload(size_bytes=400_000))
    assert tenant.get("/v1/me")["use"]["upload_bytes_today"] == 1_000_000


def test_a_tenant_that_asks_too_often_is_told_when_to_come_back(
    house: House, new_tenant: Callable[[], Tenant]
) -> None:
    eager, calm = new_tenant(), new_tenant()
    with house.another_gateway(RATE_PER_S=0.5, RATE_BURST=5) as url:
        key = eager.http.headers["Authorization"].removeprefix("Bearer ")
        with client(url, key) as http:
            answers = [http.get("/v1/avatars") for _ in range(6)]
            assert [answer.status_code for answer in answers] == [200] * 5 + [429]
            assert answers[-1].json()["error"]["code"] == "RATE_LIMITED"
            assert int(answers[-1].headers["Retry-After"]) in (1, 2, 3)
            assert answers[0].headers["RateLimit-Limit"] == "5"
            assert answers[4].headers["RateLimit-Remaining"] == "0"
        calm_key = calm.http.headers["Authorization"].removeprefix("Bearer ")
        with client(url, calm_key) as http:
            assert http.get("/v1/avatars").status_code == 200


def test_an_event_stream_resumes_where_it_was_and_beats_while_nothing_happens(
    tenant: Tenant, house: House
) -> None:
    go = f"tests/{tenant.name}/go"
    avatar = tenant.new_avatar(hold="train", go=go)
    path = f"/v1/avatars/{avatar['id']}"
    events = tenant.events(path)
    held = next(event for event in events if event.data.get("fraction", 0) > 0.8)
    events.close()
    silent = next(tenant.events(path, last=held.id))
    assert not silent.data  # a heartbeat: the state was seen before
    house.store.put_bytes(go, b"")
    last = list(tenant.events(path, last=held.id))[-1]
    assert last.data["state"] == "ready"
    assert list(tenant.events(path, last=last.id)) == []  # 204: browsers stop asking


def test_hundreds_may_follow_one_job(tenant: Tenant, house: House) -> None:
    go = f"tests/{tenant.name}/go"
    avatar = tenant.new_avatar(hold="preprocess", go=go)
    path = f"/v1/avatars/{avatar['id']}/events"
    watching = asyncio.Event()
    n_watchers = 200
    seen = 0

    async def follow(http: httpx.AsyncClient) -> str:
        nonlocal seen
        last = ""
        async with http.stream("GET", path) as answer:
            async for line in answer.aiter_lines():
                if line.startswith("data: "):
                    if not last:
                        seen += 1
                        if seen == n_watchers:
                            watching.set()
                    last = line
        return last

    async def follow_all() -> list[str]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(
            base_url=house.url, headers=tenant.http.headers, timeout=60, limits=limits, verify=False
        ) as http:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(follow(http)) for _ in range(n_watchers)]
                await watching.wait()
                assert house.gateway.metric("synctalk_sse_open") >= n_watchers
                house.store.put_bytes(go, b"")
            return [task.result() for task in tasks]

    assert all('"state":"ready"' in last for last in asyncio.run(follow_all()))


def test_the_contract_documents_errors_and_needs_no_other_server(house: House) -> None:
    contract = WEB.get(f"{house.url}/openapi.json").json()
    create = contract["paths"]["/v1/avatars"]["post"]
    assert {"201", "401", "409", "422", "429", "503"} <= create["responses"].keys()
    body = create["responses"]["422"]["content"]["application/json"]["schema"]["$ref"]
    assert body.endswith("ErrorBody")
    assert contract["components"]["securitySchemes"]["API key"]["scheme"] == "bearer"
    for path, methods in contract["paths"].items():
        for method in methods.values():
            assert method["summary"], path
            assert method["tags"], path
    page = WEB.get(f"{house.url}/docs").text
    assert "cdn" not in page
    assert "swagger-ui-bundle.js" in page
    assert WEB.get(f"{house.url}/static-offline-docs/swagger-ui-bundle.js").status_code == 200
