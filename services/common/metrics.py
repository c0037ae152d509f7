"""Prometheus metrics of a process over HTTP.

Metrics are module-level ``prometheus_client`` objects beside the code that they count.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import start_http_server

from services.common.errors import ConfigurationError


@contextmanager
def serve_metrics(host: str, port: int) -> Iterator[int]:
    """Serve ``/metrics`` from a thread while the context is open; yields the port.

    Raises:
        ConfigurationError: the port is taken.
    """
    try:
        server, thread = start_http_server(port, addr=host)
    except OSError as error:
        raise ConfigurationError(
            f"/metrics cannot listen on {host}:{port}: {error.strerror}.",
            reason="METRICS_PORT_TAKEN",
            remedy="Set AVATAR_METRICS_PORT to a free port, or to 0.",
        ) from None
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
