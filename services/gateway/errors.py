"""Every error as ``{"error": {code, message, param, remedy, request_id}}``.

``code`` is the stable reason of our exceptions, ``param`` the field that is wrong, where one is.
"""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from starlette.exceptions import HTTPException

from services.common import errors as ours
from services.common import logs
from synctalk import errors as method

log = logs.logger(__name__)

_HTTP_CODES = {400: "INVALID_BODY", 404: "NO_SUCH_ROUTE", 405: "METHOD_NOT_ALLOWED"}
_HTTP_REMEDIES = {
    400: "Send one JSON object in UTF-8, not compressed.",
    404: "See /docs for what there is.",
    405: "See /docs for the methods of this path.",
}
_INTERNAL = "Report this with the request id."
_AWAY_S = 2
_AWAY = (RedisConnectionError, RedisTimeoutError)


class ParamError(method.InputError):
    """A field of the request that cannot be used.

    Args:
        param: its path, e.g. ``"background.kind"``.
    """

    def __init__(self, param: str, message: str, *, reason: str, remedy: str) -> None:
        super().__init__(message, reason=reason, remedy=remedy)
        self.param = param


class LimitReached(ours.ResourceExhausted):
    """A quota or rate limit; ``retry_after_s`` says when to try again."""

    def __init__(self, message: str, *, reason: str, remedy: str, retry_after_s: float) -> None:
        super().__init__(message, reason=reason, remedy=remedy)
        self.retry_after_s = retry_after_s


class SessionElsewhere(ours.ServiceError):
    """A live session is held by another process, which ``url`` leads to."""

    def __init__(self, session_id: str, url: str) -> None:
        super().__init__(
            f"session {session_id} is held by another process",
            reason="SESSION_ELSEWHERE",
            remedy=f"Send the request to {url}.",
        )
        self.url = url


# The first class that matches counts, so subclasses come first.
_STATUS: tuple[tuple[type[method.SyncTalkError], int], ...] = (
    (SessionElsewhere, 421),
    (ours.Unauthenticated, 401),
    (ours.PermissionDenied, 403),
    (ours.NotFound, 404),
    (ours.AlreadyExists, 409),
    (ours.Conflict, 409),
    (ours.FailedPrecondition, 409),
    (ours.ResourceExhausted, 429),
    (ours.DeadlineExceeded, 504),
    (ours.Unavailable, 503),
    (method.InputError, 422),
)


class ErrorDetail(BaseModel):
    """What went wrong and what to do about it."""

    code: str = Field(description="stable UPPER_SNAKE identifier", examples=["AVATAR_NOT_FOUND"])
    message: str = Field(examples=["no avatar av_123"])
    param: str | None = Field(description="path of the field that is wrong, if one is")
    remedy: str = Field(examples=["Check the id; it may have been deleted."])
    request_id: str = Field(description="also in the header X-Request-Id")


class ErrorBody(BaseModel):
    """Body of every answer that is no success."""

    error: ErrorDetail


def error_response(
    status: int,
    code: str,
    message: str,
    remedy: str,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """The answer for an error."""
    detail = ErrorDetail(
        code=code, message=message, param=param, remedy=remedy, request_id=logs.request_id()
    )
    content = ErrorBody(error=detail).model_dump()
    return JSONResponse(content, status, dict(headers) if headers else None)


def respond(error: method.SyncTalkError) -> JSONResponse:
    """The answer for an error of ours; others' texts may hold anything and are not shown."""
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    if status == 500:
        log.error("request failed", reason=error.reason, exc_info=error)
        return error_response(500, error.reason, "the server failed to do this", _INTERNAL)
    return error_response(
        status, error.reason, error.message, error.remedy,
        getattr(error, "param", None), _headers(error, status),
    )  # fmt: skip


def respond_unexpected(error: Exception) -> JSONResponse:
    """The answer for an error that is not one of ours."""
    if isinstance(error, _AWAY):
        log.warning("redis is away", error=repr(error))
        return error_response(
            503, "DATABASE_UNAVAILABLE", "the database cannot be reached", "Try again.",
            headers={"Retry-After": str(_AWAY_S)},
        )  # fmt: skip
    log.error("request failed unexpectedly", exc_info=error)
    return error_response(500, "INTERNAL", "the server failed unexpectedly", _INTERNAL)


def install(app: FastAPI) -> None:
    """Have ``app`` answer all errors in this way."""

    @app.exception_handler(method.SyncTalkError)
    async def on_ours(request: Request, error: method.SyncTalkError) -> JSONResponse:
        return respond(error)

    @app.exception_handler(RedisError)
    async def on_redis(request: Request, error: RedisError) -> JSONResponse:
        return respond_unexpected(error)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return _respond_invalid(error)

    @app.exception_handler(HTTPException)
    async def on_http(request: Request, error: HTTPException) -> JSONResponse:
        status = error.status_code
        return error_response(
            status, _HTTP_CODES.get(status, f"HTTP_{status}"), str(error.detail).lower(),
            _HTTP_REMEDIES.get(status, _HTTP_REMEDIES[404]), headers=error.headers,
        )  # fmt: skip


def _headers(error: method.SyncTalkError, status: int) -> dict[str, str]:
    if isinstance(error, SessionElsewhere):
        return {"Location": error.url}
    if isinstance(error, LimitReached):
        return {"Retry-After": str(max(1, round(error.retry_after_s + 0.5)))}
    if status in (429, 503):
        return {"Retry-After": str(_AWAY_S)}
    if status == 401:
        return {"WWW-Authenticate": "Bearer"}
    return {}


def _respond_invalid(error: RequestValidationError) -> JSONResponse:
    """The first problem; its place without whether it is in the body, the path or the query."""
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return error_response(
            400, "INVALID_JSON", f"the body is not JSON: {first.get('ctx', {}).get('error', '')}",
            "Send one JSON object.",
        )  # fmt: skip
    param = ".".join(str(part) for part in first["loc"][1:]) or None
    message = first["msg"].removeprefix("Value error, ")
    return error_response(
        422, "INVALID_REQUEST", f"{param or 'the body'}: {message}",
        "Correct the field; /docs says what it takes.", param,
    )  # fmt: skip
