"""``python -m services.renderer.main``: serve RendererService."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from pathlib import Path

from services.common import logs
from services.common.metrics import serve_metrics
from services.common.rpc import Service, configure_tracing, serve
from services.common.settings import load, printable
from services.common.storage import ObjectStore
from services.gen.avatar.v1.renderer_pb2_grpc import add_RendererServiceServicer_to_server
from services.renderer.loading import own_folder
from services.renderer.servicer import RendererServicer
from services.renderer.settings import RendererSettings

NAME = "avatar.v1.RendererService"


def main() -> None:
    """Serve until SIGTERM; a line of JSON on stdout says on which ports."""
    settings = load(RendererSettings)
    logs.configure("renderer", settings.log_level)
    logs.logger(__name__).info("starting", settings=printable(settings))
    configure_tracing("renderer", settings.otlp_endpoint)
    with (
        serve_metrics(settings.metrics_host, settings.metrics_port) as metrics_port,
        own_folder(settings.renderer_cache_dir) as folder,
    ):
        asyncio.run(_serve(settings, folder, metrics_port))


async def _serve(settings: RendererSettings, folder: Path, metrics_port: int) -> None:
    servicer = RendererServicer(settings, ObjectStore(settings.storage), folder)
    service = Service(NAME, partial(add_RendererServiceServicer_to_server, servicer))

    def ready(port: int) -> None:
        print(json.dumps({"port": port, "metrics_port": metrics_port}), flush=True)

    await serve(settings.rpc, [service], ready)


if __name__ == "__main__":
    main()
