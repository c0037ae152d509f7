"""Expression service and renderers as the dubbing worker calls them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import grpc

from services.common.dubs import DubRequest, Expression
from services.common.rpc import open_channel, remote_errors
from services.common.rpc.messages import artifact_ref_message, object_ref, object_ref_message
from services.common.settings import RpcSettings
from services.common.storage import ObjectRef
from services.dubbing.features import FeatureSpool, FloatRows, SegmentRows
from services.dubbing.sound import Pcm
from services.gen.avatar.v1 import expression_pb2, renderer_pb2, types_pb2
from services.gen.avatar.v1.expression_pb2_grpc import ExpressionServiceStub
from services.gen.avatar.v1.renderer_pb2_grpc import RendererServiceStub
from synctalk.errors import SyncTalkError

Channel = grpc.aio.Channel
N_BLENDSHAPES = 52
_CHUNK_SAMPLES = 16_000
_STYLES: dict[Expression, expression_pb2.ExpressionStyle.ValueType] = {
    "auto": expression_pb2.EXPRESSION_STYLE_NATURAL,
    "natural": expression_pb2.EXPRESSION_STYLE_NATURAL,
    "neutral": expression_pb2.EXPRESSION_STYLE_NEUTRAL,
    "calm": expression_pb2.EXPRESSION_STYLE_CALM,
    "emphatic": expression_pb2.EXPRESSION_STYLE_EMPHATIC,
}
_CODECS = {
    "mp4": renderer_pb2.VIDEO_CODEC_H264,
    "webm": renderer_pb2.VIDEO_CODEC_VP9_ALPHA,
    "mov": renderer_pb2.VIDEO_CODEC_PRORES_4444,
}


def connect(target: str, settings: RpcSettings) -> AbstractAsyncContextManager[Channel]:
    """A channel to the expression service."""
    return open_channel(target, settings)


def connect_renderer(target: str, settings: RpcSettings) -> AbstractAsyncContextManager[Channel]:
    """A channel to one replica; a call that it does not take goes to another at once."""
    return open_channel(target, settings, retries=False)


async def spool_features(
    channel: Channel,
    tenant: str,
    sound: Pcm,
    path: Path,
    timeout_s: float,
    expression: Expression = "source",
    blinks_per_minute: float | None = None,
) -> FeatureSpool:
    """Features of a whole recording, written to ``path`` as they come.

    Args:
        expression: with it come blendshapes, unless it is ``"source"``.
        blinks_per_minute: None leaves it to the service.
    """
    wanted = None
    if expression != "source":
        wanted = expression_pb2.ExpressionOptions(
            style=_STYLES[expression], blinks_per_minute=blinks_per_minute
        )
    stub = ExpressionServiceStub(channel)
    spool: FeatureSpool | None = None
    accepted = asyncio.Event()
    response = expression_pb2.GenerateResponse()
    try:
        with remote_errors():
            speech = _speech(tenant, sound, wanted, accepted)
            async for response in stub.Generate(speech, timeout=timeout_s):
                kind = response.WhichOneof("message")
                if kind == "header":
                    accepted.set()
                    header = response.header
                    spool = FeatureSpool(
                        path, header.encoder_version, header.lip_feature_dim,
                        N_BLENDSHAPES if wanted else 0,
                    )  # fmt: skip
                elif spool is not None and kind == "features":
                    spool.append(response.features.lip_feature, response.features.blendshapes)
                elif spool is not None and kind == "event":
                    spool.voice(response.event.time_code.frame)
    finally:
        accepted.set()  # nobody waits for an answer any more
    if spool is not None and response.summary.frame_count == spool.n_frames:
        return spool
    raise SyncTalkError(
        "the stream of features ended early", reason="FEATURES_INCOMPLETE", remedy="Try again."
    )


async def render_segment(
    channel: Channel,
    request: DubRequest,
    rows: SegmentRows,
    encoder_version: str,
    output_key: str,
    timeout_s: float,
) -> ObjectRef:
    """Have a replica render a segment into ``output_key``."""
    stub = RendererServiceStub(channel)
    with remote_errors():
        done = await stub.RenderSegment(
            renderer_pb2.RenderSegmentRequest(
                avatar_version=request.avatar_version,
                bundle=artifact_ref_message(request.bundle),
                encoder_version=encoder_version,
                features=_features(rows.rows, rows.first, rows.lip_dim),
                video_options=renderer_pb2.VideoOptions(
                    codec=_CODECS[request.video_format],
                    width_px=request.width_px,
                    height_px=request.height_px,
                    background=_background(request),
                ),
                output_key=output_key,
                context_before=_features(rows.before, rows.first - len(rows.before), rows.lip_dim),
                context_after=_features(rows.after, rows.first + len(rows.rows), rows.lip_dim),
                blendshapes_required=request.expression not in ("auto", "source"),
            ),
            timeout=timeout_s,
        )
    return object_ref(done.segment)


def _background(request: DubRequest) -> renderer_pb2.Background:
    """Of a request that :func:`services.common.dubs.check_supported` has seen."""
    background = renderer_pb2.Background()
    if request.background == "colour":
        red, green, blue = bytes.fromhex(request.background_colour[1:])
        background.colour.CopyFrom(renderer_pb2.RgbColour(red=red, green=green, blue=blue))
    elif request.background == "image":
        assert request.background_image is not None
        background.image.CopyFrom(object_ref_message(request.background_image))
    elif request.background == "transparent":
        background.transparent.SetInParent()
    else:
        background.source.SetInParent()
    return background


async def _speech(
    tenant: str,
    sound: Pcm,
    expression: expression_pb2.ExpressionOptions | None,
    accepted: asyncio.Event,
) -> AsyncIterator[expression_pb2.GenerateRequest]:
    """Sound follows when the header is accepted: why it is not would be lost while much is sent
    (``services.common.rpc.errors``)."""
    yield expression_pb2.GenerateRequest(
        header=expression_pb2.GenerateRequestHeader(
            parent=f"tenants/{tenant}",
            mode=expression_pb2.GENERATE_MODE_LOOK_AHEAD,
            audio_format=expression_pb2.AudioFormat(
                encoding=expression_pb2.AUDIO_ENCODING_PCM_S16LE,
                sample_rate_hz=sound.sample_rate_hz,
            ),
            whole_recording=True,
            want_blendshapes=expression is not None,
            expression=expression,
        )
    )
    await accepted.wait()
    first = 0
    for block in sound.blocks(_CHUNK_SAMPLES):
        yield expression_pb2.GenerateRequest(
            audio=expression_pb2.AudioChunk(data=block.tobytes(), first_sample=first)
        )
        first += len(block)
    yield expression_pb2.GenerateRequest(end_of_audio=expression_pb2.EndOfAudio())


def _features(rows: FloatRows, first: int, lip_dim: int) -> list[types_pb2.DrivingFeatures]:
    return [
        types_pb2.DrivingFeatures(
            time_code=types_pb2.TimeCode(frame=frame, time_us=frame * 40_000),
            lip_feature=row[:lip_dim].tolist(),
            blendshapes=row[lip_dim:].tolist(),
        )
        for frame, row in enumerate(rows, first)
    ]
