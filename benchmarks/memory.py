"""Peak memory of preprocessing and training a long video.

    python benchmarks/memory.py [--video CLIP] [--minutes 10] [--preset demo]

Repeats a clip (default: the anchor of the test data) to the length asked for, runs the real
command line on it and reports the largest resident memory of each command, its subprocesses
included. Writes benchmarks/results/memory.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
from dataclasses import asdict
from pathlib import Path

import av

from synctalk.evaluation.machine import describe_machine

ROOT = Path(__file__).resolve().parent.parent
DEFAULT = ROOT.parent / "shared" / "data" / "video" / "anchor_71s_512.mp4"


def repeat(video: Path, out: Path, seconds: float) -> None:
    """Stream-copy ``video`` end to end until ``seconds`` are reached."""
    with av.open(str(video)) as source, av.open(str(out), "w") as target:
        streams = {s.index: target.add_stream_from_template(s) for s in source.streams}
        length = float(source.duration) / av.time_base
        for turn in range(int(seconds / length) + 1):
            source.seek(0)
            for packet in source.demux():
                if packet.dts is None:
                    continue
                shift = round(turn * length / packet.time_base)
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                packet.stream = streams[packet.stream.index]
                target.mux(packet)


def resident_bytes(pid: int) -> int:
    """Resident memory of a process and its descendants."""
    total = 0
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                total = int(line.split()[1]) * 1024
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += sum(resident_bytes(int(c)) for c in (task / "children").read_text().split())
    except (FileNotFoundError, ProcessLookupError):
        pass
    return total


def peak_of(*arguments: str) -> float:
    """Run ``synctalk`` with ``arguments``; its peak resident memory in GiB."""
    process = subprocess.Popen([sys.executable, "-m", "synctalk", *arguments])
    peak, done = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.2):
            peak = max(peak, resident_bytes(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    code = process.wait()
    done.set()
    watcher.join()
    if code:
        raise SystemExit(f"synctalk {' '.join(arguments)} ended with {code}")
    return peak / 2**30


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--video", type=Path, default=DEFAULT)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--preset", default="demo")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "long.mp4"
        repeat(arguments.video, video, 60 * arguments.minutes)
        dataset, avatar = str(Path(folder) / "dataset"), str(Path(folder) / "avatar")
        peaks = {
            "preprocess_gib": peak_of("preprocess", str(video), "--out", dataset),
            "train_gib": peak_of("train", dataset, "--out", avatar, "--preset", arguments.preset),
        }
    result = {
        "minutes": arguments.minutes,
        "preset": arguments.preset,
        "peak": {name: round(value, 2) for name, value in peaks.items()},
        "machine": asdict(describe_machine()),
    }
    out = ROOT / "benchmarks" / "results" / "memory.json"
    out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result["peak"]))


if __name__ == "__main__":
    main()
