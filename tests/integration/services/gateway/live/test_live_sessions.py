"""Live sessions as their users meet them: REST, WebSocket and gRPC of a real gateway."""

from __future__ import annotations

import asyncio
import base64
import json
from array import array
from collections.abc import AsyncIterator
from itertools import pairwise

import grpc
import pytest
from gateway_suite import client
from live_guests import (
    RATE_HZ,
    Guest,
    Stream,
    missing,
    start_renderer,
    streaming,
    tone,
)
from live_services import HUES

from services.common.rpc.errors import from_rpc_error
from services.gen.avatar.v1 import expression_pb2, session_pb2
from services.gen.avatar.v1.session_pb2_grpc import SessionServiceStub


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
            pictures = stream.pictures()
            assert missing([each.slot for each in pictures]) <= guest.skipped(session)
            spoken = sum(each.loudness > 0.5 for each in pictures)
            stages = {each["stage"]: each for each in details["trace"]}
            assert stages["total"]["count"] >= stages["render"]["count"] >= spoken > 0
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
    loud_s = stream.loud_s()
    assert 0.9 <= loud_s[-1] - loud_s[0] <= 1.02
    for picture in stream.pictures():
        assert picture.hue == picture.slot % HUES
        begin_s, end_s = picture.slot / 25, (picture.slot + 1) / 25
        if loud_s[0] + 0.04 < begin_s and end_s < loud_s[-1] - 0.02:
            assert picture.loudness > 0.5
        elif end_s < loud_s[0] - 0.04 or begin_s > loud_s[-1] + 0.06:
            assert picture.loudness < 0.1


def test_an_interruption_is_heard_and_seen_at_once(guest: Guest) -> None:
    async def main() -> tuple[Stream, int]:
        session = guest.open()
        async with streaming(session) as stream:
            await stream.socket.send(tone(20))
            await stream.until(lambda: len(stream.media) > 0 and stream.has("stats"))
            answer = guest.http.post(f"/v1/sessions/{session['id']}/interrupt")
            frame = answer.json()["frame"]
            while not (stream.has("interrupted") and stream.pictures()[-1].slot > frame + 10):
                await stream.further()
            return stream, frame

    stream, frame = asyncio.run(main())
    after = [each for each in stream.pictures() if each.slot > frame + 1]
    assert all(each.loudness < 0.1 for each in after)
    assert max(stream.loud_s()) * 25 <= frame
    assert stream.news[-1]["type"] in ("stats", "interrupted")


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
            assert missing(slots) <= guest.skipped(session)
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
            assert all(each.hue == each.slot % HUES for each in pictures)

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
                while len(shown_by(one)) + len(shown_by(two)) < 3:
                    await one.further()
                    await two.further()
                for stream, session in zip((one, two), opened, strict=True):
                    found = http.get(f"/v1/sessions/{session['id']}").json()["counters"]
                    assert found["moves"] == len(shown_by(stream)) - 1
                    slots = [each.slot for each in stream.pictures()]
                    assert missing(slots) <= found["skipped_frames"]
                    gaps = [b - a for a, b in pairwise(stream.loud_s())]
                    assert max(gaps) < 0.05  # sound goes on
        for service in (gateway, spare):
            service.process.terminate()
            service.process.wait(20)

    asyncio.run(main())


def shown_by(stream: Stream) -> set[int]:
    """Which of the renderers have drawn its pictures."""
    return {each.redness // 100 for each in stream.pictures()}
