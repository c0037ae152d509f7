"""What an autoscaler of workers stands on: how many are wanted, and workers that end when idle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from job_bench import Bench, RedisServer, until
from job_worker import JOB_SETTINGS, Task

from services.common.jobs.leases import Leases

# KEDA's redis trigger counts a sorted set as it does a list.
_KEDA = """
local count = {zset = 'zcard', list = 'llen', none = 'llen'}
return redis.call(count[redis.call('type', KEYS[1]).ok], KEYS[1])
"""


def wanted(bench: Bench) -> int:
    count: Any = bench.sync.eval(_KEDA, 1, f"{bench.type.prefix}ring")
    return int(count)


def test_the_ring_counts_tenants_that_a_worker_would_find_a_job_of(bench: Bench) -> None:
    assert wanted(bench) == 0
    bench.enqueue(Task(), tenant="a")
    bench.enqueue(Task(), tenant="a")
    bench.enqueue(Task(), tenant="b")
    assert wanted(bench) == 2
    leases = Leases(
        bench.sync, bench.type.prefix, bench.settings.model_copy(update={"tenant_limit": 1})
    )
    first, second = leases.acquire("one"), leases.acquire("two")
    assert first is not None
    assert second is not None
    assert leases.acquire("three") is None, "a has one waiting, and is at its limit"
    assert wanted(bench) == 0


def test_an_idle_worker_ends_and_a_busy_one_does_not(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    bench = Bench(redis_server, tmp_path, JOB_SETTINGS.model_copy(update={"idle_exit_s": 0.3}))
    try:
        made = bench.enqueue(Task(steps=100))  # a second's work
        worker = bench.start_worker()
        bench.until_state(made.id, "succeeded")
        assert worker.wait(timeout=60) == 0
        assert bench.attempts_begun(made.id) == [1]
    finally:
        bench.stop()


def test_jobs_of_lost_workers_come_back_without_any_worker(bench: Bench) -> None:
    made = bench.enqueue(Task())
    assert bench.leases.acquire("doomed") is not None
    assert wanted(bench) == 0

    def back() -> bool:
        bench.run(bench.queue.maintain())
        return wanted(bench) == 1

    until(back, "the job is in line again")
    assert bench.get(made.id).failures == 1
