"""Watching jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from job_bench import Bench
from job_worker import Task
from test_job_queue import FAILURE, SUCCESS

from services.common.errors import NotFound
from services.common.jobs import Job, JobWatcher
from services.common.jobs.leases import progress_fields


async def follow(watcher: JobWatcher, job_id: str, into: list[Job]) -> None:
    async for job in watcher.watch(job_id):
        into.append(job)  # noqa: PERF401 - one by one, as they come


async def soon(condition: Callable[[], object]) -> None:
    """Let other tasks run until ``condition()`` holds."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


def test_a_watcher_sees_the_job_now_every_change_and_the_end(bench: Bench) -> None:
    async def scenario() -> None:
        made = (await bench.queue.enqueue("acme", Task())).job
        seen: list[Job] = []
        async with JobWatcher(bench.redis, bench.type) as watcher:
            watching = asyncio.create_task(follow(watcher, made.id, seen))
            await soon(lambda: len(seen) == 1)
            lease = bench.leases.acquire("w1")
            assert lease is not None
            await soon(lambda: len(seen) == 2)
            bench.leases.report(lease.job, progress_fields("train", 0.5, 3.0, {}))
            await soon(lambda: len(seen) == 3)
            bench.leases.finish(lease.job, SUCCESS)
            await asyncio.wait_for(watching, 30)
        assert [job.state for job in seen] == ["queued", "running", "running", "succeeded"]
        assert seen[2].progress.fraction == 0.5
        assert seen[-1].result_json == SUCCESS.result_json
        assert seen[-1] == await bench.queue.get(made.id)

    bench.run(scenario())


def test_watching_an_ended_job_shows_it_once_and_an_unknown_one_is_an_error(bench: Bench) -> None:
    async def scenario() -> None:
        made = (await bench.queue.enqueue("acme", Task())).job
        await bench.queue.cancel(made.id)
        seen: list[Job] = []
        async with JobWatcher(bench.redis, bench.type) as watcher:
            await follow(watcher, made.id, seen)
            with pytest.raises(NotFound):
                await follow(watcher, "nothing", seen)
        assert [job.state for job in seen] == ["cancelled"]

    bench.run(scenario())


def test_a_slow_watcher_gets_the_newest_state_and_holds_up_nobody(bench: Bench) -> None:
    async def scenario() -> None:
        made = (await bench.queue.enqueue("acme", Task())).job
        fast: list[Job] = []
        async with JobWatcher(bench.redis, bench.type) as watcher:
            slow = watcher.watch(made.id)
            first = await anext(slow)
            following = asyncio.create_task(follow(watcher, made.id, fast))
            for _ in range(3):
                lease = bench.leases.acquire("w1")
                assert lease is not None
                assert bench.leases.finish(lease.job, FAILURE) == "waiting"
                bench.sync.zadd(f"{bench.type.prefix}state:waiting", {made.id: 0})
                bench.leases.maintain()
                await soon(lambda lease=lease: fast and fast[-1].attempt == lease.job.attempt)
            assert bench.leases.acquire("w1") is not None
            last = await bench.queue.get(made.id)
            await soon(lambda: fast[-1].revision == last.revision)
            assert (await anext(slow)) == last
            assert (first.attempt, last.attempt) == (0, 4)
            following.cancel()

    bench.run(scenario())


def test_many_watchers_share_one_connection_that_reads(bench: Bench) -> None:
    async def scenario() -> None:
        made = [(await bench.queue.enqueue("acme", Task())).job for _ in range(20)]
        seen: list[list[Job]] = [[] for _ in range(200)]
        async with JobWatcher(bench.redis, bench.type) as watcher:
            tasks = [
                asyncio.create_task(follow(watcher, made[i % 20].id, seen[i])) for i in range(200)
            ]
            await soon(lambda: all(seen))
            for job in made:
                await bench.queue.cancel(job.id)
            await asyncio.wait_for(asyncio.gather(*tasks), 30)
            blocked = [c for c in bench.sync.client_list() if c["cmd"] == "xread"]
            assert len(blocked) == 1
        assert all([job.state for job in jobs] == ["queued", "cancelled"] for jobs in seen)

    bench.run(scenario())
