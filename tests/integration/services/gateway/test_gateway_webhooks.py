"""Webhooks: signed, repeated until they are taken, and only into the public internet."""

from __future__ import annotations

import json
import queue
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from gateway_suite import OPERATOR, House, Json, Tenant, client
from standardwebhooks import Webhook

EVENTS = ["avatar.ready", "avatar.failed", "avatar.cancelled"]


@dataclass
class Receiver:
    """A web server that answers as told, and keeps what it was sent."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    got: queue.Queue[tuple[dict[str, str], bytes]] = field(default_factory=queue.Queue)

    def next(self) -> tuple[dict[str, str], bytes]:
        return self.got.get(timeout=20)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status = receiver.answers.pop(0) if receiver.answers else 204
            self.send_response(status)
            self.send_header("location", f"{receiver.url}/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()
            receiver.got.put((dict(self.headers.items()), body))

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, daemon=True).start()
    yield receiver
    server.shutdown()
    server.server_close()


def hook(tenant: Tenant, receiver: Receiver) -> Json:
    return tenant.post("/v1/webhooks", {"url": f"{receiver.url}/hook", "events": EVENTS})


def test_an_event_is_signed_by_the_standard_scheme(tenant: Tenant, receiver: Receiver) -> None:
    webhook = hook(tenant, receiver)
    avatar = tenant.new_avatar(refuse=True)
    headers, body = receiver.next()
    lower = {name.lower(): value for name, value in headers.items()}
    content = Webhook(webhook["secret"]).verify(body, lower)
    assert content["type"] == "avatar.failed"
    assert content["data"]["id"] == avatar["id"]
    assert content["data"]["error"]["code"] == "NO_FACE"
    (event,) = tenant.get("/v1/events")["data"]
    assert lower["webhook-id"] == event["id"]
    assert event["data"] == content["data"]
    with pytest.raises(Exception, match="signature"):
        Webhook("whsec_" + "A" * 43 + "=").verify(body, lower)
    assert "secret" not in tenant.get(f"/v1/webhooks/{webhook['id']}")


def test_a_delivery_is_tried_again_under_the_same_id_and_then_given_up(
    tenant: Tenant, receiver: Receiver
) -> None:
    webhook = hook(tenant, receiver)
    path = f"/v1/webhooks/{webhook['id']}"
    receiver.answers = [500, 302]  # redirects are not followed
    tenant.post(f"{path}/test")
    tried = [receiver.next() for _ in range(3)]
    assert len({headers["webhook-id"] for headers, _ in tried}) == 1
    assert len({body for _, body in tried}) == 1
    done = tenant.poll(f"{path}/deliveries", lambda it: it["data"][0]["state"] == "delivered")
    assert (done["data"][0]["attempts"], done["data"][0]["status_code"]) == (3, 204)
    receiver.answers = [500] * 3
    tenant.post(f"{path}/test")
    failed = tenant.poll(f"{path}/deliveries", lambda it: it["data"][0]["state"] == "failed")
    assert failed["data"][0]["message"] == "answered 500"
    assert len(failed["data"]) == 2


def test_a_deleted_webhook_is_sent_nothing_more(tenant: Tenant, receiver: Receiver) -> None:
    first, second = hook(tenant, receiver), hook(tenant, receiver)
    tenant.delete(f"/v1/webhooks/{first['id']}")
    assert tenant.refused("GET", f"/v1/webhooks/{first['id']}")[0] == 404
    tenant.post(f"/v1/webhooks/{second['id']}/test")
    _, body = receiver.next()
    assert json.loads(body)["data"]["id"] == second["id"]


def test_one_tenants_webhooks_that_never_answer_hold_up_no_others(
    new_tenant: Callable[[], Tenant], receiver: Receiver
) -> None:
    slow, other = new_tenant(), new_tenant()
    with socket.create_server(("127.0.0.1", 0), backlog=128) as deaf:  # connects, and says nothing
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/"
        stuck = slow.post("/v1/webhooks", {"url": url, "events": EVENTS})
        for _ in range(100):
            slow.post(f"/v1/webhooks/{stuck['id']}/test")
        webhook = hook(other, receiver)
        other.post(f"/v1/webhooks/{webhook['id']}/test")
        _, body = receiver.next()
        assert json.loads(body)["data"]["id"] == webhook["id"]
        sent = slow.get(f"/v1/webhooks/{stuck['id']}/deliveries", limit=100)["data"]
        assert "pending" in {each["state"] for each in sent}
        slow.delete(f"/v1/webhooks/{stuck['id']}")


def test_a_tenant_has_no_more_webhooks_than_it_may(
    house: House, tenant: Tenant, receiver: Receiver
) -> None:
    assert tenant.get("/v1/me")["quotas"]["webhooks"] == 20
    with client(house.url, OPERATOR) as operator:
        operator.put(f"/v1/tenants/{tenant.name}/limits", json={"webhooks": 2}).raise_for_status()
    first, _ = hook(tenant, receiver), hook(tenant, receiver)
    body = {"url": receiver.url, "events": EVENTS}
    status, error = tenant.refused("POST", "/v1/webhooks", body)
    assert (status, error["code"]) == (429, "QUOTA_WEBHOOKS")
    tenant.delete(f"/v1/webhooks/{first['id']}")
    assert hook(tenant, receiver)["id"]


def test_webhooks_lead_into_the_public_internet_only(
    house: House, tenant: Tenant, receiver: Receiver
) -> None:
    webhook = hook(tenant, receiver)  # made while it was allowed
    with house.another_gateway(WEBHOOK_ALLOW_PRIVATE=False) as url:
        key = tenant.http.headers["Authorization"].removeprefix("Bearer ")
        with client(url, key) as http:
            for target in (
                receiver.url, "https://127.0.0.1", "https://localhost/x", "https://10.1.2.3",
                "https://169.254.169.254/latest", "https://[::1]/", "https://[::ffff:10.0.0.1]/",
                "https://0.0.0.0", "https://user:word@93.184.216.34/", "https://",
            ):  # fmt: skip
                body = {"url": target, "events": EVENTS}
                error = http.post("/v1/webhooks", json=body).json()["error"]
                assert error["code"] == "WEBHOOK_URL_REFUSED", target
            made = http.post(
                "/v1/webhooks", json={"url": "https://93.184.216.34/", "events": EVENTS}
            )
            assert made.status_code == 201
    assert webhook["id"]
