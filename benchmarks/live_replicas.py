"""Renderers on a real Ray Serve go from one to three and back, and sessions go on.

    python benchmarks/live_replicas.py [AVATAR] [--height 128]

Two sessions are opened, then four more, each watched by WebSocket and spoken to; the four end, and
two go on. Serve starts and stops replicas by its own policy (benchmarks/quick_serve.py). Noted are
the replicas second by second, what the two sessions that stayed lost, and how often they moved.
AVATAR is a trained avatar's folder; without it a small one of the sample is trained. On few cores
frames are late: what is measured is who renders, not how fast.

Writes benchmarks/results/live_replicas.json, or --out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from live_house import CONSENT, PREFIX, RESULTS, House, Watched, open_house, speak, speech, watching

from tiny import consented, make_tiny_subject  # isort: skip

from benchmarks.quick_serve import DOWNSCALE_DELAY_S
from services.common.artifacts import upload_folder
from synctalk.evaluation.machine import describe_machine

STAY, COME_AND_GO = 2, 4
MOST = 3
PATIENCE_S = 240
REPLICA = b"ray::ServeReplica:renderer"


def replicas() -> int:
    """Processes of Serve's that render, or are about to."""
    found = 0
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += process.read_bytes().startswith(REPLICA)
        except OSError:
            continue
    return found


class Watch:
    """Notes how many replicas there are."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self.changes: list[tuple[float, int]] = []

    def now_s(self) -> float:
        """Since the beginning."""
        return round(time.monotonic() - self._began_s, 1)

    async def run(self) -> None:
        while True:
            count = await asyncio.to_thread(replicas)
            if not self.changes or count != self.changes[-1][1]:
                self.changes.append((self.now_s(), count))
            await asyncio.sleep(0.5)

    async def until(self, count: int) -> float:
        """When there are so many, s after the beginning."""
        deadline_s = time.monotonic() + PATIENCE_S
        while not self.changes or self.changes[-1][1] != count:
            assert time.monotonic() < deadline_s, f"never {count} replicas: {self.changes}"
            await asyncio.sleep(0.5)
        return self.changes[-1][0]


async def come_and_go(house: House, height: int) -> dict[str, Any]:
    pcm, rate_hz = speech()
    watch = Watch()
    looking = asyncio.create_task(watch.run())
    talking = list[asyncio.Task[None]]()

    async def join(stack: AsyncExitStack) -> tuple[dict[str, Any], Watched]:
        session = await open_patiently(
            house, avatar="av_bench", sample_rate_hz=rate_hz, width_px=height, height_px=height
        )
        watched = await stack.enter_async_context(watching(session))
        talking.append(asyncio.create_task(speak(watched.socket, pcm, rate_hz, 3600)))
        return session, watched

    async with AsyncExitStack() as stack:
        stay = [await join(stack) for _ in range(STAY)]
        before = await watch.until(1)
        async with AsyncExitStack() as short:
            some = [await join(short) for _ in range(COME_AND_GO)]
            most_s = await watch.until(MOST)
            await asyncio.sleep(10)
            for task in talking[STAY:]:
                task.cancel()
        ended_s = watch.now_s()
        for session, _ in some:
            await house.end(session)
        back_s = await watch.until(1)
        await asyncio.sleep(10)
        found = [await house.look(session) for session, _ in stay]
        gaps = [round(watched.longest_gap_s(), 2) for _, watched in stay]
        for task in talking[:STAY]:
            task.cancel()
    looking.cancel()
    return {
        "height_px": height, "stayed": STAY, "came_and_went": COME_AND_GO,
        "downscale_delay_s": DOWNSCALE_DELAY_S, "replicas_at_s": watch.changes,
        "one_replica_at_s": before, "three_replicas_at_s": most_s,
        "sessions_ended_at_s": ended_s, "one_again_at_s": back_s,
        "of_those_that_stayed": [
            {**each["counters"], "longest_gap_s": gap, "seconds": round(seconds_of(each))}
            for each, gap in zip(found, gaps, strict=True)
        ],
    }  # fmt: skip


async def open_patiently(house: House, **wishes: object) -> dict[str, Any]:
    """A session; where all replicas are full, as soon as there is another."""
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            return await house.open(**wishes)
        except AssertionError as refused:
            if "RENDERER_FULL" not in str(refused) or time.monotonic() > deadline_s:
                raise
            await asyncio.sleep(1)


def seconds_of(session: dict[str, Any]) -> float:
    """That it has lasted."""
    counters = session["counters"]
    return float(counters["frames"] + counters["held_frames"]) / 25


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("avatar", type=Path, nargs="?")
    parser.add_argument("--height", type=int, default=128)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, open_house(Path(temporary)) as house:
        folder = Path(temporary)
        avatar = arguments.avatar or make_tiny_subject(folder).avatar
        expression = house.suite.start("services.expression")
        renderer = house.suite.start(
            "benchmarks.quick_serve", WORK_DIR=str(folder / "work"),
            RENDERER_MAX_REPLICAS=MOST, RENDERER_MAX_LATE_SHARE=1, RPC__DRAIN_S=60,
        )  # fmt: skip
        house.start_gateway(expression, renderer)
        house.put_avatar(upload_folder(house.store, consented(avatar, CONSENT, folder), PREFIX))
        result = asyncio.run(come_and_go(house, arguments.height))
    result["machine"] = asdict(describe_machine())
    text = json.dumps(result, indent=2)
    (arguments.out / "live_replicas.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
