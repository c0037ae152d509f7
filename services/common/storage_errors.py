"""What the S3 client raises, in our errors; and what is worth another try."""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import urllib3
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError

from services.common.errors import (
    ConfigurationError,
    NotFound,
    PermissionDenied,
    ServiceError,
    Unavailable,
)

P = ParamSpec("P")
R = TypeVar("R")

ATTEMPTS = 7
_BASE_S = 0.1
_CAP_S = 5.0
_BUSY = {"SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "BadDigest"}


def retried(call: Callable[P, R]) -> Callable[P, R]:
    """Repeat a call that can be repeated while the store is away: about 6 s with back-off.

    Every operation here can be: a put overwrites with the same bytes, a delete of nothing is one.

    Raises:
        Unavailable: the store stayed away.
        NotFound, PermissionDenied, ConfigurationError: what the store answered.
    """

    @functools.wraps(call)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        for attempt in range(ATTEMPTS):
            try:
                return call(*args, **kwargs)
            except (MinioException, urllib3.exceptions.HTTPError, ConnectionError) as error:
                translated = translate(error)
                if not isinstance(translated, Unavailable) or attempt == ATTEMPTS - 1:
                    raise translated from error
            time.sleep(min(_CAP_S, _BASE_S * 2**attempt) * random.uniform(0.5, 1.0))
        raise AssertionError("unreachable")

    return wrapper


def translate(error: Exception) -> ServiceError:
    """The error of ours that says what the S3 client's error means."""
    status, code = _status_and_code(error)
    if code == "NoSuchBucket":
        return ConfigurationError(
            "the bucket does not exist", reason="NO_BUCKET", remedy="Set AVATAR_STORAGE__BUCKET."
        )
    if status == 404 or code in ("NoSuchKey", "NoSuchObject"):
        return NotFound(f"no such object: {_resource(error)}", reason="OBJECT_NOT_FOUND")
    if status in (401, 403):
        return PermissionDenied(
            f"the object store refuses the keys ({code or status})",
            reason="STORAGE_ACCESS_DENIED",
            remedy="Check AVATAR_STORAGE__ACCESS_KEY and AVATAR_STORAGE__SECRET_KEY.",
        )
    if status is None or status >= 500 or status == 429 or code in _BUSY:
        return Unavailable(
            f"the object store cannot be reached: {type(error).__name__} {code}".rstrip(),
            reason="STORAGE_UNAVAILABLE",
            remedy="Try again; if it stays away, check AVATAR_STORAGE__URL and the server.",
        )
    return ServiceError(
        f"the object store refuses the request ({code or status})",
        reason="STORAGE_REFUSED",
        remedy="Report this; the log of the object store says more.",
    )


def _status_and_code(error: Exception) -> tuple[int | None, str]:
    # Servers that send text/xml make minio-py raise InvalidResponseError with the XML in the text.
    if isinstance(error, S3Error):
        return error.response.status, error.code or ""
    if isinstance(error, InvalidResponseError):
        text = str(error)
        code = text.partition("<Code>")[2].partition("</Code>")[0]
        status = text.partition("Response code: ")[2].partition(",")[0]
        return (int(status) if status.isdigit() else None), code
    if isinstance(error, ServerError):
        return error.status_code, ""
    return None, ""


def _resource(error: Exception) -> str:
    return str(error.object_name or error.resource) if isinstance(error, S3Error) else str(error)
