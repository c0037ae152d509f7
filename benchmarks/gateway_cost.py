"""What a request costs the gateway: its process's CPU time, and what it asks of Redis.

    python benchmarks/gateway_cost.py [--posts 300] [--tenants 10]

Tenants who each ask again when they have their answer make dubs; no worker takes them. CPU time is
counted until all jobs are queued, so what the reconciler does for a dub is in it, and is shown
apart from what was taken while answers were waited for. Then the same for two kinds of reading.
CPU time hardly depends on what else the machine does; waiting times do, and are shown for a quiet
machine. Writes benchmarks/results/gateway_cost.json, or --out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import redis
from live_house import OPERATOR, RESULTS, House, RunningService, bearer, open_house

from harness import cpu_and_rss  # isort: skip

from services.common.artifacts import ArtifactRef
from services.common.jobs import connect as connect_redis
from services.common.storage import ObjectRef
from services.gateway.core import Tables
from services.gateway.model import AvatarRecord, ConsentRecord, now_s
from synctalk.evaluation.machine import describe_machine

NOBODY = "127.0.0.1:9"
SPEECH_BYTES = 160_000  # five seconds
BUNDLE = ArtifactRef("tenants/t/none", ObjectRef("tenants/t/none/_listing.json", 2, "0" * 64))
READS = 300

Ask = Callable[[httpx.AsyncClient, "Asker"], Awaitable[httpx.Response]]


@dataclass(frozen=True)
class Asker:
    """A tenant with an avatar and an audio."""

    name: str
    key: str
    avatar: str
    audio: str


class Meter:
    """CPU time of the gateway, and the commands that Redis has done."""

    def __init__(self, gateway: RunningService, database: redis.Redis) -> None:
        self._pid, self._redis = gateway.process.pid, database
        self.began = self.now()

    def now(self) -> tuple[float, int]:
        commands: Any = self._redis.info("commandstats")
        calls = sum(each["calls"] for name, each in commands.items() if "info" not in name)
        return cpu_and_rss(self._pid)[0], calls

    def since(self, n: int) -> dict[str, float]:
        """For each of ``n`` requests."""
        now = self.now()
        return {
            "cpu_ms": round(1000 * (now[0] - self.began[0]) / n, 2),
            "redis_commands": round((now[1] - self.began[1]) / n, 1),
        }


async def put_avatar(house: House, tenant: str) -> str:
    """One that is ready, without the way there."""
    async with connect_redis(house.servers.state.redis_url) as client:
        tables, now = Tables(client), now_s()
        consent = ConsentRecord(
            id="con_bench", tenant=tenant, created_s=now, subject_name="nobody",
            statement="", granted_by="nobody", expires_s=None,
        )  # fmt: skip
        await tables.consents.create(consent)
        avatar = AvatarRecord(
            id="av_bench", tenant=tenant, created_s=now, updated_s=now, name="bench",
            video="up_none", consent=consent.id, preset="standard", size_px=512,
            phase="ready", version=1, bundle=BUNDLE,
        )  # fmt: skip
        await tables.avatars.create(avatar)
        return avatar.id


def make_asker(house: House, name: str) -> Asker:
    body = {"tenant": name, "name": "bench", "role": "admin"}
    answer = httpx.post(f"{house.url}/v1/keys", json=body, headers=bearer(OPERATOR))
    key = str(answer.json()["key"])
    announced = {
        "filename": "speech.wav", "content_type": "audio/wav", "size_bytes": SPEECH_BYTES,
        "kind": "audio",
    }  # fmt: skip
    ticket = httpx.post(f"{house.url}/v1/uploads", json=announced, headers=bearer(key)).json()
    httpx.put(ticket["url"], headers=ticket["headers"], content=bytes(SPEECH_BYTES))
    return Asker(name, key, asyncio.run(put_avatar(house, name)), ticket["id"])


async def post_dub(http: httpx.AsyncClient, asker: Asker) -> httpx.Response:
    return await http.post("dubs", json={"avatar": asker.avatar, "audio": asker.audio})


async def get_avatar(http: httpx.AsyncClient, asker: Asker) -> httpx.Response:
    return await http.get(f"avatars/{asker.avatar}")


async def list_dubs(http: httpx.AsyncClient, asker: Asker) -> httpx.Response:
    return await http.get("dubs?limit=20")


async def all_ask(house: House, askers: list[Asker], n: int, ask: Ask) -> list[float]:
    """Milliseconds that each of ``n`` requests took; tenants ask one by one."""

    async def one(asker: Asker) -> list[float]:
        took: list[float] = []
        url, headers = f"{house.url}/v1/", bearer(asker.key)
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as http:
            for _ in range(n // len(askers)):
                begin = time.perf_counter()
                (await ask(http, asker)).raise_for_status()
                took.append(1000 * (time.perf_counter() - begin))
        return took

    return sorted(ms for each in await asyncio.gather(*map(one, askers)) for ms in each)


def wait_for_queue(database: redis.Redis, jobs: int) -> None:
    """Until the reconciler has queued all."""
    deadline = time.monotonic() + 120
    while int(database.zcard("jobs:{dub}:state:queued")) < jobs:
        assert time.monotonic() < deadline, "not all were queued"
        time.sleep(0.05)


def measure(house: House, gateway: RunningService, arguments: argparse.Namespace) -> dict[str, Any]:
    database = redis.Redis.from_url(house.servers.state.redis_url, decode_responses=True)
    askers = [make_asker(house, f"tenant{n}") for n in range(arguments.tenants)]
    asyncio.run(all_ask(house, askers, len(askers), post_dub))  # uploads are read once
    wait_for_queue(database, len(askers))
    result: dict[str, Any] = {}
    n = arguments.posts // len(askers) * len(askers)
    meter = Meter(gateway, database)
    ms = asyncio.run(all_ask(house, askers, n, post_dub))
    answered = meter.since(n)
    wait_for_queue(database, n + len(askers))
    result["POST /v1/dubs"] = {
        **meter.since(n), "cpu_ms_until_answered": answered["cpu_ms"], **spread(ms)
    }  # fmt: skip
    for name, ask in (("GET /v1/avatars/{id}", get_avatar), ("GET /v1/dubs", list_dubs)):
        meter = Meter(gateway, database)
        ms = asyncio.run(all_ask(house, askers, READS, ask))
        result[name] = {**meter.since(READS), **spread(ms)}
    return result


def spread(ms: list[float]) -> dict[str, float]:
    return {"p50_ms": round(ms[len(ms) // 2], 1), "p95_ms": round(ms[int(0.95 * len(ms))], 1)}


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as temporary, open_house(Path(temporary)) as house:
        gateway = house.suite.start(
            "services.gateway", BOOTSTRAP_KEY=OPERATOR, PREPROCESS_TARGET=NOBODY,
            TRAINER_TARGET=NOBODY, RATE_PER_S=10_000, RATE_BURST=10_000, QUOTA_OPEN_DUBS=100_000,
        )  # fmt: skip
        house.url = f"http://127.0.0.1:{gateway.ports['port']}"
        return measure(house, gateway, arguments)


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--posts", type=int, default=300)
    parser.add_argument("--tenants", type=int, default=10)
    parser.add_argument("--out", type=Path, default=RESULTS / "gateway_cost.json")
    arguments = parser.parse_args()
    result = {**run(arguments), "machine": asdict(describe_machine())}
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
