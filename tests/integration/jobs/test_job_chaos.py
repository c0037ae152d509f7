"""Workers, handlers and Redis killed, frozen and cut off while jobs run.

SYNCTALK_CHAOS_ROUNDS=20 runs longer; the seed of a round is its number.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
from pathlib import Path

import pytest
from job_bench import Bench, Proxy, RedisServer, process_alive, until
from job_worker import JOB_SETTINGS, Task

from services.common.jobs import JobWatcher

ROUNDS = int(os.environ.get("SYNCTALK_CHAOS_ROUNDS", "2"))
WORKERS = 3


def handlers(bench: Bench) -> list[int]:
    """Process ids of the handlers that are at work."""
    pids = [int(p.read_text() or 0) for p in bench.folder.glob("*/attempts/*/pid")]
    return [pid for pid in pids if pid and process_alive(pid)]


def finished(bench: Bench) -> int:
    return sum(bench.sync.zcard(f"{bench.type.prefix}state:{s}") for s in ("succeeded", "dead"))


def test_a_restart_of_redis_costs_a_running_job_nothing(
    redis_server: RedisServer, bench: Bench
) -> None:
    bench.start_worker()
    made = bench.enqueue(Task(steps=300))
    bench.handler_pid(made.id)
    redis_server.kill()
    redis_server.start()
    bench.until_state(made.id, "succeeded")
    assert bench.get(made.id).attempt == 1


def test_a_job_that_ends_while_redis_is_down_is_published_when_it_is_back(
    redis_server: RedisServer, bench: Bench
) -> None:
    bench.start_worker()
    made = bench.enqueue(Task(steps=30))
    pid = bench.handler_pid(made.id)
    redis_server.kill()
    until(lambda: not process_alive(pid), "the handler ends")
    redis_server.start()
    bench.until_state(made.id, "succeeded")
    assert bench.get(made.id).attempt == 1


def test_a_worker_cut_off_for_longer_than_its_lease_finds_its_attempt_void(
    redis_server: RedisServer, bench: Bench
) -> None:
    with Proxy(redis_server.port) as proxy:
        cut_off = bench.start_worker(url=proxy.url)
        made = bench.enqueue(Task(steps=500), publish_as="avatars.one")
        pid = bench.handler_pid(made.id)
        proxy.cut()
        bench.start_worker()
        second = bench.handler_pid(made.id, attempt=2)
        assert process_alive(pid)  # it cannot know yet
        proxy.mend()
        until(lambda: not process_alive(pid), "the void attempt is stopped")
        assert process_alive(second)
        bench.until_state(made.id, "succeeded")
        assert cut_off.poll() is None
    published = bench.run(bench.queue.published("avatars.one"))
    assert published is not None
    assert published.attempt == 2


def test_acknowledged_jobs_survive_the_death_of_redis(
    redis_server: RedisServer, bench: Bench
) -> None:
    made = [bench.enqueue(Task()).id for _ in range(50)]
    redis_server.kill()
    redis_server.start()
    assert [bench.leases.acquire(f"w{i}").job.id for i in range(50)] == made  # type: ignore[union-attr]


def test_watchers_live_through_a_restart_of_redis(redis_server: RedisServer, bench: Bench) -> None:
    bench.start_worker()
    made = bench.enqueue(Task(steps=150))

    async def scenario() -> list[str]:
        states = []
        async with JobWatcher(bench.redis, bench.type) as watcher:
            async for job in watcher.watch(made.id):
                if job.state == "running" and "running" not in states:
                    redis_server.kill()
                    redis_server.start()
                states.append(str(job.state))
        return states

    states = bench.run(scenario())
    assert states[-1] == "succeeded"
    assert "running" in states


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_jobs_survive_kills_at_random_moments(
    seed: int, redis_server: RedisServer, tmp_path: Path
) -> None:
    chance = random.Random(seed)
    bench = Bench(redis_server, tmp_path, JOB_SETTINGS.model_copy(update={"max_attempts": 20}))
    (tmp_path / "sweeps").touch()
    made = [bench.enqueue(Task(steps=40), tenant).id for _ in range(4) for tenant in "abc"]
    workers = [bench.start_worker() for _ in range(WORKERS)]
    try:
        for blow in range(5):
            begun = bench.sync.hget(f"{bench.type.prefix}counters", "leased")
            until(
                lambda begun=begun: (handlers(bench)
                and bench.sync.hget(f"{bench.type.prefix}counters", "leased") != begun)
                or finished(bench) == len(made),
                "work goes on",
            )  # fmt: skip
            workers[blow % WORKERS] = _strike(chance, bench, redis_server, workers[blow % WORKERS])
        until(lambda: finished(bench) == len(made), "all jobs end")
        for worker in workers:
            worker.send_signal(signal.SIGCONT)
        until(lambda: not handlers(bench), "no attempt goes on")
        jobs = [bench.get(job_id) for job_id in made]
        until(
            lambda: all(bench.attempts_begun(job.id) == [job.attempt] for job in jobs),
            "the leavings of all other attempts are swept",
        )
        published = bench.publications()
    finally:
        bench.stop()
    assert [job.state for job in jobs] == ["succeeded"] * len(made)
    assert sorted(published) == sorted(made)
    for job in jobs:
        assert bench.type.load_result(job.result_json or "").attempt == job.attempt


def _strike(
    chance: random.Random, bench: Bench, redis_server: RedisServer, worker: subprocess.Popen[bytes]
) -> subprocess.Popen[bytes]:
    """One blow; a killed worker is replaced, as its supervisor would."""
    match chance.choice(["worker", "worker", "handler", "freeze", "redis"]):
        case "worker":
            worker.kill()
            worker.wait()
            return bench.start_worker()
        case "handler":
            for pid in chance.sample(handlers(bench), min(1, len(handlers(bench)))):
                os.kill(pid, signal.SIGKILL)
        case "freeze":  # it wakes up as a zombie when all is over
            worker.send_signal(signal.SIGSTOP)
            return bench.start_worker()
        case "redis":
            redis_server.kill()
            redis_server.start()
    return worker
