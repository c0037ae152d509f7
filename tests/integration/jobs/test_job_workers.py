"""Worker processes, and what becomes of jobs when they are killed, cut off or asked to stop."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import asdict

import pytest
from job_bench import Bench, process_alive, until
from job_worker import METRICS, Done, Task
from prometheus_client.parser import text_string_to_metric_families

from services.common.jobs import Job, JobQueue, JobType
from services.common.origin import Origin, working_for


def test_job_succeeds_and_its_result_progress_log_and_preview_can_be_read(
    bench: Bench,
) -> None:
    bench.start_worker()
    made = bench.enqueue(Task(steps=5), publish_as="avatars.one")
    bench.until_state(made.id, "succeeded")
    job = bench.get(made.id)
    assert bench.type.load_result(job.result_json or "").attempt == 1
    assert (job.attempt, job.failures, job.failure) == (1, 0, None)
    assert (job.progress.stage, job.progress.fraction) == ("count", 1.0)
    assert job.progress.preview == f"previews/{job.id}.png"
    assert (bench.run(bench.queue.log(job.id))).lines == ("attempt 1 begins",)
    published = bench.run(bench.queue.published("avatars.one"))
    assert published is not None
    assert (published.job_id, published.result_json) == (job.id, job.result_json)


def test_work_is_done_for_the_request_that_asked_last(bench: Bench) -> None:
    def done(attempt: int) -> dict[str, str]:
        path = bench.folder / made.id / "attempts" / str(attempt) / "origin"
        found: dict[str, str] = json.loads(path.read_text())
        return found

    async def ask() -> Job:
        with working_for(first):
            return (await bench.queue.enqueue("acme", Task("bad_footage"))).job

    async def ask_again() -> None:
        with working_for(Origin("second-request")):
            await bench.queue.requeue(made.id)

    first = Origin("first-request", f"00-{'1a' * 16}-{'2b' * 8}-01")
    made = bench.run(ask())
    bench.start_worker()
    bench.until_state(made.id, "failed")
    assert bench.get(made.id).origin == first
    assert done(1) == asdict(first)
    bench.run(ask_again())
    bench.until_state(made.id, "succeeded")
    assert done(2) == asdict(Origin("second-request"))


def test_progress_log_and_checkpoint_can_be_read_while_the_job_runs(bench: Bench) -> None:
    bench.start_worker()
    made = bench.enqueue(Task(steps=100_000))
    until(lambda: bench.sync.hget(f"{bench.type.prefix}job:{made.id}", "checkpoint"), "checkpoint")
    job = bench.get(made.id)
    assert job.state == "running"
    assert job.progress.stage == "count"
    assert job.progress.eta_s
    assert job.progress.metrics["step"] >= 0
    assert (bench.run(bench.queue.log(job.id))).lines == ("attempt 1 begins",)


def test_a_job_that_a_worker_cannot_read_is_left_to_workers_of_a_later_release(
    bench: Bench,
) -> None:
    later = JobQueue(bench.redis, JobType(bench.type.queue, dict[str, str], Done), bench.settings)
    bench.start_worker()
    made = bench.run(later.enqueue("acme", {"do": "what later releases do"})).job
    bench.until_state(made.id, "dead")
    job = bench.get(made.id)
    assert job.failure is not None
    assert (job.failure.reason, job.attempt) == ("INVALID_PAYLOAD", bench.settings.max_attempts)
    assert "Bring the workers" in job.failure.remedy
    assert bench.attempts_begun(job.id) == []


def test_how_fast_a_stage_was_and_how_well_its_end_was_foretold_are_counted(bench: Bench) -> None:
    bench.start_worker()
    path = bench.folder / METRICS
    refused = bench.enqueue(Task("bad_footage"))
    bench.until_state(refused.id, "failed")
    bench.enqueue(Task(steps=20))

    def counted() -> dict[str, float]:
        families = text_string_to_metric_families(path.read_text() if path.is_file() else "")
        samples = [sample for family in families for sample in family.samples]
        return {s.name: s.value for s in samples if "le" not in s.labels}

    until(lambda: counted().get("synctalk_job_eta_ratio_count"), "the job's figures")
    found = counted()
    assert (found["synctalk_job_stage_rate_count"], found["synctalk_job_stage_rate_sum"]) == (1, 50)
    # A step takes 10 ms and a little; what was refused foretold nothing.
    assert found["synctalk_job_eta_ratio_count"] == 1
    assert 0 < found["synctalk_job_eta_ratio_sum"] <= 1.05


def test_bad_footage_fails_at_once_with_reason_and_remedy(bench: Bench) -> None:
    bench.start_worker()
    made = bench.enqueue(Task("bad_footage"))
    bench.until_state(made.id, "failed")
    job = bench.get(made.id)
    assert job.attempt == 1
    assert job.failure is not None
    assert (job.failure.reason, job.failure.message, job.failure.remedy) == (
        "NO_FACE", "frame 7: no face", "Face the camera.",
    )  # fmt: skip
    assert job.result_json is None


@pytest.mark.parametrize(("do", "reason"), [("fail", "LOSS_NOT_FINITE"), ("crash", "CHILD_DIED")])
def test_a_failure_is_retried_and_counted(bench: Bench, do: str, reason: str) -> None:
    bench.start_worker()
    made = bench.enqueue(Task(do, times=2))  # type: ignore[arg-type]
    bench.until_state(made.id, "succeeded")
    job = bench.get(made.id)
    assert (job.attempt, job.failures) == (3, 2)
    attempts = bench.run(bench.queue.attempts(job.id))
    assert [a.outcome for a in attempts] == ["retry", "retry", "succeeded"]
    assert [a.reason for a in attempts] == [reason, reason, ""]


def test_a_job_that_never_succeeds_becomes_a_dead_letter_and_can_be_requeued(
    bench: Bench,
) -> None:
    bench.start_worker()
    made = bench.enqueue(Task("fail", times=6))
    bench.until_state(made.id, "dead")
    (dead,) = (bench.run(bench.queue.dead_letters())).jobs
    assert (dead.id, dead.attempt) == (made.id, 5)
    assert dead.failure is not None
    assert dead.failure.reason == "LOSS_NOT_FINITE"
    bench.run(bench.queue.requeue(dead.id))
    bench.until_state(dead.id, "succeeded")
    assert bench.attempts_begun(dead.id) == [1, 2, 3, 4, 5, 6, 7]
    assert (bench.run(bench.queue.dead_letters())).jobs == ()


def test_job_of_a_killed_worker_is_resumed_by_another_from_its_checkpoint(
    bench: Bench,
) -> None:
    first = bench.start_worker()
    made = bench.enqueue(Task(steps=400))
    pid = bench.handler_pid(made.id)
    key = f"{bench.type.prefix}job:{made.id}"
    until(lambda: int(bench.sync.hget(key, "checkpoint") or 0) > 5, "a checkpoint")
    first.kill()
    first.wait()
    until(lambda: not process_alive(pid), "the orphaned handler stops")
    bench.start_worker()
    bench.until_state(made.id, "succeeded")
    job = bench.get(made.id)
    result = bench.type.load_result(job.result_json or "")
    assert result.attempt == 2
    assert result.resumed_at > 5
    outcomes = [(a.outcome, a.reason) for a in bench.run(bench.queue.attempts(job.id))]
    assert outcomes == [("lost", "WORKER_LOST"), ("succeeded", "")]


@pytest.mark.parametrize("do", ["work", "hang", "spawn"])
def test_a_running_job_is_cancelled_with_everything_it_started(bench: Bench, do: str) -> None:
    bench.start_worker()
    made = bench.enqueue(Task(do, steps=100_000))  # type: ignore[arg-type]
    pids = [bench.handler_pid(made.id)]
    if do == "spawn":
        path = bench.folder / made.id / "attempts" / "1" / "grandchild"
        until(lambda: path.is_file() and path.read_text(), "the grandchild")
        pids.append(int(path.read_text()))
    bench.run(bench.queue.cancel(made.id))
    bench.until_state(made.id, "cancelled")
    for pid in pids:
        until(lambda pid=pid: not process_alive(pid), f"process {pid} stops")
    assert (bench.get(made.id)).result_json is None


def test_a_worker_told_to_stop_gives_its_job_back_unblamed(bench: Bench) -> None:
    worker = bench.start_worker()
    made = bench.enqueue(Task(steps=100_000))
    bench.handler_pid(made.id)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    job = bench.get(made.id)
    assert (job.state, job.attempt, job.failures, job.failure) == ("queued", 1, 0, None)


def test_a_paused_worker_wakes_up_as_a_zombie_that_cannot_publish(bench: Bench) -> None:
    zombie = bench.start_worker()
    made = bench.enqueue(Task(steps=60), publish_as="avatars.one")
    pid = bench.handler_pid(made.id)
    zombie.send_signal(signal.SIGSTOP)
    os.kill(pid, signal.SIGSTOP)
    bench.start_worker()
    bench.until_state(made.id, "succeeded")
    published = bench.run(bench.queue.published("avatars.one"))
    assert published is not None
    assert published.attempt == 2
    os.kill(pid, signal.SIGCONT)
    zombie.send_signal(signal.SIGCONT)
    until(lambda: not process_alive(pid), "the zombie attempt ends")
    other = bench.enqueue(Task())  # the zombie's worker is of use again
    bench.until_state(other.id, "succeeded")
    assert bench.run(bench.queue.published("avatars.one")) == published
    assert (bench.get(made.id)).attempt == 2


def test_an_attempt_that_hangs_is_ended_by_the_time_limit(bench: Bench) -> None:
    bench = bench.with_settings(max_run_s=0.3)
    bench.start_worker()
    made = bench.enqueue(Task("hang", times=1))
    bench.until_state(made.id, "succeeded")
    assert [a.reason for a in bench.run(bench.queue.attempts(made.id))] == ["JOB_TIMEOUT", ""]
    bench.stop()


def test_leavings_of_unpublished_attempts_are_swept(bench: Bench) -> None:
    (bench.folder / "sweeps").touch()
    bench.start_worker()
    good = bench.enqueue(Task("fail", times=2))
    bad = bench.enqueue(Task("bad_footage"))
    bench.until_state(good.id, "succeeded")
    bench.until_state(bad.id, "failed")
    until(lambda: not bench.sync.exists(f"{bench.type.prefix}sweep"), "everything is swept")
    assert bench.attempts_begun(good.id) == [3]
    assert bench.attempts_begun(bad.id) == []
