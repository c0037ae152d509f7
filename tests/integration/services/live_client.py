"""A caller of RenderLive as small as one can be: what the tests hold a session with."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import grpc
import numpy as np
import torch
from numpy.typing import NDArray

from services.common.artifacts import ArtifactRef
from services.common.rpc import remote_errors
from services.gen.avatar.v1 import renderer_pb2 as pb
from services.gen.avatar.v1 import types_pb2
from services.gen.avatar.v1.renderer_pb2_grpc import RendererServiceStub
from synctalk.dataset import sha256_file
from synctalk.face_sync import AudioVisualEncoder
from synctalk.face_sync.encoder import WEIGHTS
from synctalk.media import Yuv420, read_audio
from synctalk.media.planes import yuv_from_frame

SPEECH = Path(__file__).parents[3] / "samples" / "speech.wav"
VERSION = "tenants/acme/avatars/ann/versions/1"
CONTEXT = 40
CODEC_NOISE_DB = 36


@dataclass
class LiveCall:
    """One stream; an async context manager, which cancels it in the end."""

    channel: grpc.aio.Channel
    header: pb.RenderLiveRequestHeader
    frames: list[pb.EncodedFrame] = field(default_factory=list)
    events: list[pb.RenderLiveResponse] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        stub = RendererServiceStub(self.channel)
        metadata = (("session_id", self.header.session_id),)
        self._call: Any = stub.RenderLive(timeout=120, metadata=metadata)
        with remote_errors():
            await self._write(header=self.header)
            self.answer = (await self._read()).header
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._call.cancel()

    async def send(self, features: Sequence[types_pb2.DrivingFeatures]) -> None:
        for each in features:
            await self._write(features=each)

    async def want_key_frame(self) -> None:
        await self._write(key_frame_request=pb.KeyFrameRequest())

    async def interrupt(self, frame: int) -> None:
        resume_at = types_pb2.TimeCode(frame=frame)
        await self._write(interruption=pb.Interruption(resume_at=resume_at))

    async def end(self) -> None:
        await self._write(end_of_features=pb.EndOfFeatures())

    async def done(self) -> None:
        await self._call.done_writing()

    async def read(self) -> pb.RenderLiveResponse:
        """The next response, noted."""
        with remote_errors():
            response = await self._read()
        if response.WhichOneof("message") == "frame":
            self.frames.append(response.frame)
        else:
            self.events.append(response)
        return response

    async def until(self, kind: str) -> pb.RenderLiveResponse:
        """The next response of a kind; those before are noted."""
        while (response := await self.read()).WhichOneof("message") != kind:
            pass
        return response

    async def take(self, count: int) -> list[pb.EncodedFrame]:
        """The next frames."""
        return [(await self.until("frame")).frame for _ in range(count)]

    async def _read(self) -> pb.RenderLiveResponse:
        response = await self._call.read()
        if response is grpc.aio.EOF:
            await self._call  # raises what ended it
            raise EOFError
        assert isinstance(response, pb.RenderLiveResponse)
        return response

    async def _write(self, **message: Any) -> None:
        with suppress(asyncio.InvalidStateError):  # it has ended; reading says why
            await self._call.write(pb.RenderLiveRequest(**message))


def decode(frames: Sequence[pb.EncodedFrame]) -> list[Yuv420]:
    """The pictures of frames, the first of which is a key frame."""
    decoder = av.CodecContext.create("h264", "r")
    decoded = [f for frame in frames for f in decoder.decode(av.Packet(frame.data))]  # type: ignore[attr-defined]
    decoded += decoder.decode(None)  # type: ignore[attr-defined]
    return [yuv_from_frame(frame) for frame in decoded]


def psnr_db(a: Yuv420, b: Yuv420) -> float:
    """Of the luma."""
    difference = a.y.astype(float) - b.y
    return float(10 * np.log10(255**2 / max(float(np.mean(difference**2)), 1e-9)))


Rows = NDArray[np.float32]


def messages(rows: Rows, first: int, faces: Rows | None = None) -> list[types_pb2.DrivingFeatures]:
    """Features on the wire; ``faces`` are of the same frames."""
    return [
        types_pb2.DrivingFeatures(
            time_code=types_pb2.TimeCode(frame=first + at),
            lip_feature=row,
            blendshapes=None if faces is None else faces[at].tolist(),
        )
        for at, row in enumerate(rows.tolist())
    ]


def live_header(
    bundle: ArtifactRef,
    session: str,
    before: list[types_pb2.DrivingFeatures] | None = None,
    **options: int,
) -> pb.RenderLiveRequestHeader:
    """Of the avatar in ``bundle``; ``options`` are of the video."""
    listing = types_pb2.ObjectRef(
        key=bundle.listing.key, size_bytes=bundle.listing.size_bytes, sha256=bundle.listing.sha256
    )
    return pb.RenderLiveRequestHeader(
        avatar_version=VERSION,
        bundle=types_pb2.ArtifactRef(prefix=bundle.prefix, listing=listing),
        encoder_version=sha256_file(WEIGHTS),
        video_options=pb.VideoOptions(**options),
        session_id=session,
        context_before=before,
    )


def speech_rows(count: int) -> Rows:
    """Encoder features of the first frames of the sample."""
    wav = torch.from_numpy(read_audio(SPEECH, 16_000))
    rows: Rows = AudioVisualEncoder.pretrained().encode(wav, count).numpy()
    return rows


def codes(frames: list[pb.EncodedFrame]) -> list[int]:
    return [frame.time_code.frame for frame in frames]


def assert_shows(frames: list[pb.EncodedFrame], pictures: list[Yuv420]) -> None:
    """Each frame is the picture of its time code, up to codec noise."""
    shown = decode(frames)
    assert len(shown) == len(frames)
    for code, picture in zip(codes(frames), shown, strict=True):
        assert psnr_db(picture, pictures[code]) > CODEC_NOISE_DB, code
