"""``python -m services.expression``: serve ExpressionService."""

from __future__ import annotations

import asyncio
import json
import sys
from functools import partial

from services.common import logs
from services.common.metrics import serve_metrics
from services.common.rpc import Service, configure_tracing, serve
from services.common.settings import load, printable
from services.expression.servicer import ExpressionServicer
from services.expression.settings import ExpressionSettings
from services.gen.avatar.v1.expression_pb2_grpc import add_ExpressionServiceServicer_to_server
from synctalk.errors import SyncTalkError

NAME = "avatar.v1.ExpressionService"


def main() -> int:
    """Serve until SIGTERM; a line of JSON on stdout says on which ports."""
    try:
        settings = load(ExpressionSettings)
        logs.configure("expression", settings.log_level)
        logs.logger(__name__).info("starting", settings=printable(settings))
        configure_tracing("expression", settings.otlp_endpoint)
        servicer = ExpressionServicer(settings)
        service = Service(NAME, partial(add_ExpressionServiceServicer_to_server, servicer))
        with serve_metrics(settings.metrics_host, settings.metrics_port) as metrics_port:

            def ready(port: int) -> None:
                print(json.dumps({"port": port, "metrics_port": metrics_port}), flush=True)

            asyncio.run(serve(settings.rpc, [service], ready))
    except SyncTalkError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0
