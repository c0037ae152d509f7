"""A session over WebRTC: the renderer's H.264 as it is, Opus, a microphone, a data channel.

aiortc carries packets that are encoded already, and asks nobody for a key frame when a viewer has
lost one: its sender's method for that is replaced.
"""

from __future__ import annotations

import asyncio
import contextlib
from fractions import Fraction
from typing import Any

import av
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCDataChannel,
    RTCIceServer,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError

from services.common import logs
from services.gateway.live import metrics
from services.gateway.live.fmp4 import VIDEO_HZ
from services.gateway.live.news import Speedometer, ToClient, listen, news_of, obey, ready
from services.gateway.live.session import AudioOut, LiveSession, Out, Subscription, VideoOut
from services.gateway.live.settings import IceServer
from services.gateway.live.sound import BLOCK_SAMPLES, RATE_HZ, Resampler
from services.gateway.live.timeline import FPS
from synctalk.errors import InputError, SyncTalkError

log = logs.logger(__name__)
_CONNECT_S = 30.0
_BEHIND = 500
_H264 = "video/h264"


class OutTrack(MediaStreamTrack):
    """Packets that are encoded already, in the order in which they are put here."""

    def __init__(self, kind: str, rate_hz: int) -> None:
        super().__init__()
        self.kind = kind
        self._time_base = Fraction(1, rate_hz)
        self._queue: asyncio.Queue[tuple[int, bytes] | None] = asyncio.Queue(_BEHIND)

    def put(self, pts: int, data: bytes) -> None:
        """Send a packet at ``pts``; one that nobody fetches is left out."""
        with contextlib.suppress(asyncio.QueueFull):
            self._queue.put_nowait((pts, data))

    async def recv(self) -> av.Packet[Any]:
        """The next packet."""
        pts, data = await self._next()
        packet = av.Packet(data)
        packet.pts = packet.dts = pts
        packet.time_base = self._time_base
        return packet

    async def _next(self) -> tuple[int, bytes]:
        if self.readyState != "live" or (item := await self._queue.get()) is None:
            raise MediaStreamError
        return item


class Viewer:
    """One peer connection."""

    def __init__(self, session: LiveSession, ice_servers: tuple[IceServer, ...]) -> None:
        self._session = session
        self._peer = RTCPeerConnection(RTCConfiguration([_ice(each) for each in ice_servers]))
        self._video, self._audio = OutTrack("video", VIDEO_HZ), OutTrack("audio", RATE_HZ)
        self._channels: list[RTCDataChannel] = []
        self._speed = Speedometer(session)
        self._connected, self._gone = asyncio.Event(), asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._peer.on("connectionstatechange", self._on_state)
        self._peer.on("track", self._on_track)
        self._peer.on("datachannel", self._on_channel)

    async def answer(self, offer: str) -> str:
        """SDP for SDP; the connection is then served until it or the session ends.

        Raises:
            InputError: the offer cannot be read, or has no H.264.
        """
        try:
            self._add_tracks()  # first: codecs are chosen when the offer is read
            await self._peer.setRemoteDescription(RTCSessionDescription(offer, "offer"))
            await self._peer.setLocalDescription(await self._peer.createAnswer())
        except Exception as error:
            await self._peer.close()
            log.info("offer refused", error=repr(error))
            raise InputError(
                "the offer cannot be answered",
                reason="BAD_OFFER",
                remedy="Send the SDP of a browser's offer, with H.264 and Opus among its codecs.",
            ) from None
        self._spawn(self._serve())
        return str(self._peer.localDescription.sdp)

    def _add_tracks(self) -> None:
        sender: Any = self._peer.addTrack(self._video)
        sender._send_keyframe = self._session.request_key_frame
        self._peer.addTrack(self._audio)
        (transceiver,) = (each for each in self._peer.getTransceivers() if each.sender is sender)
        codecs = RTCRtpSender.getCapabilities("video").codecs
        transceiver.setCodecPreferences(
            [codec for codec in codecs if codec.mimeType.lower() in (_H264, "video/rtx")]
        )

    async def _serve(self) -> None:
        try:
            async with asyncio.timeout(_CONNECT_S):
                await self._first(self._connected, self._gone)
            if not self._gone.is_set():
                with (
                    metrics.CONNECTIONS.labels("webrtc").track_inprogress(),
                    self._session.subscribed() as view,
                ):
                    await self._pass_on(view)
        except TimeoutError:
            log.info("peer never connected", session=self._session.subject.session)
        finally:
            await self._close()

    async def _pass_on(self, view: Subscription) -> None:
        gone = asyncio.create_task(self._gone.wait())
        sending = asyncio.create_task(self._send_all(view))
        try:
            await asyncio.wait((gone, sending), return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            sending.cancel()
            await asyncio.wait((gone, sending))

    async def _send_all(self, view: Subscription) -> None:
        async for item in view:
            self._send(item)

    def _send(self, item: Out) -> None:
        if isinstance(item, VideoOut):
            self._video.put(item.frame.slot * (VIDEO_HZ // FPS), item.frame.data)
        elif isinstance(item, AudioOut):
            self._audio.put(item.index * BLOCK_SAMPLES, item.opus)
            self._tell(self._speed.tick())
        else:
            self._tell(news_of(item))

    def _tell(self, news: ToClient | None) -> None:
        for channel in self._channels:
            if news is not None and channel.readyState == "open":
                channel.send(news.model_dump_json())

    def _on_state(self) -> None:
        if self._peer.connectionState == "connected":
            self._connected.set()
        elif self._peer.connectionState in ("failed", "closed"):
            self._gone.set()

    def _on_track(self, track: MediaStreamTrack) -> None:
        if track.kind == "audio":
            self._spawn(self._hear(track))

    def _on_channel(self, channel: RTCDataChannel) -> None:
        self._channels.append(channel)
        channel.on("message", lambda message: self._spawn(self._obey(channel, message)))
        self._tell(ready(self._session, None))

    async def _obey(self, channel: RTCDataChannel, message: str | bytes) -> None:
        if isinstance(message, bytes):
            answer = listen(self._session, message)
        else:
            answer = await obey(self._session, message)
        if answer is not None:
            channel.send(answer.model_dump_json())

    async def _hear(self, microphone: MediaStreamTrack) -> None:
        resampler = Resampler(RATE_HZ)
        with contextlib.suppress(MediaStreamError):
            while True:
                frame = await microphone.recv()
                assert isinstance(frame, av.AudioFrame)
                with contextlib.suppress(SyncTalkError):  # no room: it is live, it may be lost
                    self._session.push_live(resampler.push_frame(frame))

    async def _close(self) -> None:
        await self._peer.close()
        for track in (self._video, self._audio):
            track.stop()
        current = asyncio.current_task()
        for task in self._tasks:
            if task is not current:
                task.cancel()

    @staticmethod
    async def _first(*events: asyncio.Event) -> None:
        waiting = {asyncio.create_task(event.wait()) for event in events}
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _ice(server: IceServer) -> RTCIceServer:
    return RTCIceServer(
        urls=list(server.urls),
        username=server.username or None,
        credential=server.credential.get_secret_value() or None,
    )
