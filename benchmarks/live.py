"""Live sessions through the gateway: frames a second, milliseconds by stage, cost of a session.

    python benchmarks/live.py [AVATAR] [--seconds 60] [--only session scale drift]

*session*: one session at a time, 256 and 512 high, through gateway, expression service and a
renderer, all on this machine; the sample speech goes in by WebSocket in chunks of 40 ms, as a voice
comes, and fragmented MP4 comes out. AVATAR is a trained avatar's folder; without it a small one
of the sample is trained. Also: how long after an interruption the last sound left.

*scale*: 50 sessions in which nothing is said and 5 in which somebody speaks, all watched by
WebSocket, with a stand-in for renderer and expression: CPU and memory of the gateway.

*drift*: 30 minutes of a session on an accelerated clock, with real encoders, read back from its
fragmented MP4: how far picture and sound are apart at the end.

Writes benchmarks/results/live_{part}.json, or --out.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import sys
import tempfile
import time
import wave
from array import array
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import av
import httpx
from pydantic import SecretStr
from redis.asyncio import Redis
from websockets.asyncio.client import connect

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests"
sys.path[:0] = [
    str(TESTS), str(TESTS / "e2e"), str(TESTS / "integration" / "services"),
    str(TESTS / "unit" / "services" / "gateway" / "live"),
]  # fmt: skip

from h264_clips import Camera  # noqa: E402
from harness import cpu_and_rss  # noqa: E402
from live_doubles import (  # noqa: E402
    SUBJECT,
    FakeExpression,
    FakeRenderer,
    FakeRenderers,
    run,
    tone,
)
from suite import RunningService, Suite  # noqa: E402
from tiny import make_tiny_subject  # noqa: E402

from services.common.artifacts import ArtifactRef, upload_folder  # noqa: E402
from services.common.jobs import connect as connect_redis  # noqa: E402
from services.common.local import LocalServers  # noqa: E402
from services.common.settings import StorageSettings  # noqa: E402
from services.common.storage import ObjectRef, ObjectStore  # noqa: E402
from services.gateway.core import Tables  # noqa: E402
from services.gateway.live.clock import SystemClock  # noqa: E402
from services.gateway.live.fmp4 import FragmentWriter  # noqa: E402
from services.gateway.live.frames import Frame  # noqa: E402
from services.gateway.live.session import AudioOut, LiveSession, VideoOut  # noqa: E402
from services.gateway.live.settings import LiveSettings  # noqa: E402
from services.gateway.model import AvatarRecord, ConsentRecord, now_s  # noqa: E402
from synctalk.evaluation.machine import describe_machine  # noqa: E402

SPEECH = ROOT / "samples" / "speech.wav"
FAKE = "tests.integration.services.gateway.live_services"
OPERATOR = "the operator's key of this benchmark"
HEIGHTS = (256, 512)
CHUNK_S = 0.04
DRIFT_S = 30 * 60


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@dataclass
class House:
    """Servers, and services that are started on them."""

    servers: LocalServers
    suite: Suite
    store: ObjectStore
    key: str = ""
    url: str = ""

    def start_gateway(self, expression: RunningService, renderer: RunningService) -> RunningService:
        nobody = "127.0.0.1:9"
        gateway = self.suite.start(
            "services.gateway", BOOTSTRAP_KEY=OPERATOR, PREPROCESS_TARGET=nobody,
            TRAINER_TARGET=nobody, EXPRESSION_TARGET=expression.target,
            RENDERER_TARGETS=[renderer.target], RATE_PER_S=10_000, RATE_BURST=10_000,
            LIVE={"quota_sessions": 100, "max_sessions": 100, "reconnect_s": 600},
        )  # fmt: skip
        self.url = f"http://127.0.0.1:{gateway.ports['port']}"
        body = {"tenant": "bench", "name": "bench", "role": "admin"}
        answer = httpx.post(f"{self.url}/v1/keys", json=body, headers=bearer(OPERATOR))
        self.key = answer.json()["key"]
        return gateway

    def put_avatar(self, bundle: ArtifactRef) -> str:
        """An avatar that is ready, without the way there."""
        asyncio.run(self._put_avatar(bundle))
        return "av_bench"

    async def _put_avatar(self, bundle: ArtifactRef) -> None:
        async with connect_redis(self.servers.state.redis_url) as redis:
            assert isinstance(redis, Redis)
            tables, now = Tables(redis), now_s()
            consent = ConsentRecord(
                id="con_bench", tenant="bench", created_s=now, subject_name="nobody",
                statement="", granted_by="nobody", expires_s=None,
            )  # fmt: skip
            await tables.consents.create(consent)
            avatar = AvatarRecord(
                id="av_bench", tenant="bench", created_s=now, updated_s=now, name="bench",
                video="up_none", consent=consent.id, preset="standard", size_px=512,
                phase="ready", version=1, bundle=bundle,
            )  # fmt: skip
            await tables.avatars.create(avatar)

    async def open(self, **wishes: object) -> dict[str, Any]:
        async with httpx.AsyncClient(headers=bearer(self.key), timeout=120) as http:
            answer = await http.post(f"{self.url}/v1/sessions", json=wishes)
            assert answer.is_success, answer.text
            session: dict[str, Any] = answer.json()
            return session

    async def look(self, session: dict[str, Any]) -> dict[str, Any]:
        async with httpx.AsyncClient(headers=bearer(self.key), timeout=30) as http:
            found: dict[str, Any] = (await http.get(session["url"])).json()
            return found

    async def end(self, session: dict[str, Any]) -> None:
        async with httpx.AsyncClient(headers=bearer(self.key), timeout=30) as http:
            await http.delete(session["url"])


@contextmanager
def open_house(folder: Path) -> Iterator[House]:
    with LocalServers.start(folder / "servers") as servers:
        state = servers.state
        store = ObjectStore(
            StorageSettings(
                url=state.s3_url,
                access_key=SecretStr(state.access_key),
                secret_key=SecretStr(state.secret_key),
            )
        )
        store.ensure_bucket()
        (folder / "logs").mkdir()
        suite = Suite(servers, folder / "logs")
        try:
            yield House(servers, suite, store)
        finally:
            suite.stop()


@dataclass
class Watched:
    """What came over one WebSocket."""

    socket: Any
    frames: int = 0
    heard: list[tuple[float, bytes]] = field(default_factory=list)

    async def read(self) -> None:
        async for message in self.socket:
            if isinstance(message, bytes):
                self.heard.append((time.monotonic(), message))


@asynccontextmanager
async def watching(session: dict[str, Any], *, keep: bool = False) -> AsyncIterator[Watched]:
    url = f"{session['websocket_url']}?token={session['token']}"
    async with connect(url, max_size=None) as socket:
        watched = Watched(socket)
        reading = asyncio.create_task(watched.read() if keep else _discard(socket))
        try:
            yield watched
        finally:
            reading.cancel()
            await asyncio.wait([reading])


async def _discard(socket: Any) -> None:
    async for _ in socket:
        pass


async def speak(socket: Any, pcm: bytes, rate_hz: int, seconds: float) -> None:
    """Send speech as a voice comes, over and over."""
    step = 2 * round(rate_hz * CHUNK_S)
    begin_s, sent = time.monotonic(), 0
    while sent * CHUNK_S < seconds:
        at = sent * step % (len(pcm) - step)
        await socket.send(pcm[at : at + step])
        sent += 1
        await asyncio.sleep(max(0.0, begin_s + sent * CHUNK_S - time.monotonic()))


def speech() -> tuple[bytes, int]:
    """Samples and rate of the sample speech."""
    with wave.open(str(SPEECH)) as file:
        return file.readframes(file.getnframes()), file.getframerate()


async def one_session(house: House, avatar: str, height: int, seconds: float) -> dict[str, Any]:
    pcm, rate_hz = speech()
    probe = await house.open(avatar=avatar, sample_rate_hz=rate_hz)
    width = 2 * round(probe["width_px"] * height / probe["height_px"] / 2)
    await house.end(probe)
    began_s = time.monotonic()
    session = await house.open(
        avatar=avatar, sample_rate_hz=rate_hz, width_px=width, height_px=height
    )
    opened_s = time.monotonic() - began_s
    async with watching(session, keep=True) as watched:
        await speak(watched.socket, pcm, rate_hz, 3)  # warm
        before, at_s = await house.look(session), time.monotonic()
        await speak(watched.socket, pcm, rate_hz, seconds)
        after, elapsed_s = await house.look(session), time.monotonic() - at_s
        await watched.socket.send(pcm[: 10 * 2 * rate_hz])
        await asyncio.sleep(1)
        interrupted_s = time.monotonic()
        await watched.socket.send(json.dumps({"type": "interrupt"}))
        await asyncio.sleep(1)
    await house.end(session)
    bytes_out = sum(len(data) for _, data in watched.heard)
    counters = {name: after["counters"][name] - before["counters"][name] for name in COUNTERS}
    return {
        "width_px": width, "height_px": height, "opened_s": round(opened_s, 2),
        "fps": round(counters["frames"] / elapsed_s, 2), **counters,
        "stages": {each.pop("stage"): each for each in after["trace"]},
        "last_sound_after_interrupt_ms": _last_sound_ms(watched, interrupted_s),
        "kbit_per_s": round(8e-3 * bytes_out / (seconds + 5)),
    }  # fmt: skip


COUNTERS = ("frames", "held_frames", "inserted_silence_ms", "moves", "size_changes")


def _last_sound_ms(watched: Watched, interrupted_s: float) -> float | None:
    """When the last block with a voice arrived; None: none after the interruption."""
    file = io.BytesIO()
    marks = list[tuple[int, float]]()
    for at_s, data in watched.heard:
        file.write(data)
        marks.append((file.tell(), at_s))
    file.seek(0)
    last: float | None = None
    with av.open(file) as container:
        stream = container.streams.audio[0]
        for packet in container.demux(stream):
            for part in packet.decode():
                loud = max(map(abs, array("f", bytes(part.planes[0])))) > 0.02
                at_s = next((at for end, at in marks if end > (packet.pos or 0)), 0.0)
                if loud and at_s > interrupted_s:
                    last = round(1000 * (at_s - interrupted_s), 1)
    return last


def measure_session(house: House, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    avatar = arguments.avatar or make_tiny_subject(folder).avatar
    expression = house.suite.start("services.expression")
    renderer = house.suite.start("services.renderer", WORK_DIR=str(folder / "work"))
    house.start_gateway(expression, renderer)
    bundle = upload_folder(house.store, avatar, "tenants/bench/avatars/av_bench/bundles/v1")
    name = house.put_avatar(bundle)
    return {
        "avatar": avatar.name,
        "seconds": arguments.seconds,
        "sessions": [
            asyncio.run(one_session(house, name, height, arguments.seconds)) for height in HEIGHTS
        ],
    }


async def many_sessions(house: House, gateway: RunningService, seconds: float) -> dict[str, Any]:
    pcm, rate_hz = speech()
    pid, idle, talking = gateway.process.pid, 50, 5
    rss_before = cpu_and_rss(pid)[1]
    sessions = [
        await house.open(avatar="av_bench", sample_rate_hz=rate_hz) for _ in range(idle + talking)
    ]
    async with AsyncExitStack() as stack:
        watched = [await stack.enter_async_context(watching(each)) for each in sessions]
        await asyncio.sleep(3)
        cpu_s, began_s = cpu_and_rss(pid)[0], time.monotonic()
        speaking = (speak(each.socket, pcm, rate_hz, seconds) for each in watched[:talking])
        await asyncio.gather(*speaking)
        elapsed_s = time.monotonic() - began_s
        cores = (cpu_and_rss(pid)[0] - cpu_s) / elapsed_s
        rss = cpu_and_rss(pid)[1]
        held = [(await house.look(each))["counters"] for each in sessions]
    for each in sessions:
        await house.end(each)
    n = idle + talking
    frames, late = (sum(each[name] for each in held) for name in ("frames", "held_frames"))
    return {
        "idle": idle, "talking": talking, "seconds": round(elapsed_s, 1),
        "gateway_cores": round(cores, 2), "gateway_cores_per_session": round(cores / n, 4),
        "gateway_mib_per_session": round((rss - rss_before) / n / 2**20, 2),
        "gateway_mib_after_all_ended": round((cpu_and_rss(pid)[1] - rss_before) / 2**20, 1),
        "held_share": round(late / max(1, frames + late), 4),
    }  # fmt: skip


def measure_scale(house: House, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    fake = house.suite.start(FAKE, PLACES="1000", STILL="1")
    gateway = house.start_gateway(fake, fake)
    prefix = "tenants/bench/avatars/av_bench/bundles/v1"
    house.put_avatar(ArtifactRef(prefix, ObjectRef(f"{prefix}/listing.json", 2, "0" * 64)))
    return asyncio.run(many_sessions(house, gateway, min(30.0, arguments.seconds)))


async def long_session() -> dict[str, Any]:
    """The end of a long session, decoded: when something is seen, and when it is heard."""
    settings = LiveSettings(max_duration_s=DRIFT_S + 60, idle_timeout_s=DRIFT_S + 60)
    session = LiveSession(
        SUBJECT, FakeExpression(), FakeRenderers(FakeRenderer()), settings, SystemClock(),
        rate_hz=48_000,
    )  # fmt: skip
    await session.open()
    file, writer, camera = io.BytesIO(), FragmentWriter(), Camera()

    async def look() -> None:
        with session.subscribed() as view:
            async for item in view:
                if isinstance(item, VideoOut):
                    loud = int(item.frame.data.split()[2]) > 2000
                    data, key = camera.shoot(200 if loud else 30)
                    frame = Frame(item.frame.slot, data, key, 64, 64, 0.0)
                    if (init := writer.init(frame)) is not None:
                        file.write(init.data)
                    file.write(writer.video(frame))
                elif isinstance(item, AudioOut) and file.tell():
                    file.write(writer.audio(item.index, item.opus))

    looking = asyncio.create_task(look())
    for _ in range(DRIFT_S // 60):
        await asyncio.sleep(59.5)
        session.push_audio(tone(0.4))
        session.end_segment()
    await asyncio.sleep(5)
    await session.end("TEST", "over")
    await looking
    file.seek(0)
    seen, heard = _flashes(file)
    apart = [abs(a - b) for a, b in zip(seen, heard, strict=True)]
    return {
        "minutes": DRIFT_S / 60, "flashes": len(apart),
        "first_apart_ms": round(1000 * apart[0], 1), "last_apart_ms": round(1000 * apart[-1], 1),
        "most_apart_ms": round(1000 * max(apart), 1), **asdict(session.counters()),
    }  # fmt: skip


def _flashes(file: io.BytesIO) -> tuple[list[float], list[float]]:
    """The middle of every bright and of every loud stretch."""
    seen, heard = list[float](), list[float]()
    with av.open(file) as container:
        for part in container.decode(video=0):
            if bytes(part.planes[0])[0] > 100:
                seen.append(float(part.time) + 0.02)
    file.seek(0)
    with av.open(file) as container:
        for part in container.decode(audio=0):
            if max(map(abs, array("f", bytes(part.planes[0])))) > 0.1:
                heard.append(float(part.time) + 0.01)
    return _middles(seen), _middles(heard)


def _middles(times: list[float]) -> list[float]:
    groups: list[list[float]] = []
    for time_s in times:
        if groups and time_s - groups[-1][-1] < 1:
            groups[-1].append(time_s)
        else:
            groups.append([time_s])
    return [(group[0] + group[-1]) / 2 for group in groups]


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("avatar", type=Path, nargs="?")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    arguments = parser.parse_args()
    for part in arguments.only:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            if part == "drift":
                result = run(long_session())
            else:
                measure = measure_session if part == "session" else measure_scale
                with open_house(folder) as house:
                    result = measure(house, folder, arguments)
        result["machine"] = asdict(describe_machine())
        text = json.dumps(result, indent=2)
        (arguments.out / f"live_{part}.json").write_text(text + "\n")
        print(text)


PARTS = ("session", "scale", "drift")

if __name__ == "__main__":
    main()
