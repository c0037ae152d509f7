"""Who may call: roles, scopes, rotation, people from an identity provider, limits."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from gateway_suite import OPERATOR, WEB, House, Json, Tenant, bearer, client

from services.gateway.oidc import OidcSettings, TokenChecker

AUDIENCE = "avatar"


@dataclass
class Issuer:
    """An identity provider: signs tokens, publishes keys."""

    url: str
    key: rsa.RSAPrivateKey
    asked: list[str]

    def token(self, **changed: Any) -> str:
        now = int(time.time())
        claims = {
            "iss": self.url, "aud": AUDIENCE, "sub": "ann", "iat": now, "exp": now + 60,
            "tenant": "acme", "role": "viewer",
        }  # fmt: skip
        claims = {name: value for name, value in {**claims, **changed}.items() if value is not None}
        return jwt.encode(claims, self.key, "RS256", headers={"kid": "one"})


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    key, asked = rsa.generate_private_key(65537, 2048), list[str]()
    published = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    body = json.dumps({"keys": [{**published, "kid": "one", "use": "sig", "alg": "RS256"}]})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Issuer(f"http://127.0.0.1:{server.server_port}", key, asked)
        server.shutdown()


@pytest.fixture(scope="module")
def signed_in(house: House, issuer: Issuer) -> Iterator[Callable[[str], Tenant]]:
    oidc = {"issuer": issuer.url, "audience": AUDIENCE, "jwks_url": f"{issuer.url}/jwks"}
    with house.another_gateway(OIDC=oidc) as url:
        yield lambda token: Tenant("acme", client(url, token), house.store)


def test_people_sign_in_with_a_token_of_the_issuer(
    signed_in: Callable[[str], Tenant], issuer: Issuer
) -> None:
    for role in ("admin", "viewer", ["other", "member"]):
        me = signed_in(issuer.token(role=role)).get("/v1/me")
        expected = role if isinstance(role, str) else "member"
        assert (me["tenant"], me["role"], me["key"]) == ("acme", expected, "oidc:ann")
    assert len(issuer.asked) == 1  # keys are kept


def test_no_other_token_is_taken(signed_in: Callable[[str], Tenant], issuer: Issuer) -> None:
    stranger = rsa.generate_private_key(65537, 2048)
    public = issuer.key.public_key()
    claims = jwt.decode(issuer.token(), options={"verify_signature": False})
    asked = len(issuer.asked)
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    head = {"kid": "one"}
    unsigned = jwt.encode(claims, "", "none", headers=head)
    # PyJWT itself refuses to sign with a public key: the oldest of tricks, made by hand.
    confused = jwt.api_jws.PyJWS()
    confused._algorithms["HS256"].prepare_key = lambda key: key  # type: ignore[method-assign]
    by_secret = confused.encode(json.dumps(claims).encode(), pem, "HS256", headers=head)
    for token in (
        issuer.token(aud="others"),
        issuer.token(iss="https://elsewhere"),
        issuer.token(exp=int(time.time()) - 60),
        issuer.token(exp=None),
        issuer.token(nbf=int(time.time()) + 600),
        issuer.token()[:-6] + "AAAAAA",
        jwt.encode(claims, stranger, "RS256", headers=head),
        jwt.encode(claims, stranger, "RS256", headers={"kid": "two"}),
        jwt.encode(claims, ec.generate_private_key(ec.SECP256R1()), "ES256", headers=head),
        unsigned,
        by_secret,
        "a.b.c",
    ):
        status, error = signed_in(token).refused("GET", "/v1/me")
        assert (status, error["code"]) == (401, "INVALID_TOKEN"), token
    for without in ({"tenant": None}, {"tenant": "a/b"}, {"role": "owner"}, {"role": None}):
        assert signed_in(issuer.token(**without)).refused("GET", "/v1/me")[0] == 403
    assert len(issuer.asked) <= asked + 1  # an unknown key is asked for once


@pytest.fixture
def away(issuer: Issuer) -> Iterator[Issuer]:
    """The issuer at an address where nobody has its keys, but notes who asks."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(500)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Issuer(f"http://127.0.0.1:{server.server_port}", issuer.key, asked)
        server.shutdown()


def test_an_issuer_that_is_away_is_asked_once_for_all_and_again_later(
    issuer: Issuer, away: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = OidcSettings(
        issuer=issuer.url, audience=AUDIENCE, jwks_url=f"{away.url}/jwks", keys_kept_s=0.2
    )

    async def main() -> None:
        checker = TokenChecker(settings)
        token = issuer.token()
        for _ in range(2):
            said = await asyncio.gather(
                *(checker.check(token) for _ in range(20)), return_exceptions=True
            )
            assert {getattr(each, "reason", "") for each in said} == {"ISSUER_UNAVAILABLE"}
        assert len(away.asked) == 1
        monkeypatch.setattr("services.gateway.oidc._ASK_S", 0.0)
        checker._issuer.uri = f"{issuer.url}/jwks"
        assert (await checker.check(token)).subject == "oidc:ann"
        monkeypatch.undo()
        await asyncio.sleep(0.3)  # its keys expire, which is no reason to wait
        assert (await checker.check(token)).tenant == "acme"

    asyncio.run(main())


def test_who_cannot_be_checked_counts_as_a_stranger(house: House, away: Issuer) -> None:
    oidc = {"issuer": away.url, "audience": AUDIENCE, "jwks_url": f"{away.url}/jwks"}
    strangers = {"STRANGER_RATE_PER_S": 0.01, "STRANGER_RATE_BURST": 3}
    with house.another_gateway(OIDC=oidc, **strangers) as url:
        headers = bearer(away.token())
        answers = [WEB.get(f"{url}/v1/me", headers=headers).status_code for _ in range(6)]
    assert answers[0] == 503
    assert answers[-1] == 429


@pytest.mark.parametrize(
    ("role", "allowed", "refused"),
    [
        ("viewer", {"GET /v1/avatars", "GET /v1/me"}, {"POST /v1/consents", "POST /v1/keys"}),
        (
            "reviewer", {"GET /v1/consents", "POST /v1/consents/con_x/review"},
            {"POST /v1/consents", "DELETE /v1/avatars/av_x", "GET /v1/audit"},
        ),
        (
            "member", {"POST /v1/consents", "GET /v1/jobs"},
            {"POST /v1/consents/con_x/review", "GET /v1/keys", "GET /v1/audit"},
        ),
        ("admin", {"GET /v1/audit", "GET /v1/keys"}, {"PUT /v1/tenants/x/limits"}),
    ],
)  # fmt: skip
def test_a_role_may_what_it_is_for(
    tenant: Tenant, house: House, role: str, allowed: set[str], refused: set[str]
) -> None:
    key = tenant.post("/v1/keys", {"name": role, "role": role})["key"]
    with client(house.url, key) as http:
        for call in allowed | refused:
            method, path = call.split()
            status = http.request(method, path, json=None if method == "GET" else {}).status_code
            assert (status == 403) == (call in refused), (call, status)


def test_a_key_is_good_for_its_scopes(tenant: Tenant, house: House) -> None:
    made = tenant.post(
        "/v1/keys", {"name": "dubber", "scopes": ["uploads", "dubs", "avatars:read"]}
    )
    with client(house.url, made["key"]) as http:
        assert http.get("/v1/dubs").status_code == 200
        assert http.get("/v1/avatars").status_code == 200
        for method, path in (("POST", "avatars"), ("GET", "consents"), ("GET", "webhooks")):
            answer = http.request(method, f"/v1/{path}", json={})
            assert answer.json()["error"]["code"] == "SCOPE_INSUFFICIENT", path
        assert http.get("/v1/me").json()["scopes"] == ["avatars:read", "dubs", "uploads"]


def test_a_key_makes_and_replaces_none_that_may_do_more(tenant: Tenant, house: House) -> None:
    soon, later = "2099-01-01T00:00:00Z", "2099-06-01T00:00:00Z"
    limited: Json = {"role": "admin", "scopes": ["keys", "dubs"], "expires_at": soon}
    made = tenant.post("/v1/keys", {"name": "limited", **limited})
    (unlimited,) = (key for key in tenant.get("/v1/keys")["data"] if key["name"] == "first")
    with client(house.url, made["key"]) as http:
        narrow = Tenant(tenant.name, http, house.store)
        for more in (
            {"scopes": []}, {"scopes": ["keys", "avatars"]}, {"scopes": ["avatars:read"]},
            {"expires_at": None}, {"expires_at": later},
        ):  # fmt: skip
            body = {"name": "more", **limited, **more}
            status, error = narrow.refused("POST", "/v1/keys", body)
            assert (status, error["code"]) == (403, "KEY_EXCEEDS_CALLER"), more
        path = f"/v1/keys/{unlimited['id']}/rotate"
        assert narrow.refused("POST", path, {})[1]["code"] == "KEY_EXCEEDS_CALLER"
        less = narrow.post("/v1/keys", {"name": "less", **limited, "scopes": ["dubs:read"]})
        assert works(house, less["key"])
        for key_id in (less["id"], made["id"]):
            assert works(house, narrow.post(f"/v1/keys/{key_id}/rotate")["key"])
    assert works(house, tenant.post(f"/v1/keys/{made['id']}/rotate")["key"])
    assert len(tenant.get("/v1/keys")["data"]) == 3


def test_a_rotated_key_goes_on_for_its_grace_and_no_longer(tenant: Tenant, house: House) -> None:
    first = tenant.post("/v1/keys", {"name": "server"})
    path = f"/v1/keys/{first['id']}/rotate"
    second = tenant.post(path, {"grace_s": 3600})
    assert works(house, first["key"])
    assert works(house, second["key"])
    third = tenant.post(path, {"grace_s": 0})
    assert [works(house, each["key"]) for each in (first, second, third)] == [False, False, True]
    listed = next(key for key in tenant.get("/v1/keys")["data"] if key["id"] == first["id"])
    assert listed["last_used_at"]
    assert listed["rotated_at"]
    too_long = tenant.refused("POST", path, {"grace_s": 1e9})[1]
    assert too_long["code"] == "GRACE_TOO_LONG"
    tenant.delete(f"/v1/keys/{first['id']}")
    assert not works(house, third["key"])


def test_a_key_that_has_expired_is_not_known_any_more(tenant: Tenant, house: House) -> None:
    body = {"name": "guest", "expires_at": "2020-01-01T00:00:00Z"}
    assert not works(house, tenant.post("/v1/keys", body)["key"])


def works(house: House, key: str) -> bool:
    return WEB.get(f"{house.url}/v1/me", headers=bearer(key)).status_code == 200


def test_the_operator_sets_what_one_tenant_may_have(
    house: House, new_tenant: Callable[[], Tenant]
) -> None:
    small, usual = new_tenant(), new_tenant()
    operator = client(house.url, OPERATOR)
    path = f"/v1/tenants/{small.name}/limits"
    said = operator.put(path, json={"avatars": 1, "upload_bytes_per_day": 100, "rate_burst": 40})
    assert said.json()["overridden"] == ["avatars", "rate_burst", "upload_bytes_per_day"]
    assert (small.get("/v1/me")["quotas"]["avatars"], usual.get("/v1/me")["quotas"]["avatars"]) == (
        1, 3,
    )  # fmt: skip
    body = {"filename": "v.mp4", "content_type": "video/mp4", "size_bytes": 101, "kind": "video"}
    assert small.refused("POST", "/v1/uploads", body)[1]["code"] == "QUOTA_UPLOAD_BYTES"
    assert usual.post("/v1/uploads", body)["id"]
    assert small.http.get("/v1/me").headers["RateLimit-Limit"] == "40"
    operator.put(path, json={})
    assert small.get("/v1/me")["quotas"]["avatars"] == 3
    operator.close()


def test_calls_without_a_valid_key_are_limited_and_others_go_on(
    house: House, tenant: Tenant
) -> None:
    with house.another_gateway(STRANGER_RATE_PER_S=0.01, STRANGER_RATE_BURST=5) as url:
        answers = [WEB.get(f"{url}/v1/me", headers=bearer("avk_no")) for _ in range(7)]
        assert 429 in {answer.status_code for answer in answers}
        last = answers[-1]
        assert (last.status_code, last.json()["error"]["code"]) == (429, "RATE_LIMITED")
        assert int(last.headers["Retry-After"]) > 0
        assert WEB.get(f"{url}/v1/me", headers=dict(tenant.http.headers)).status_code == 200
