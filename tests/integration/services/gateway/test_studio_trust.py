"""Signing in, consents with evidence, and receipts in the studio, in a real browser."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from gateway_suite import House, Tenant, client
from playwright.sync_api import Browser, Page, expect
from studio_browser import Visit, open_browser, visit

CLIENT = "studio-of-these-tests"
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


@dataclass
class Provider:
    """An identity provider that signs Ann in without asking, by code and PKCE."""

    url: str = ""
    claims: dict[str, Any] = field(default_factory=dict)
    refuses: bool = False
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )
    asked: dict[str, dict[str, str]] = field(default_factory=dict)

    def jwks(self) -> str:
        public = jwt.algorithms.ECAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        return json.dumps({"keys": [{**public, "kid": "one", "use": "sig", "alg": "ES256"}]})

    def back(self, query: dict[str, str]) -> str:
        """Where the browser is sent, signed in."""
        assert query["response_type"] == "code"
        assert query["code_challenge_method"] == "S256"
        assert query["client_id"] == CLIENT
        if self.refuses:
            said = {"error": "access_denied", "error_description": "Ann is on holiday."}
        else:
            said = {"code": f"code-{len(self.asked)}"}
            self.asked[said["code"]] = query
        return f"{query['redirect_uri']}?{urlencode({**said, 'state': query['state']})}"

    def tokens(self, given: dict[str, str]) -> str:
        """For a code and the verifier that its challenge was made of."""
        query = self.asked.pop(given["code"])
        digest = hashlib.sha256(given["code_verifier"].encode()).digest()
        assert base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == query["code_challenge"]
        assert given["redirect_uri"] == query["redirect_uri"]
        now = int(time.time())
        claims = {
            "iss": self.url, "sub": "ann", "iat": now, "exp": now + 300, "tenant": "acme",
            "role": "reviewer", **self.claims,
        }  # fmt: skip
        head = {"kid": "one"}
        return json.dumps(
            {
                "access_token": jwt.encode({**claims, "aud": "avatar"}, self.key, "ES256", head),
                "id_token": jwt.encode(
                    {**claims, "aud": CLIENT, "nonce": query["nonce"]}, self.key, "ES256", head
                ),
                "token_type": "Bearer",
            }
        )


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    made = Provider()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            if url.path == "/authorize":
                query = {name: found[0] for name, found in parse_qs(url.query).items()}
                self._answer(302, "", Location=made.back(query))
            else:
                self._answer(200, made.jwks())

        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers["Content-Length"])).decode()
            given = {name: found[0] for name, found in parse_qs(text).items()}
            self._answer(200, made.tokens(given), **{"Access-Control-Allow-Origin": "*"})

        def _answer(self, status: int, body: str, **headers: str) -> None:
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        made.url = f"http://127.0.0.1:{server.server_port}"
        yield made
        server.shutdown()


@pytest.fixture(scope="module")
def url(house: House, provider: Provider) -> Iterator[str]:
    """A gateway whose people may sign in at the provider."""
    oidc = {
        "issuer": provider.url, "audience": "avatar", "jwks_url": f"{provider.url}/jwks",
        "studio": {
            "client_id": CLIENT, "authorization_url": f"{provider.url}/authorize",
            "token_url": f"{provider.url}/token",
        },
    }  # fmt: skip
    with house.another_gateway(OIDC=oidc) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


Visits = Callable[..., AbstractContextManager[Visit]]


@pytest.fixture
def visits(browser: Browser, url: str, tenant: Tenant) -> Visits:
    def open_tab(key: str | None = None, **options: Any) -> AbstractContextManager[Visit]:
        return visit(browser, url, key_of(tenant) if key is None else key, **options)

    return open_tab


def key_of(tenant: Tenant) -> str:
    return tenant.http.headers["Authorization"].removeprefix("Bearer ")


@pytest.fixture
def reviewer(tenant: Tenant, house: House) -> Iterator[Tenant]:
    made = tenant.post("/v1/keys", {"name": "eyes", "role": "reviewer"})
    colleague = Tenant(tenant.name, client(house.url, made["key"]), house.store)
    yield colleague
    colleague.close()


def files_of(folder: Path) -> tuple[Path, Path]:
    """A clip and footage, as the stand-in workers take them."""
    made = []
    for name in ("clip", "footage"):
        path = folder / f"{name}.mp4"
        path.write_text(json.dumps({"hold": "", "go": name}))
        made.append(path)
    return made[0], made[1]


def test_people_sign_in_at_the_identity_provider(visits: Visits, provider: Provider) -> None:
    with visits(key="") as tab:
        page = tab.go("consents")
        page.get_by_role("button", name=f"Sign in with {urlsplit(provider.url).netloc}").click()
        expect(page.get_by_role("heading", name="Consents")).to_be_visible()
        assert urlsplit(page.url)[2:] == ("/studio/", "", "/consents")  # no code in the address
        expect(page.get_by_text("acme")).to_be_visible()
        expect(page.get_by_text("Reviewer")).to_be_visible()
        page.reload()
        expect(page.get_by_role("heading", name="Consents")).to_be_visible()
        assert page.evaluate("Object.values(localStorage).join() + document.cookie") == ""
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        assert page.evaluate("sessionStorage.length") == 0


def test_what_the_provider_refuses_is_said_and_a_key_still_works(
    visits: Visits, provider: Provider, tenant: Tenant
) -> None:
    with visits(key="") as tab:
        page = tab.go("")
        provider.refuses = True
        page.get_by_role("button", name="Sign in with").click()
        expect(page.get_by_role("alert")).to_contain_text("Ann is on holiday")
        provider.refuses = False
        page.get_by_text("With an API key instead").click()
        page.get_by_label("API key").fill(key_of(tenant))
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Avatars", exact=True)).to_be_visible()


def test_a_person_without_a_tenant_and_an_answer_nobody_asked_for_are_refused(
    visits: Visits, provider: Provider, url: str
) -> None:
    with visits(key="") as tab:
        page = tab.go("")
        provider.claims = {"tenant": ""}
        page.get_by_role("button", name="Sign in with").click()
        expect(page.get_by_role("alert")).to_contain_text("TOKEN_WITHOUT_TENANT")
        provider.claims = {}
        page.goto(f"{url}/studio/?code=stolen&state=guessed")
        expect(page.get_by_role("alert")).to_contain_text("not to a question of this tab")
        assert "code=" not in page.url
        assert page.evaluate("sessionStorage.length") == 0
        tab.wrong.clear()  # the browser's own word on the answer 403


def test_a_consent_goes_from_words_to_evidence_to_review_to_an_avatar(
    visits: Visits, tenant: Tenant, reviewer: Tenant, tmp_path: Path
) -> None:
    with visits() as tab:
        page = tab.go("consents/new")
        page.get_by_label("Who is in the video").fill("Ida Invented")
        page.get_by_label("Speaking live").uncheck()
        page.get_by_role("button", name="Record consent").click()
        words = page.locator("[data-words]")
        expect(words).to_contain_text("I am Ida Invented")
        (made,) = tenant.get("/v1/consents")["data"]
        assert (made["state"], made["scope"]) == ("draft", ["avatar", "dub"])
        assert made["to_read"].rpartition("My words are: ")[2] in words.inner_text()
        page.get_by_role("button", name="Upload and hand in").click()
        expect(page.get_by_text("Choose the clip or the document first")).to_be_visible()
        clip, footage = files_of(tmp_path)
        page.get_by_label("Choose the clip or document").set_input_files(clip)
        page.get_by_label("Choose the footage").set_input_files(footage)
        page.get_by_role("button", name="Upload and hand in").click()
        expect(page.locator("[data-state=in_review]")).to_be_visible()
        page.get_by_role("textbox", name="Reason").fill("I wrote it myself")
        page.get_by_role("button", name="Refuse").click()
        expect(page.get_by_role("alert")).to_contain_text("REVIEW_OF_OWN")
        tab.wrong.clear()  # the browser's own word on the answer 403
    decide(visits, reviewer, made["id"])
    make_avatar(visits, tenant, made["id"])


def decide(visits: Visits, reviewer: Tenant, consent: str) -> None:
    """The reviewer's page: nothing is approved unseen, but by override."""
    with visits(key=key_of(reviewer)) as tab:
        page = tab.go(f"consents/{consent}")
        expect(page.get_by_label("The person reads the statement")).to_be_visible()
        expect(page.get_by_role("button", name="Revoke")).to_have_count(0)
        page.get_by_role("button", name="Approve").click()
        expect(page.get_by_text("Say why.")).to_be_visible()
        page.get_by_role("textbox", name="Reason").fill("The voice is hers, I know her.")
        page.get_by_label("show the same person").check()
        page.get_by_role("button", name="Approve").click()
        expect(page.get_by_role("alert")).to_contain_text("REVIEW_INCOMPLETE")
        page.get_by_label("Approve though not all").check()
        page.get_by_role("button", name="Approve").click()
        expect(page.locator("[data-state=active]")).to_be_visible()
        expect(page.get_by_text("Approved all the same")).to_be_visible()
        tab.wrong.clear()  # the browser's own word on the answer 422


def make_avatar(visits: Visits, tenant: Tenant, consent: str) -> None:
    """Of the footage that was reviewed, which is not uploaded again."""
    with visits() as tab:
        page = tab.go(f"consents/{consent}")
        page.get_by_role("link", name="Make an avatar").click()
        expect(page.get_by_text("footage that was reviewed")).to_be_visible()
        expect(page.locator("input[type=file]")).to_have_count(0)
        page.get_by_role("button", name="Make the avatar").click()
        expect(page.get_by_role("heading", name="Ida Invented", exact=True)).to_be_visible()
    (avatar,) = tenant.get("/v1/avatars")["data"]
    assert avatar["consent"] == consent


def test_revoking_erases_and_the_receipt_is_shown(
    visits: Visits, tenant: Tenant, tmp_path: Path
) -> None:
    avatar = tenant.ready_avatar()
    with visits() as tab:
        page = tab.go(f"consents/{avatar['consent']}")
        with page.expect_download() as download:
            page.get_by_role("button", name="Export").click()
        export = json.loads(Path(download.value.path()).read_text())
        assert [each["id"] for each in export["avatars"]] == [avatar["id"]]
        expect(page.get_by_text("1 avatar, 0 dubs")).to_be_visible()
        page.get_by_role("button", name="Revoke").click()
        question = page.get_by_role("dialog", name="Revoke the consent of Ann?")
        expect(question).to_contain_text("Erased for good, with footage and dubs: Ann")
        question.get_by_role("button", name="Keep it").click()
        assert tenant.get(f"/v1/consents/{avatar['consent']}")["state"] == "active"
        page.get_by_role("button", name="Revoke").click()
        page.get_by_role("button", name="Revoke the consent").click()
        expect(page.locator("[data-erased]")).to_be_visible()
        page.get_by_role("link", name=re.compile("Receipt: avatar")).click()
        expect(page.locator("[data-left='0']")).to_be_visible()
        expect(page.get_by_text(f"consents/{avatar['consent']}")).to_be_visible()
        page.get_by_text("Records of the database").click()
        expect(page.get_by_text(f"avatar:{avatar['id']}")).to_be_visible()
    erase_consent(visits, tenant, avatar["consent"])


def erase_consent(visits: Visits, tenant: Tenant, consent: str) -> None:
    with visits() as tab:
        page = tab.go(f"consents/{consent}")
        page.get_by_role("button", name="Erase").click()
        page.get_by_role("button", name="Erase for good").click()
        expect(page.get_by_role("heading", name="Receipt of an erasure")).to_be_visible()
        expect(page.locator("[data-left='0']")).to_be_visible()
    assert tenant.refused("GET", f"/v1/consents/{consent}")[0] == 404


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_its_pages_can_be_read_on_a_phone_and_a_desk(
    visits: Visits, tenant: Tenant, scheme: str
) -> None:
    body = {"subject_name": "Ann", "granted_by": "Ann", "statement": "Yes.", "level": "reviewed"}
    draft, standing = tenant.post("/v1/consents", body), tenant.consent()
    given = {"upload": tenant.upload(hold="a clip"), "footage": tenant.upload()}
    reviewed = tenant.post("/v1/consents", body)
    tenant.post(f"/v1/consents/{reviewed['id']}/evidence", given)
    ids = [draft["id"], standing, reviewed["id"]]
    for options in (PHONE, {}):
        with visits(color_scheme=scheme, **options) as tab:
            for path in ("consents", "consents/new", *(f"consents/{one}" for one in ids)):
                tab.see(path)
                assert tab.faint_texts() == [], path
                assert tab.overhang_px() <= 0, path
        with visits(key="", color_scheme=scheme, **options) as tab:
            tab.go("")
            tab.settled()
            assert tab.faint_texts() == []
            assert tab.overhang_px() <= 0


def test_evidence_is_handed_in_by_keyboard(visits: Visits, tenant: Tenant) -> None:
    body = {"subject_name": "Ann", "granted_by": "Ann", "level": "reviewed"}
    consent = tenant.post("/v1/consents", body)
    with visits() as tab:
        page = tab.see(f"consents/{consent['id']}")
        for name in (
            "Choose the clip or document",
            "Choose the footage",
            "Upload and hand in for review",
        ):
            press_until(page, tab, name)


def press_until(page: Page, tab: Visit, name: str) -> None:
    for _ in range(25):
        page.keyboard.press("Tab")
        if tab.focused() == name:
            return
    raise AssertionError(f"the keyboard never reaches {name}")
