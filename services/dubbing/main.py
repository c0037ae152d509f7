"""``python -m services.dubbing.main``: work on the queue ``dub``, one job at a time."""

from __future__ import annotations

import json
import os
import shutil
from functools import partial

from prometheus_client import REGISTRY

from services.common import logs
from services.common.dubs import DUB_JOBS
from services.common.jobs import Finished, Worker, WorkerMetrics
from services.common.metrics import serve_metrics
from services.common.settings import load, printable
from services.common.storage import ObjectStore
from services.dubbing.handler import handle, sweep
from services.dubbing.settings import DubbingSettings


def main() -> None:
    """Work until SIGTERM; a line of JSON on stdout says where the metrics are."""
    settings = load(DubbingSettings)
    logs.configure("dubbing", settings.log_level)
    logs.logger(__name__).info("starting", settings=printable(settings))
    metrics = WorkerMetrics(DUB_JOBS.queue, REGISTRY)
    folder = settings.dubbing_work_dir / str(os.getpid())
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)

    def on_finished(finished: Finished) -> None:
        metrics.on_finished(finished)
        for left in folder.iterdir():  # a child that was killed
            shutil.rmtree(left, ignore_errors=True)

    worker = Worker(
        settings.redis_url.get_secret_value(),
        DUB_JOBS,
        partial(handle, settings=settings, folder=folder),
        settings.dub_jobs,
        sweep=partial(sweep, store=ObjectStore(settings.storage)),
        on_finished=on_finished,
    )
    with serve_metrics(settings.metrics_host, settings.metrics_port) as metrics_port:
        print(json.dumps({"metrics_port": metrics_port}), flush=True)
        worker.run()
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
