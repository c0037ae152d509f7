"""Structured logs: one JSON object a line on stderr, with the request id of what caused it.

The request id lives in a context variable: it follows ``await`` and ``asyncio.to_thread``, gRPC
carries it from hop to hop (:mod:`services.common.rpc`), and jobs keep it
(:mod:`services.common.origin`).
"""

from __future__ import annotations

import logging
import re
import sys
import uuid
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import structlog

# Until a service configures it, as in a command line: warnings on stderr, nothing on stdout.
structlog.configure(
    processors=[
        structlog.stdlib.filter_by_level,
        structlog.stdlib.add_log_level,
        structlog.processors.KeyValueRenderer(key_order=["level", "event"]),
    ],
    logger_factory=structlog.stdlib.LoggerFactory(),
    wrapper_class=structlog.stdlib.BoundLogger,
)
_PRINTABLE = re.compile(r"[\x21-\x7e]{1,128}")
REQUEST_ID = "request_id"


def configure(service: str, level: str = "info") -> None:
    """Send our own and the libraries' logs to stderr as JSON. Call once, in ``main``."""

    def name_service(
        logger: Any, method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        event.setdefault("service", service)
        return event

    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        name_service,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """The logger of a module: ``log = logger(__name__)``; then ``log.info("loaded", avatar=…)``."""
    return structlog.stdlib.get_logger(name)


def request_id() -> str:
    """The id of the request this code works for; empty outside of one."""
    return str(structlog.contextvars.get_contextvars().get(REQUEST_ID, ""))


def new_request_id() -> str:
    """A fresh id."""
    return uuid.uuid4().hex


@contextmanager
def request_scope(given: str | None) -> Iterator[str]:
    """Work for the request ``given``; a fresh id where it is missing or cannot be logged safely."""
    value = given if given and _PRINTABLE.fullmatch(given) else new_request_id()
    with structlog.contextvars.bound_contextvars(request_id=value):
        yield value
