"""Peak memory of preprocessing and training a long video.

    python benchmarks/memory.py [--video CLIP] [--minutes 10] [--preset demo|standard|best]

Repeats a clip (default: the anchor of the test data) to the length asked for, runs the real
command line on it and reports two figures for each command: the largest sum of resident memory of
all its processes, looked at ten times a second, and the largest that any one of them ever had, as
the kernel kept it (no peak between two looks escapes that). The greater of the two is the peak.
Pages that processes share count once for each, so the sum errs upwards.

The figures that README quotes are the demo preset's (memory.json). What training an avatar to be
used takes, ``--preset standard`` says, which writes memory_standard.json and takes longer; ``best``
likewise. --out names another file.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

import av

from synctalk.evaluation.machine import describe_machine
from synctalk.training.config import PRESETS

ROOT = Path(__file__).resolve().parent.parent
LIMIT_GIB = 6.0
DEFAULT = ROOT.parent / "shared" / "data" / "video" / "anchor_71s_512.mp4"


def repeat(video: Path, out: Path, seconds: float) -> None:
    """Stream-copy ``video`` end to end until ``seconds`` are reached."""
    with av.open(str(video)) as source, av.open(str(out), "w") as target:
        streams = {s.index: target.add_stream_from_template(s) for s in source.streams}
        offset_s = 0.0
        while offset_s < seconds:
            source.seek(0)
            packets = [p for p in source.demux() if p.dts is not None]
            # the first packets may be decoded before time 0, the last end after the container's end
            first_s = min(float(p.dts * p.time_base) for p in packets)
            end_s = max(float((max(p.pts, p.dts) + p.duration) * p.time_base) for p in packets)
            for packet in packets:
                shift = round((offset_s - first_s) / packet.time_base)
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                packet.stream = streams[packet.stream.index]
                target.mux(packet)
            offset_s += end_s - first_s


@dataclass(frozen=True)
class Peak:
    """Peak resident memory of one command, GiB.

    Args:
        all_gib: sum over its processes.
        one_gib: of its largest process.
        looks: how often all processes were looked at.
    """

    all_gib: float
    one_gib: float
    looks: int

    @property
    def gib(self) -> float:
        """The greater of the two."""
        return max(self.all_gib, self.one_gib)


def parents() -> dict[int, int]:
    """The parent of every process on this machine."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it ended while we looked
            continue
        found[int(stat.parent.name)] = int(fields[1])
    return found


def resident_bytes(root: int) -> int:
    """Resident memory of process ``root`` and all its descendants."""
    parent, total = parents(), 0
    for pid in parent:
        ancestor = pid
        while ancestor not in (root, 0, 1) and ancestor in parent:
            ancestor = parent[ancestor]
        if ancestor == root:
            try:
                pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            except OSError:
                continue
            total += pages * os.sysconf("SC_PAGE_SIZE")
    return total


def peak_of(*arguments: str) -> Peak:
    """Run ``synctalk`` with ``arguments`` and watch its memory."""
    process = subprocess.Popen([sys.executable, "-m", "synctalk", *arguments])
    peak, looks, done = 0, 0, threading.Event()

    def watch() -> None:
        nonlocal peak, looks
        while not done.wait(0.1):
            peak, looks = max(peak, resident_bytes(process.pid)), looks + 1

    watcher = threading.Thread(target=watch)
    watcher.start()
    _, status, usage = os.wait4(process.pid, 0)
    done.set()
    watcher.join()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"synctalk {' '.join(arguments)} ended with {process.returncode}")
    largest = usage.ru_maxrss * 1024  # of the process and of the descendants it waited for
    return Peak(peak / 2**30, largest / 2**30, looks)


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--video", type=Path, default=DEFAULT)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--preset", choices=tuple(PRESETS), default="demo")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    name = "memory" if arguments.preset == "demo" else f"memory_{arguments.preset}"
    out = arguments.out or ROOT / "benchmarks" / "results" / f"{name}.json"
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "long.mp4"
        repeat(arguments.video, video, 60 * arguments.minutes)
        dataset, avatar = str(Path(folder) / "dataset"), str(Path(folder) / "avatar")
        peaks = {
            "preprocess": peak_of("preprocess", str(video), "--out", dataset),
            "train": peak_of("train", dataset, "--out", avatar, "--preset", arguments.preset),
        }
    result = {
        "minutes": arguments.minutes,
        "preset": arguments.preset,
        "limit_gib": LIMIT_GIB,
        "held": all(peak.gib < LIMIT_GIB for peak in peaks.values()),
        "peak_gib": {name: round(peak.gib, 2) for name, peak in peaks.items()},
        "detail": {name: asdict(peak) for name, peak in peaks.items()},
        "machine": asdict(describe_machine()),
    }
    out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result["peak_gib"]))


if __name__ == "__main__":
    main()
