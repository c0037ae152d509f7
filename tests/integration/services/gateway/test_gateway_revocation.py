"""Revocation, receipts, exports, and the log of it all."""

from __future__ import annotations

import pytest
from gateway_suite import WEB, House, Tenant, until

from services.common.audit_chain import verify_chain
from services.common.jobs.connect import connect_worker


def test_a_consent_is_for_what_it_says(tenant: Tenant) -> None:
    body = {"subject_name": "Ann", "granted_by": "Ann", "scope": ["avatar", "live"]}
    consent = tenant.post("/v1/consents", body)
    body = {"name": "Ann", "video": tenant.upload(), "consent": consent["id"], "preset": "demo"}
    made = tenant.post("/v1/avatars", body)
    tenant.until(f"/v1/avatars/{made['id']}", lambda it: it["state"] == "ready")
    dub = {"avatar": made["id"], "audio": tenant.upload("audio")}
    assert tenant.refused("POST", "/v1/dubs", dub)[1]["code"] == "CONSENT_OUT_OF_SCOPE"


def test_revocation_erases_all_that_stands_on_it_and_a_receipt_lists_it(
    tenant: Tenant, house: House
) -> None:
    avatar = tenant.ready_avatar()
    done = tenant.new_dub(avatar)
    tenant.until(f"/v1/dubs/{done['id']}", lambda it: it["state"] == "succeeded")
    running = tenant.new_dub(avatar, hold="dub")
    tenant.until(f"/v1/dubs/{running['id']}", lambda it: it["state"] == "running")
    other = tenant.ready_avatar()
    before = set(tenant.objects())
    tenant.post(f"/v1/consents/{avatar['consent']}/revoke")
    tenant.poll(f"/v1/consents/{avatar['consent']}", lambda it: it["erased"])

    left = set(tenant.objects())
    assert left
    assert all(other["id"] in key or other["video"] in key for key in left)
    receipts = tenant.get("/v1/receipts")["data"]
    assert {each["id"] for each in receipts} == {avatar["id"], done["id"], running["id"]}
    listed = {one["key"] for receipt in receipts for one in receipt["objects"]}
    assert listed == before - left
    assert all(each["left"] == {"objects": [], "records": []} for each in receipts)
    assert all("revoked" in each["why"] for each in receipts)
    with connect_worker(house.suite.servers.redis_url) as redis:
        records = {key for receipt in receipts for key in receipt["records"]}
        assert f"gw:{tenant.name}:avatar:{avatar['id']}" in records
        assert not redis.exists(*records)
    for path in (f"avatars/{avatar['id']}", f"dubs/{done['id']}", f"dubs/{running['id']}"):
        assert tenant.refused("GET", f"/v1/{path}")[0] == 404
    gone = tenant.get("/v1/events")["data"]
    assert {event["data"]["id"] for event in gone} == {avatar["consent"], other["id"]}


def test_a_dub_that_has_outlived_its_avatar_goes_with_its_consent(tenant: Tenant) -> None:
    avatar = tenant.ready_avatar()
    dub = tenant.new_dub(avatar)
    tenant.until(f"/v1/dubs/{dub['id']}", lambda it: it["state"] == "succeeded")
    tenant.delete(f"/v1/avatars/{avatar['id']}")
    tenant.post(f"/v1/consents/{avatar['consent']}/revoke")
    tenant.poll(f"/v1/consents/{avatar['consent']}", lambda it: it["erased"])
    assert tenant.refused("GET", f"/v1/dubs/{dub['id']}")[0] == 404
    assert tenant.objects() == []


def test_a_consent_stays_while_dubs_made_under_it_do(tenant: Tenant) -> None:
    avatar = tenant.ready_avatar()
    dub = tenant.new_dub(avatar)
    tenant.until(f"/v1/dubs/{dub['id']}", lambda it: it["state"] == "succeeded")
    tenant.delete(f"/v1/avatars/{avatar['id']}")
    path = f"/v1/consents/{avatar['consent']}"
    status, error = tenant.refused("DELETE", path)
    assert (status, error["code"]) == (409, "CONSENT_IN_USE")
    tenant.delete(f"/v1/dubs/{dub['id']}")
    assert tenant.delete(path)["state"] == "erased"
    assert tenant.objects() == []


def test_everything_held_about_a_person_can_be_had(tenant: Tenant) -> None:
    avatar = tenant.ready_avatar()
    dub = tenant.new_dub(avatar)
    tenant.until(f"/v1/dubs/{dub['id']}", lambda it: it["state"] == "succeeded")
    tenant.ready_avatar()
    held = tenant.get(f"/v1/consents/{avatar['consent']}/export")
    assert [each["id"] for each in held["avatars"]] == [avatar["id"]]
    assert [each["id"] for each in held["dubs"]] == [dub["id"]]
    keys = {one["key"] for one in held["objects"]}
    assert keys == {
        key for key in tenant.objects()
        if any(part in key for part in (avatar["id"], avatar["video"], dub["id"], dub["audio"]))
    }  # fmt: skip
    assert all(WEB.get(one["url"]).status_code == 200 for one in held["objects"])
    assert "avatar.create" in {entry["action"] for entry in held["audit"]}


def test_the_audit_log_proves_that_nothing_was_changed(tenant: Tenant, house: House) -> None:
    avatar = tenant.ready_avatar()
    tenant.delete(f"/v1/avatars/{avatar['id']}")
    page = tenant.get("/v1/audit", limit=2)
    assert len(page["data"]) == 2
    rest = tenant.get("/v1/audit", after=page["next_after"])
    entries = page["data"] + rest["data"]
    assert rest["next_after"] is None
    assert [entry["action"] for entry in entries] == [
        "key.create", "consent.record", "avatar.create", "avatar.delete", "erase",
    ]  # fmt: skip
    end = verify_chain(entries)
    assert end == entries[-1]["digest"]
    for forged in (
        entries[:1] + entries[2:],
        [*entries[:2], {**entries[2], "actor": "nobody"}, *entries[3:]],
        entries[1:],
    ):
        with pytest.raises(Exception, match="entry") as broken:
            verify_chain(forged)
        assert getattr(broken.value, "reason", "") == "AUDIT_BROKEN"
    assert verify_chain(entries[2:], 2, entries[1]["digest"]) == end


def test_a_cancelled_look_goes_on_by_itself(tenant: Tenant, house: House) -> None:
    """A gateway that dies amid an erasure: another goes on, and the receipt is whole."""
    avatar = tenant.ready_avatar()
    before = set(tenant.objects())
    house.gateway.kill()
    with connect_worker(house.suite.servers.redis_url) as redis:
        key = f"gw:{tenant.name}:consent:{avatar['consent']}"
        assert redis.exists(key)
    house.restart_gateway()
    tenant.post(f"/v1/consents/{avatar['consent']}/revoke")
    house.gateway.kill()
    house.restart_gateway()
    tenant.poll(f"/v1/consents/{avatar['consent']}", lambda it: it["erased"])
    until(lambda: tenant.objects() == [])
    receipt = tenant.get(f"/v1/receipts/{avatar['id']}")
    assert {one["key"] for one in receipt["objects"]} == before
