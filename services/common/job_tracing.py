"""Spans of jobs, made in the children that work on them."""

from __future__ import annotations

from typing import Any, cast

from opentelemetry import trace

from services.common.jobs import Handler, JobContext
from services.common.jobs.model import PayloadT, ResultT

_EXPORT_S = 2.0  # a collector that is away may delay the end of a job so long


def traced(
    handler: Handler[PayloadT, ResultT], service: str, otlp_endpoint: str | None
) -> Handler[PayloadT, ResultT]:
    """``handler`` within a span of what asked for the job; itself unless a collector is named."""
    if otlp_endpoint is None:
        return handler

    def work(context: JobContext, payload: PayloadT) -> ResultT:
        from services.common.rpc import configure_tracing  # no gRPC before the fork

        configure_tracing(service, otlp_endpoint, export_s=_EXPORT_S)
        try:
            with trace.get_tracer(__name__).start_as_current_span(
                f"{service} job",
                kind=trace.SpanKind.CONSUMER,
                attributes={"job.id": context.job.id, "job.attempt": context.attempt},
            ):
                return handler(context, payload)
        finally:
            cast(Any, trace.get_tracer_provider()).shutdown()  # a child has no exit handlers

    return work
