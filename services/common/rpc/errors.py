"""Our exceptions as gRPC statuses with ``google.rpc.ErrorInfo``, and back.

The status code says what generic clients need (retry or not). ErrorInfo carries what ours need:
``reason``, the domain, and in its metadata the remedy and the name of the exception's class.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from services.common import errors as ours
from synctalk import errors as method

DOMAIN = "synctalk"
# What grpc.aio puts in place of the status that the server gave, if a message was on its way just
# when the server ended the stream (https://github.com/grpc/grpc/issues/36066).
_LOST = "Internal error from Core"
_MESSAGE_CHARS = 1000  # twice in the trailers, which have 8 KiB

# The first class that matches counts, so subclasses come first.
_CODES: tuple[tuple[type[method.SyncTalkError], grpc.StatusCode], ...] = (
    (ours.Unauthenticated, grpc.StatusCode.UNAUTHENTICATED),
    (ours.PermissionDenied, grpc.StatusCode.PERMISSION_DENIED),
    (ours.NotFound, grpc.StatusCode.NOT_FOUND),
    (ours.AlreadyExists, grpc.StatusCode.ALREADY_EXISTS),
    (ours.Conflict, grpc.StatusCode.ABORTED),
    (ours.FailedPrecondition, grpc.StatusCode.FAILED_PRECONDITION),
    (ours.ResourceExhausted, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (ours.DeadlineExceeded, grpc.StatusCode.DEADLINE_EXCEEDED),
    (ours.Unavailable, grpc.StatusCode.UNAVAILABLE),
    (ours.CorruptData, grpc.StatusCode.DATA_LOSS),
    (method.InputError, grpc.StatusCode.INVALID_ARGUMENT),
    (method.MissingModelError, grpc.StatusCode.FAILED_PRECONDITION),
    (method.Cancelled, grpc.StatusCode.CANCELLED),
    (method.SyncTalkError, grpc.StatusCode.INTERNAL),
)
_CLASSES = {code: kind for kind, code in reversed(_CODES)} | {
    grpc.StatusCode.INTERNAL: ours.ServiceError,
}


def code_of(error: method.SyncTalkError) -> grpc.StatusCode:
    """The status code that stands for an error of ours."""
    return next(code for kind, code in _CODES if isinstance(error, kind))


def to_status(error: method.SyncTalkError) -> grpc.Status:
    """Code, message and ErrorInfo of an error."""
    code = code_of(error)
    info = error_details_pb2.ErrorInfo(
        reason=error.reason,
        domain=DOMAIN,
        metadata={"remedy": error.remedy[:_MESSAGE_CHARS], "type": type(error).__name__},
    )
    detail = any_pb2.Any()
    detail.Pack(info)
    status: grpc.Status = rpc_status.to_status(
        status_pb2.Status(
            code=code_pb2.Code.Value(code.name),
            message=error.message[:_MESSAGE_CHARS],
            details=[detail],
        )
    )
    return status


def from_rpc_error(error: grpc.aio.AioRpcError) -> method.SyncTalkError:
    """The exception that the other side raised, or the nearest one for errors on the way."""
    message = error.details() or "the call failed"
    if error.code() is grpc.StatusCode.INTERNAL and message == _LOST:
        return ours.Unavailable(
            "the other side ended the stream, and its reason was lost on the way",
            reason="RPC_STATUS_LOST",
            remedy=_REMEDIES[grpc.StatusCode.UNAVAILABLE],
        )
    if (info := _error_info(error)) is not None:
        kind = _class_named(info.metadata.get("type", "")) or _class_for(error.code())
        return kind(message, reason=info.reason, remedy=info.metadata.get("remedy", ""))
    return _class_for(error.code())(
        message, reason=f"RPC_{error.code().name}", remedy=_REMEDIES.get(error.code(), "")
    )


@contextmanager
def remote_errors() -> Iterator[None]:
    """Calls inside raise our exceptions in place of gRPC's: ``with remote_errors(): await …``."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from None


_REMEDIES = {
    grpc.StatusCode.UNAVAILABLE: "Try again; if it stays so, check that the service runs.",
    grpc.StatusCode.DEADLINE_EXCEEDED: "Try again with a longer deadline.",
    grpc.StatusCode.UNIMPLEMENTED: "Bring both sides to the same version.",
}


def _error_info(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo | None:
    for key, value in error.trailing_metadata() or ():
        if key != "grpc-status-details-bin" or not isinstance(value, bytes):
            continue
        for detail in status_pb2.Status.FromString(value).details:
            info = error_details_pb2.ErrorInfo()
            if detail.Unpack(info) and info.domain == DOMAIN:
                return info
    return None


def _class_for(code: grpc.StatusCode) -> type[method.SyncTalkError]:
    return _CLASSES.get(code, ours.ServiceError)


def _class_named(name: str) -> type[method.SyncTalkError] | None:
    waiting = [method.SyncTalkError]
    while waiting:
        kind = waiting.pop()
        if kind.__name__ == name:
            return kind
        waiting += kind.__subclasses__()
    return None
