"""Every operation of the REST API, tried on what is another tenant's, and without a key."""

from __future__ import annotations

import attack_contract
import httpx
import pytest
from attack_answers import refused
from attack_contract import BODIES, PUBLIC, Operation
from attack_people import REPLAYED, SHOWN, Person

DOCUMENT = attack_contract.openapi_document()
OPERATIONS = attack_contract.operations(DOCUMENT)
GUARDED = [each for each in OPERATIONS if (each.method, each.path) not in PUBLIC]
KNOWN = {*SHOWN, "key_id", "session_id", "resource_id", "tenant"}
_EMPTY: list[dict[str, object] | None] = [None]


def bodies(operation: Operation, victim: Person, own: Person) -> list[dict[str, object] | None]:
    if not operation.has_body:
        return _EMPTY
    assert str(operation) in BODIES, f"{operation} has a body: say in BODIES how it is attacked"
    return [*BODIES[str(operation)](victim.named, own.named)]


def call(
    web: httpx.Client, operation: Operation, ids: dict[str, str], key: str, body: object = None,
    **more: dict[str, str],
) -> httpx.Response:  # fmt: skip
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return web.request(
        operation.method, operation.url(ids), json=body,
        headers={**headers, **more.get("headers", {})}, params=more.get("params"),
    )  # fmt: skip


def test_the_suite_serves_the_contract_that_is_attacked(web: httpx.Client) -> None:
    assert set(attack_contract.operations(web.get("/openapi.json").json())) == set(OPERATIONS)


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_a_stranger_reaches_nothing_of_the_victims(
    operation: Operation, victim: Person, stranger: Person, web: httpx.Client
) -> None:
    unknown = set(operation.parameters) - KNOWN
    assert not unknown, f"{operation}: say in attack_people.py what a victim has as {unknown}"
    before = victim.things()
    queries = {"tenant": victim.tenant.name} if "tenant" in operation.queries else {}
    for body in bodies(operation, victim, stranger):
        for params in {tuple(queries.items()), ()}:
            answer = call(
                web, operation, victim.named, stranger.tenant.key, body,
                params=dict(params), headers={"Idempotency-Key": REPLAYED},
            )  # fmt: skip
            if operation.parameters or answer.is_error:
                refused(answer, *range(400, 500))
            said = f"{body} {operation.url(victim.named)}"  # what he knows already
            if operation.path == "/v1/audit":
                said += str(victim.named)  # his own log repeats what he tried to reach
            leaked = [each for each in victim.secrets() if each in answer.text]
            assert not [each for each in leaked if each not in said], answer.text[:500]
            assert "idempotent-replayed" not in answer.headers or operation.method == "POST"
    assert victim.things() == before


@pytest.mark.parametrize("operation", GUARDED, ids=str)
def test_nothing_is_done_for_nobody(
    operation: Operation, victim: Person, web: httpx.Client
) -> None:
    for key in ("", "avk_" + "A" * 43, "avs_" + "A" * 43, "null", "' or 1=1 --"):
        error = refused(call(web, operation, victim.named, key, {}), 401, 429)
        assert error["code"] in ("INVALID_API_KEY", "RATE_LIMITED")  # who guesses is slowed down


@pytest.mark.parametrize("operation", GUARDED, ids=str)
def test_the_token_of_a_session_opens_no_more_than_that_session(
    operation: Operation, victim: Person, stranger: Person, web: httpx.Client
) -> None:
    """Neither another's, nor anything else of one's own."""
    body = bodies(operation, victim, stranger)[0]
    if operation.path == "/v1/me":
        return  # says only whose token it is
    refused(call(web, operation, victim.named, stranger.session_token, body), 403)
    if "session_id" not in operation.parameters:
        mine = {**victim.named, **stranger.named}
        refused(call(web, operation, mine, stranger.session_token, body), 403)


def test_a_member_makes_no_keys(victim: Person, web: httpx.Client) -> None:
    member = victim.tenant.api.post("keys", {"name": "member"})["key"]
    headers = {"Authorization": f"Bearer {member}"}
    wanted = {"name": "mine", "role": "admin"}
    assert refused(web.post("/v1/keys", json=wanted, headers=headers), 403)
    assert refused(web.get("/v1/keys", headers=headers), 403)
    assert refused(web.delete(f"/v1/keys/{victim.ids['key_id']}", headers=headers), 403)


def test_a_revoked_key_opens_nothing(stranger: Person, web: httpx.Client) -> None:
    made = stranger.tenant.api.post("keys", {"name": "soon gone"})
    headers = {"Authorization": f"Bearer {made['key']}"}
    assert web.get("/v1/me", headers=headers).status_code == 200
    stranger.tenant.api.delete(f"keys/{made['id']}")
    refused(web.get("/v1/me", headers=headers), 401)


def test_a_page_token_of_the_victims_list_shows_the_strangers(
    victim: Person, stranger: Person, web: httpx.Client
) -> None:
    mine = {"Authorization": f"Bearer {victim.tenant.key}"}
    his = {"Authorization": f"Bearer {stranger.tenant.key}"}
    first = web.get("/v1/avatars", params={"limit": 1}, headers=mine).json()
    assert first["next_token"]
    page = web.get("/v1/avatars", params={"token": first["next_token"]}, headers=his)
    assert not [each for each in victim.secrets() if each in page.text]
