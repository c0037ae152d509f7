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
