"""Live sessions through the gateway: frames a second, milliseconds by stage, drift.

    python benchmarks/live.py [AVATAR] [--seconds 60] [--heights 256 512] [--only session drift]

*session*: one session at a time, of each height, through gateway, expression service and a
renderer, all on this machine; the sample speech goes in by WebSocket in chunks of 40 ms, as a voice
comes, and fragmented MP4 comes out. AVATAR is a trained avatar's folder; without it a small one
of the sample is trained. Also: how long after an interruption the last sound left.

*drift*: 30 minutes of a session on an accelerated clock, with real encoders, read back from its
fragmented MP4: how far picture and sound are apart at the end.

Writes benchmarks/results/live_{part}.json, or --out. What a gateway takes for many sessions:
benchmarks/live_gateway.py; replicas that come and go: benchmarks/live_replicas.py.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import tempfile
import time
from array import array
from dataclasses import asdict
from pathlib import Path
from typing import Any

import av
from live_house import CONSENT, PREFIX, RESULTS, House, Watched, open_house, speak, speech, watching

from h264_clips import Camera  # isort: skip
from live_doubles import SUBJECT, FakeExpression, FakeRenderer, FakeRenderers, run, tone  # isort: skip
from tiny import consented, make_tiny_subject  # isort: skip

from services.common.artifacts import upload_folder
from services.gateway.live.clock import SystemClock
from services.gateway.live.fmp4 import FragmentWriter
from services.gateway.live.frames import Frame
from services.gateway.live.session import AudioOut, LiveSession, VideoOut
from services.gateway.live.settings import LiveSettings
from synctalk.evaluation.machine import describe_machine

DRIFT_S = 30 * 60


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
    load = round(os.getloadavg()[0], 2)
    avatar = arguments.avatar or make_tiny_subject(folder).avatar
    expression = house.suite.start("services.expression")
    settings = {"WORK_DIR": str(folder / "work"), "RENDERER_MAX_LATE_SHARE": "1"}
    renderer = house.suite.start("services.renderer", **settings)  # late or not: it is measured
    house.start_gateway(expression, renderer)
    bundle = upload_folder(house.store, consented(avatar, CONSENT, folder), PREFIX)
    name = house.put_avatar(bundle)
    measured = (one_session(house, name, each, arguments.seconds) for each in arguments.heights)
    return {
        "avatar": avatar.name,
        "seconds": arguments.seconds,
        "load_average": load,  # before: with other work on the machine, stages wait for it
        "sessions": [asyncio.run(each) for each in measured],
    }


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
    parser.add_argument("--heights", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    for part in arguments.only:
        if part == "drift":
            result = run(long_session())
        else:
            with tempfile.TemporaryDirectory() as folder, open_house(Path(folder)) as house:
                result = measure_session(house, Path(folder), arguments)
        result["machine"] = asdict(describe_machine())
        text = json.dumps(result, indent=2)
        (arguments.out / f"live_{part}.json").write_text(text + "\n")
        print(text)


PARTS = ("session", "drift")

if __name__ == "__main__":
    main()
