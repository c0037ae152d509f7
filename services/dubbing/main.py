"""``python -m services.dubbing``: work on the queue ``dub``, one job at a time."""

from __future__ import annotations

import json
import sys

from prometheus_client import REGISTRY

from services.common import logs
from services.common.dubs import DUB_JOBS, DubOutput, DubRequest
from services.common.job_tracing import traced
from services.common.jobs import Finished, QueueCollector, Worker, WorkerMetrics
from services.common.jobs.connect import connect_worker
from services.common.metrics import serve_metrics
from services.common.settings import load, printable
from services.dubbing.handler import DubbingWork
from services.dubbing.settings import DubbingSettings
from services.dubbing.signer import check_signer, count_failure
from synctalk.errors import SyncTalkError


def main() -> int:
    """Work until SIGTERM; a line of JSON on stdout says where the metrics are."""
    try:
        settings = load(DubbingSettings)
        logs.configure("dubbing", settings.log_level)
        logs.logger(__name__).info("starting", settings=printable(settings))
        check_signer(settings.provenance)
        with serve_metrics(settings.metrics_host, settings.metrics_port) as metrics_port:
            worker = _worker(settings)
            print(json.dumps({"metrics_port": metrics_port}), flush=True)
            worker.run()
    except SyncTalkError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _worker(settings: DubbingSettings) -> Worker[DubRequest, DubOutput]:
    url = settings.redis_url.get_secret_value()
    REGISTRY.register(QueueCollector(connect_worker(url), [DUB_JOBS.queue]))
    work, metrics = DubbingWork(settings), WorkerMetrics(DUB_JOBS.queue, REGISTRY)

    def on_finished(finished: Finished) -> None:
        metrics.on_finished(finished)
        count_failure(finished.account.ending.reason)
        work.on_finished(finished)

    return Worker(
        url,
        DUB_JOBS,
        traced(work.handle, "dubbing", settings.otlp_endpoint),
        settings.jobs,
        sweep=work.sweep,
        on_finished=on_finished,
        tidy=work.tidy,
    )
