"""The text messages of a connection, both ways; WebSocket and data channel carry them alike."""

from __future__ import annotations

import base64
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from services.gateway.live.fmp4 import Init
from services.gateway.live.session import EndedOut, InterruptedOut, LiveSession, Out
from services.gateway.live.timeline import FPS, SegmentEnd
from synctalk.errors import InputError, SyncTalkError


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AudioMessage(_Message):
    """PCM, as in a binary message."""

    type: Literal["audio"]
    data: str


class Plain(_Message):
    """What needs no more words."""

    type: Literal["segment_end", "interrupt", "keep_alive", "end"]


_IN: TypeAdapter[AudioMessage | Plain] = TypeAdapter(
    Annotated[AudioMessage | Plain, Field(discriminator="type")]
)


class Ready(_Message):
    """What follows is of this kind; no ``mime`` where no media follow."""

    type: Literal["ready"] = "ready"
    mime: str | None
    width_px: int
    height_px: int
    fps: int = FPS
    sample_rate_hz: int


class SegmentEnded(_Message):
    """All of a segment was played, or thrown away."""

    type: Literal["segment_end"] = "segment_end"
    segment: int
    played_ms: int
    interrupted: bool


class WasInterrupted(_Message):
    """Everything was emptied."""

    type: Literal["interrupted"] = "interrupted"
    frame: int


class Ended(_Message):
    """The last message."""

    type: Literal["ended"] = "ended"
    code: str
    message: str


class Alive(_Message):
    """Answers a keep-alive."""

    type: Literal["alive"] = "alive"


class Failed(_Message):
    """A message that could not be used."""

    type: Literal["error"] = "error"
    code: str
    message: str
    remedy: str


class Stats(_Message):
    """How it goes; latency is the median from chunk to frame."""

    type: Literal["stats"] = "stats"
    fps: float
    latency_ms: float | None
    held_frames: int
    skipped_frames: int
    frame: int


ToClient: TypeAlias = (
    Ready | SegmentEnded | WasInterrupted | Ended | Alive | Failed | Stats
)  # fmt: skip


def ready(session: LiveSession, init: Init | None) -> Ready:
    """What a connection is told first, and when the size changes."""
    width_px, height_px = (init.width_px, init.height_px) if init else session.size_px
    return Ready(
        mime=init.mime if init else None,
        width_px=width_px,
        height_px=height_px,
        sample_rate_hz=session.rate_hz,
    )


def news_of(item: Out) -> ToClient | None:
    """The message about what came out of a session; None for media."""
    if isinstance(item, SegmentEnd):
        return SegmentEnded(
            segment=item.segment, played_ms=item.played_ms, interrupted=item.interrupted
        )
    if isinstance(item, InterruptedOut):
        return WasInterrupted(frame=item.frame)
    if isinstance(item, EndedOut):
        return Ended(code=item.code, message=item.message)
    return None


def failed(error: SyncTalkError) -> Failed:
    """The message about an error of ours."""
    return Failed(code=error.reason, message=error.message, remedy=error.remedy)


async def obey(session: LiveSession, text: str) -> ToClient | None:
    """Do what a message says; the answer, if there is one."""
    try:
        message = _IN.validate_json(text)
    except ValidationError:
        return failed(
            _unreadable("a message is none of audio, segment_end, interrupt, keep_alive, end")
        )
    try:
        if isinstance(message, AudioMessage):
            session.push_audio(_decoded(message.data))
        elif message.type == "segment_end":
            session.end_segment()
        elif message.type == "interrupt":
            session.clear_buffer()
        elif message.type == "keep_alive":
            session.keep_alive()
            return Alive()
        else:
            await session.end("ENDED", "it was ended by its connection")
    except SyncTalkError as error:
        return failed(error)
    return None


def listen(session: LiveSession, pcm: bytes) -> ToClient | None:
    """Push a binary message; the answer, if there is one."""
    try:
        session.push_audio(pcm)
    except SyncTalkError as error:
        return failed(error)
    return None


class Speedometer:
    """Reckons, once a second of the session, how it goes."""

    def __init__(self, session: LiveSession) -> None:
        self._session = session
        self._frames = session.counters().frames
        self._blocks = 0

    def tick(self) -> Stats | None:
        """Call it for every block; a message every 50."""
        self._blocks += 1
        if self._blocks % 50:
            return None
        counters = self._session.counters()
        frames, self._frames = counters.frames - self._frames, counters.frames
        latency_ms = self._session.trace.median_ms("total")
        return Stats(
            fps=float(frames),
            latency_ms=None if latency_ms is None else round(latency_ms, 1),
            held_frames=counters.held_frames,
            skipped_frames=counters.skipped_frames,
            frame=self._session.next_frame,
        )


def _decoded(data: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except ValueError:  # of which binascii.Error is one
        raise _unreadable("data is not base64") from None


def _unreadable(what: str) -> InputError:
    return InputError(what, reason="BAD_MESSAGE", remedy="See docs/live.md for the messages.")
