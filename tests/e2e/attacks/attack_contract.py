"""What there is to attack: every operation of the REST API and every method of the gRPC services.

Both lists come from the contracts themselves. What the tables below do not know how to attack is a
failure, so that nobody adds a method without asking what another tenant could do with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import MethodDescriptor

from services.gateway.app import make_app
from services.gateway.settings import GatewaySettings
from services.gen.avatar.v1 import (
    expression_pb2,
    preprocess_pb2,
    renderer_pb2,
    session_pb2,
    trainer_pb2,
    verification_pb2,
)

PROTOS = (
    expression_pb2, preprocess_pb2, renderer_pb2, session_pb2, trainer_pb2, verification_pb2,
)  # fmt: skip
# Nobody needs to be anybody here.
PUBLIC = {("GET", "/healthz"), ("GET", "/readyz")}
Ids = Mapping[str, str]
_OFFER = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"


@dataclass(frozen=True)
class Operation:
    """One method of one path of the REST API."""

    method: str
    path: str
    parameters: tuple[str, ...]
    queries: tuple[str, ...]
    has_body: bool

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def url(self, ids: Ids) -> str:
        """The path with somebody's ids in it."""
        return self.path.format(**ids)


def openapi_document() -> dict[str, Any]:
    """The contract of the gateway; nothing is connected to."""
    return make_app(
        GatewaySettings.model_validate(
            {
                "storage": {"url": "http://s3:1", "access_key": "-", "secret_key": "-"},
                "redis_url": "redis://redis",
                "rpc": {"token": "-"},
                "preprocess_target": "preprocess:1",
                "trainer_target": "trainer:1",
            }
        )
    ).openapi()


def operations(document: Mapping[str, Any]) -> tuple[Operation, ...]:
    """All that a contract offers."""
    return tuple(
        Operation(
            method.upper(), path,
            tuple(p["name"] for p in spec.get("parameters", ()) if p["in"] == "path"),
            tuple(p["name"] for p in spec.get("parameters", ()) if p["in"] == "query"),
            "requestBody" in spec,
        )
        for path, methods in document["paths"].items()
        for method, spec in methods.items()
    )  # fmt: skip


def grpc_methods() -> tuple[MethodDescriptor, ...]:
    """All that the services offer each other."""
    return tuple(
        method
        for proto in PROTOS
        for service in proto.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    )


# What a stranger sends where a body is needed: his own ids, and the victim's wherever one fits.
# Several where several can be named. Called with the victim's ids and the stranger's.
BODIES: Mapping[str, Callable[[Ids, Ids], list[dict[str, object]]]] = {
    "POST /v1/uploads": lambda victim, own: [
        {
            "filename": f"../../{victim['tenant']}/uploads/{victim['upload_id']}/video.mp4",
            "content_type": "video/mp4", "size_bytes": 9, "kind": "video",
        }
    ],
    "POST /v1/consents": lambda victim, own: [
        {"subject_name": "Eve", "statement": "Yes.", "granted_by": victim["tenant"]}
    ],
    "POST /v1/avatars": lambda victim, own: [
        {"name": "eve", "video": victim["upload_id"], "consent": own["consent_id"]},
        {"name": "eve", "video": own["upload_id"], "consent": victim["consent_id"]},
        {"name": "eve", "video": victim["upload_id"], "consent": victim["consent_id"]},
    ],
    "POST /v1/dubs": lambda victim, own: [
        {"avatar": victim["avatar_id"], "audio": own["audio_id"]},
        {"avatar": own["avatar_id"], "audio": victim["audio_id"]},
        {
            "avatar": own["avatar_id"], "audio": own["audio_id"],
            "background": {"kind": "image", "image": victim["image_id"]},
        },
    ],
    "POST /v1/consents/{consent_id}/evidence": lambda victim, own: [
        {"upload": victim["upload_id"], "footage": own["upload_id"]},
        {"upload": own["upload_id"], "footage": victim["upload_id"]},
    ],
    "POST /v1/consents/{consent_id}/review": lambda victim, own: [
        {"decision": "approve", "reason": "Because.", "override": True}
    ],
    "POST /v1/verify": lambda victim, own: [{"upload": victim["upload_id"]}],
    "PUT /v1/tenants/{tenant}/limits": lambda victim, own: [{"avatars": 0}],
    "POST /v1/keys/{key_id}/rotate": lambda victim, own: [{"grace_s": 0}],
    "POST /v1/webhooks": lambda victim, own: [
        {"url": "https://1.1.1.1/", "events": ["avatar.ready"]}
    ],
    "POST /v1/keys": lambda victim, own: [
        {"name": "eve", "role": "admin", "tenant": victim["tenant"]}
    ],
    "POST /v1/sessions": lambda victim, own: [{"avatar": victim["avatar_id"]}],
    "POST /v1/sessions/{session_id}/webrtc": lambda victim, own: [
        {"type": "offer", "sdp": _OFFER}
    ],
}  # fmt: skip
