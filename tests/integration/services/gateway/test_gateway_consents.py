"""A gateway that asks for evidence: drafts, evidence, reviews."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from gateway_suite import WEB, House, Json, Tenant, client


@pytest.fixture(scope="module")
def strict_url(house: House) -> Iterator[str]:
    """A gateway that asks for evidence."""
    with house.another_gateway(CONSENT_EVIDENCE="reviewed") as url:
        yield url


@pytest.fixture
def strict(house: House, strict_url: str, tenant: Tenant) -> Iterator[Tenant]:
    strict = at(strict_url, tenant, tenant.http.headers["Authorization"][7:], house)
    yield strict
    strict.close()


def at(url: str, tenant: Tenant, key: str, house: House) -> Tenant:
    return Tenant(tenant.name, client(url, key), house.store)


def colleague(strict: Tenant, house: House, role: str, **more: Any) -> Tenant:
    made = strict.post("/v1/keys", {"name": role, "role": role, **more})
    return at(str(strict.http.base_url), strict, made["key"], house)


def drafted(strict: Tenant, **more: object) -> Json:
    body = {"subject_name": "Ann Example", "granted_by": "Ann herself", **more}
    return strict.post("/v1/consents", body)


def in_review(strict: Tenant) -> tuple[Json, str]:
    """A consent with evidence, and the footage that it is for."""
    consent, footage = drafted(strict), strict.upload()
    body = {"upload": strict.upload(hold="a clip"), "footage": footage}
    return strict.post(f"/v1/consents/{consent['id']}/evidence", body), footage


APPROVAL = {
    "decision": "approve", "reason": "seen and heard", "passphrase_heard": True,
    "same_person": True,
}  # fmt: skip


def test_evidence_is_read_given_reviewed_and_only_then_an_avatar_is_made(
    strict: Tenant, house: House
) -> None:
    draft = drafted(strict)
    assert draft["state"] == "draft"
    assert "Ann Example" in draft["to_read"]
    words = draft["to_read"].rpartition("My words are: ")[2]
    assert len(words.split()) == 5
    assert words not in drafted(strict)["to_read"]
    footage = strict.upload()
    body = {"name": "Ann", "video": footage, "consent": draft["id"], "preset": "demo"}
    assert strict.refused("POST", "/v1/avatars", body)[1]["code"] == "CONSENT_DRAFT"

    path = f"/v1/consents/{draft['id']}"
    clip = strict.upload(hold="a clip")
    given = strict.post(f"{path}/evidence", {"upload": clip, "footage": footage})
    assert given["state"] == "in_review"
    assert WEB.get(given["evidence"]["url"]).status_code == 200
    assert strict.refused("POST", "/v1/avatars", body)[1]["code"] == "CONSENT_IN_REVIEW"
    status, error = strict.refused("POST", f"{path}/review", APPROVAL)
    assert (status, error["code"]) == (403, "REVIEW_OF_OWN")

    reviewer = colleague(strict, house, "reviewer")
    approved = reviewer.post(f"{path}/review", APPROVAL)
    assert (approved["state"], approved["review"]["reason"]) == ("active", "seen and heard")
    made = strict.post("/v1/avatars", body)
    strict.until(f"/v1/avatars/{made['id']}", lambda it: it["state"] == "ready")
    other = {**body, "video": strict.upload()}
    refused = strict.refused("POST", "/v1/avatars", other)[1]["code"]
    assert refused == "CONSENT_FOR_OTHER_FOOTAGE"
    actions = [entry["action"] for entry in strict.get("/v1/audit")["data"]]
    assert actions.count("consent.approve") == 1


def test_an_approval_confirms_everything_or_says_why_not(strict: Tenant, house: House) -> None:
    consent, _ = in_review(strict)
    reviewer = colleague(strict, house, "reviewer")
    path = f"/v1/consents/{consent['id']}/review"
    doubtful = {**APPROVAL, "passphrase_heard": False}
    assert reviewer.refused("POST", path, doubtful)[1]["code"] == "REVIEW_INCOMPLETE"
    assert reviewer.post(path, {**doubtful, "override": True})["state"] == "active"
    again = reviewer.refused("POST", path, APPROVAL)[1]
    assert again["code"] == "CONSENT_STATE"


def test_a_refused_consent_stays_refused(strict: Tenant, house: House) -> None:
    consent, footage = in_review(strict)
    reviewer = colleague(strict, house, "reviewer")
    path = f"/v1/consents/{consent['id']}"
    no = {"decision": "refuse", "reason": "somebody else's voice"}
    assert reviewer.post(f"{path}/review", no)["state"] == "refused"
    body = {"name": "Ann", "video": footage, "consent": consent["id"]}
    assert strict.refused("POST", "/v1/avatars", body)[1]["code"] == "CONSENT_REFUSED"
    evidence = {"upload": strict.upload(hold="x"), "footage": footage}
    assert strict.refused("POST", f"{path}/evidence", evidence)[0] == 409


def test_a_declaration_does_not_do_where_evidence_is_asked_for(
    strict: Tenant, tenant: Tenant
) -> None:
    body = {"name": "Ann", "video": tenant.upload(), "consent": tenant.consent()}
    assert strict.refused("POST", "/v1/avatars", body)[1]["code"] == "CONSENT_EVIDENCE_REQUIRED"
    assert drafted(strict, level="declared")["level"] == "reviewed"


def test_a_consent_is_erased_with_its_evidence_once_nothing_stands_on_it(
    strict: Tenant, house: House
) -> None:
    consent, footage = in_review(strict)
    colleague(strict, house, "reviewer").post(f"/v1/consents/{consent['id']}/review", APPROVAL)
    body = {"name": "Ann", "video": footage, "consent": consent["id"], "preset": "demo"}
    made = strict.post("/v1/avatars", body)
    strict.until(f"/v1/avatars/{made['id']}", lambda it: it["state"] == "ready")
    path = f"/v1/consents/{consent['id']}"
    assert strict.refused("DELETE", path)[1]["code"] == "CONSENT_IN_USE"
    strict.post(f"{path}/revoke")
    strict.poll(path, lambda it: it["erased"])
    (clip,) = strict.objects()
    assert consent["evidence"]["upload"] in clip
    assert strict.delete(path)["state"] == "erased"
    assert strict.refused("GET", path)[0] == 404
    assert strict.objects() == []
    assert [one["key"] for one in strict.get(f"/v1/receipts/{consent['id']}")["objects"]] == [clip]
