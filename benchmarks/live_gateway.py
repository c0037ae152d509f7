"""What a gateway takes for many live sessions, and whether it gives it back.

    python benchmarks/live_gateway.py [--seconds 30] [--only crowd memory]

*crowd*: 50 sessions in which nothing is said and 5 in which somebody speaks, all watched by
WebSocket, with a stand-in for renderer and expression: CPU and memory of the gateway, first with
all 55 silent, then with the 5 that speak.

*memory*: 200 sessions, 20 at a time, each watched, spoken to, interrupted and ended: the gateway's
resident memory after every 20, once malloc has given back what is free (`benchmarks/trimmed.py`).

Writes benchmarks/results/live_{part}.json, or --out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from live_house import (
    PREFIX,
    RESULTS,
    House,
    RunningService,
    open_house,
    speak,
    speech,
    watching,
)

from harness import cpu_and_rss  # isort: skip

from services.common.artifacts import ArtifactRef
from services.common.storage import ObjectRef
from synctalk.evaluation.machine import describe_machine

FAKE = "tests.integration.services.gateway.live_services"
IDLE, TALKING = 50, 5
ROUNDS, AT_ONCE = 10, 20


class Meter:
    """CPU and memory of the gateway."""

    def __init__(self, gateway: RunningService) -> None:
        self._pid = gateway.process.pid
        self.begin()

    def begin(self) -> None:
        """Count CPU time from now on."""
        self._cpu_s, self._began_s = cpu_and_rss(self._pid)[0], time.monotonic()

    def cores(self) -> float:
        """That were busy with it since then."""
        return (cpu_and_rss(self._pid)[0] - self._cpu_s) / (time.monotonic() - self._began_s)

    async def mib(self) -> float:
        """Resident, without what is free."""
        os.kill(self._pid, signal.SIGUSR2)
        await asyncio.sleep(1)
        return cpu_and_rss(self._pid)[1] / 2**20


async def crowd(house: House, meter: Meter, seconds: float) -> dict[str, Any]:
    pcm, rate_hz = speech()
    n = IDLE + TALKING
    first = await house.open(avatar="av_bench")  # channels and codecs come with it
    await house.end(first)
    before_mib = await meter.mib()
    sessions = [await house.open(avatar="av_bench", sample_rate_hz=rate_hz) for _ in range(n)]
    async with AsyncExitStack() as stack:
        watched = [await stack.enter_async_context(watching(each)) for each in sessions]
        await asyncio.sleep(5)
        meter.begin()
        await asyncio.sleep(seconds)
        silent = meter.cores()
        meter.begin()
        speaking = (speak(each.socket, pcm, rate_hz, seconds) for each in watched[:TALKING])
        await asyncio.gather(*speaking)
        mixed = meter.cores()
        open_mib = await meter.mib()
        found = [await house.look(each) for each in sessions]
    for each in sessions:
        await house.end(each)
    frames, held = (
        sum(each["counters"][name] for each in found) for name in ("frames", "held_frames")
    )
    stages = {each["stage"]: each for each in found[0]["trace"]}
    return {
        "idle": IDLE, "talking": TALKING, "seconds_each": seconds,
        "gateway_cores_all_silent": round(silent, 3), "gateway_cores": round(mixed, 3),
        "cores_per_silent_session": round(silent / n, 5),
        "cores_per_talking_session": round(silent / n + (mixed - silent) / TALKING, 5),
        "mib_before": round(before_mib, 1),
        "mib_per_session": round((open_mib - before_mib) / n, 2),
        "mib_left_after_all_ended": round(await meter.mib() - before_mib, 1),
        "held_share": round(held / max(1, frames + held), 4),
        "total_ms_of_a_talking_session": {q: stages["total"][f"{q}_ms"] for q in ("p50", "p95")},
    }  # fmt: skip


async def memory(house: House, meter: Meter, _seconds: float) -> dict[str, Any]:
    pcm, rate_hz = speech()

    async def one() -> None:
        session = await house.open(avatar="av_bench", sample_rate_hz=rate_hz)
        async with watching(session) as watched:
            await watched.socket.send(pcm[: 6 * rate_hz])
            await asyncio.sleep(2)
            await watched.socket.send(json.dumps({"type": "interrupt"}))
            await asyncio.sleep(0.5)
        await house.end(session)

    resident = [await meter.mib()]
    for _ in range(ROUNDS):
        await asyncio.gather(*(one() for _ in range(AT_ONCE)))
        resident.append(await meter.mib())
    return {
        "sessions": ROUNDS * AT_ONCE, "at_once": AT_ONCE,
        "mib_after_each_round": [round(each, 1) for each in resident],
        "kib_per_session_after_the_first_round": round(
            1024 * (resident[-1] - resident[1]) / ((ROUNDS - 1) * AT_ONCE), 1
        ),
    }  # fmt: skip


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    for part in arguments.only:
        with tempfile.TemporaryDirectory() as folder, open_house(Path(folder)) as house:
            fake = house.suite.start(FAKE, PLACES="1000", STILL="1")
            gateway = house.start_gateway(fake, fake, "benchmarks.trimmed services.gateway")
            house.put_avatar(ArtifactRef(PREFIX, ObjectRef(f"{PREFIX}/listing.json", 2, "0" * 64)))
            result = asyncio.run(PARTS[part](house, Meter(gateway), arguments.seconds))
        result["machine"] = asdict(describe_machine())
        text = json.dumps(result, indent=2)
        (arguments.out / f"live_{part}.json").write_text(text + "\n")
        print(text)


PARTS = {"crowd": crowd, "memory": memory}

if __name__ == "__main__":
    main()
