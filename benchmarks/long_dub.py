"""Memory of a dub of an hour: does it grow with the length of the audio?

    python benchmarks/long_dub.py [AVATAR] [--minutes 60] [--base-minutes 5] [--height 128]

Two dubs by the same processes (expression service, renderer, dubbing worker, on a Redis and an S3
server), first of --base-minutes of audio, then of --minutes: the sample speech over and over, said
by AVATAR (default: the tests' small one, which takes a minute to make). Twice a second each process
is asked for its resident memory and for the most it ever had, which the kernel keeps: no peak
between two looks escapes. The worker's figure is that of the child it forks for each job. If memory
is constant, the second dub's peaks are the first one's.

Pictures bear no watermark, as in the tests; the file is signed. Writes
benchmarks/results/long_dub.json, or --out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from live_house import CONSENT, PREFIX, RESULTS, House, RunningService, open_house
from revocation import AVATAR, TENANT, repeat

from tiny import consented, make_tiny_subject  # isort: skip

from services.common.artifacts import ArtifactRef, upload_folder
from services.common.dubs import DUB_JOBS, DubRequest, dub_prefix
from services.common.jobs import JobQueue, JobSettings, JobState, connect
from synctalk.evaluation.machine import describe_machine

LOOK_S = 0.5
SERIES = 60  # points kept of each curve
Json = dict[str, Any]


def mib(pid: int, field: str) -> float:
    """``VmRSS``, or ``VmHWM``, the most there ever was; 0 of a process that has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    found = re.search(rf"^{field}:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


class Meter:
    """Memory of each service while one dub is made."""

    def __init__(self, services: dict[str, RunningService]) -> None:
        self._services = services
        self._began_s = time.monotonic()
        self.peaks: dict[str, float] = dict.fromkeys(services, 0.0)
        self.series: list[Json] = []

    def look(self, stage: str) -> None:
        """Note what each has now and has had."""
        now: Json = {"s": round(time.monotonic() - self._began_s, 1), "stage": stage}
        for name, service in self._services.items():
            at_work = service.children() if name == "dubbing" else [service.process.pid]
            now[name] = round(max((mib(pid, "VmRSS") for pid in at_work), default=0.0), 1)
            peak = max((mib(pid, "VmHWM") for pid in at_work), default=0.0)
            self.peaks[name] = max(self.peaks[name], round(peak, 1))
        self.series.append(now)


async def dub(house: House, services: dict[str, RunningService], request: DubRequest) -> Json:
    """Make one; what it took."""
    meter, name = Meter(services), f"dub_{time.monotonic_ns()}"
    began_s = time.monotonic()
    async with connect(house.servers.state.redis_url) as redis:
        queue = JobQueue(redis, DUB_JOBS, JobSettings())
        await queue.enqueue(TENANT, request, job_id=name, publish_as=dub_prefix(TENANT, name))
        while not (job := await queue.get(name)).state.terminal:
            await asyncio.to_thread(meter.look, job.progress.stage)
            await asyncio.sleep(LOOK_S)
    assert job.state is JobState.SUCCEEDED, job.failure
    assert job.attempt == 1, "an attempt was lost: its memory is not in the figures"
    assert job.result_json is not None
    output = DUB_JOBS.load_result(job.result_json)
    return {
        "audio_s": round(output.duration_s), "frames": output.frame_count,
        "video_mib": round(output.video.size_bytes / 2**20, 1),
        "seconds": round(time.monotonic() - began_s), "peak_mib": meter.peaks,
        "curve_mib": meter.series[:: max(1, len(meter.series) // SERIES)],
    }  # fmt: skip


def start(house: House, folder: Path) -> dict[str, RunningService]:
    """What a dub needs."""
    work = str(folder / "work")
    expression = house.suite.start("services.expression")
    renderer = house.suite.start("services.renderer", WORK_DIR=work)
    worker = house.suite.start(
        "services.dubbing", EXPRESSION_TARGET=expression.target,
        RENDERER_TARGETS=[renderer.target], WORK_DIR=work,
    )  # fmt: skip
    return {"expression": expression, "renderer": renderer, "dubbing": worker}


def speech_of(
    house: House, folder: Path, minutes: float, bundle: ArtifactRef, px: int
) -> DubRequest:
    """A request for so many minutes."""
    path = folder / f"{minutes:g}.wav"
    repeat(path, 60 * minutes)
    audio = house.store.put_file(f"tenants/{TENANT}/uploads/{path.name}", path)
    path.unlink()
    return DubRequest(
        avatar_version=f"tenants/{TENANT}/avatars/{AVATAR}/versions/1", bundle=bundle, audio=audio,
        height_px=px,
    )  # fmt: skip


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("avatar", type=Path, nargs="?")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--base-minutes", type=float, default=5)
    parser.add_argument("--height", type=int, default=128)
    parser.add_argument("--out", type=Path, default=RESULTS / "long_dub.json")
    arguments = parser.parse_args()
    lengths = {"base": arguments.base_minutes, "long": arguments.minutes}
    load, dubs = os.getloadavg()[0], dict[str, Json]()
    with tempfile.TemporaryDirectory() as temporary, open_house(Path(temporary)) as house:
        folder = Path(temporary)
        avatar = arguments.avatar or make_tiny_subject(folder).avatar
        services = start(house, folder)
        bundle = upload_folder(house.store, consented(avatar, CONSENT, folder), PREFIX)
        house.put_avatar(bundle)
        for name, minutes in lengths.items():
            request = speech_of(house, folder, minutes, bundle, arguments.height)
            dubs[name] = asyncio.run(dub(house, services, request))
            print(name, dubs[name]["seconds"], "s", dubs[name]["peak_mib"], flush=True)
    peaks = {name: each["peak_mib"] for name, each in dubs.items()}
    result = {
        "minutes": lengths, "height_px": arguments.height, "load_average_before": round(load, 2),
        "grown_mib": {
            name: round(peaks["long"][name] - peak, 1) for name, peak in peaks["base"].items()
        },
        **dubs, "machine": asdict(describe_machine()),
    }  # fmt: skip
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["grown_mib"]))


if __name__ == "__main__":
    main()
