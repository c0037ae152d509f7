"""The whole suite under load, through its public API: ten tenants, 200 dubs at once, 500 watchers.

    python benchmarks/load.py [--tenants 10] [--dubs 20] [--watchers 500] [--burst] [--gateways 2]

Starts all services on a temporary folder, as `avatar up` does. Every tenant uploads the sample
portrait (its first 12 s) and gets an avatar (of 300 steps), while 500 gRPC streams watch the
training jobs; then all tenants at once ask for their dubs of 5 s, each for the next one when it has
its answer (--burst: for all without waiting), while 500 server-sent event streams watch them and a
client keeps reading. Reports the gateway's latencies, in what order tenants were served, what each
process grew by, and how long it took. Writes benchmarks/results/load.json, or --out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from services.common.rpc import open_channel
from services.common.settings import RpcSettings
from services.gen.avatar.v1 import trainer_pb2
from services.gen.avatar.v1.trainer_pb2_grpc import TrainerServiceStub
from synctalk.evaluation.machine import describe_machine

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "e2e")]

from harness import Suite, Tenant, cpu_and_rss, cut_sound, running_suite  # noqa: E402
from tiny import cut_video  # noqa: E402

SAMPLES = ROOT / "samples"
SETTINGS = {
    "SUITE_RENDERERS": "2",
    "SUITE_WORKERS": "2",
    # what is loaded is the way of an avatar, not how good it becomes
    "AVATAR_TRAINER_STEPS": "300",
    # the limits of one customer are not what is measured
    "AVATAR_RATE_PER_S": "10000",
    "AVATAR_RATE_BURST": "10000",
}
ENDED = ("succeeded", "ready", "failed", "cancelled")

Resource = dict[str, Any]


class Latencies:
    """Milliseconds of every request, by what it was for."""

    def __init__(self) -> None:
        self._ms: dict[str, list[float]] = defaultdict(list)

    @asynccontextmanager
    async def timed(self, name: str) -> AsyncIterator[None]:
        start = time.perf_counter()
        yield
        self._ms[name].append(1000 * (time.perf_counter() - start))

    def summary(self) -> dict[str, dict[str, float]]:
        return {name: _spread(ms) for name, ms in sorted(self._ms.items())}


class Memory:
    """Resident memory of every process, looked at once a second."""

    def __init__(self, suite: Suite) -> None:
        self._suite = suite
        self._mib: dict[str, list[float]] = defaultdict(list)

    async def watch(self) -> None:
        while True:
            for process in self._suite.state().processes:
                if process.pid is not None:
                    self._mib[process.name].append(cpu_and_rss(process.pid)[1] / 2**20)
            await asyncio.sleep(1)

    def summary(self) -> dict[str, dict[str, float]]:
        """MiB at first, after a quarter of the time, at most, at last."""
        return {
            name: {
                "first_mib": round(seen[0], 1),
                "quarter_mib": round(seen[len(seen) // 4], 1),
                "peak_mib": round(max(seen), 1),
                "last_mib": round(seen[-1], 1),
            }
            for name, seen in self._mib.items()
        }


class Load:
    """One run."""

    def __init__(self, suite: Suite, arguments: argparse.Namespace) -> None:
        self.suite = suite
        self.arguments = arguments
        self.latencies = Latencies()
        self.finished: list[str] = []  # tenants, in the order in which their dubs ended

    def clients(self, tenants: list[Tenant]) -> list[httpx.AsyncClient]:
        limits = httpx.Limits(max_connections=None)
        return [
            httpx.AsyncClient(
                base_url=f"{self.suite.settings.url}/v1/",
                headers={"authorization": f"Bearer {tenant.key}"},
                limits=limits,
                timeout=60,
            )
            for tenant in tenants
        ]

    async def train(self, tenants: list[Tenant], video: Path) -> tuple[list[str], int]:
        """An avatar for everyone; how many gRPC streams saw their job end."""
        avatars = [str(tenant.create_avatar(video)["id"]) for tenant in tenants]
        watching = asyncio.create_task(self._watch_training(tenants, avatars))
        for tenant, avatar in zip(tenants, avatars, strict=True):
            made = await asyncio.to_thread(tenant.wait, f"avatars/{avatar}", 3600)
            assert made["state"] == "ready", made["error"]
        return avatars, await watching

    async def _watch_training(self, tenants: list[Tenant], avatars: list[str]) -> int:
        jobs: list[str] = []
        for tenant, avatar in zip(tenants, avatars, strict=True):
            while not (job := await asyncio.to_thread(self._training_job, tenant, avatar)):
                await asyncio.sleep(0.5)
            jobs.append(f"tenants/{tenant.name}/trainingJobs/{job}")
            if len(jobs) == 2:  # the first ones, so that many streams watch few jobs
                break
        token = SecretStr(self.suite.settings.variables["AVATAR_RPC__TOKEN"])
        target = f"127.0.0.1:{self.suite.process('trainer').port}"
        async with open_channel(target, RpcSettings(token=token)) as channel:
            stub = TrainerServiceStub(channel)

            async def watch(job: str) -> bool:
                request = trainer_pb2.WatchTrainingJobRequest(name=job)
                ended = False
                async for reply in stub.WatchTrainingJob(request, timeout=3600):
                    ended = reply.training_job.status.HasField("end_time")
                return ended

            n = self.arguments.watchers
            return sum(await asyncio.gather(*(watch(jobs[i % len(jobs)]) for i in range(n))))

    def _training_job(self, tenant: Tenant, avatar: str) -> str:
        jobs = tenant.api.get(f"avatars/{avatar}")["jobs"]
        return next((str(job["id"]) for job in jobs if job["type"] == "train"), "")

    async def dub(
        self, clients: list[httpx.AsyncClient], avatars: list[str], audios: list[str]
    ) -> dict[str, object]:
        """All dubs at once; how it went."""
        n, start = self.arguments.dubs, time.perf_counter()

        async def ask(client: httpx.AsyncClient, avatar: str, audio: str) -> list[str]:
            if self.arguments.burst:
                asked = [self._create(client, avatar, audio) for _ in range(n)]
                return await asyncio.gather(*asked)
            return [await self._create(client, avatar, audio) for _ in range(n)]

        each = await asyncio.gather(*map(ask, clients, avatars, audios))
        dubs = [dub for of_tenant in each for dub in of_tenant]
        queued_s = time.perf_counter() - start
        owners = {dub: clients[i // n] for i, dub in enumerate(dubs)}
        reading = asyncio.create_task(self._read(owners))
        watchers = [dubs[i % len(dubs)] for i in range(self.arguments.watchers)]
        ends = await asyncio.gather(*(self._watch(owners[dub], dub) for dub in watchers))
        reading.cancel()
        states = Counter(end["state"] for end in ends)
        return {
            "dubs": len(dubs),
            "queued_s": round(queued_s, 1),
            "all_done_s": round(time.perf_counter() - start, 1),
            "streams_that_saw_the_end": sum(end["state"] in ENDED for end in ends),
            "states": dict(states),
            "retries": sum(end.get("attempt", 1) > 1 for end in ends),
        }

    async def _create(self, client: httpx.AsyncClient, avatar: str, audio: str) -> str:
        async with self.latencies.timed("POST /v1/dubs"):
            answer = await client.post("dubs", json={"avatar": avatar, "audio": audio})
        answer.raise_for_status()
        return str(answer.json()["id"])

    async def _read(self, owners: dict[str, httpx.AsyncClient]) -> None:
        """What dashboards do, twenty times a second."""
        dubs = list(owners)
        while True:
            dub = random.choice(dubs)
            for name, path in (
                ("GET /v1/dubs/{id}", f"dubs/{dub}"),
                ("GET /v1/dubs", "dubs?limit=20"),
                ("GET /v1/jobs", "jobs?limit=20"),
            ):
                async with self.latencies.timed(name):
                    (await owners[dub].get(path)).raise_for_status()
                await asyncio.sleep(0.05)

    async def _watch(self, client: httpx.AsyncClient, dub: str) -> Resource:
        """Its last state, by its events."""
        last: Resource = {"state": "unknown"}
        async with client.stream("GET", f"dubs/{dub}/events", timeout=None) as stream:
            async for line in stream.aiter_lines():
                if line.startswith("data:"):
                    last = json.loads(line[5:])
        return last


def fairness(ends: list[tuple[float, str]]) -> dict[str, object]:
    """How far tenants were ever apart, in dubs done, when served in the order of ``ends``."""
    counts: Counter[str] = Counter({tenant: 0 for _, tenant in ends})
    apart = 0
    for _, tenant in sorted(ends):
        counts[tenant] += 1
        apart = max(apart, max(counts.values()) - min(counts.values()))
    return {
        "largest_lead_dubs": apart,
        "first_20_served": [tenant for _, tenant in sorted(ends)[:20]],
    }


async def measure(suite: Suite, arguments: argparse.Namespace, folder: Path) -> dict[str, object]:
    tenants = [suite.tenant(f"tenant{i}") for i in range(arguments.tenants)]
    video, speech = folder / "portrait.mp4", folder / "speech.wav"
    cut_video(SAMPLES / "portrait.mp4", video, 12)
    cut_sound(SAMPLES / "speech.wav", speech, 5)
    load, memory = Load(suite, arguments), Memory(suite)
    start = time.perf_counter()
    avatars, saw_training = await load.train(tenants, video)
    trained_s = time.perf_counter() - start
    audios = [tenant.upload_audio(speech) for tenant in tenants]
    watching = asyncio.create_task(memory.watch())
    clients = load.clients(tenants)
    done = await load.dub(clients, avatars, audios)
    watching.cancel()
    ends = [
        (dub["ended_at"], tenant.name)
        for tenant in tenants
        for dub in tenant.api.list("jobs", 1000, type="dub")
    ]
    return {
        "avatars": {"tenants": len(tenants), "all_ready_s": round(trained_s, 1)},
        "grpc_watch_streams": {"open": arguments.watchers, "saw_the_end": saw_training},
        "dubs": done
        | {
            "asked": "without waiting"
            if arguments.burst
            else f"one by one, {len(tenants)} tenants at once"
        },
        "fairness": fairness(ends),
        "gateways": arguments.gateways,
        "gateway_ms": load.latencies.summary(),
        "memory": memory.summary(),
        "machine": asdict(describe_machine()),
    }


def _spread(ms: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(ms, n=100)
    return {
        "n": len(ms),
        "p50": round(cuts[49], 1),
        "p95": round(cuts[94], 1),
        "p99": round(cuts[98], 1),
        "max": round(max(ms), 1),
    }


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tenants", type=int, default=10)
    parser.add_argument("--dubs", type=int, default=20, help="of each tenant")
    parser.add_argument("--watchers", type=int, default=500)
    parser.add_argument("--gateways", type=int, default=1, help="processes on the one port")
    parser.add_argument("--burst", action="store_true", help="no tenant waits for an answer")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "load.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        settings = SETTINGS | {"SUITE_GATEWAYS": str(arguments.gateways)}
        with running_suite(folder / "suite", settings) as suite:
            result = asyncio.run(measure(suite, arguments, folder))
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
