"""An avatar of this suite in a LiveKit room, behind livekit-agents' seam ``VideoGenerator``.

The gateway's engine has that seam already: audio is pushed, the buffer can be cleared, and video
frames, audio frames and segment ends come out in step. So this only opens a session, carries what
goes in and out over ``avatar.v1.SessionService``, and decodes H.264 for LiveKit's own encoder.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import av
import grpc
import httpx
from avatar.v1 import expression_pb2, renderer_pb2, session_pb2
from avatar.v1.session_pb2_grpc import SessionServiceStub
from livekit import rtc
from livekit.agents import AgentSession
from livekit.agents.voice.avatar import (
    AudioSegmentEnd,
    AvatarOptions,
    AvatarRunner,
    QueueAudioOutput,
    VideoGenerator,
)

RATE_HZ = 48_000
FPS = 25
_LONGEST_S = 80_000
_BEHIND = 250


@dataclass(frozen=True)
class Gateway:
    """Where the suite is.

    Args:
        url: of REST, e.g. ``http://127.0.0.1:8080``.
        grpc_target: of SessionService, e.g. ``127.0.0.1:50051``.
        key: an API key, ``avk_…``.
        secure: whether gRPC is served over TLS.
    """

    url: str
    grpc_target: str
    key: str
    secure: bool = False


class SyncTalkAvatar(VideoGenerator):
    """One live session; an async context manager that opens and ends it."""

    def __init__(self, gateway: Gateway, avatar: str, **wishes: Any) -> None:
        self._gateway = gateway
        self._wishes = {"avatar": avatar, "sample_rate_hz": RATE_HZ, **wishes}
        self._asked: asyncio.Queue[session_pb2.ConnectRequest | None] = asyncio.Queue()
        self._out: asyncio.Queue[Any] = asyncio.Queue(_BEHIND)
        self._resampler: rtc.AudioResampler | None = None
        self._speaking = False

    async def __aenter__(self) -> SyncTalkAvatar:
        self._http = httpx.AsyncClient(
            base_url=self._gateway.url, headers={"Authorization": f"Bearer {self._gateway.key}"}
        )
        answer = await self._http.post("/v1/sessions", json=self._wishes, timeout=90)
        answer.raise_for_status()
        self.session = answer.json()
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._asked.put_nowait(None)
        self._reading.cancel()
        await asyncio.wait([self._reading])
        await self._http.delete(f"/v1/sessions/{self.session['id']}")
        await self._http.aclose()

    @property
    def options(self) -> AvatarOptions:
        """For :class:`AvatarRunner`."""
        return AvatarOptions(
            video_width=self.session["width_px"], video_height=self.session["height_px"],
            video_fps=FPS, audio_sample_rate=RATE_HZ, audio_channels=1,
        )  # fmt: skip

    async def push_audio(self, frame: rtc.AudioFrame | AudioSegmentEnd) -> None:
        """Have a frame of speech said, at any rate; mono."""
        if isinstance(frame, AudioSegmentEnd):
            for part in self._resampler.flush() if self._resampler else ():
                self._push(part)
            self._resampler = None
            self._ask(end_of_segment=session_pb2.EndOfSegment())
            return
        if frame.sample_rate == RATE_HZ:
            self._push(frame)
            return
        if self._resampler is None:
            self._resampler = rtc.AudioResampler(frame.sample_rate, RATE_HZ, num_channels=1)
        for part in self._resampler.push(frame):
            self._push(part)

    def clear_buffer(self) -> None:
        """Interrupt: what was not played is not heard any more."""
        self._resampler = None
        self._speaking = False
        self._ask(interruption=renderer_pb2.Interruption())
        kept = [item for item in self._drained() if isinstance(item, rtc.VideoFrame)]
        for item in kept:
            self._out.put_nowait(item)

    async def __aiter__(
        self,
    ) -> AsyncIterator[rtc.VideoFrame | rtc.AudioFrame | AudioSegmentEnd]:
        """Video all the time; audio while something is said, as LiveKit counts it."""
        while True:
            yield await self._out.get()

    def _push(self, frame: rtc.AudioFrame) -> None:
        chunk = expression_pb2.AudioChunk(data=bytes(frame.data))
        self._ask(audio=chunk)

    def _ask(self, **message: Any) -> None:
        self._asked.put_nowait(session_pb2.ConnectRequest(**message))

    async def _requests(self) -> AsyncIterator[session_pb2.ConnectRequest]:
        yield session_pb2.ConnectRequest(
            header=session_pb2.ConnectRequestHeader(
                session=self.session["id"], token=self.session["token"], want_media=True
            )
        )
        while (message := await self._asked.get()) is not None:
            yield message

    async def _read(self) -> None:
        decoder = av.CodecContext.create("h264", "r")
        async with self._channel() as channel:
            call = SessionServiceStub(channel).Connect(self._requests(), timeout=_LONGEST_S)
            async for answer in call:
                kind = answer.WhichOneof("message")
                if kind == "frame":
                    for picture in decoder.decode(av.Packet(answer.frame.data)):
                        await self._out.put(_video(picture))
                elif kind == "audio":
                    await self._hear(answer.audio.pcm)
                elif kind == "segment_played" and not answer.segment_played.interrupted:
                    self._speaking = False
                    await self._out.put(AudioSegmentEnd())

    async def _hear(self, pcm: bytes) -> None:
        self._speaking = self._speaking or any(pcm)
        if self._speaking:
            await self._out.put(rtc.AudioFrame(pcm, RATE_HZ, 1, len(pcm) // 2))

    def _channel(self) -> grpc.aio.Channel:
        if self._gateway.secure:
            return grpc.aio.secure_channel(
                self._gateway.grpc_target, grpc.ssl_channel_credentials()
            )
        return grpc.aio.insecure_channel(self._gateway.grpc_target)

    def _drained(self) -> list[Any]:
        items = []
        while not self._out.empty():
            items.append(self._out.get_nowait())
        return items


def _video(picture: av.VideoFrame) -> rtc.VideoFrame:
    data = picture.reformat(format="rgba").to_ndarray().tobytes()
    return rtc.VideoFrame(picture.width, picture.height, rtc.VideoBufferType.RGBA, data)


async def show(avatar: SyncTalkAvatar, session: AgentSession, room: rtc.Room) -> AvatarRunner:
    """Let an agent speak through the avatar in ``room``; keep the runner, close it at the end."""
    speech = QueueAudioOutput(sample_rate=RATE_HZ)
    runner = AvatarRunner(room, audio_recv=speech, video_gen=avatar, options=avatar.options)
    await runner.start()
    session.output.audio = speech
    return runner
