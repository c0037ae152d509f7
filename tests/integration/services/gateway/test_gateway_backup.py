"""An installation is lost and comes back from its backup, without what was erased meanwhile."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from gateway_suite import WEB, House, Tenant, bearer, client, start_worker, until
from pydantic import SecretStr
from redis import Redis
from suite import Suite

from services.common.errors import Conflict, CorruptData, FailedPrecondition
from services.common.local import LocalServers
from services.common.settings import StorageSettings
from services.common.storage import ObjectStore
from services.gateway.backup.restore import Restored, restore
from services.gateway.backup.save import KEEP_S, save
from services.gateway.backup.snapshot import connect_raw, put, take
from services.gateway.backup.vault import Vault
from synctalk.errors import InputError

NOBODY = "127.0.0.1:1"


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(tmp_path / "vault")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[LocalServers]:
    """Servers with nothing on them."""
    with LocalServers.start(tmp_path / "elsewhere") as servers:
        yield servers


@pytest.fixture
def redis(elsewhere: LocalServers) -> Iterator[Redis]:
    with connect_raw(elsewhere.redis_url) as redis:
        yield redis


def store_of(servers: LocalServers) -> ObjectStore:
    state = servers.state
    access, secret = SecretStr(state.access_key), SecretStr(state.secret_key)
    store = ObjectStore(StorageSettings(url=state.s3_url, access_key=access, secret_key=secret))
    store.ensure_bucket()
    return store


def restore_to(servers: LocalServers, vault: Vault, *gone: str, name: str = "") -> Restored:
    with connect_raw(servers.redis_url) as redis:
        return restore(redis, servers.redis_url, store_of(servers), vault, gone, name)


def contents(vault: Vault) -> list[bytes]:
    return [path.read_bytes() for path in vault.folder.glob("objects/*/*")]


def test_a_lost_installation_comes_back_without_what_was_erased(
    house: House, tenant: Tenant, vault: Vault, elsewhere: LocalServers, tmp_path: Path
) -> None:
    redis = connect_raw(house.suite.servers.redis_url)
    kept, unwanted = tenant.ready_avatar(), tenant.new_avatar(fail_until=2)
    unwanted = tenant.until(f"/v1/avatars/{unwanted['id']}", lambda it: it["state"] == "ready")
    spoken = tenant.new_dub(kept)
    tenant.until(f"/v1/dubs/{spoken['id']}", lambda it: it["state"] == "succeeded")
    key = tenant.post("/v1/keys", {"name": "lost laptop"})
    go = f"tenants/{tenant.name}/go"
    running = tenant.new_dub(kept, hold="dub", go=go)
    tenant.until(f"/v1/dubs/{running['id']}", lambda it: it["state"] == "running")

    first = save(redis, house.store, vault)
    assert first.backup.manifest.broken == ()
    held = [each.key for each in first.backup.objects()]
    assert set(tenant.objects()) <= set(held)
    assert b'"fail_until": 2' in b"".join(contents(vault))

    # Erased and deleted after the first backup: the second one notices, and its content is gone.
    tenant.delete(f"/v1/avatars/{unwanted['id']}")
    tenant.delete(f"/v1/keys/{key['id']}")
    until(lambda: time.time() >= first.backup.manifest.taken_s + 1)  # names have whole seconds
    second = save(redis, house.store, vault)
    assert second.copied < first.copied
    assert b'"fail_until": 2' not in b"".join(contents(vault))
    # Erased after the last backup: the operator knows of it by the logs.
    late = f"tenants/{tenant.name}/dubs/{spoken['id']}"
    redis.close()

    done = restore_to(elsewhere, vault, late, name=first.backup.name)
    assert {late, f"tenants/{tenant.name}/avatars/{unwanted['id']}"} <= set(done.buried)
    assert f"tenants/{tenant.name}/keys/{key['id']}" in done.buried
    store = store_of(elsewhere)
    lost = [each for each in (unwanted["id"], spoken["id"], unwanted["video"])]
    assert not [each.key for each in store.list("tenants") if any(x in each.key for x in lost)]

    token = str(tenant.http.headers["Authorization"]).removeprefix("Bearer ")
    suite = Suite(elsewhere, tmp_path)
    try:
        settings = {**house.settings, "PREPROCESS_TARGET": NOBODY, "TRAINER_TARGET": NOBODY}
        url = f"http://{suite.start('services.gateway', **settings).target}"
        start_worker(suite)
        there = Tenant(tenant.name, client(url, token), store)
        assert WEB.get(f"{url}/v1/me", headers=bearer(key["key"])).status_code == 401
        found = there.poll("/v1/avatars", lambda it: len(it["data"]) == 1)
        assert found["data"][0]["id"] == kept["id"]
        there.poll("/v1/dubs", lambda it: [d["id"] for d in it["data"]] == [running["id"]])
        # What ran goes on, and what is asked for anew is made.
        store.put_bytes(go, b"")
        for dub in (running, there.new_dub(kept)):
            made = there.until(f"/v1/dubs/{dub['id']}", lambda it: it["state"] == "succeeded")
            answer = WEB.get(made["video_url"])
            assert answer.content == b"a video"
            assert answer.headers["content-type"] == "video/mp4"
        there.close()
    finally:
        house.store.put_bytes(go, b"")  # its worker is for other tests too
        suite.stop()


def test_a_copy_of_redis_is_the_same_and_keeps_only_what_is_ours(redis: Redis) -> None:
    redis.set("gw:text", b"\x00\xff")
    redis.set("gw:fleeting", b"x", px=60_000)
    redis.set("gw:over", b"x", px=50_000)
    redis.hset("jobs:{dub}:1", mapping={"a": "1", "b": "2"})
    redis.zadd("gw:index", {"a": 1.5, "b": 2})
    redis.xadd("gw:changes", {"member": "a"}, id="5-1")
    redis.sadd("ray:state", "not ours")
    snapshot = take(redis)
    assert {each.key for each in snapshot.entries} == {
        "gw:text", "gw:fleeting", "gw:over", "jobs:{dub}:1", "gw:index", "gw:changes",
    }  # fmt: skip
    before = {key: redis.dump(key) for key in redis.keys("*:*") if not key.startswith(b"ray")}
    redis.flushall()
    entries = [
        replace(each, expires_ms=1000) if each.key == "gw:over" else each
        for each in snapshot.entries
    ]
    assert put(redis, entries, snapshot.taken_s) == len(entries) - 1
    after = {key: redis.dump(key) for key in redis.keys("*")}
    assert after == {key: value for key, value in before.items() if key != b"gw:over"}
    assert 0 < redis.pttl("gw:fleeting") <= 60_000
    assert redis.pttl("gw:text") == -1


def test_what_is_not_empty_is_not_written_over(vault: Vault, elsewhere: LocalServers) -> None:
    store = store_of(elsewhere)
    with connect_raw(elsewhere.redis_url) as redis:
        redis.set("gw:a:avatar:b", json.dumps({"id": "b"}))
        store.put_bytes("tenants/a/b", b"x")
        save(redis, store, vault)
        with pytest.raises(FailedPrecondition, match="Redis already has"):
            restore_to(elsewhere, vault)
        redis.flushall()
        store.put_bytes("tenants/a/c", b"of somebody else")
        with pytest.raises(FailedPrecondition, match="tenants/a/c"):
            restore_to(elsewhere, vault)
        assert not redis.exists("gw:a:avatar:b")
        # Broken off, it is taken up by calling it again.
        store.delete("tenants/a/c")
        assert restore_to(elsewhere, vault).objects == 1
        assert redis.exists("gw:a:avatar:b")
        assert not redis.exists("gw:restoring")


def test_damage_is_noticed_when_it_is_made_and_when_it_is_restored(
    vault: Vault, elsewhere: LocalServers
) -> None:
    store = store_of(elsewhere)
    with connect_raw(elsewhere.redis_url) as redis:
        refs = [store.put_bytes(f"tenants/a/dubs/d{n}/video.mp4", b"%d" % n) for n in range(2)]
        for n, ref in enumerate(refs):
            video = {"key": ref.key, "size_bytes": ref.size_bytes, "sha256": ref.sha256}
            redis.set(f"gw:a:dub:d{n}", json.dumps({"video": video}))
        store.put_bytes(refs[1].key, b"something else")
        saved = save(redis, store, vault)
        assert saved.backup.manifest.broken == ("tenants/a/dubs/d1",)
        redis.flushall()
        store.delete_prefix("tenants")
        vault.content(refs[0].sha256).write_bytes(b"9")
        with pytest.raises(CorruptData, match="does not match its checksum"):
            restore_to(elsewhere, vault)
        assert not store.exists(refs[0].key)
        (saved.backup.folder / "redis.jsonl.gz").write_bytes(b"")
        with pytest.raises(CorruptData, match=r"redis\.jsonl\.gz"):
            restore_to(elsewhere, vault)


def test_old_backups_go_and_the_newest_stays(vault: Vault, elsewhere: LocalServers) -> None:
    store = store_of(elsewhere)
    with connect_raw(elsewhere.redis_url) as redis:
        store.put_bytes("tenants/a/old", b"only in the first")
        first = save(redis, store, vault)
        store.delete("tenants/a/old")
        redis.set("gw:x", "1")
        manifest = first.backup.folder / "manifest.json"
        facts = json.loads(manifest.read_text())
        facts["taken_s"] -= KEEP_S + 60
        manifest.write_text(json.dumps(facts))
        first.backup.folder.rename(first.backup.folder.with_name("20200101T000000Z"))
        second = save(redis, store, vault)
        assert [each.name for each in vault.backups()] == [second.backup.name]
        assert contents(vault) == []


def test_two_do_not_work_in_one_folder(vault: Vault, elsewhere: LocalServers) -> None:
    with connect_raw(elsewhere.redis_url) as redis:
        with vault.held(), pytest.raises(Conflict, match="under way"):
            save(redis, store_of(elsewhere), vault)
        left = vault.folder / "backups" / ".20200101T000000Z.part"  # by one that was killed
        left.mkdir()
        save(redis, store_of(elsewhere), vault)
        assert not left.exists()


def test_a_name_of_nothing_that_can_be_erased_is_refused(
    vault: Vault, elsewhere: LocalServers
) -> None:
    with connect_raw(elsewhere.redis_url) as redis:
        save(redis, store_of(elsewhere), vault)
    with pytest.raises(InputError, match="av_1"):
        restore_to(elsewhere, vault, "av_1")
