"""A worker process for the tests: ``job_worker.py REDIS_URL QUEUE FOLDER SETTINGS``."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from prometheus_client import CollectorRegistry, write_to_textfile

from services.common.jobs import Finished, Job, JobContext, JobSettings, JobType, Worker
from services.common.jobs.metrics import WorkerMetrics
from services.common.origin import origin
from synctalk.errors import FootageError, TrainingError

METRICS = "metrics.prom"
JOB_SETTINGS = JobSettings(
    lease_s=1.5,
    heartbeat_s=0.1,
    stop_grace_s=0.5,
    report_s=0.05,
    backoff_base_s=0.05,
    backoff_cap_s=0.2,
    tenant_limit=100,
    sweep_delay_s=0.0,
)


@dataclass(frozen=True)
class Task:
    """What a test handler is to do.

    Args:
        do: work: count steps. fail, crash, bad_footage: end badly while ``attempt <= times``.
            hang: heed nothing.
        steps: of 10 ms each.
    """

    do: Literal["work", "fail", "crash", "bad_footage", "hang", "spawn"] = "work"
    steps: int = 1
    times: int = 1


@dataclass(frozen=True)
class Done:
    """What is published."""

    attempt: int
    resumed_at: int


def job_type(queue: str) -> JobType[Task, Done]:
    return JobType(queue, Task, Done)


def handle(context: JobContext, task: Task, folder: Path) -> Done:
    """Leaves ``FOLDER/JOB/attempts/N/pid`` as proof that it ran, and for whom."""
    own = folder / context.job.id / "attempts" / str(context.attempt)
    own.mkdir(parents=True)
    (own / "pid").write_text(str(os.getpid()))
    (own / "origin").write_text(json.dumps(asdict(origin())))
    context.log(f"attempt {context.attempt} begins")
    if task.do != "work" and context.attempt <= task.times:
        _misbehave(task, own)
    first = int(context.checkpoint or 0)
    for step in range(first, task.steps):
        context.report("count", step / task.steps, eta_s=0.01 * (task.steps - step),
                       metrics={"step": step}, rate=50.0)  # fmt: skip
        context.save_checkpoint(str(step))
        time.sleep(0.01)
    context.set_preview(f"previews/{context.job.id}.png")
    return Done(context.attempt, first)


def _misbehave(task: Task, own: Path) -> None:
    if task.do == "fail":
        raise TrainingError("the loss is not finite", reason="LOSS_NOT_FINITE", remedy="Try again.")
    if task.do == "bad_footage":
        raise FootageError("frame 7: no face", reason="NO_FACE", remedy="Face the camera.")
    if task.do == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if task.do == "spawn":
        grandchild = subprocess.Popen(["sleep", "600"])
        (own / "grandchild").write_text(str(grandchild.pid))
    with contextlib.suppress(BaseException):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(0.05)


def sweep(job: Job, folder: Path) -> None:
    """Keep what the published attempt wrote, and nothing else."""
    for attempt in (folder / job.id / "attempts").glob("*"):
        if not (job.state == "succeeded" and attempt.name == str(job.attempt)):
            shutil.rmtree(attempt)


def main() -> None:
    url, queue, where, settings = sys.argv[1:]
    folder, registry = Path(where), CollectorRegistry()
    metrics = WorkerMetrics(queue, registry)

    def on_finished(finished: Finished) -> None:
        metrics.on_finished(finished)
        write_to_textfile(str(folder / METRICS), registry)

    Worker(
        url,
        job_type(queue),
        lambda context, task: handle(context, task, folder),
        JobSettings.model_validate_json(settings),
        sweep=(lambda job: sweep(job, folder)) if (folder / "sweeps").exists() else None,
        on_finished=on_finished,
    ).run()


if __name__ == "__main__":
    main()
