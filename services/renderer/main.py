"""``python -m services.renderer``: serve RendererService; with ``--serve``, on Ray Serve."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
from functools import partial
from pathlib import Path

import torch
from prometheus_client import Gauge

from services.common import logs
from services.common.metrics import serve_metrics
from services.common.rpc import Service, configure_tracing, serve
from services.common.settings import load, printable
from services.common.storage import ObjectStore
from services.common.work_folders import WorkFolders
from services.gen.avatar.v1.renderer_pb2_grpc import add_RendererServiceServicer_to_server
from services.renderer.servicer import RendererServicer
from services.renderer.settings import RendererSettings
from synctalk.errors import SyncTalkError

NAME = "avatar.v1.RendererService"
GPUS = Gauge("synctalk_render_gpus", "GPUs that this process renders on; 0: on CPUs")


def main() -> int:
    """Serve until SIGTERM; a line of JSON on stdout says on which ports."""
    try:
        settings = load(RendererSettings)
        logs.configure("renderer", settings.log_level)
        logs.logger(__name__).info("starting", settings=printable(settings))
        if "--serve" in sys.argv[1:]:
            from services.renderer.deployment import run_here  # which needs the extra `renderer`

            run_here(settings)
            return 0
        configure_tracing("renderer", settings.otlp_endpoint)
        folders = WorkFolders(settings.work_dir / "renderer")
        folders.tidy(0)  # what replicas that were killed have left
        name = f"{os.getpid()}-{secrets.token_hex(4)}"
        with (
            serve_metrics(settings.metrics_host, settings.metrics_port) as metrics_port,
            folders.own(name) as folder,
        ):
            asyncio.run(_serve(settings, folder, metrics_port))
        folders.remove(name)
    except SyncTalkError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


async def _serve(settings: RendererSettings, folder: Path, metrics_port: int) -> None:
    GPUS.set(settings.renderer_device != "cpu" and torch.cuda.is_available())
    servicer = RendererServicer(settings, ObjectStore(settings.storage), folder)
    add = partial(add_RendererServiceServicer_to_server, servicer)
    service = Service(NAME, add, leave=servicer.leave)

    def ready(port: int) -> None:
        print(json.dumps({"port": port, "metrics_port": metrics_port}), flush=True)

    await serve(settings.rpc, [service], ready)
