"""What asked for a piece of work: a request, and its trace where traces are kept.

Jobs and records keep it, so that log lines and calls of what is done later still carry both.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from opentelemetry.context import attach, detach
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from services.common import logs

_W3C = TraceContextTextMapPropagator()


@dataclass(frozen=True)
class Origin:
    """Where work comes from.

    Args:
        traceparent: as W3C's header has it; empty without a trace.
    """

    request_id: str = ""
    traceparent: str = ""


def origin() -> Origin:
    """What the code that asks works for."""
    headers: dict[str, str] = {}
    _W3C.inject(headers)
    return Origin(logs.request_id(), headers.get("traceparent", ""))


@contextmanager
def working_for(asked: Origin) -> Iterator[None]:
    """Work for what was asked before; under a fresh request id where nobody remembers one."""
    token = attach(_W3C.extract({"traceparent": asked.traceparent}))
    try:
        with logs.request_scope(asked.request_id):
            yield
    finally:
        detach(token)
