"""The queue's promises, step by step on a real Redis, with the worker's side called directly."""

from __future__ import annotations

import pytest
from job_bench import Bench
from job_worker import Done, Task

from services.common.errors import Conflict, FailedPrecondition, NotFound
from services.common.jobs import Job, JobState, QueueCollector, queue_stats
from services.common.jobs.leases import Ending, Outcome, Signal, progress_fields
from synctalk.errors import InputError

SUCCESS = Ending(Outcome.SUCCEEDED, '{"attempt": 1, "resumed_at": 0}')
FAILURE = Ending(Outcome.RETRY, reason="OOPS", message="it went wrong", remedy="Try again.")


def lease(bench: Bench, worker: str = "w1") -> Job:
    got = bench.leases.acquire(worker)
    assert got is not None
    return got.job


def serve(bench: Bench) -> str:
    """Lease a job, finish it, and tell whose it was."""
    job = lease(bench)
    bench.leases.finish(job, SUCCESS)
    return job.tenant


def expire_lease(bench: Bench, job: Job) -> None:
    """As if the worker had been silent for so long."""
    bench.sync.zadd(f"{bench.type.prefix}state:running", {job.id: 0})
    assert bench.leases.maintain().lost == 1


def test_tenants_take_turns_and_each_is_served_in_order_of_arrival(bench: Bench) -> None:
    jobs = {t: [bench.enqueue(Task(), t).id for _ in range(3)] for t in ("a", "b", "c")}
    served = [lease(bench, f"w{i}") for i in range(9)]
    assert [job.tenant for job in served] == ["a", "b", "c"] * 3
    assert [job.id for job in served if job.tenant == "b"] == jobs["b"]


def test_a_tenant_with_a_long_line_does_not_hold_up_one_who_comes_late(bench: Bench) -> None:
    for _ in range(20):
        bench.enqueue(Task(), "greedy")
    assert serve(bench) == "greedy"
    bench.enqueue(Task(), "late")
    assert [serve(bench), serve(bench)] == ["greedy", "late"]


def test_one_job_at_a_time_again_and_again_gains_no_turns(bench: Bench) -> None:
    for tenant in ("b", "c"):
        for _ in range(10):
            bench.enqueue(Task(), tenant)
    served = []
    for _ in range(9):
        if not served or served[-1] == "a":
            bench.enqueue(Task(), "a")
        served.append(serve(bench))
    assert max(served.count(t) for t in "abc") - min(served.count(t) for t in "abc") <= 1


def test_no_more_than_the_limit_of_a_tenants_jobs_run_at_once(bench: Bench) -> None:
    bench = bench.with_settings(tenant_limit=2)
    for _ in range(4):
        bench.enqueue(Task(), "a")
    first, second = lease(bench, "w1"), lease(bench, "w2")
    assert bench.leases.acquire("w3") is None
    bench.enqueue(Task(), "b")
    assert lease(bench, "w3").tenant == "b"
    assert bench.leases.acquire("w4") is None
    bench.leases.finish(first, SUCCESS)
    assert lease(bench, "w4").tenant == "a"
    bench.leases.finish(second, FAILURE)
    assert lease(bench, "w1").tenant == "a"
    assert bench.leases.acquire("w5") is None
    bench.stop()


def test_a_retried_job_goes_before_younger_ones_of_its_tenant(bench: Bench) -> None:
    old = bench.enqueue(Task())
    bench.enqueue(Task())
    assert lease(bench).id == old.id
    expire_lease(bench, old)
    bench.sync.zadd(f"{bench.type.prefix}state:waiting", {old.id: 0})
    bench.leases.maintain()
    assert lease(bench).id == old.id


def test_the_same_idempotency_key_gives_the_same_job(bench: Bench) -> None:
    first = bench.run(bench.queue.enqueue("a", Task(steps=1), idempotency_key="k 1"))
    again = bench.run(bench.queue.enqueue("a", Task(steps=1), idempotency_key="k 1"))
    other = bench.run(bench.queue.enqueue("b", Task(steps=1), idempotency_key="k 1"))
    assert (first.created, again.created, other.created) == (True, False, True)
    assert again.job.id == first.job.id != other.job.id
    assert bench.leases.acquire("w1") is not None
    assert bench.leases.acquire("w2") is not None
    assert bench.leases.acquire("w3") is None


def test_the_same_idempotency_key_with_another_payload_is_refused(bench: Bench) -> None:
    bench.enqueue(Task(steps=1), idempotency_key="k")
    with pytest.raises(Conflict, match="another payload"):
        bench.enqueue(Task(steps=2), idempotency_key="k")


@pytest.mark.parametrize("tenant", ["", "a b", "a:b", "{x}", "-x", "x" * 129])
def test_a_tenant_that_is_no_name_is_refused(bench: Bench, tenant: str) -> None:
    with pytest.raises(InputError, match="tenant"):
        bench.enqueue(Task(), tenant)


def test_a_lease_asked_for_twice_is_the_same_lease(bench: Bench) -> None:
    bench.enqueue(Task())
    bench.enqueue(Task())
    assert lease(bench, "w1") == lease(bench, "w1")
    assert lease(bench, "w1") != lease(bench, "w2")


def test_finishing_twice_is_answered_as_the_first_time(bench: Bench) -> None:
    bench.enqueue(Task())
    job = lease(bench)
    assert bench.leases.finish(job, SUCCESS) == JobState.SUCCEEDED
    assert bench.leases.finish(job, SUCCESS) == JobState.SUCCEEDED
    assert len(bench.publications()) == 1
    assert queue_stats(bench.sync, bench.type.queue).events["succeeded"] == 1


def test_an_attempt_that_lost_its_lease_can_change_nothing(bench: Bench) -> None:
    made = bench.enqueue(Task(), publish_as="avatars.one")
    zombie = lease(bench, "w1")
    expire_lease(bench, zombie)
    bench.sync.zadd(f"{bench.type.prefix}state:waiting", {made.id: 0})
    bench.leases.maintain()
    heir = lease(bench, "w2")
    assert (zombie.attempt, heir.attempt) == (1, 2)
    before = bench.get(made.id)
    assert bench.leases.renew(zombie) == Signal.LOST
    assert bench.leases.report(zombie, {"checkpoint": "old"}, ["line"]) == Signal.LOST
    assert bench.leases.finish(zombie, SUCCESS) is None
    assert bench.leases.finish(zombie, FAILURE) is None
    assert bench.get(made.id) == before
    assert bench.run(bench.queue.published("avatars.one")) is None
    assert bench.run(bench.queue.log(made.id)).lines == ()
    good = Ending(Outcome.SUCCEEDED, bench.type.dump_result(Done(2, 0)))
    assert bench.leases.finish(heir, good) == JobState.SUCCEEDED
    assert bench.leases.finish(zombie, SUCCESS) is None
    published = bench.run(bench.queue.published("avatars.one"))
    assert published is not None
    assert published.attempt == 2


def test_leases_survive_a_time_in_which_nobody_looked(bench: Bench) -> None:
    bench.enqueue(Task())
    job = lease(bench)
    bench.leases.maintain()
    maintenance = f"{bench.type.prefix}maintenance"
    # As after an outage of Redis: both the lease and the last look are long past.
    bench.sync.zadd(f"{bench.type.prefix}state:running", {job.id: 0})
    bench.sync.hset(maintenance, "at", 0)
    assert bench.leases.maintain().lost == 0
    assert bench.leases.renew(job) == Signal.OK
    bench.sync.zadd(f"{bench.type.prefix}state:running", {job.id: 0})
    bench.sync.hset(maintenance, "grace_until_ms", 0)
    assert bench.leases.maintain().lost == 1


def test_back_off_doubles_up_to_its_cap_and_half_of_it_is_jitter(bench: Bench) -> None:
    bench = bench.with_settings(backoff_base_s=10, backoff_cap_s=60, max_attempts=10)
    made = bench.enqueue(Task())
    waits = []
    for _ in range(6):
        job = lease(bench)
        assert bench.leases.finish(job, FAILURE) == JobState.WAITING
        due_ms = bench.sync.zscore(f"{bench.type.prefix}state:waiting", made.id)
        assert isinstance(due_ms, float)
        waits.append(due_ms / 1000 - bench.get(made.id).updated_s)
        bench.sync.zadd(f"{bench.type.prefix}state:waiting", {made.id: 0})
        bench.leases.maintain()
    for wait_s, longest_s in zip(waits, (10, 20, 40, 60, 60, 60), strict=True):
        assert longest_s / 2 - 0.01 <= wait_s <= longest_s + 0.01
    bench.stop()


def test_the_last_failure_makes_a_dead_letter_that_says_why(bench: Bench) -> None:
    bench = bench.with_settings(max_attempts=1)
    made = bench.enqueue(Task())
    assert bench.leases.finish(lease(bench), FAILURE) == JobState.DEAD
    (dead,) = bench.run(bench.queue.dead_letters()).jobs
    assert dead.id == made.id
    assert dead.failure is not None
    assert (dead.failure.reason, dead.failure.remedy) == ("OOPS", "Try again.")
    requeued = bench.run(bench.queue.requeue(made.id))
    assert (requeued.state, requeued.failures, requeued.failure) == ("queued", 0, None)
    assert lease(bench).attempt == 2
    bench.stop()


def test_what_waits_is_cancelled_at_once_and_what_runs_when_its_worker_hears(bench: Bench) -> None:
    first, second = bench.enqueue(Task()), bench.enqueue(Task())
    running = lease(bench)
    assert bench.run(bench.queue.cancel(second.id)).state == "cancelled"
    assert bench.leases.acquire("w2") is None
    assert bench.run(bench.queue.cancel(first.id)).cancel_requested
    assert bench.leases.renew(running) == Signal.CANCEL
    assert bench.leases.finish(running, SUCCESS) == JobState.CANCELLED
    job = bench.run(bench.queue.cancel(first.id))
    assert (job.state, job.result_json) == ("cancelled", None)
    assert bench.publications() == []


def test_a_cancelled_job_whose_worker_dies_is_not_tried_again(bench: Bench) -> None:
    made = bench.enqueue(Task())
    job = lease(bench)
    bench.run(bench.queue.cancel(made.id))
    expire_lease(bench, job)
    assert bench.state(made.id) == "cancelled"


def test_only_ended_unsuccessful_jobs_can_be_requeued(bench: Bench) -> None:
    made = bench.enqueue(Task())
    with pytest.raises(FailedPrecondition, match="queued"):
        bench.run(bench.queue.requeue(made.id))
    bench.leases.finish(lease(bench), SUCCESS)
    with pytest.raises(FailedPrecondition, match="succeeded"):
        bench.run(bench.queue.requeue(made.id))
    with pytest.raises(NotFound):
        bench.run(bench.queue.requeue("nothing"))


def test_a_job_is_hidden_from_other_tenants(bench: Bench) -> None:
    made = bench.enqueue(Task(), "a")
    assert bench.run(bench.queue.get(made.id, tenant="a")).id == made.id
    with pytest.raises(NotFound):
        bench.run(bench.queue.get(made.id, tenant="b"))
    assert bench.run(bench.queue.list("b")).jobs == ()


def test_pages_show_every_job_once_newest_first(bench: Bench) -> None:
    made = [bench.enqueue(Task()).id for _ in range(7)]
    seen, token = [], ""
    while True:
        page = bench.run(bench.queue.list("acme", limit=3, token=token))
        seen += [job.id for job in page.jobs]
        bench.enqueue(Task(), "acme")  # newer ones do not shift the pages
        if not (token := page.next_token):
            break
    assert seen == made[::-1]


def test_pages_of_dead_letters_hold_also_where_many_died_at_once(bench: Bench) -> None:
    made = [bench.enqueue(Task()).id for _ in range(7)]
    bench.sync.zadd(f"{bench.type.prefix}state:dead", dict.fromkeys(made, 5))
    seen, token = [], ""
    while True:
        page = bench.run(bench.queue.dead_letters(limit=2, token=token))
        seen += [job.id for job in page.jobs]
        if not (token := page.next_token):
            break
    assert sorted(seen) == sorted(made)


def test_the_log_is_cut_at_its_beginning_and_lines_keep_their_numbers(bench: Bench) -> None:
    bench = bench.with_settings(log_kept=5)
    made = bench.enqueue(Task())
    job = lease(bench)
    bench.leases.report(job, {}, [f"line {i}" for i in range(4)])
    bench.leases.report(job, {}, [f"line {i}" for i in range(4, 8)])
    tail = bench.run(bench.queue.log(made.id))
    assert (tail.first, tail.lines) == (3, tuple(f"line {i}" for i in range(3, 8)))
    tail = bench.run(bench.queue.log(made.id, after=7))
    assert (tail.first, tail.lines) == (7, ("line 7",))
    assert bench.run(bench.queue.log(made.id, after=8)).lines == ()
    bench.stop()


def test_history_expires_but_not_before_it_was_swept_and_publications_stay(bench: Bench) -> None:
    bench = bench.with_settings(history_s=0)
    made = bench.enqueue(Task(), publish_as="avatars.one", idempotency_key="k")
    bench.leases.finish(lease(bench), SUCCESS)
    assert bench.leases.maintain().forgotten == 0
    to_sweep = bench.leases.next_to_sweep()
    assert to_sweep is not None
    assert to_sweep.id == made.id
    bench.leases.swept(to_sweep)
    assert bench.leases.maintain().forgotten == 1
    with pytest.raises(NotFound):
        bench.get(made.id)
    assert bench.run(bench.queue.published("avatars.one")) is not None
    assert bench.enqueue(Task(), publish_as="avatars.one", idempotency_key="k").id != made.id
    leftover = [key for key in bench.sync.keys(f"{bench.type.prefix}*") if made.id in str(key)]
    assert leftover == []
    bench.stop()


def test_a_deleted_job_leaves_nothing_and_a_live_one_cannot_be_deleted(bench: Bench) -> None:
    made = bench.enqueue(Task(), idempotency_key="k")
    with pytest.raises(FailedPrecondition, match="queued"):
        bench.run(bench.queue.delete(made.id))
    bench.run(bench.queue.cancel(made.id))
    bench.run(bench.queue.delete(made.id))
    bench.run(bench.queue.delete(made.id))
    assert [k for k in bench.sync.keys(f"{bench.type.prefix}*") if made.id in str(k)] == []
    assert not bench.sync.exists(f"{bench.type.prefix}idem:acme:k")
    assert bench.run(bench.queue.list("acme")).jobs == ()


def test_a_sweep_that_was_not_finished_is_handed_out_again(bench: Bench) -> None:
    made = bench.enqueue(Task())
    bench.leases.finish(lease(bench), SUCCESS)
    assert bench.leases.next_to_sweep() is not None
    assert bench.leases.next_to_sweep() is None
    bench.sync.zadd(f"{bench.type.prefix}sweep", {made.id: 0})
    assert bench.leases.next_to_sweep() is not None


def test_figures_for_prometheus_count_states_ages_and_events(bench: Bench) -> None:
    for _ in range(3):
        bench.enqueue(Task())
    bench.leases.finish(lease(bench), SUCCESS)
    lease(bench)
    metrics = {m.name: m.samples for m in QueueCollector(bench.sync, [bench.type.queue]).collect()}
    jobs = {s.labels["state"]: s.value for s in metrics["synctalk_jobs"]}
    assert jobs == {"queued": 1, "waiting": 0, "running": 1, "succeeded": 1,
                    "failed": 0, "cancelled": 0, "dead": 0}  # fmt: skip
    events = {s.labels["event"]: s.value for s in metrics["synctalk_job_events"]}
    assert events == {"enqueued": 3, "leased": 2, "succeeded": 1}
    assert {s.labels["state"] for s in metrics["synctalk_jobs_oldest_seconds"]} == {
        "queued", "running",
    }  # fmt: skip


def test_progress_is_part_of_the_record(bench: Bench) -> None:
    made = bench.enqueue(Task())
    job = lease(bench)
    fields = progress_fields("train", 1.7, None, {"psnr_db": 36.4})
    assert bench.leases.report(job, fields | {"preview": "a.png"}) == Signal.OK
    progress = bench.get(made.id).progress
    assert (progress.stage, progress.fraction, progress.eta_s) == ("train", 1.0, None)
    assert (progress.metrics, progress.preview) == ({"psnr_db": 36.4}, "a.png")
