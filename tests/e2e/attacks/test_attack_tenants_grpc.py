"""Every gRPC method, called by nobody, by a forger, and for one tenant on another's things.

Services trust each other's token and say for whom they ask; a name, a key or a reference that is
not that tenant's is refused by each of them all the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import attack_contract
import grpc
import pytest
from attack_people import SHA256, Person
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from harness import Suite

from services.gen.avatar.v1 import (
    expression_pb2,
    preprocess_pb2,
    renderer_pb2,
    session_pb2,
    trainer_pb2,
    types_pb2,
    verification_pb2,
)

METHODS = attack_contract.grpc_methods()
PROCESSES = {
    "ExpressionService": "expression", "PreprocessService": "preprocess",
    "RendererService": "renderer-1", "TrainerService": "trainer",
    "VerificationService": "preprocess",
}  # fmt: skip
_REFUSALS = {
    grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.FAILED_PRECONDITION,
}  # fmt: skip
Requests = Callable[[str, str, Mapping[str, str], str], list[Message]]


def _ref(key: str) -> types_pb2.ObjectRef:
    return types_pb2.ObjectRef(key=key, size_bytes=1, sha256=SHA256)


def _artifact(tenant: str) -> types_pb2.ArtifactRef:
    prefix = f"tenants/{tenant}/avatars/a/bundles/v1/attempts/1"
    return types_pb2.ArtifactRef(prefix=prefix, listing=_ref(f"{prefix}/listing.json"))


def _foreign(victim: str, own: str) -> list[str]:
    """Prefixes that lead from one's own folder to the victim's, or try to."""
    return [
        f"tenants/{victim}", f"tenants/{own}/../{victim}", f"tenants/{own}/./../{victim}",
        f"/tenants/{victim}", f"tenants//{victim}", f"tenants/{own}\\..\\{victim}",
        f"tenants/{own}/%2e%2e/{victim}", f"tenants/{own}\x00/../{victim}",
    ]  # fmt: skip


def _preprocess(victim: str, own: str, ids: Mapping[str, str], token: str) -> list[Message]:
    def request(avatar: str, key: str, parent: str = own) -> Message:
        job = preprocess_pb2.PreprocessJob(avatar=avatar, source=_ref(key), size_px=256)
        return preprocess_pb2.CreatePreprocessJobRequest(
            parent=f"tenants/{parent}", preprocess_job=job
        )

    mine, foreign = f"tenants/{own}/avatars/a", _foreign(victim, own)
    keys = [request(mine, f"{each}/uploads/{ids['upload_id']}/video.bin") for each in foreign]
    names = [request(f"{each}/avatars/a", f"tenants/{own}/uploads/u/v") for each in foreign]
    return [*keys, *names, request(mine, f"tenants/{own}/uploads/u/v", f"{own}/../{victim}")]


def _train(victim: str, own: str, ids: Mapping[str, str], token: str) -> list[Message]:
    def request(avatar: str, dataset: types_pb2.ArtifactRef, consent: str) -> Message:
        job = trainer_pb2.TrainingJob(
            avatar=avatar, dataset=dataset, consent=consent,
            preset=trainer_pb2.TRAINING_PRESET_DEMO,
        )  # fmt: skip
        return trainer_pb2.CreateTrainingJobRequest(parent=f"tenants/{own}", training_job=job)

    mine, yes = f"tenants/{own}/avatars/a", f"tenants/{own}/consents/c"
    return [
        *(request(f"{each}/avatars/a", _artifact(own), yes) for each in _foreign(victim, own)),
        *(request(mine, _artifact(own), f"{each}/consents/c") for each in _foreign(victim, own)),
        request(mine, _artifact(victim), yes),
        request(mine, _artifact(f"{own}/../{victim}"), yes),
    ]


def _named(kind: Callable[..., Message], collection: str) -> Requests:
    def requests(victim: str, own: str, ids: Mapping[str, str], token: str) -> list[Message]:
        job = ids["job_id"]
        return [
            kind(name=f"tenants/{own}/{collection}/{job}"),
            kind(name=f"tenants/{own}/../{victim}/{collection}/{job}"),
            kind(name=f"tenants/*/{collection}/{job}"),
            kind(name=job),
            kind(name=f"tenants/{own}/{collection}/{{{collection}}}:job:{job}"),
        ]

    return requests


def _listed(kind: Callable[..., Message]) -> Requests:
    return lambda victim, own, ids, token: [
        kind(parent="tenants/-"), kind(parent=f"tenants/{own}/../{victim}"), kind(parent=""),
        kind(parent="tenants/*"), kind(parent=f"tenants/{own}", page_token="0|x\r\nKEYS *"),
    ]  # fmt: skip


def _rendered(kind: Callable[..., Message], **more: Any) -> Requests:
    def requests(victim: str, own: str, ids: Mapping[str, str], token: str) -> list[Message]:
        version = f"tenants/{own}/avatars/a/versions/1"
        return [
            kind(avatar_version=version, bundle=_artifact(victim), **more),
            kind(avatar_version=version, bundle=_artifact(f"{own}/../{victim}"), **more),
            kind(avatar_version=f"tenants/{own}/../{victim}/avatars/a", bundle=_artifact(victim)),
        ]

    return requests


def _segments(victim: str, own: str, ids: Mapping[str, str], token: str) -> list[Message]:
    version = f"tenants/{own}/avatars/a/versions/1"
    written = [
        renderer_pb2.RenderSegmentRequest(
            avatar_version=version, bundle=_artifact(own), output_key=f"{each}/dubs/d/segment"
        )
        for each in _foreign(victim, own)[:3]
    ]
    return [*_rendered(renderer_pb2.RenderSegmentRequest)(victim, own, ids, token), *written]


def _live(victim: str, own: str, ids: Mapping[str, str], token: str) -> list[Message]:
    headers = _rendered(renderer_pb2.RenderLiveRequestHeader)(victim, own, ids, token)
    return [renderer_pb2.RenderLiveRequest(header=cast(Any, each)) for each in headers]


def _connected(victim: str, own: str, ids: Mapping[str, str], token: str) -> list[Message]:
    """``token`` is the stranger's own, of his own session."""
    shown = [(ids["session_id"], token), (ids["session_id"], ""), ("", token), ("*", "avs_*")]
    return [
        session_pb2.ConnectRequest(
            header=session_pb2.ConnectRequestHeader(session=session, token=shown_token)
        )
        for session, shown_token in shown
    ]


def _generated(victim: str, own: str, ids: Mapping[str, str], token: str) -> list[Message]:
    """Names nothing of anybody's; what it is told is refused before anything is made of it."""
    kind = expression_pb2.GenerateRequestHeader
    bad = [kind(parent=f"tenants/{own}/../{victim}"), kind(parent=""), kind(parent="tenants/\r\n")]
    return [expression_pb2.GenerateRequest(header=each) for each in bad]


def _verified(victim: str, own: str, ids: Mapping[str, str], token: str) -> list[Message]:
    kind = verification_pb2.VerifyFileRequest
    stolen = f"uploads/{ids['upload_id']}/video.bin"
    return [
        *(kind(parent=f"tenants/{own}", upload_key=f"{x}/{stolen}") for x in _foreign(victim, own)),
        kind(parent=f"tenants/{own}", upload_key=""),
        kind(parent=f"tenants/{own}/../{victim}", upload_key=f"tenants/{victim}/{stolen}"),
        kind(parent="tenants/*", upload_key=f"tenants/{victim}/{stolen}"),
    ]


ATTACKS: Mapping[str, Requests] = {
    "ExpressionService.Generate": _generated,
    "PreprocessService.CreatePreprocessJob": _preprocess,
    "PreprocessService.GetPreprocessJob": _named(
        preprocess_pb2.GetPreprocessJobRequest, "preprocessJobs"
    ),
    "PreprocessService.ListPreprocessJobs": _listed(preprocess_pb2.ListPreprocessJobsRequest),
    "PreprocessService.CancelPreprocessJob": _named(
        preprocess_pb2.CancelPreprocessJobRequest, "preprocessJobs"
    ),
    "PreprocessService.WatchPreprocessJob": _named(
        preprocess_pb2.WatchPreprocessJobRequest, "preprocessJobs"
    ),
    "RendererService.RenderSegment": _segments,
    "RendererService.RenderLive": _live,
    "RendererService.GetAvatar": _rendered(renderer_pb2.GetAvatarRequest),
    "RendererService.WarmAvatar": _rendered(renderer_pb2.WarmAvatarRequest),
    "SessionService.Connect": _connected,
    "TrainerService.CreateTrainingJob": _train,
    "TrainerService.GetTrainingJob": _named(trainer_pb2.GetTrainingJobRequest, "trainingJobs"),
    "TrainerService.ListTrainingJobs": _listed(trainer_pb2.ListTrainingJobsRequest),
    "TrainerService.CancelTrainingJob": _named(
        trainer_pb2.CancelTrainingJobRequest, "trainingJobs"
    ),
    "TrainerService.WatchTrainingJob": _named(trainer_pb2.WatchTrainingJobRequest, "trainingJobs"),
    "VerificationService.VerifyFile": _verified,
}


@dataclass(frozen=True)
class Refusal:
    """How a call ended."""

    code: grpc.StatusCode
    reason: str
    text: str


@dataclass(frozen=True)
class Wire:
    """Channels to the services of a suite."""

    suite: Suite
    folder: Path

    def call(
        self, method: MethodDescriptor, requests: list[Message], token: str | None,
        timeout: float | None = 20.0,
    ) -> Refusal | list[Message]:  # fmt: skip
        """What is answered, or how it is refused."""
        service = method.containing_service
        target = f"127.0.0.1:{self._port(service.name)}"
        kinds = ("stream" if method.client_streaming else "unary") + "_"
        kinds += "stream" if method.server_streaming else "unary"
        with grpc.insecure_channel(target) as channel:
            callable_ = getattr(channel, kinds)(
                f"/{service.full_name}/{method.name}",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=method.output_type._concrete_class.FromString,
            )
            metadata = [] if token is None else [("authorization", f"Bearer {token}")]
            sent = iter(requests) if method.client_streaming else requests[0]
            try:
                got = callable_(sent, timeout=timeout, metadata=metadata)
                return list(got) if method.server_streaming else [got]
            except grpc.RpcError as error:
                return _refusal(error)

    def _port(self, service: str) -> int:
        if service == "SessionService":
            answer = self.suite.folder / "run" / "gateway.json"
            return int(json.loads(answer.read_text().partition("\n")[0])["grpc_port"])
        port = self.suite.process(PROCESSES[service]).port
        assert port is not None
        return port


def _refusal(error: Any) -> Refusal:
    reason = ""
    status = rpc_status.from_call(error)
    for detail in () if status is None else status.details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            reason = info.reason
            assert info.metadata["remedy"], info
    return Refusal(error.code(), reason, error.details())


@pytest.fixture(scope="module")
def wire(suite: Suite) -> Wire:
    return Wire(suite, suite.folder)


def test_every_method_is_attacked() -> None:
    names = {f"{m.containing_service.name}.{m.name}" for m in METHODS}
    assert names == set(ATTACKS), "say in ATTACKS what a stranger asks of a new method"


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.full_name.removeprefix("avatar.v1."))
def test_nobody_reaches_another_tenants_things(
    method: MethodDescriptor, wire: Wire, victim: Person, stranger: Person
) -> None:
    name = f"{method.containing_service.name}.{method.name}"
    token = wire.suite.settings.variables["AVATAR_RPC__TOKEN"]
    before = victim.things()
    for request in ATTACKS[name](
        victim.tenant.name, stranger.tenant.name, victim.ids, stranger.session_token
    ):
        answer = wire.call(method, [request], token)
        assert isinstance(answer, Refusal), f"{request} was answered: {answer}"
        assert answer.code in _REFUSALS, f"{request}: {answer}"
        assert answer.reason, f"{request}: {answer}"
        assert answer.reason != "INTERNAL"
    assert victim.things() == before


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.full_name.removeprefix("avatar.v1."))
def test_nothing_is_done_without_the_token(method: MethodDescriptor, wire: Wire) -> None:
    empty = method.input_type._concrete_class()
    for token in (None, "", "guess", "x" * 4000):
        answer = wire.call(method, [empty], token)
        assert isinstance(answer, Refusal)
        if method.containing_service.name == "SessionService":  # its tokens are in the stream
            assert answer.reason == "UNEXPECTED_MESSAGE"
            continue
        assert (answer.code, answer.reason) == (grpc.StatusCode.UNAUTHENTICATED, "INVALID_TOKEN")


@pytest.mark.parametrize("service", [*PROCESSES, "SessionService"])
def test_a_message_beyond_the_limit_is_refused(service: str, wire: Wire) -> None:
    method = next(m for m in METHODS if m.containing_service.name == service)
    token = wire.suite.settings.variables["AVATAR_RPC__TOKEN"]
    text = "x" * (5 << 20)
    request = {
        "ExpressionService": expression_pb2.GenerateRequest(
            header=expression_pb2.GenerateRequestHeader(parent=text)
        ),
        "PreprocessService": preprocess_pb2.CreatePreprocessJobRequest(parent=text),
        "RendererService": renderer_pb2.RenderSegmentRequest(avatar_version=text),
        "SessionService": session_pb2.ConnectRequest(
            header=session_pb2.ConnectRequestHeader(token=text)
        ),
        "TrainerService": trainer_pb2.CreateTrainingJobRequest(parent=text),
        "VerificationService": verification_pb2.VerifyFileRequest(parent=text),
    }[service]
    answer = wire.call(method, [request], token)
    assert isinstance(answer, Refusal)
    assert answer.code is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("service", PROCESSES)
def test_a_call_that_would_last_for_ever_is_refused(service: str, wire: Wire) -> None:
    method = next(m for m in METHODS if m.containing_service.name == service)
    token = wire.suite.settings.variables["AVATAR_RPC__TOKEN"]
    answer = wire.call(method, [method.input_type._concrete_class()], token, timeout=None)
    assert isinstance(answer, Refusal)
    assert answer.reason == "DEADLINE_REQUIRED"
