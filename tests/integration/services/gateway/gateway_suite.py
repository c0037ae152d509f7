"""A gateway as its users see it: a process behind HTTP."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from suite import RunningService, Suite

from services.common.jobs import JobSettings
from services.common.local import LocalServers
from services.common.local_server import free_port
from services.common.storage import ObjectStore

Json = dict[str, Any]
WEB = httpx.Client(verify=False, trust_env=False)  # what is not the gateway: signed URLs
OPERATOR = "the operator's key of these tests"
JOBS = JobSettings(
    lease_s=2, heartbeat_s=0.1, stop_grace_s=0.5, report_s=0.05, backoff_base_s=0.05,
    backoff_cap_s=0.1, tenant_limit=100, sweep_delay_s=0.0, max_attempts=2,
)  # fmt: skip
SETTINGS: dict[str, object] = {
    "BOOTSTRAP_KEY": OPERATOR, "JOBS": JOBS.model_dump(), "GATEWAY_POLL_S": 2,
    "RATE_PER_S": 200, "RATE_BURST": 500, "QUOTA_AVATARS": 3, "QUOTA_OPEN_DUBS": 3,
    "QUOTA_UPLOAD_BYTES_DAY": 1_000_000, "UPLOAD_MAX_BYTES": 600_000,
    "WEBHOOK_ALLOW_PRIVATE": True, "WEBHOOK_RETRY_S": [0.1, 0.1], "SSE_HEARTBEAT_S": 0.3,
    "ERASURE_AGAIN_S": 1, "GATEWAY_DRAIN_S": 5,
}  # fmt: skip


@dataclass
class Sse:
    """A server-sent event, or a comment, whose data is empty."""

    id: str
    data: Json


@dataclass
class Tenant:
    """A tenant's admin at the gateway."""

    name: str
    http: httpx.Client
    store: ObjectStore

    def close(self) -> None:
        self.http.close()

    def get(self, path: str, **query: object) -> Json:
        return self._json(self.http.get(path, params=query))

    def post(self, path: str, body: Json | None = None, key: str = "") -> Json:
        headers = {"Idempotency-Key": key} if key else {}
        return self._json(self.http.post(path, json=body or {}, headers=headers))

    def delete(self, path: str, **query: object) -> Json:
        return self._json(self.http.delete(path, params=query))

    def refused(self, method: str, path: str, body: Json | None = None) -> tuple[int, Json]:
        """Status and error of a request that must not succeed."""
        answer = self.http.request(method, path, json=body)
        assert answer.is_error, answer.text
        return answer.status_code, answer.json()["error"]

    def upload(self, kind: str = "video", **script: object) -> str:
        """An upload whose bytes are there, and tell the stand-ins what to do."""
        data = json.dumps(script).encode()
        body = {
            "filename": f"a {kind}.bin", "content_type": "application/octet-stream",
            "size_bytes": len(data), "kind": kind,
        }  # fmt: skip
        ticket = self.post("/v1/uploads", body)
        answer = WEB.request(
            ticket["method"], ticket["url"], headers=ticket["headers"], content=data
        )
        answer.raise_for_status()
        return str(ticket["id"])

    def consent(self) -> str:
        body = {"subject_name": "Ann", "granted_by": "Ann herself"}
        return str(self.post("/v1/consents", body)["id"])

    def new_avatar(self, **script: object) -> Json:
        body = {
            "name": "Ann", "video": self.upload(**script), "consent": self.consent(),
            "preset": "demo",
        }  # fmt: skip
        return self.post("/v1/avatars", body)

    def ready_avatar(self) -> Json:
        avatar = self.new_avatar()
        return self.until(f"/v1/avatars/{avatar['id']}", lambda it: it["state"] == "ready")

    def new_dub(self, avatar: Json, **script: object) -> Json:
        audio = self.upload("audio", **script)
        return self.post("/v1/dubs", {"avatar": avatar["id"], "audio": audio})

    def until(self, path: str, condition: Callable[[Json], bool], seconds: float = 60) -> Json:
        """Follow the resource's events until it is as wanted."""
        for event in self.events(path, seconds):
            if event.data and condition(event.data):
                return event.data
        raise AssertionError(f"{path} ended as {self.get(path)}")

    def poll(self, path: str, condition: Callable[[Json], bool], seconds: float = 60) -> Json:
        deadline = time.monotonic() + seconds
        while not condition(found := self.get(path)):
            assert time.monotonic() < deadline, found
            time.sleep(0.05)
        return found

    def events(self, path: str, seconds: float = 60, last: str = "") -> Iterator[Sse]:
        headers = {"Last-Event-ID": last} if last else {}
        deadline = time.monotonic() + seconds
        with self.http.stream("GET", f"{path}/events", headers=headers) as answer:
            if answer.status_code == 204:
                return
            assert answer.status_code == 200, answer.read()
            event = Sse("", {})
            for line in answer.iter_lines():
                assert time.monotonic() < deadline, "it took too long"
                name, _, value = line.partition(": ")
                if name == "data":
                    event.data = json.loads(value)
                elif name == "id":
                    event.id = value
                elif not line:
                    yield event
                    event = Sse("", {})

    def objects(self) -> list[str]:
        """What of the tenant's lies in the object store."""
        return [found.key for found in self.store.list(f"tenants/{self.name}")]

    @staticmethod
    def _json(answer: httpx.Response) -> Json:
        assert answer.is_success, f"{answer.status_code} {answer.text}"
        found: Json = answer.json() if answer.content else {}
        return found


@dataclass
class House:
    """Gateway, services and stand-in workers."""

    suite: Suite
    store: ObjectStore
    gateway: RunningService
    worker: RunningService
    settings: dict[str, object]
    made: int = 0
    port: int = field(init=False)

    def __post_init__(self) -> None:
        self.port = self.gateway.ports["port"]

    @classmethod
    def start(cls, servers: LocalServers, store: ObjectStore, folder: Path) -> House:
        suite = Suite(servers, folder)
        try:
            ports = {"preprocess": free_port(), "trainer": free_port()}
            settings: dict[str, object] = dict(SETTINGS)
            for name, port in ports.items():
                settings[f"{name.upper()}_TARGET"] = f"127.0.0.1:{port}"
            with ThreadPoolExecutor() as pool:
                for name, port in ports.items():
                    pool.submit(
                        suite.start, f"services.{name} serve", JOBS=JOBS.model_dump(),
                        RPC__PORT=str(port),
                    )  # fmt: skip
                gateway = pool.submit(suite.start, "services.gateway", **settings)
                worker = pool.submit(start_worker, suite)
            return cls(suite, store, gateway.result(), worker.result(), settings)
        except BaseException:
            suite.stop()
            raise

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self.suite.stop()

    def restart_gateway(self) -> None:
        """On the same port, as its users know it."""
        self.gateway = self.suite.start(
            "services.gateway", **self.settings, GATEWAY_PORT=str(self.port)
        )

    @contextmanager
    def another_gateway(self, **settings: object) -> Iterator[str]:
        """One more replica, with settings of its own; its URL."""
        service = self.suite.start("services.gateway", **{**self.settings, **settings})
        try:
            yield f"http://127.0.0.1:{service.ports['port']}"
        finally:
            service.process.terminate()
            service.process.wait(20)

    def tenant(self) -> Tenant:
        self.made += 1
        name = f"tenant-{self.made}-{uuid.uuid4().hex[:6]}"
        body = {"tenant": name, "name": "first", "role": "admin"}
        answer = WEB.post(f"{self.url}/v1/keys", json=body, headers=bearer(OPERATOR))
        assert answer.status_code == 201, answer.text
        return Tenant(name, client(self.url, answer.json()["key"]), self.store)


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.05)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def client(url: str, key: str) -> httpx.Client:
    return httpx.Client(base_url=url, headers=bearer(key), timeout=30, verify=False)


def start_worker(suite: Suite) -> RunningService:
    """The stand-ins, in processes of their own."""
    module = "tests.integration.services.gateway.gateway_worker"
    return suite.start(module, JOBS=JOBS.model_dump())
