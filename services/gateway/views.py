"""What all resources look like from outside."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from services.common.jobs import Failure
from services.common.storage import ObjectRef, ObjectStore
from services.gateway.core import Gateway
from services.gateway.errors import ErrorBody
from services.gateway.model import Problem, now_s

T = TypeVar("T")
MAX_LIMIT = 200
_FIRST_S = datetime.min.replace(tzinfo=UTC).timestamp()
_LAST_S = datetime(9999, 12, 31, tzinfo=UTC).timestamp()

LimitQuery = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="at most so many")]
TokenQuery = Annotated[str, Query(description="`next_token` of the page before")]


class Body(BaseModel):
    """A request; unknown fields are refused, they are mistakes."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


class View(BaseModel):
    """An answer."""

    model_config = ConfigDict(frozen=True)


class Page(View, Generic[T]):
    """Some things, newest first."""

    data: list[T]
    next_token: str | None = Field(description="asks for those that follow; null at the end")


class ProblemView(View):
    """Why something did not succeed."""

    code: str = Field(examples=["NO_FACE"])
    message: str
    remedy: str


def problem_view(problem: Problem | Failure | None) -> ProblemView | None:
    """From what is kept, or from a job."""
    if problem is None:
        return None
    code = problem.reason if isinstance(problem, Failure) else problem.code
    return ProblemView(code=code, message=problem.message, remedy=problem.remedy)


def moment(seconds: float) -> datetime:
    """UTC; beyond the years 1 to 9999, where a zone may lead, their first or last day."""
    return datetime.fromtimestamp(min(max(seconds, _FIRST_S), _LAST_S), UTC)


def maybe_moment(seconds: float | None) -> datetime | None:
    """UTC, if at all."""
    return None if seconds is None else moment(seconds)


def signed_url(gateway: Gateway, key: str, filename: str | None = None) -> str:
    """Where anyone can read an object for some time. Reckoned here, without asking the store.

    It is the same for a while, and good for at least three quarters of ``download_expires_s``.
    """
    expires_s = gateway.settings.download_expires_s
    return _sign(gateway.store, key, filename, expires_s, int(now_s() / expires_s * 4))


@lru_cache(maxsize=4096)  # a list of dubs would spend half its time on this
def _sign(
    store: ObjectStore, key: str, filename: str | None, expires_s: float, quarter: int
) -> str:
    return store.presigned_get(key, timedelta(seconds=expires_s), filename)


def signed(gateway: Gateway, ref: ObjectRef | None, filename: str | None = None) -> str | None:
    """The URL of an object, if there is one."""
    return None if ref is None else signed_url(gateway, ref.key, filename)


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For a route's documentation: the answers that every route may give, and these."""
    meanings = {
        401: "No valid API key", 403: "The key does not suffice", 404: "No such resource",
        409: "Not possible as things stand", 413: "The body is too large",
        421: "Held by another process; see Location", 422: "A field cannot be used",
        429: "A rate limit or a quota is met; see Retry-After",
        503: "A part of the suite is away; see Retry-After",
    }  # fmt: skip
    common = (401, 429, 503)
    return {
        status: {"model": ErrorBody, "description": meanings[status]}
        for status in sorted({*common, *statuses})
    }
