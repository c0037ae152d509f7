"""Live rendering: frames a second, and how long after its features a frame is there.

    python benchmarks/live_renderer.py AVATAR [--seconds 20] [--sessions 1 2 3 4] [--device auto]

Sessions are held as the servicer holds them, in this process: features of the sample speech with
blendshapes go in, H.264 comes out. Unpaced, one session gets its features at once and shows what
the machine can do; paced, sessions get a frame's features every 40 ms, as from a voice, and each
frame's time from its own features to its bytes is noted, 40 ms of which it waits for its
successor's. Writes benchmarks/results/live_renderer_{subject}_{device}.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from services.renderer.admission import Admission
from services.renderer.live import LiveSession
from services.renderer.live_encoding import LiveEncoder
from services.renderer.live_messages import End, Input, LiveFrame
from services.renderer.moments import FeatureWindow, LiveFeatures
from services.renderer.threads import Threads
from synctalk.avatar import Avatar
from synctalk.evaluation.machine import describe_machine
from synctalk.expression import ProsodicExpression, measure_prosody
from synctalk.face_sync import AudioVisualEncoder
from synctalk.live import FootageCache, LiveView
from synctalk.media import read_audio

ROOT = Path(__file__).resolve().parent.parent
SPEECH = ROOT / "samples" / "speech.wav"
FPS = 25
HEIGHTS = (256, 512)


@dataclass(frozen=True)
class Machinery:
    """What the sessions of a replica share."""

    avatar: Avatar
    features: list[LiveFeatures]
    cache: FootageCache
    threads: Threads


@dataclass(frozen=True)
class Run:
    """Of one session: when each frame came, s since its features and since its successor's."""

    latency_s: list[float]
    after_look_ahead_s: list[float]
    frames: list[LiveFrame]
    wall_s: float


def speech(seconds: float) -> list[LiveFeatures]:
    """Features and blendshapes of the sample, over and over."""
    wav = read_audio(SPEECH, 16_000)
    count = int(seconds * FPS)
    wav = np.tile(wav, int(np.ceil(seconds * 16_000 / len(wav))))[: count * 640]
    rows = AudioVisualEncoder.pretrained().encode(torch.from_numpy(wav), count).numpy()
    faces = ProsodicExpression("natural").generate(measure_prosody(wav, count))
    return [
        LiveFeatures(i, row, face) for i, (row, face) in enumerate(zip(rows, faces, strict=True))
    ]


async def session(machinery: Machinery, height: int, paced: bool, admission: Admission) -> Run:
    manifest = machinery.avatar.manifest
    width = 2 * round(height * manifest.source_width / manifest.source_height / 2)
    live = LiveSession(
        LiveView(machinery.avatar),
        FeatureWindow([]),
        LiveEncoder(width, height, FPS),
        machinery.cache,
        machinery.threads,
        admission,
    )
    sent_s: list[float] = []
    began_s = time.perf_counter()

    async def inputs() -> AsyncIterator[Input]:
        for features in machinery.features:
            if paced:
                due_s = began_s + features.frame / FPS
                await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            sent_s.append(time.perf_counter())
            yield features
        yield End()

    latency_s, after_s, frames = [], [], []
    async with aclosing(live.run(inputs())) as outputs:
        async for output in outputs:
            if isinstance(output, LiveFrame):
                now_s = time.perf_counter()
                successor = min(output.frame + 1, len(sent_s) - 1)
                latency_s.append(now_s - sent_s[output.frame])
                after_s.append(now_s - sent_s[successor])
                frames.append(output)
    return Run(latency_s, after_s, frames, time.perf_counter() - began_s)


def percentiles_ms(values_s: Sequence[float]) -> dict[str, float]:
    p50, p95, p99 = np.percentile(values_s, [50, 95, 99])
    return {"p50": ms(p50), "p95": ms(p95), "p99": ms(p99)}


def ms(seconds: float) -> float:
    return round(1000 * float(seconds), 1)


def stages_ms(runs: Sequence[Run]) -> dict[str, dict[str, float]]:
    timings = [asdict(frame.timing) for run in runs for frame in run.frames]
    names = ("look_ahead_s", "waiting_s", "render_s", "encode_s")
    return {
        name.removesuffix("_s"): percentiles_ms([timing[name] for timing in timings])
        for name in names
    }


def measure(machinery: Machinery, height: int, sessions: int, paced: bool) -> dict[str, object]:
    admission = Admission(sessions, 1.0)

    async def together() -> list[Run]:
        calls = (session(machinery, height, paced, admission) for _ in range(sessions))
        return await asyncio.gather(*calls)

    cpu_s = time.process_time()
    runs = asyncio.run(together())
    cpu_s = time.process_time() - cpu_s
    frames = sum(len(run.frames) for run in runs)
    found: dict[str, object] = {
        "height_px": height,
        "sessions": sessions,
        "paced": paced,
        "fps_each": round(min(len(run.frames) / run.wall_s for run in runs), 1),
        "cpu_ms_a_frame": round(1000 * cpu_s / frames, 2),
        "stages_ms": stages_ms(runs),
        "kbit_s": round(
            sum(len(f.packet.data) for f in runs[0].frames) * 8 * FPS / len(runs[0].frames) / 1000
        ),
    }
    if paced:
        after_s = [s for run in runs for s in run.after_look_ahead_s]
        found["late_share"] = round(float(np.mean(np.array(after_s) > 1 / FPS)), 4)
        found["feature_to_frame_ms"] = percentiles_ms([s for r in runs for s in r.latency_s])
        found["after_look_ahead_ms"] = percentiles_ms(after_s)
    print(json.dumps(found), flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("avatar", type=Path)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--sessions", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    machinery = Machinery(
        Avatar.load(arguments.avatar, arguments.device),
        speech(arguments.seconds),
        FootageCache(512 << 20),
        Threads(max(2, os.cpu_count() or 1)),
    )
    device, load = machinery.avatar.device.type, os.getloadavg()[0]
    measure(machinery, HEIGHTS[0], 1, paced=False)  # loads and compiles whatever is lazy
    results = [measure(machinery, height, 1, paced=False) for height in HEIGHTS]
    results += [
        measure(machinery, height, count, paced=True)
        for height in HEIGHTS
        for count in arguments.sessions
    ]
    manifest = machinery.avatar.manifest
    report = {
        "subject": manifest.subject,
        "device": device,
        "source_px": [manifest.source_width, manifest.source_height],
        "rendered_px": manifest.size,
        "seconds": arguments.seconds,
        "load_average": load,  # before: on a machine with other work, stages wait for it
        "runs": results,
        "machine": asdict(describe_machine()),
    }
    name = f"live_renderer_{manifest.subject}_{device}.json"
    (ROOT / "benchmarks" / "results" / name).write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
