"""Prometheus metrics of a process over HTTP.

Metrics are module-level ``prometheus_client`` objects beside the code that they count.

No fork happens during a scrape: a forked child has the locks of the registry, of the metrics and
of what they are read from as they were at that moment, and nobody in it who would free them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prometheus_client import REGISTRY, CollectorRegistry, start_http_server

from services.common.errors import ConfigurationError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_scrape = threading.Lock()
os.register_at_fork(
    before=_scrape.acquire, after_in_parent=_scrape.release, after_in_child=_scrape.release
)


@contextmanager
def serve_metrics(host: str, port: int, registry: CollectorRegistry = REGISTRY) -> Iterator[int]:
    """Serve ``/metrics`` from a thread while the context is open; yields the port.

    Raises:
        ConfigurationError: the port is taken.
    """
    try:
        server, thread = start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        raise ConfigurationError(
            f"/metrics cannot listen on {host}:{port}: {error.strerror}.",
            reason="METRICS_PORT_TAKEN",
            remedy="Set AVATAR_METRICS_PORT to a free port, or to 0.",
        ) from None
    server.set_app(_between_forks(server.get_app()))
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _between_forks(collect: WSGIApplication | None) -> WSGIApplication:
    assert collect is not None

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        with _scrape:
            return collect(environ, start_response)  # the whole page, not a generator

    return answer
