"""Whose work it is stays known behind the queues: the request's id, and its trace."""

from __future__ import annotations

import json

from collector import collecting
from gateway_suite import House, Tenant, bearer, client, until

from services.common.jobs.connect import connect_worker


def leased_by(house: House, request_id: str) -> set[str]:
    """Queues whose workers have taken up a job under this id, by their logs."""
    lines = [json.loads(line) for line in house.worker.log().splitlines() if line[:1] == "{"]
    return {
        line["queue"]
        for line in lines
        if line["event"] == "job leased" and line.get("request_id") == request_id
    }


def test_all_jobs_of_a_request_keep_its_id(house: House, tenant: Tenant) -> None:
    with client(house.url, tenant.http.headers["Authorization"].removeprefix("Bearer ")) as web:
        web.headers["X-Request-Id"] = "asked-for-an-avatar"
        asking = Tenant(tenant.name, web, tenant.store)
        avatar = asking.new_avatar()
    avatar = tenant.until(f"/v1/avatars/{avatar['id']}", lambda it: it["state"] == "ready")
    assert leased_by(house, "asked-for-an-avatar") == {"preprocess", "train"}


def test_a_request_is_a_span_and_its_dub_a_part_of_the_trace(house: House, tenant: Tenant) -> None:
    avatar, trace_id = tenant.ready_avatar(), "5e" * 16
    headers = {
        **bearer(tenant.http.headers["Authorization"].removeprefix("Bearer ")),
        "X-Request-Id": "asked-for-a-dub", "traceparent": f"00-{trace_id}-{'6f' * 8}-01",
    }  # fmt: skip
    with collecting() as collector:
        with house.another_gateway(OTLP_ENDPOINT=collector.endpoint) as url:
            with client(url, "") as web:
                web.headers.update(headers)
                dub = Tenant(tenant.name, web, tenant.store).new_dub(avatar)
            tenant.until(f"/v1/dubs/{dub['id']}", lambda it: it["state"] == "succeeded")
        until(lambda: "POST /v1/dubs" in collector.names(trace_id))
    with connect_worker(house.suite.servers.redis_url) as redis:
        job = redis.hgetall(f"jobs:{{dub}}:job:{dub['id']}")
    assert job["request_id"] == "asked-for-a-dub"
    assert trace_id in job["traceparent"]
    assert leased_by(house, "asked-for-a-dub") == {"dub"}
