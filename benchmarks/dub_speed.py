"""Dubbing speed end to end: audio, features, deformation, raster, composite, H.264.

    python benchmarks/dub_speed.py AVATAR [--audio FILE] [--repeats 3]

Dubs the same audio several times, with and without portrait blending in turn, and writes the
median frames per second and the milliseconds per stage to benchmarks/results/dub_speed.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from dataclasses import asdict
from pathlib import Path

from synctalk.bundle import AvatarBundle
from synctalk.dubbing import dub
from synctalk.evaluation.machine import describe_machine

ROOT = Path(__file__).resolve().parent.parent


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
    manifest = AvatarBundle.open(arguments.avatar).manifest
    summary = {
        "subject": manifest.subject,
        "preset": manifest.settings["preset"],
        "n_gaussians": manifest.settings["n_gaussians"],
        "size": manifest.size,
        "fps_median": {mode: round(statistics.median(v), 1) for mode, v in fps.items()},
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
