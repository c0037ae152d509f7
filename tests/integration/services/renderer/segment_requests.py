"""A renderer for tests, and requests that it is sent."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from suite import RunningService, on

from services.common.artifacts import ArtifactRef, upload_folder
from services.common.storage import ObjectStore
from services.gen.avatar.v1 import renderer_pb2 as pb
from services.gen.avatar.v1 import types_pb2
from services.gen.avatar.v1.renderer_pb2_grpc import RendererServiceStub
from services.renderer.lips import (
    AFTER,
    BEFORE,
    SegmentBlendshapes,
    SegmentFeatures,
)
from services.renderer.loading import LoadedAvatar
from synctalk import bundle as parts
from synctalk.dataset import sha256_file
from synctalk.expression import ProsodicExpression, measure_prosody
from synctalk.face_sync.encoder import WEIGHTS
from synctalk.media import read_audio

SPEECH = Path(__file__).parents[4] / "samples" / "speech.wav"
VERSION = "tenants/acme/avatars/ann/versions/1"
N_FRAMES = 90
Features = NDArray[np.float32]


@dataclass(frozen=True)
class Stage:
    """A renderer with an avatar in the store, and the same avatar in this process."""

    renderer: RunningService
    store: ObjectStore
    bundle: ArtifactRef
    avatar: LoadedAvatar


def part(features: Features, first: int, stop: int) -> SegmentFeatures:
    return SegmentFeatures(
        first,
        features[first:stop],
        features[max(0, first - BEFORE) : first],
        features[stop : stop + AFTER],
    )


def expressive(features: Features, first: int, stop: int) -> SegmentFeatures:
    """The same with blinks and brows, emphatic ones."""
    wav = read_audio(SPEECH, 16_000)
    track = ProsodicExpression("emphatic", 30).generate(measure_prosody(wav, N_FRAMES))
    faces = track[first:stop], track[max(0, first - BEFORE) : first], track[stop : stop + AFTER]
    return replace(part(features, first, stop), blendshapes=SegmentBlendshapes(*faces))


def message(
    rows: Features, first: int, faces: Features | None = None
) -> list[types_pb2.DrivingFeatures]:
    return [
        types_pb2.DrivingFeatures(
            time_code=types_pb2.TimeCode(frame=frame),
            lip_feature=row,
            blendshapes=None if faces is None else faces[frame - first].tolist(),
        )
        for frame, row in enumerate(rows.tolist(), first)
    ]


def request(stage: Stage, segment: SegmentFeatures, name: str) -> pb.RenderSegmentRequest:
    face = segment.blendshapes
    return pb.RenderSegmentRequest(
        avatar_version=VERSION,
        bundle=bundle_message(stage.bundle),
        encoder_version=sha256_file(WEIGHTS),
        features=message(segment.rows, segment.first, face and face.rows),
        context_before=message(
            segment.before, segment.first - len(segment.before), face and face.before
        ),
        context_after=message(
            segment.after, segment.first + len(segment.rows), face and face.after
        ),
        output_key=f"tenants/acme/dubs/test/{name}.ts",
    )


def bundle_message(bundle: ArtifactRef) -> types_pb2.ArtifactRef:
    listing = types_pb2.ObjectRef(
        key=bundle.listing.key,
        size_bytes=bundle.listing.size_bytes,
        sha256=bundle.listing.sha256,
    )
    return types_pb2.ArtifactRef(prefix=bundle.prefix, listing=listing)


def render(stage: Stage, asked: pb.RenderSegmentRequest) -> pb.RenderSegmentResponse:
    async def work(channel: grpc.aio.Channel) -> pb.RenderSegmentResponse:
        return await RendererServiceStub(channel).RenderSegment(asked, timeout=120)

    return asyncio.run(on(stage.renderer.target, work))


def without_expression(stage: Stage) -> ArtifactRef:
    """The avatar as it would have been before there were expressions."""
    with tempfile.TemporaryDirectory() as folder:
        older = Path(folder) / "older"
        shutil.copytree(stage.avatar.folder, older)
        tensors = load_file(older / parts.WEIGHTS)
        kept = {name: t for name, t in tensors.items() if not name.startswith("expression.")}
        save_file(kept, older / parts.WEIGHTS)
        manifest = json.loads((older / parts.MANIFEST).read_text())
        manifest["files"][parts.WEIGHTS] = sha256_file(older / parts.WEIGHTS)
        (older / parts.MANIFEST).write_text(json.dumps(manifest))
        return upload_folder(stage.store, older, "tenants/acme/avatars/ann/bundles/faceless")
