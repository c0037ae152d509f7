"""Dubbing speed end to end: audio, features, deformation, raster, composite, H.264.

    python benchmarks/dub_speed.py AVATAR [--audio FILE] [--repeats 3]

Dubs the same audio several times, with and without portrait blending in turn, and writes the
median frames per second, loading and audio included, to benchmarks/results/dub_speed.json; beside
it what each stage of a frame costs alone, nothing overlapping.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from synctalk.avatar import Avatar, Scene
from synctalk.bundle import BUNDLE_PLATES, SOURCE, AvatarBundle
from synctalk.dubbing import dub
from synctalk.evaluation.machine import describe_machine
from synctalk.media import VideoReader, VideoWriter, Yuv420
from synctalk.provenance import Stamp, provenance_from_environment

ROOT = Path(__file__).resolve().parent.parent


T = TypeVar("T")
STAGE_FRAMES = 200


def timed(work: Callable[[], T], n: int, into: dict[str, float], name: str) -> T:
    """Run ``work`` and note its milliseconds per frame."""
    start = time.perf_counter()
    result = work()
    into[name] = round(1000 * (time.perf_counter() - start) / n, 2)
    return result


def stage_ms(path: Path, folder: Path) -> dict[str, float]:
    """Wall-clock milliseconds a frame of each stage, on both cores, one stage after the other."""
    person = Avatar.load(path)
    n = min(STAGE_FRAMES, person.manifest.n_frames)
    driving = person.source[slice(0, n)]
    ms: dict[str, float] = {}

    def decode(name: str) -> list[Yuv420]:
        return list(islice(VideoReader(path / name).iter_yuv(), n))

    plates = timed(lambda: decode(BUNDLE_PLATES), n, ms, "decode plates")
    sources = timed(lambda: decode(SOURCE), n, ms, "decode source")
    necks = timed(lambda: list(person.necks(np.arange(n), driving.lip)), n, ms, "decode necks")
    list(person.render_yuv(driving[slice(0, 8)], plates[:8]))
    timed(lambda: person.deform(driving), n, ms, "deform (part of render)")
    timed(lambda: list(person.render_yuv(driving, plates)), n, ms, "render the whole head")
    scenes = [Scene(i, *each) for i, each in enumerate(zip(sources, plates, necks, strict=True))]
    timed(
        lambda: list(person.render_portraits(driving, scenes)),
        n,
        ms,
        "render a portrait (deform, raster, composite, blend)",
    )

    def mark() -> None:
        height, width = sources[0].y.shape
        provenance = provenance_from_environment()
        stamp = Stamp(provenance, 1, width, height, label=provenance.label)
        for frame in sources:
            stamp(frame)

    timed(mark, n, ms, "watermark")

    def encode() -> None:
        height, width = sources[0].y.shape
        with VideoWriter(folder / "encoded.mp4", width, height) as writer:
            for frame in sources:
                writer.write_yuv(frame)

    timed(encode, n, ms, "encode H.264")
    return ms


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("avatar", type=Path)
    parser.add_argument("--audio", type=Path, default=ROOT / "samples" / "speech.wav")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    fps: dict[str, list[float]] = {"portrait": [], "plain": []}
    stages: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(arguments.repeats):
            for mode in fps:
                out = Path(folder) / f"{mode}.mp4"
                result = dub(arguments.avatar, arguments.audio, out, portrait=mode == "portrait")
                fps[mode].append(result.fps)
                stages[mode] = result.timings_ms
                print(f"{mode}: {result.fps:.1f} fps, {result.timings_ms}", flush=True)
        alone = stage_ms(arguments.avatar, Path(folder))
    manifest = AvatarBundle.open(arguments.avatar).manifest
    summary = {
        "subject": manifest.subject,
        "preset": manifest.settings["preset"],
        "n_gaussians": manifest.settings["n_gaussians"],
        "size": manifest.size,
        "fps_median": {mode: round(statistics.median(v), 1) for mode, v in fps.items()},
        "stage_ms_alone": alone,
        "ms_per_frame": {
            mode: {name: round(ms, 2) for name, ms in times.items()}
            for mode, times in stages.items()
        },
        "machine": asdict(describe_machine()),
    }
    out = ROOT / "benchmarks" / "results" / "dub_speed.json"
    out.write_text(json.dumps(summary, indent=2) + "\n")
    print(json.dumps(summary["fps_median"]))


if __name__ == "__main__":
    main()
