"""A peer connection of its own to a session: real RTP over loopback, real H.264 and Opus."""

from __future__ import annotations

import asyncio
import json
from array import array
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import av
import pytest
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from h264_clips import Camera
from live_doubles import SUBJECT, FakeExpression, FakeRenderer, FakeRenderers, tone

from services.gateway.live.clock import SystemClock
from services.gateway.live.session import LiveSession
from services.gateway.live.settings import LiveSettings
from services.gateway.live.webrtc import Viewer
from synctalk.errors import InputError

# Machines that test are busy: what stands still for long is not broken.
SETTINGS = LiveSettings(stall_s=60, reconnect_s=600, idle_timeout_s=600)


@dataclass
class Peer:
    """A browser's side."""

    connection: RTCPeerConnection = field(default_factory=RTCPeerConnection)
    lumas: list[int] = field(default_factory=list)
    loud: int = 0
    news: list[dict[str, Any]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(300):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def watch(self, track: MediaStreamTrack) -> None:
        try:
            while True:
                frame: Any = await track.recv()
                if isinstance(frame, av.VideoFrame):
                    self.lumas.append(bytes(frame.planes[0])[0])
                else:
                    pcm = array("h", bytes(frame.planes[0])[: 4 * frame.samples])
                    self.loud += max(map(abs, pcm)) > 3000
                self.changed.set()
        except MediaStreamError:
            self.changed.set()


def drawing() -> Callable[[int, bool], bytes]:
    camera = Camera()
    return lambda loudness, key: camera.shoot(200 if loudness > 1000 else 40, key=key)[0]


@asynccontextmanager
async def connected(
    renderer: FakeRenderer | None = None,
) -> AsyncIterator[tuple[LiveSession, Peer, Any]]:
    renderer = renderer or FakeRenderer()
    renderer.latency_s, renderer.draw = 0.005, drawing()
    session = LiveSession(
        SUBJECT, FakeExpression(0.001), FakeRenderers(renderer), SETTINGS, SystemClock(),
        rate_hz=48_000,
    )  # fmt: skip
    await session.open()
    peer = Peer()
    peer.connection.addTransceiver("video", direction="recvonly")
    peer.connection.addTransceiver("audio", direction="recvonly")
    channel = peer.connection.createDataChannel("control")
    tasks = list[asyncio.Task[None]]()

    @channel.on("message")
    def on_message(message: str) -> None:
        peer.news.append(json.loads(message))
        peer.changed.set()

    @peer.connection.on("track")
    def on_track(track: MediaStreamTrack) -> None:
        tasks.append(asyncio.create_task(peer.watch(track)))

    await peer.connection.setLocalDescription(await peer.connection.createOffer())
    answer = await Viewer(session, ()).answer(peer.connection.localDescription.sdp)
    await peer.connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    try:
        yield session, peer, channel
    finally:
        await session.end("TEST", "over")
        await peer.connection.close()
        await asyncio.gather(*tasks)


def test_a_peer_sees_and_hears_what_its_data_channel_says() -> None:
    async def main() -> None:
        async with connected() as (session, peer, channel):
            await peer.until(lambda: len(peer.lumas) > 10)
            assert max(peer.lumas) < 60
            speech = {"type": "audio", "data": b64encode(tone(1)).decode()}
            for _ in range(4):  # a message has at most 256 KiB
                channel.send(json.dumps(speech))
            await peer.until(lambda: peer.lumas[-1] > 150 and peer.loud > 5)
            channel.send(json.dumps({"type": "interrupt"}))
            await peer.until(lambda: any(each["type"] == "interrupted" for each in peer.news))
            await peer.until(lambda: peer.lumas[-1] < 60)
            assert not session.speaking
            kinds = {each["type"] for each in peer.news}
            assert {"ready", "segment_end"} <= kinds

    asyncio.run(main())


def test_a_peer_that_lost_a_picture_gets_a_key_frame() -> None:
    async def main() -> None:
        renderer = FakeRenderer()
        async with connected(renderer) as (_, peer, _):
            await peer.until(lambda: len(peer.lumas) > 2)
            before = renderer.key_requests
            receivers = (each.receiver for each in peer.connection.getTransceivers())
            (receiver,) = (each for each in receivers if each.track.kind == "video")
            (ssrc,) = receiver._RTCRtpReceiver__remote_streams  # type: ignore[attr-defined]
            await receiver._send_rtcp_pli(ssrc)
            await peer.until(lambda: renderer.key_requests > before)

    asyncio.run(main())


def test_an_offer_without_h264_is_refused() -> None:
    async def main() -> None:
        session = LiveSession(
            SUBJECT, FakeExpression(), FakeRenderers(FakeRenderer()), SETTINGS, SystemClock()
        )
        await session.open()
        peer = RTCPeerConnection()
        peer.addTransceiver("video", direction="recvonly")
        offer = (await peer.createOffer()).sdp.replace("H264/90000", "H265/90000")
        with pytest.raises(InputError) as refused:
            await Viewer(session, ()).answer(offer)
        assert refused.value.reason == "BAD_OFFER"
        await peer.close()
        await session.end("TEST", "over")

    asyncio.run(main())
