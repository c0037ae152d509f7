"""Erasing leaves nothing, stops what runs first, and says what is gone."""

from __future__ import annotations

from gateway_suite import House, Tenant, until

from services.common.jobs.connect import connect_worker


def test_erasing_an_avatar_leaves_nothing_of_it_and_keeps_its_dubs(tenant: Tenant) -> None:
    avatar = tenant.ready_avatar()
    dub = tenant.new_dub(avatar)
    done = tenant.until(f"/v1/dubs/{dub['id']}", lambda it: it["state"] == "succeeded")
    before = [key for key in tenant.objects() if dub["id"] not in key and done["audio"] not in key]
    answer = tenant.delete(f"/v1/avatars/{avatar['id']}")
    assert answer["state"] == "erased"
    assert answer["erased"]["objects"] == len(before)
    assert answer["erased"]["bytes"] > 0
    assert (answer["erased"]["jobs"], answer["erased"]["uploads"]) == (2, 1)
    assert [key for key in tenant.objects() if avatar["id"] in key or avatar["video"] in key] == []
    assert tenant.refused("GET", f"/v1/avatars/{avatar['id']}")[0] == 404
    assert tenant.get("/v1/avatars")["data"] == []
    for job in avatar["jobs"]:
        assert tenant.refused("GET", f"/v1/jobs/{job['id']}")[0] == 404
    assert tenant.get(f"/v1/dubs/{dub['id']}")["state"] == "succeeded"
    again = {"avatar": avatar["id"], "audio": done["audio"]}
    assert tenant.refused("POST", "/v1/dubs", again)[1]["code"] == "AVATAR_NOT_FOUND"


def test_erasing_leaves_no_key_in_the_database_but_what_says_so(
    tenant: Tenant, house: House
) -> None:
    avatar = tenant.ready_avatar()
    dub = tenant.new_dub(avatar)
    tenant.until(f"/v1/dubs/{dub['id']}", lambda it: it["state"] == "succeeded")
    ids = (avatar["id"], dub["id"], *(job["id"] for job in avatar["jobs"]))
    before = keys_of(house, ids)
    assert f"versions:{{tenants/{tenant.name}/avatars/{avatar['id']}}}" in before
    assert tenant.delete(f"/v1/avatars/{avatar['id']}", dubs=True)["state"] == "erased"
    listed = {
        key for each in (avatar, dub) for key in tenant.get(f"/v1/receipts/{each['id']}")["records"]
    }
    assert {key for key in before - listed if ":idem:" not in key} == set()  # they go with jobs
    until(lambda: keys_of(house, ids) == {f"gw:{tenant.name}:receipt:{it}" for it in ids[:2]})


def keys_of(house: House, ids: tuple[str, ...]) -> set[str]:
    """Keys that name one of these."""
    with connect_worker(house.suite.servers.redis_url) as redis:
        return {key for key in redis.scan_iter(count=1000) if any(each in key for each in ids)}


def test_erasing_stops_a_running_job_first(tenant: Tenant) -> None:
    avatar = tenant.new_avatar(hold="train")
    path = f"/v1/avatars/{avatar['id']}"
    tenant.until(path, lambda it: it["state"] == "training" and it["fraction"] > 0.8)
    assert tenant.delete(path)["erased"]["jobs"] == 2
    assert tenant.objects() == []
    assert tenant.get("/v1/jobs")["data"] == []


def test_dubs_go_with_their_avatar_when_wanted_and_unfinished_ones_are_cancelled(
    tenant: Tenant,
) -> None:
    avatar = tenant.ready_avatar()
    finished = tenant.new_dub(avatar)
    tenant.until(f"/v1/dubs/{finished['id']}", lambda it: it["state"] == "succeeded")
    running = tenant.new_dub(avatar, hold="dub")
    tenant.until(f"/v1/dubs/{running['id']}", lambda it: it["state"] == "running")
    answer = tenant.delete(f"/v1/avatars/{avatar['id']}", dubs=True)
    assert answer["state"] == "erased"
    assert answer["erased"]["dubs"] == 2
    assert answer["erased"]["uploads"] == 3
    assert tenant.objects() == []
    assert tenant.get("/v1/dubs")["data"] == []


def test_an_upload_that_another_avatar_uses_stays(tenant: Tenant) -> None:
    first = tenant.new_avatar(refuse=True)
    body = {"name": "Ann", "video": first["video"], "consent": first["consent"]}
    second = tenant.post("/v1/avatars", body)
    for avatar in (first, second):
        tenant.until(f"/v1/avatars/{avatar['id']}", lambda it: it["state"] == "failed")
    assert tenant.delete(f"/v1/avatars/{first['id']}")["erased"]["uploads"] == 0
    assert tenant.get(f"/v1/uploads/{first['video']}")["state"] == "ready"
    assert tenant.delete(f"/v1/avatars/{second['id']}")["erased"]["uploads"] == 1
    assert tenant.objects() == []


def test_what_a_late_writer_leaves_is_swept_too(tenant: Tenant, house: House) -> None:
    avatar = tenant.new_avatar(refuse=True)
    tenant.until(f"/v1/avatars/{avatar['id']}", lambda it: it["state"] == "failed")
    path = f"/v1/avatars/{avatar['id']}"
    assert tenant.delete(path)["state"] == "erased"
    house.store.put_bytes(f"tenants/{tenant.name}/avatars/{avatar['id']}/late", b"x")
    until(lambda: tenant.http.delete(path).status_code == 404)
    assert tenant.objects() == []
