"""SessionService on the wire: a session for backends, without a browser between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from services.common.errors import Unauthenticated
from services.common.rpc import RpcServer, Service
from services.common.settings import RpcSettings
from services.gateway.auth import session_of
from services.gateway.core import Gateway
from services.gateway.live import metrics
from services.gateway.live.frames import Frame
from services.gateway.live.session import (
    AudioOut,
    EndedOut,
    InterruptedOut,
    LiveSession,
    Out,
    Subscription,
    VideoOut,
)
from services.gateway.live.sound import BLOCK_MS, RATE_HZ
from services.gateway.live.timeline import FPS, SegmentEnd
from services.gen.avatar.v1 import expression_pb2, renderer_pb2, types_pb2
from services.gen.avatar.v1 import session_pb2 as pb
from services.gen.avatar.v1.session_pb2_grpc import (
    SessionServiceServicer,
    add_SessionServiceServicer_to_server,
)
from synctalk.errors import InputError

NAME = "avatar.v1.SessionService"
_FRAME_US = 1_000_000 // FPS


class SessionServicer(SessionServiceServicer):
    """Serves ``Connect`` for the sessions of this process."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def Connect(  # noqa: N802 - gRPC's name
        self, requests: AsyncIterator[pb.ConnectRequest], context: Any
    ) -> AsyncIterator[pb.ConnectResponse]:
        """See session.proto."""
        first = await anext(aiter(requests), pb.ConnectRequest())
        if first.WhichOneof("message") != "header":
            raise _unexpected("a header first")
        session = await self._session(first.header)
        with metrics.CONNECTIONS.labels("grpc").track_inprogress(), session.subscribed() as view:
            listening = asyncio.create_task(_listen(session, view, requests))
            try:
                yield _header(session)
                async for item in view:
                    if (answer := _answer(item, first.header.want_media)) is not None:
                        yield answer
                if listening.done():
                    listening.result()
            finally:
                listening.cancel()
                await asyncio.wait([listening])

    async def _session(self, header: pb.ConnectRequestHeader) -> LiveSession:
        caller = await session_of(self._gateway, header.token)
        if caller is None or caller.key != header.session:
            raise Unauthenticated(
                "the session's token is missing, wrong or over",
                reason="INVALID_SESSION_TOKEN",
                remedy="Send session and token of POST /v1/sessions.",
            )
        record, session = await self._gateway.live.find(caller.tenant, header.session)
        await self._gateway.live.renew(record)
        return session


def session_server(gateway: Gateway, settings: RpcSettings) -> RpcServer:
    """The server that backends reach; the session's token is all that they show."""
    live = gateway.live.settings
    settings = settings.model_copy(update={"host": live.grpc_host, "port": live.grpc_port})
    add = partial(add_SessionServiceServicer_to_server, SessionServicer(gateway))
    return RpcServer(settings, [Service(NAME, add, public=True)])


async def _listen(
    session: LiveSession, view: Subscription, requests: AsyncIterator[pb.ConnectRequest]
) -> None:
    """Do what is asked until the caller has no more to say; the view then ends."""
    try:
        async for message in requests:
            kind = message.WhichOneof("message")
            if kind == "audio":
                session.push_audio(message.audio.data)
            elif kind == "end_of_segment":
                session.end_segment()
            elif kind == "interruption":
                session.clear_buffer()
            elif kind == "keep_alive":
                session.keep_alive()
            elif kind == "key_frame_request":
                session.request_key_frame()
            else:
                raise _unexpected("audio or control after the header")
    finally:
        view.close()


def _header(session: LiveSession) -> pb.ConnectResponse:
    width_px, height_px = session.size_px
    return pb.ConnectResponse(
        header=pb.ConnectResponseHeader(
            codec=renderer_pb2.VIDEO_CODEC_H264,
            width_px=width_px,
            height_px=height_px,
            frame_rate=types_pb2.FrameRate(numerator=FPS, denominator=1),
            audio_format=expression_pb2.AudioFormat(
                encoding=expression_pb2.AUDIO_ENCODING_PCM_S16LE, sample_rate_hz=RATE_HZ
            ),
        )
    )


def _answer(item: Out, want_media: bool) -> pb.ConnectResponse | None:
    if isinstance(item, VideoOut):
        return pb.ConnectResponse(frame=_frame(item.frame)) if want_media else None
    if isinstance(item, AudioOut):
        return pb.ConnectResponse(audio=_audio(item)) if want_media else None
    if isinstance(item, SegmentEnd):
        played = pb.SegmentPlayed(
            segment=item.segment, played_ms=item.played_ms, interrupted=item.interrupted
        )
        return pb.ConnectResponse(segment_played=played)
    if isinstance(item, InterruptedOut):
        at = renderer_pb2.Interruption(resume_at=_time_code(item.frame))
        return pb.ConnectResponse(interrupted=at)
    assert isinstance(item, EndedOut)
    if not item.code:
        return None  # the caller left
    return pb.ConnectResponse(ended=pb.SessionEnded(reason=item.code, message=item.message))


def _frame(frame: Frame) -> renderer_pb2.EncodedFrame:
    return renderer_pb2.EncodedFrame(
        time_code=_time_code(frame.slot), data=frame.data, key_frame=frame.key
    )


def _audio(item: AudioOut) -> pb.PlayedAudio:
    time_us = item.index * BLOCK_MS * 1000
    time_code = types_pb2.TimeCode(frame=item.index // 2, time_us=time_us)
    return pb.PlayedAudio(time_code=time_code, pcm=item.pcm, opus=item.opus)


def _time_code(slot: int) -> types_pb2.TimeCode:
    return types_pb2.TimeCode(frame=slot, time_us=slot * _FRAME_US)


def _unexpected(wanted: str) -> InputError:
    return InputError(
        f"the stream does not hold {wanted}",
        reason="UNEXPECTED_MESSAGE",
        remedy="Send a header, then audio and control.",
    )
