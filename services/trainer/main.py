"""``python -m services.trainer serve``: the service; ``… work``: one worker."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from functools import partial

from prometheus_client import REGISTRY
from redis.exceptions import RedisError

from services.common import logs
from services.common.job_tracing import traced
from services.common.jobs import QueueCollector, Worker, WorkerMetrics, connect
from services.common.jobs.connect import connect_worker
from services.common.metrics import serve_metrics
from services.common.settings import load, printable
from services.trainer.job import COLLECTION, JOB_TYPE
from services.trainer.settings import TrainerSettings
from services.trainer.worker import TrainingWork
from synctalk.errors import SyncTalkError

NAME = "avatar.v1.TrainerService"


def main() -> int:
    """Run until SIGTERM; a line of JSON on stdout says on which ports."""
    parser = argparse.ArgumentParser(prog="python -m services.trainer", description=__doc__)
    parser.add_argument("role", choices=("serve", "work"))
    role = parser.parse_args().role
    try:
        settings = load(TrainerSettings)
        logs.configure(f"trainer-{role}", settings.log_level)
        logs.logger(__name__).info("starting", settings=printable(settings))
        with serve_metrics(settings.metrics_host, settings.metrics_port) as metrics_port:
            if role == "serve":
                asyncio.run(_serve(settings, metrics_port))
            else:
                _work(settings, metrics_port)
    except RedisError as error:
        print(f"Redis cannot be used ({error}). Check AVATAR_REDIS_URL.", file=sys.stderr)
        return 1
    except SyncTalkError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


async def _serve(settings: TrainerSettings, metrics_port: int) -> None:
    from services.common.job_desk import JobDesk
    from services.common.jobs import JobQueue, JobWatcher
    from services.common.rpc import Service, configure_tracing, serve
    from services.gen.avatar.v1.trainer_pb2_grpc import add_TrainerServiceServicer_to_server
    from services.trainer.servicer import TrainerServicer

    configure_tracing("trainer", settings.otlp_endpoint)
    url = settings.redis_url.get_secret_value()
    REGISTRY.register(QueueCollector(connect_worker(url), [JOB_TYPE.queue]))
    async with connect(url) as redis, JobWatcher(redis, JOB_TYPE) as watcher:
        queue = JobQueue(redis, JOB_TYPE, settings.jobs)
        servicer = TrainerServicer(JobDesk(queue, watcher, JOB_TYPE, COLLECTION))
        service = Service(NAME, partial(add_TrainerServiceServicer_to_server, servicer))
        await serve(settings.rpc, [service], lambda port: _ready(port=port, metrics=metrics_port))


def _work(settings: TrainerSettings, metrics_port: int) -> None:
    work = TrainingWork(settings)
    worker = Worker(
        settings.redis_url.get_secret_value(),
        JOB_TYPE,
        traced(work.handle, "trainer", settings.otlp_endpoint),
        settings.jobs,
        sweep=work.sweep,
        on_finished=WorkerMetrics(JOB_TYPE.queue, REGISTRY).on_finished,
        tidy=work.tidy,
    )
    _ready(metrics=metrics_port)
    worker.run()


def _ready(*, metrics: int, port: int | None = None) -> None:
    print(json.dumps({"port": port, "metrics_port": metrics}), flush=True)
