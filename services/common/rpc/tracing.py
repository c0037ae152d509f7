"""OpenTelemetry traces of calls between services; nothing at all unless a collector is named."""

from __future__ import annotations

from typing import Any

from opentelemetry import trace
from opentelemetry.instrumentation.grpc import aio_client_interceptors, aio_server_interceptor


def configure_tracing(
    service: str, otlp_endpoint: str | None, *, export_s: float | None = None
) -> None:
    """Send spans to the collector. Call once, in ``main``, before servers and channels are made.

    Args:
        export_s: longest time that one sending takes; None: as the exporter has it.
    """
    if otlp_endpoint is None:
        return
    # Here, because they take a second to import that most processes need not spend.
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    exporter = OTLPSpanExporter(
        otlp_endpoint, insecure=otlp_endpoint.startswith("http://"), timeout=export_s
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)  # which flushes at exit


def server_interceptors() -> list[Any]:
    """What makes a span of every call served."""
    return [aio_server_interceptor()] if _on() else []  # type: ignore[no-untyped-call]


def client_interceptors() -> list[Any]:
    """What makes a span of every call made, and passes the trace on."""
    return list(aio_client_interceptors()) if _on() else []  # type: ignore[no-untyped-call]


def _on() -> bool:
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
