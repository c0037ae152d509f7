"""The table of status codes is whole, and errors from other software are understood."""

from __future__ import annotations

import grpc
import pytest
from grpc.aio import AioRpcError, Metadata

from services.common import errors
from services.common.rpc.errors import code_of, from_rpc_error, to_status
from synctalk.errors import Cancelled, FootageError, InputError, SyncTalkError


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (FootageError("no face"), "INVALID_ARGUMENT"),
        (errors.NotFound("gone"), "NOT_FOUND"),
        (errors.Conflict("late"), "ABORTED"),
        (errors.ResourceExhausted("full"), "RESOURCE_EXHAUSTED"),
        (errors.Unavailable("away"), "UNAVAILABLE"),
        (errors.CorruptData("bits"), "DATA_LOSS"),
        (errors.ServiceError("odd"), "INTERNAL"),
        (Cancelled("stopped"), "CANCELLED"),
        (SyncTalkError("odd"), "INTERNAL"),
    ],
)
def test_an_error_has_the_code_that_generic_clients_act_on(error: SyncTalkError, code: str) -> None:
    assert code_of(error).name == code


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, errors.Unavailable),
        (grpc.StatusCode.INVALID_ARGUMENT, InputError),
        (grpc.StatusCode.UNIMPLEMENTED, errors.ServiceError),
        (grpc.StatusCode.INTERNAL, errors.ServiceError),
        (grpc.StatusCode.CANCELLED, Cancelled),
    ],
)
def test_a_bare_status_becomes_the_nearest_error(
    code: grpc.StatusCode, kind: type[SyncTalkError]
) -> None:
    error = from_rpc_error(AioRpcError(code, Metadata(), Metadata(), "why"))
    assert type(error) is kind
    assert (error.message, error.reason) == ("why", f"RPC_{code.name}")


def test_where_grpc_lost_the_status_the_call_may_be_made_again() -> None:
    lost = AioRpcError(grpc.StatusCode.INTERNAL, Metadata(), Metadata(), "Internal error from Core")
    error = from_rpc_error(lost)
    assert (type(error), error.reason) == (errors.Unavailable, "RPC_STATUS_LOST")


def test_details_that_are_not_ours_are_not_believed() -> None:
    trailers = Metadata(("grpc-status-details-bin", b""), ("other", "x"))
    error = from_rpc_error(AioRpcError(grpc.StatusCode.NOT_FOUND, Metadata(), trailers, "gone"))
    assert type(error) is errors.NotFound


def test_a_class_of_a_newer_version_falls_back_to_its_code() -> None:
    class NewlyInvented(errors.Conflict):
        pass

    status = to_status(NewlyInvented("x", reason="R", remedy="Do."))
    NewlyInvented.__name__ = "Forgotten"
    trailers = Metadata(*(status.trailing_metadata or ()))
    error = from_rpc_error(AioRpcError(status.code, Metadata(), trailers, status.details))
    assert type(error) is errors.Conflict
    assert (error.reason, error.remedy) == ("R", "Do.")


def test_a_long_message_fits_the_trailers() -> None:
    status = to_status(InputError("x" * 100_000, remedy="y" * 100_000))
    assert sum(len(value) for _, value in status.trailing_metadata or ()) < 4096
