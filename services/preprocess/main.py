"""``python -m services.preprocess serve``: the services; ``… work``: one worker."""

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
from services.preprocess.job import COLLECTION, JOB_TYPE
from services.preprocess.settings import PreprocessSettings
from services.preprocess.worker import PreprocessWork
from synctalk.errors import SyncTalkError

NAME = "avatar.v1.PreprocessService"
VERIFICATION = "avatar.v1.VerificationService"


def main() -> int:
    """Run until SIGTERM; a line of JSON on stdout says on which ports."""
    parser = argparse.ArgumentParser(prog="python -m services.preprocess", description=__doc__)
    parser.add_argument("role", choices=("serve", "work"))
    role = parser.parse_args().role
    try:
        settings = load(PreprocessSettings)
        logs.configure(f"preprocess-{role}", settings.log_level)
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


async def _serve(settings: PreprocessSettings, metrics_port: int) -> None:
    from services.common.job_desk import JobDesk
    from services.common.jobs import JobQueue, JobWatcher
    from services.common.rpc import Service, configure_tracing, serve
    from services.common.storage import ObjectStore
    from services.gen.avatar.v1.preprocess_pb2_grpc import add_PreprocessServiceServicer_to_server
    from services.gen.avatar.v1.verification_pb2_grpc import (
        add_VerificationServiceServicer_to_server,
    )
    from services.preprocess.servicer import PreprocessServicer, VerificationServicer
    from services.preprocess.verification import Verifier

    configure_tracing("preprocess", settings.otlp_endpoint)
    url = settings.redis_url.get_secret_value()
    REGISTRY.register(QueueCollector(connect_worker(url), [JOB_TYPE.queue]))
    async with connect(url) as redis, JobWatcher(redis, JOB_TYPE) as watcher:
        queue = JobQueue(redis, JOB_TYPE, settings.jobs)
        servicer = PreprocessServicer(JobDesk(queue, watcher, JOB_TYPE, COLLECTION))
        verifier = VerificationServicer(
            Verifier(ObjectStore(settings.storage), settings.provenance)
        )
        services = [
            Service(NAME, partial(add_PreprocessServiceServicer_to_server, servicer)),
            Service(VERIFICATION, partial(add_VerificationServiceServicer_to_server, verifier)),
        ]
        await serve(settings.rpc, services, lambda port: _ready(port=port, metrics=metrics_port))


def _work(settings: PreprocessSettings, metrics_port: int) -> None:
    work = PreprocessWork(settings)
    worker = Worker(
        settings.redis_url.get_secret_value(),
        JOB_TYPE,
        traced(work.handle, "preprocess", settings.otlp_endpoint),
        settings.jobs,
        sweep=work.sweep,
        on_finished=WorkerMetrics(JOB_TYPE.queue, REGISTRY).on_finished,
        tidy=work.tidy,
    )
    _ready(metrics=metrics_port)
    worker.run()


def _ready(*, metrics: int, port: int | None = None) -> None:
    print(json.dumps({"port": port, "metrics_port": metrics}), flush=True)
