"""Expression service and renderer of a live test, in one process, on the real protocol.

What they hear is how loud a frame is, and what they draw is plain: the brighter the louder, bluer
frame by frame, and as red as ``AVATAR_REDNESS`` says, so that a decoded picture tells its frame,
its sound and its replica. The pictures are real H.264.
"""

from __future__ import annotations

import asyncio
import json
import os
from array import array
from collections.abc import AsyncIterator
from fractions import Fraction
from functools import partial
from typing import Any

import av
from av.video.codeccontext import VideoCodecContext

from services.common import logs
from services.common.errors import ResourceExhausted
from services.common.rpc import Service, serve
from services.common.settings import ServiceSettings, load
from services.gen.avatar.v1 import expression_pb2, renderer_pb2, types_pb2
from services.gen.avatar.v1.expression_pb2_grpc import (
    ExpressionServiceServicer,
    add_ExpressionServiceServicer_to_server,
)
from services.gen.avatar.v1.renderer_pb2_grpc import (
    RendererServiceServicer,
    add_RendererServiceServicer_to_server,
)

RATE_HZ = 48_000
FRAME_BYTES = 2 * RATE_HZ // 25
HUES = 50  # frames after which blue begins anew
LOUDEST = 8000
STILL = "AVATAR_STILL" in os.environ


class Expression(ExpressionServiceServicer):
    """A frame's only feature is how loud it is, from 0 to 1."""

    async def Generate(self, requests: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        first = await anext(aiter(requests))
        assert first.header.audio_format.sample_rate_hz == RATE_HZ
        header = expression_pb2.GenerateResponseHeader(lip_feature_dim=1, encoder_version="fake")
        yield expression_pb2.GenerateResponse(header=header)
        heard, frame = b"", 0
        async for request in requests:
            heard += request.audio.data
            while len(heard) > FRAME_BYTES + FRAME_BYTES // 4:
                samples, heard = array("h", heard[:FRAME_BYTES]), heard[FRAME_BYTES:]
                some = samples[::16] if STILL else samples
                level = sum(map(abs, some)) / len(some) / LOUDEST
                features = types_pb2.DrivingFeatures(
                    time_code=types_pb2.TimeCode(frame=frame), lip_feature=[min(1.0, level)]
                )
                yield expression_pb2.GenerateResponse(features=features)
                frame += 1


class Easel:
    """Encodes as a renderer does."""

    def __init__(self, width: int, height: int, redness: int) -> None:
        codec = av.CodecContext.create("libx264", "w")
        assert isinstance(codec, VideoCodecContext)
        codec.width, codec.height, codec.pix_fmt = width, height, "yuv420p"
        codec.time_base, codec.framerate = Fraction(1, 25), Fraction(25)
        codec.profile = "Baseline"
        codec.options = {
            "preset": "ultrafast", "tune": "zerolatency", "crf": "10",
            "x264-params": "keyint=25:scenecut=0:repeat-headers=1:annexb=1:threads=1",
        }  # fmt: skip
        self._codec, self._redness, self._count = codec, redness, 0

    def draw(self, slot: int, level: float, *, key: bool) -> renderer_pb2.EncodedFrame:
        picture = av.VideoFrame(self._codec.width, self._codec.height, "yuv420p")
        colours = (40 + round(160 * level), 28 + 4 * (slot % HUES), self._redness)
        for plane, value in zip(picture.planes, colours, strict=True):
            plane.update(bytes([value]) * plane.buffer_size)
        picture.pts, picture.time_base = self._count, Fraction(1, 25)
        if key:
            picture.pict_type = av.video.frame.PictureType.I
        self._count += 1
        (packet,) = self._codec.encode(picture)
        return renderer_pb2.EncodedFrame(
            time_code=types_pb2.TimeCode(frame=slot), data=bytes(packet),
            key_frame=packet.is_keyframe,
        )  # fmt: skip


class Renderer(RendererServiceServicer):
    """A frame leaves when the next one's features are there."""

    def __init__(self, redness: int, places: int) -> None:
        self._redness, self._places, self._open = redness, places, 0

    async def RenderSegment(self, request: Any, context: Any) -> Any:  # noqa: N802
        raise NotImplementedError

    async def GetAvatar(self, request: Any, context: Any) -> Any:  # noqa: N802
        raise NotImplementedError

    async def WarmAvatar(self, request: Any, context: Any) -> Any:  # noqa: N802
        raise NotImplementedError

    async def RenderLive(self, requests: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        header = (await anext(aiter(requests))).header
        assert dict(context.invocation_metadata())["session_id"] == header.session_id
        assert header.encoder_version == "fake"
        if self._open >= self._places:
            raise ResourceExhausted("no place", reason="RENDERER_FULL", remedy="Try another.")
        self._open += 1
        try:
            async for response in self._render(header.video_options, requests):
                yield response
        finally:
            self._open -= 1

    async def _render(self, options: Any, requests: Any) -> AsyncIterator[Any]:
        width, height = options.width_px or 64, options.height_px or 64
        easel = Easel(width, height, self._redness)
        yield renderer_pb2.RenderLiveResponse(
            header=renderer_pb2.RenderLiveResponseHeader(
                codec=renderer_pb2.VIDEO_CODEC_H264, width_px=width, height_px=height
            )
        )
        waiting: list[types_pb2.DrivingFeatures] = []
        key, stills = True, dict[bool, renderer_pb2.EncodedFrame]()
        async for request in requests:
            kind = request.WhichOneof("message")
            if kind == "features":
                waiting.append(request.features)
            elif kind == "interruption":
                waiting.clear()
                key = True
                resume_at = request.interruption.resume_at
                interrupted = renderer_pb2.Interrupted(resume_at=resume_at)
                yield renderer_pb2.RenderLiveResponse(interrupted=interrupted)
            elif kind == "key_frame_request":
                key = True
            else:
                break
            while len(waiting) > 1:
                due = waiting.pop(0)
                slot = due.time_code.frame
                frame = stills.get(key) or easel.draw(slot, due.lip_feature[0], key=key)
                if STILL:  # the same two pictures all the time, for benchmarks: they cost nothing
                    stills[key] = frame
                    frame.time_code.frame = slot
                key = False
                yield renderer_pb2.RenderLiveResponse(frame=frame)
        yield renderer_pb2.RenderLiveResponse(summary=renderer_pb2.RenderLiveSummary())


async def main() -> None:
    settings = load(ServiceSettings)
    logs.configure("live-services")
    renderer = Renderer(
        int(os.environ.get("AVATAR_REDNESS", "128")), int(os.environ.get("AVATAR_PLACES", "100"))
    )
    await serve(
        settings.rpc,
        [
            Service(
                "avatar.v1.ExpressionService",
                partial(add_ExpressionServiceServicer_to_server, Expression()),
            ),
            Service(
                "avatar.v1.RendererService",
                partial(add_RendererServiceServicer_to_server, renderer),
            ),
        ],
        lambda port: print(json.dumps({"port": port, "metrics_port": 0}), flush=True),
    )


if __name__ == "__main__":
    asyncio.run(main())
