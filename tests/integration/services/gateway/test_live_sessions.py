"""Live sessions as their users meet them: REST, WebSocket, WebRTC and gRPC of a real gateway."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import time
from array import array
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Any

import av
import grpc
import httpx
import pytest
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription
from gateway_suite import House, Json, Tenant, bearer, client
from live_services import HUES
from suite import RunningService
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from services.common.rpc.errors import from_rpc_error
from services.gen.avatar.v1 import expression_pb2, session_pb2
from services.gen.avatar.v1.session_pb2_grpc import SessionServiceStub

RATE_HZ = 16_000
# Machines that test are busy: what stands still for long is not broken.
LIVE = {
    "quota_sessions": 20, "reconnect_s": 600, "stall_s": 60, "idle_timeout_s": 3000
}  # fmt: skip


def tone(seconds: float, rate_hz: int = RATE_HZ, level: int = 8000) -> bytes:
    half = rate_hz // 500
    n = round(seconds * rate_hz)
    return array("h", [level if i // half % 2 else -level for i in range(n)]).tobytes()


@dataclass
class Stage:
    """A gateway with two renderers, and a tenant with an avatar that is ready."""

    house: House
    gateway: RunningService
    renderers: list[RunningService]
    settings: dict[str, object]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.gateway.ports['port']}"

    def http(self, tenant: Tenant) -> httpx.Client:
        return client(self.url, tenant.http.headers["Authorization"].removeprefix("Bearer "))


@pytest.fixture(scope="module")
def stage(house: House) -> Iterator[Stage]:
    renderers = [start_renderer(house, redness) for redness in (80, 180)]
    settings = {
        **house.settings,
        "EXPRESSION_TARGET": renderers[0].target,
        "RENDERER_TARGETS": [each.target for each in renderers],
        "LIVE": LIVE,
    }
    gateway = house.suite.start("services.gateway", **settings)
    yield Stage(house, gateway, renderers, settings)
    for service in (gateway, *renderers):
        service.process.terminate()
        service.process.wait(20)


def start_renderer(house: House, redness: int, places: int = 100) -> RunningService:
    module = "tests.integration.services.gateway.live_services"
    return house.suite.start(module, REDNESS=str(redness), PLACES=str(places))


@dataclass
class Guest:
    """A tenant's client of the stage's gateway."""

    stage: Stage
    tenant: Tenant
    avatar: Json
    http: httpx.Client

    def open(self, **wishes: object) -> Json:
        body = {"avatar": self.avatar["id"], "sample_rate_hz": RATE_HZ, **wishes}
        answer = self.http.post("/v1/sessions", json=body)
        assert answer.status_code == 201, answer.text
        session: Json = answer.json()
        return session

    def look(self, session: Json) -> Json:
        answer = self.http.get(f"/v1/sessions/{session['id']}")
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found


@pytest.fixture
def guest(stage: Stage, tenant: Tenant) -> Iterator[Guest]:
    with stage.http(tenant) as http:
        yield Guest(stage, tenant, tenant.ready_avatar(), http)


@dataclass
class Picture:
    slot: float
    loudness: float
    hue: int
    redness: int


@dataclass
class Stream:
    """What came over one WebSocket."""

    socket: ClientConnection
    media: bytearray = field(default_factory=bytearray)
    news: list[Json] = field(default_factory=list)

    async def until(self, condition: Callable[[], bool], seconds: float = 300) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                message = await self.socket.recv()
                if isinstance(message, bytes):
                    self.media += message
                else:
                    self.news.append(json.loads(message))

    def has(self, kind: str) -> bool:
        return any(each["type"] == kind for each in self.news)

    def pictures(self) -> list[Picture]:
        with av.open(io.BytesIO(self.media)) as container:
            return [
                picture_of(frame, float(frame.time) * 25) for frame in container.decode(video=0)
            ]

    def loud_s(self) -> list[float]:
        """Times of the session at which something is heard."""
        with av.open(io.BytesIO(self.media)) as container:
            return [
                float(part.time)
                for part in container.decode(audio=0)
                if max(map(abs, array("f", bytes(part.planes[0])))) > 0.1
            ]


def picture_of(frame: av.VideoFrame, slot: float) -> Picture:
    luma, blue, red = (bytes(plane)[0] for plane in frame.planes)
    return Picture(slot, (luma - 40) / 160, round((blue - 28) / 4), red)


@asynccontextmanager
async def streaming(session: Json, media: str = "fmp4") -> AsyncIterator[Stream]:
    url = f"{session['websocket_url']}?token={session['token']}&media={media}"
    async with connect(url, max_size=None) as socket:
        yield Stream(socket)


def test_a_websocket_gets_media_whose_picture_and_sound_belong_together(guest: Guest) -> None:
    async def main() -> Stream:
        session = guest.open(width_px=96, height_px=64)
        assert (session["width_px"], session["height_px"], session["state"]) == (96, 64, "waiting")
        async with streaming(session) as stream:
            await stream.until(lambda: stream.has("stats"))
            assert guest.look(session)["state"] == "connected"
            await stream.socket.send(tone(0.5))
            audio = {"type": "audio", "data": base64.b64encode(tone(0.5)).decode()}
            await stream.socket.send(json.dumps(audio))
            await stream.socket.send(json.dumps({"type": "segment_end"}))
            await stream.until(lambda: stream.has("segment_end"))
            n_stats = sum(each["type"] == "stats" for each in stream.news) + 1
            await stream.until(
                lambda: sum(each["type"] == "stats" for each in stream.news) > n_stats
            )
            details = guest.look(session)
            stages = {each["stage"]: each for each in details["trace"]}
            assert stages["total"]["count"] >= 20
            assert stages["render"]["count"] >= 20
            await stream.socket.send(json.dumps({"type": "end"}))
            await stream.until(lambda: stream.has("ended"))
            return stream

    stream = asyncio.run(main())
    ready = stream.news[0]
    assert ready["type"] == "ready"
    assert ready["mime"].startswith('video/mp4; codecs="avc1.42')
    (ended,) = (each for each in stream.news if each["type"] == "segment_end")
    assert ended == {
        "type": "segment_end", "segment": 1, "played_ms": 1000, "interrupted": False
    }  # fmt: skip
    pictures = stream.pictures()
    slots = [round(each.slot) for each in pictures]
    assert slots == list(range(slots[0], slots[0] + len(slots)))
    assert all(each.hue == round(each.slot) % HUES for each in pictures)
    bright_s = [each.slot / 25 for each in pictures if each.loudness > 0.5]
    loud_s = stream.loud_s()
    middle_seen_s = (bright_s[0] + bright_s[-1] + 0.04) / 2
    middle_heard_s = (loud_s[0] + loud_s[-1] + 0.02) / 2
    assert abs(middle_seen_s - middle_heard_s) < 0.04
    assert 0.9 <= loud_s[-1] - loud_s[0] <= 1.02


def test_an_interruption_is_heard_and_seen_at_once(guest: Guest) -> None:
    async def main() -> tuple[Stream, int]:
        session = guest.open()
        async with streaming(session) as stream:
            await stream.socket.send(tone(20))
            await stream.until(lambda: len(stream.media) > 0 and stream.has("stats"))
            answer = guest.http.post(f"/v1/sessions/{session['id']}/interrupt")
            n_stats = len(stream.news) + 2
            await stream.until(lambda: stream.has("interrupted") and len(stream.news) > n_stats)
            return stream, answer.json()["frame"]

    stream, frame = asyncio.run(main())
    dark = [each for each in stream.pictures() if round(each.slot) > frame + 1]
    assert dark
    assert all(each.loudness < 0.1 for each in dark)
    assert max(stream.loud_s()) * 25 <= frame
    assert stream.news[-1]["type"] in ("stats", "interrupted")


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
                self.pictures.append(picture_of(frame, float(frame.time)))
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
            assert all((b - a) % HUES == 1 for a, b in pairwise(hues))
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


def test_backends_speak_grpc(guest: Guest) -> None:
    async def main() -> None:
        session = guest.open()
        target = f"127.0.0.1:{guest.stage.gateway.ports['grpc_port']}"
        async with grpc.aio.insecure_channel(target) as channel:
            stub = SessionServiceStub(channel)
            said = asyncio.Event()

            async def requests(token: str) -> AsyncIterator[session_pb2.ConnectRequest]:
                header = session_pb2.ConnectRequestHeader(
                    session=session["id"], token=token, want_media=True
                )
                yield session_pb2.ConnectRequest(header=header)
                if token != session["token"]:
                    return  # a write that comes after the refusal would hide it from grpc.aio
                yield session_pb2.ConnectRequest(audio=expression_pb2.AudioChunk(data=tone(0.4)))
                yield session_pb2.ConnectRequest(end_of_segment=session_pb2.EndOfSegment())
                await said.wait()

            slots, loud, first = list[int](), 0, ""
            async for answer in stub.Connect(requests(session["token"]), timeout=60):
                kind = answer.WhichOneof("message") or ""
                first = first or kind
                if kind == "frame":
                    assert slots or answer.frame.key_frame
                    slots.append(answer.frame.time_code.frame)
                elif kind == "audio":
                    assert len(answer.audio.pcm) == 1920
                    loud += max(array("h", answer.audio.pcm)) > 3000
                elif kind == "segment_played":
                    assert answer.segment_played.played_ms == 400
                    said.set()
            assert first == "header"
            assert slots == list(range(slots[0], slots[0] + len(slots)))
            assert 20 <= loud <= 22
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                async for _ in stub.Connect(requests("avs_wrong"), timeout=60):
                    pass
            assert from_rpc_error(refused.value).reason == "INVALID_SESSION_TOKEN"
            assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
        assert guest.look(session)["state"] == "waiting"

    asyncio.run(main())


def test_a_connection_that_broke_comes_back_to_the_same_session(guest: Guest) -> None:
    async def main() -> None:
        session = guest.open()
        async with streaming(session) as stream:
            await stream.until(lambda: stream.has("stats"))
            last = stream.pictures()[-1].slot
            stream.socket.transport.abort()
        async with streaming(session) as stream:
            await stream.until(lambda: stream.has("stats"))
            pictures = stream.pictures()
            assert pictures[0].slot > last
            assert all(each.hue == round(each.slot) % HUES for each in pictures)

    asyncio.run(main())


def test_a_killed_renderer_costs_a_session_a_moment_and_others_nothing(guest: Guest) -> None:
    async def main() -> None:
        doomed = start_renderer(guest.stage.house, 30)
        spare = start_renderer(guest.stage.house, 220)
        settings = {**guest.stage.settings, "RENDERER_TARGETS": [doomed.target, spare.target]}
        gateway = guest.stage.house.suite.start("services.gateway", **settings)
        url = f"http://127.0.0.1:{gateway.ports['port']}"
        key = guest.tenant.http.headers["Authorization"].removeprefix("Bearer ")
        with client(url, key) as http:
            body = {"avatar": guest.avatar["id"], "sample_rate_hz": RATE_HZ}
            opened = [http.post("/v1/sessions", json=body).json() for _ in range(2)]
            async with streaming(opened[0]) as one, streaming(opened[1]) as two:
                await one.socket.send(tone(6))
                await two.socket.send(tone(6))
                await one.until(lambda: one.has("stats"))
                await two.until(lambda: two.has("stats"))
                doomed.kill()
                for stream in (one, two):
                    n = len(stream.news)
                    await stream.until(lambda s=stream, n=n: len(s.news) > n + 3)  # type: ignore[misc]
                reds = [
                    {each.redness // 100 for each in stream.pictures()} for stream in (one, two)
                ]
                assert sorted(map(len, reds)) == [1, 2]
                moved = [one, two][[len(each) for each in reds].index(2)]
                stayed = two if moved is one else one
                slots = [round(each.slot) for each in moved.pictures()]
                assert slots[-1] - slots[0] < len(slots) + 50  # at most 2 s were not drawn
                slots = [round(each.slot) for each in stayed.pictures()]
                assert slots == list(range(slots[0], slots[0] + len(slots)))
                for stream in (one, two):
                    loud = stream.loud_s()
                    gaps = [b - a for a, b in pairwise(loud)]
                    assert max(gaps) < 0.05  # sound goes on
            moves = [http.get(f"/v1/sessions/{each['id']}").json()["counters"] for each in opened]
            assert sorted(each["moves"] for each in moves) == [0, 1]
        for service in (gateway, spare):
            service.process.terminate()
            service.process.wait(20)

    asyncio.run(main())


def test_limits_refuse_with_a_reason(guest: Guest) -> None:
    full = start_renderer(guest.stage.house, 30, places=1)
    settings = {
        **guest.stage.settings, "RENDERER_TARGETS": [full.target],
        "LIVE": {**LIVE, "quota_sessions": 2, "max_sessions": 3},
    }  # fmt: skip
    with guest.stage.house.another_gateway(**settings) as url:
        key = guest.tenant.http.headers["Authorization"].removeprefix("Bearer ")
        with client(url, key) as http:
            body = {"avatar": guest.avatar["id"]}
            first = http.post("/v1/sessions", json=body)
            assert first.status_code == 201, first.text
            refused = http.post("/v1/sessions", json=body)
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "RENDERER_FULL")
            assert int(refused.headers["Retry-After"]) > 0
            assert len(http.get("/v1/sessions").json()["data"]) == 1
            guest.open()
            refused = http.post("/v1/sessions", json=body)
            assert (refused.status_code, refused.json()["error"]["code"]) == (429, "QUOTA_SESSIONS")
            unready = guest.tenant.new_avatar(refuse=True)
            refused = http.post("/v1/sessions", json={"avatar": unready["id"]})
            assert (refused.status_code, refused.json()["error"]["code"]) == (
                409, "AVATAR_NOT_READY",
            )  # fmt: skip
    full.process.terminate()
    full.process.wait(20)


def test_without_its_services_a_gateway_says_so(guest: Guest) -> None:
    answer = guest.tenant.http.post("/v1/sessions", json={"avatar": guest.avatar["id"]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "LIVE_NOT_CONFIGURED")


def test_another_gateway_says_who_has_the_session_and_may_end_it(guest: Guest) -> None:
    async def main() -> None:
        session = guest.open()
        path = f"/v1/sessions/{session['id']}"
        with guest.stage.house.another_gateway(**guest.stage.settings) as url:
            key = guest.tenant.http.headers["Authorization"].removeprefix("Bearer ")
            with client(url, key) as http:
                elsewhere = http.get(path)
                assert elsewhere.status_code == 421
                assert elsewhere.json()["error"]["code"] == "SESSION_ELSEWHERE"
                assert elsewhere.headers["Location"] == session["url"]
                assert [each["id"] for each in http.get("/v1/sessions").json()["data"]] == [
                    session["id"]
                ]
                wrong = f"ws{url.removeprefix('http')}{path}/stream?token={session['token']}"
                async with connect(wrong) as socket:
                    await socket.recv()
                    with pytest.raises(ConnectionClosed) as closed:
                        await socket.recv()
                assert closed.value.rcvd is not None
                assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (
                    4421, session["websocket_url"],
                )  # fmt: skip
                async with streaming(session) as stream:
                    assert http.delete(path).status_code == 204
                    await stream.until(lambda: stream.has("ended"))
                    assert stream.news[-1]["code"] == "DELETED"
            assert guest.http.get(path).status_code == 404

    asyncio.run(main())


def test_erasing_an_avatar_ends_its_sessions(guest: Guest) -> None:
    async def main() -> None:
        session = guest.open()
        async with streaming(session) as stream:
            await stream.until(lambda: stream.has("ready"))
            guest.tenant.delete(f"/v1/avatars/{guest.avatar['id']}")
            await stream.until(lambda: stream.has("ended"))
            assert stream.news[-1]["code"] == "AVATAR_ERASED"
        refused = guest.http.post("/v1/sessions", json={"avatar": guest.avatar["id"]})
        assert refused.json()["error"]["code"] == "AVATAR_NOT_FOUND"

    asyncio.run(main())


def test_a_token_opens_its_own_session_and_nothing_else(guest: Guest) -> None:
    one, two = guest.open(), guest.open()
    with client(guest.stage.url, one["token"]) as http:
        assert http.get(f"/v1/sessions/{one['id']}").status_code == 200
        assert http.post(f"/v1/sessions/{one['id']}/keep_alive").status_code == 200
        for path in (f"/v1/sessions/{two['id']}", "/v1/sessions", "/v1/avatars", "/v1/keys"):
            refused = http.get(path)
            assert refused.status_code == 403, path
        assert http.delete(f"/v1/sessions/{one['id']}").status_code == 204
        assert http.get(f"/v1/sessions/{one['id']}").status_code == 401  # the token went with it


def test_a_token_ends_when_nobody_uses_it(guest: Guest) -> None:
    async def refused(session: Json) -> Json:
        async with streaming(session) as stream:
            message: Json = json.loads(await stream.socket.recv())
            return message

    settings = {**guest.stage.settings, "LIVE": {**LIVE, "token_s": 1}}
    with guest.stage.house.another_gateway(**settings) as url:
        key = guest.tenant.http.headers["Authorization"].removeprefix("Bearer ")
        with client(url, key) as http:
            session = http.post("/v1/sessions", json={"avatar": guest.avatar["id"]}).json()
            deadline = time.monotonic() + 20
            with client(url, session["token"]) as mine:
                while mine.get("/v1/me").status_code == 403:
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
            message = asyncio.run(refused(session))
            assert message["code"] == "INVALID_SESSION_TOKEN"
            assert http.get(f"/v1/sessions/{session['id']}").status_code == 200


def test_a_repeated_request_opens_one_session_with_a_token_that_works(guest: Guest) -> None:
    body = {"avatar": guest.avatar["id"]}
    headers = {"Idempotency-Key": "once"}
    first, second = (
        guest.http.post("/v1/sessions", json=body, headers=headers).json() for _ in range(2)
    )
    assert first["id"] == second["id"]
    assert len(guest.http.get("/v1/sessions").json()["data"]) == 1
    with client(guest.stage.url, second["token"]) as http:
        assert http.get(f"/v1/sessions/{first['id']}").status_code == 200


def test_a_gateway_that_stops_tells_its_sessions(guest: Guest) -> None:
    async def main() -> None:
        service = guest.stage.house.suite.start("services.gateway", **guest.stage.settings)
        url = f"http://127.0.0.1:{service.ports['port']}"
        key = guest.tenant.http.headers["Authorization"].removeprefix("Bearer ")
        with client(url, key) as http:
            session = http.post("/v1/sessions", json={"avatar": guest.avatar["id"]}).json()
        async with streaming(session) as stream:
            await stream.until(lambda: stream.has("ready"))
            service.process.terminate()
            await stream.until(lambda: stream.has("ended"))
            assert stream.news[-1]["code"] == "STOPPING"
        assert await asyncio.to_thread(service.process.wait, 20) == 0
        assert guest.http.get(f"/v1/sessions/{session['id']}").status_code == 404

    asyncio.run(main())
