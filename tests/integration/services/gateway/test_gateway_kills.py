"""Whatever is killed, what was promised is done."""

from __future__ import annotations

import contextlib
from threading import Thread

import httpx
from gateway_suite import House, Tenant, start_worker, until


def test_a_gateway_that_is_killed_goes_on_where_it_was(tenant: Tenant, house: House) -> None:
    go = f"tests/{tenant.name}/go"
    avatar = tenant.new_avatar(hold="preprocess", go=go)
    path = f"/v1/avatars/{avatar['id']}"
    tenant.until(path, lambda it: it["state"] == "preprocessing")
    house.gateway.kill()
    house.store.put_bytes(go, b"")  # the job ends while nobody follows it
    house.restart_gateway()
    tenant.until(path, lambda it: it["state"] == "ready")
    kinds = [event["type"] for event in tenant.get("/v1/events")["data"]]
    assert kinds == ["avatar.ready"]


def test_a_dub_that_was_promised_is_made_though_the_gateway_dies_at_once(
    tenant: Tenant, house: House
) -> None:
    avatar = tenant.ready_avatar()
    dub = tenant.new_dub(avatar)
    house.gateway.kill()
    house.restart_gateway()
    tenant.until(f"/v1/dubs/{dub['id']}", lambda it: it["state"] == "succeeded")


def test_an_erasure_is_finished_though_the_gateway_dies_in_the_middle(
    tenant: Tenant, house: House
) -> None:
    avatar = tenant.new_avatar(hold="train")
    path = f"/v1/avatars/{avatar['id']}"
    tenant.until(path, lambda it: it["state"] == "training" and it["fraction"] > 0.8)
    house.worker.process.kill()  # so that the job cannot be cancelled yet

    def erase() -> None:
        with contextlib.suppress(httpx.TransportError):
            tenant.http.delete(path)

    asking = Thread(target=erase)
    asking.start()
    tenant.poll("/v1/avatars", lambda it: it["data"] == [])
    house.gateway.kill()
    asking.join()
    house.restart_gateway()
    house.worker = start_worker(house.suite)
    until(lambda: tenant.objects() == [] and tenant.get("/v1/jobs")["data"] == [])


def test_sigterm_ends_event_streams_and_the_process(tenant: Tenant, house: House) -> None:
    avatar = tenant.new_avatar(hold="preprocess")
    path = f"/v1/avatars/{avatar['id']}"
    events = tenant.events(path)
    next(events)
    house.gateway.process.terminate()
    for _ in events:
        pass
    assert house.gateway.process.wait(20) == 0
    house.restart_gateway()
    tenant.delete(path)
