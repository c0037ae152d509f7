"""Random schedules against a model of twenty lines: nothing is lost, nothing published twice,
tenants take turns, nobody is above the limit, and what lost its lease has no say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from hypothesis.strategies import integers, sampled_from
from job_bench import Bench
from job_worker import Task

from services.common.jobs import Job
from services.common.jobs.leases import Ending, Outcome, Signal

LIMIT = 2
MAX_ATTEMPTS = 3
SUCCESS = Ending(Outcome.SUCCEEDED, '{"attempt": 0, "resumed_at": 0}')
WORKERS = [f"w{i}" for i in range(5)]


@dataclass
class Line:
    """A tenant: ids that wait, in order, and how many run."""

    ready: list[str] = field(default_factory=list)
    running: int = 0


class Schedule(RuleBasedStateMachine):
    bench: ClassVar[Bench]

    def __init__(self) -> None:
        super().__init__()
        self.queue = self.bench.with_settings(
            tenant_limit=LIMIT, max_attempts=MAX_ATTEMPTS, lease_s=3600, backoff_base_s=0
        )
        self.order: list[str] = []  # ids by arrival
        self.tenant: dict[str, str] = {}
        self.state: dict[str, str] = {}
        self.failures: dict[str, int] = {}
        self.lines: dict[str, Line] = {t: Line() for t in "abc"}
        self.ring: list[str] = []
        self.held: dict[str, Job] = {}
        self.zombies: list[Job] = []

    def join(self, tenant: str) -> None:
        if self.lines[tenant].ready and tenant not in self.ring:
            self.ring.append(tenant)

    def make_ready(self, job_id: str) -> None:
        line = self.lines[self.tenant[job_id]]
        line.ready = sorted([*line.ready, job_id], key=self.order.index)
        self.state[job_id] = "queued"
        self.join(self.tenant[job_id])

    def end(self, job_id: str) -> None:
        self.lines[self.tenant[job_id]].running -= 1
        self.join(self.tenant[job_id])

    def fail(self, job_id: str) -> None:
        self.failures[job_id] += 1
        if self.failures[job_id] >= MAX_ATTEMPTS:
            self.state[job_id] = "dead"
        else:
            self.make_ready(job_id)  # the back-off is zero: the next maintenance finds it

    @rule(tenant=sampled_from("abc"), jobs=integers(1, 3))
    def enqueue(self, tenant: str, jobs: int) -> None:
        for _ in range(jobs):
            self.enqueue_one(tenant)

    def enqueue_one(self, tenant: str) -> None:
        job_id = self.queue.enqueue(Task(), tenant).id
        self.order.append(job_id)
        self.tenant[job_id] = tenant
        self.failures[job_id] = 0
        self.make_ready(job_id)

    @rule(worker=sampled_from(WORKERS))
    def lease_one(self, worker: str) -> None:
        self.lease(worker)

    def lease(self, worker: str) -> None:
        got = self.queue.leases.acquire(worker)
        if worker in self.held:
            assert got is not None
            assert got.job.id == self.held[worker].id
            return
        expected = self.next_in_turn()
        assert (got.job.id if got else None) == expected
        if got:
            self.held[worker] = got.job

    @rule()
    def lease_all(self) -> None:
        for worker in WORKERS:
            self.lease(worker)

    def next_in_turn(self) -> str | None:
        while self.ring:
            tenant = self.ring.pop(0)
            line = self.lines[tenant]
            if line.running < LIMIT:
                if not line.ready:
                    continue
                job_id = line.ready.pop(0)
                line.running += 1
                self.state[job_id] = "running"
                self.join(tenant)
                return job_id
        return None

    @precondition(lambda self: self.held)
    @rule(n=integers(0, 99), outcome=sampled_from(Outcome))
    def finish(self, n: int, outcome: Outcome) -> None:
        worker = sorted(self.held)[n % len(self.held)]
        job = self.held.pop(worker)
        ending = SUCCESS if outcome is Outcome.SUCCEEDED else Ending(outcome, reason="X")
        state = self.queue.leases.finish(job, ending)
        self.end(job.id)
        if self.queue.get(job.id).cancel_requested:
            self.state[job.id] = "cancelled"
        elif outcome is Outcome.RETRY:
            self.fail(job.id)
        elif outcome is Outcome.RELEASED:
            self.make_ready(job.id)
        else:
            self.state[job.id] = outcome.value
        assert state == (
            "waiting"
            if outcome is Outcome.RETRY and self.state[job.id] == "queued"
            else self.state[job.id]
        )
        self.queue.leases.maintain()

    @precondition(lambda self: self.held)
    @rule(n=integers(0, 99))
    def lose_worker(self, n: int) -> None:
        job = self.held.pop(sorted(self.held)[n % len(self.held)])
        self.zombies.append(job)
        cancelled = self.queue.get(job.id).cancel_requested
        self.queue.sync.zadd(f"{self.queue.type.prefix}state:running", {job.id: 0})
        assert self.queue.leases.maintain().lost == 1
        self.queue.leases.maintain()
        self.end(job.id)
        if cancelled:
            self.state[job.id] = "cancelled"
        else:
            self.fail(job.id)

    @precondition(lambda self: self.zombies)
    @rule(n=integers(0, 99))
    def wake_zombie(self, n: int) -> None:
        zombie = self.zombies[n % len(self.zombies)]
        before = self.queue.get(zombie.id)
        assert self.queue.leases.renew(zombie) is Signal.LOST
        assert self.queue.leases.finish(zombie, SUCCESS) is None
        assert self.queue.get(zombie.id) == before

    @precondition(lambda self: self.order)
    @rule(n=integers(0, 99))
    def cancel(self, n: int) -> None:
        job_id = self.order[n % len(self.order)]
        self.queue.run(self.queue.queue.cancel(job_id))
        if self.state[job_id] == "queued":
            self.lines[self.tenant[job_id]].ready.remove(job_id)
            self.state[job_id] = "cancelled"

    @precondition(lambda self: set(self.state.values()) & {"dead", "failed", "cancelled"})
    @rule(n=integers(0, 99))
    def requeue(self, n: int) -> None:
        ended = [i for i in self.order if self.state[i] in ("dead", "failed", "cancelled")]
        job_id = ended[n % len(ended)]
        self.queue.run(self.queue.queue.requeue(job_id))
        self.order.remove(job_id)
        self.order.append(job_id)
        self.failures[job_id] = 0
        self.make_ready(job_id)

    @invariant()
    def redis_agrees_with_the_model(self) -> None:
        prefix = self.queue.type.prefix
        for job_id, state in self.state.items():
            assert self.queue.state(job_id) == state
        for state in set(self.state.values()):
            members = self.queue.sync.zrange(f"{prefix}state:{state}", 0, -1)
            assert set(members) == {i for i in self.order if self.state[i] == state}
        assert self.queue.sync.zrange(f"{prefix}ring", 0, -1) == self.ring
        for tenant, line in self.lines.items():
            assert int(self.queue.sync.hget(f"{prefix}running", tenant) or 0) == line.running
            assert line.running <= LIMIT
            # Nobody is forgotten: who waits has a turn to come, or is at the limit.
            assert not line.ready or tenant in self.ring or line.running == LIMIT

    def teardown(self) -> None:
        # Every job can still come to an end, and each success was published exactly once.
        for worker in list(self.held):
            self.queue.leases.finish(self.held.pop(worker), SUCCESS)
        while (got := self.queue.leases.acquire("last")) is not None:
            self.queue.leases.finish(got.job, SUCCESS)
        ended = [self.queue.get(job_id) for job_id in self.order]
        assert all(job.state.terminal for job in ended)
        succeeded = sorted(job.id for job in ended if job.state == "succeeded")
        assert sorted(self.queue.publications()) == succeeded
        self.queue.stop()


def test_random_schedules_lose_nothing_publish_once_and_keep_the_turns(bench: Bench) -> None:
    Schedule.bench = bench
    run_state_machine_as_test(
        Schedule,
        settings=settings(
            max_examples=15, stateful_step_count=50, deadline=None, derandomize=True,
            database=None,
            phases=[Phase.generate], suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
