"""Live sessions over WebRTC, with a peer connection of its own."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from array import array
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Any

import av
import httpx
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription
from gateway_suite import Json, bearer
from live_guests import (
    Guest,
    Picture,
    picture_of,
    tone,
)
from live_services import HUES


class Speech(MediaStreamTrack):
    """A microphone that hears a tone."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._sent = 0
        self._begin_s = time.monotonic()

    async def recv(self) -> av.AudioFrame:
        await asyncio.sleep(max(0.0, self._begin_s + self._sent / 48_000 - time.monotonic()))
        frame = av.AudioFrame("s16", "mono", 960)
        frame.planes[0].update(tone(0.02, 48_000))
        frame.sample_rate, frame.time_base, frame.pts = 48_000, Fraction(1, 48_000), self._sent
        self._sent += 960
        return frame


@dataclass
class Call:
    """A browser's side of a peer connection."""

    peer: RTCPeerConnection
    pictures: list[Picture] = field(default_factory=list)
    loud: list[float] = field(default_factory=list)
    news: list[Json] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def until(self, condition: Callable[[], bool], seconds: float = 300) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def watch(self, track: MediaStreamTrack) -> None:
        while True:
            frame: Any = await track.recv()
            if isinstance(frame, av.VideoFrame):
                self.pictures.append(picture_of(frame))
            elif max(map(abs, array("h", bytes(frame.planes[0])[: 4 * frame.samples]))) > 3000:
                self.loud.append(float(frame.time))
            self.changed.set()


@asynccontextmanager
async def calling(
    session: Json, microphone: MediaStreamTrack | None
) -> AsyncIterator[tuple[Call, Any]]:
    call = Call(RTCPeerConnection())
    call.peer.addTransceiver("video", direction="recvonly")
    if microphone is None:
        call.peer.addTransceiver("audio", direction="recvonly")
    else:
        call.peer.addTrack(microphone)
    channel = call.peer.createDataChannel("control")

    @channel.on("message")
    def on_message(message: str) -> None:
        call.news.append(json.loads(message))
        call.changed.set()

    @call.peer.on("track")
    def on_track(track: MediaStreamTrack) -> None:
        call.tasks.append(asyncio.create_task(call.watch(track)))

    await call.peer.setLocalDescription(await call.peer.createOffer())
    async with httpx.AsyncClient(headers=bearer(session["token"]), timeout=30) as http:
        offer = {"type": "offer", "sdp": call.peer.localDescription.sdp}
        answer = await http.post(session["webrtc_url"], json=offer)
        assert answer.status_code == 200, answer.text
    await call.peer.setRemoteDescription(RTCSessionDescription(**answer.json()))
    try:
        yield call, channel
    finally:
        for task in call.tasks:
            task.cancel()
        await call.peer.close()


def test_webrtc_shows_the_renderers_pictures_and_obeys_its_data_channel(guest: Guest) -> None:
    async def main() -> None:
        session = guest.open()
        async with calling(session, None) as (call, channel):
            await call.until(lambda: len(call.pictures) > 25)
            audio = {"type": "audio", "data": base64.b64encode(tone(4)).decode()}
            channel.send(json.dumps(audio))
            await call.until(lambda: bool(call.loud))
            await call.until(lambda: call.pictures[-1].loudness > 0.5)
            n = len(call.pictures)
            hues = [each.hue for each in call.pictures[-20:]]
            assert all(0 < (b - a) % HUES < HUES // 2 for a, b in pairwise(hues))  # in order
            channel.send(json.dumps({"type": "interrupt"}))
            await call.until(lambda: any(each["type"] == "interrupted" for each in call.news))
            await call.until(lambda: call.pictures[-1].loudness < 0.1)
            await call.until(lambda: len(call.pictures) > n + 50)
            assert all(each.loudness < 0.1 for each in call.pictures[-25:])
            assert any(each["type"] == "segment_end" and each["interrupted"] for each in call.news)

    asyncio.run(main())


def test_a_microphone_moves_the_face(guest: Guest) -> None:
    async def main() -> None:
        async with calling(guest.open(), Speech()) as (call, _):
            await call.until(lambda: sum(each.loudness > 0.5 for each in call.pictures) > 20)
            await call.until(lambda: len(call.loud) > 20)

    asyncio.run(main())


def test_an_offer_that_cannot_be_read_is_refused(guest: Guest) -> None:
    session = guest.open()
    offer = {"type": "offer", "sdp": "v=0\r\nnothing"}
    answer = httpx.post(session["webrtc_url"], json=offer, headers=bearer(session["token"]))
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "BAD_OFFER")
