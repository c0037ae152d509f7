"""Quality on real footage: preprocess, train and evaluate with the real command line.

    python benchmarks/real_subject.py [--video CLIP] [--preset standard] [--work out/bench]
        [--keep-dataset] [--contact-sheet]

Default clip: anchor_71s_512 of the test data, which stays outside the repository; only figures are
written, to benchmarks/results/real_subject_<clip>_<preset>.json, and for a person who may be shown
(an invented one) the contact sheet beside them. Reads report.json of ``synctalk evaluate``:
own-audio reconstruction of the last 1/11 of the frames, lips driven by tracked landmarks (an
oracle) and by audio, each without and with portrait blending.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from synctalk.bundle import AvatarBundle
from synctalk.evaluation.machine import describe_machine

ROOT = Path(__file__).resolve().parent.parent
DEFAULT = ROOT.parent / "shared" / "data" / "video" / "anchor_71s_512.mp4"


def timed(*arguments: str) -> float:
    """Run ``synctalk`` and return its wall-clock seconds."""
    start = time.monotonic()
    subprocess.run([sys.executable, "-m", "synctalk", *arguments], check=True)
    return round(time.monotonic() - start, 1)


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--video", type=Path, default=DEFAULT)
    parser.add_argument("--preset", default="standard")
    parser.add_argument("--work", type=Path, default=ROOT / "out" / "bench")
    parser.add_argument(
        "--keep-dataset", action="store_true", help="use the dataset of an earlier run in --work"
    )
    parser.add_argument(
        "--contact-sheet",
        action="store_true",
        help="keep source | ours of held-out frames; only for people who may be shown",
    )
    arguments = parser.parse_args()
    name = arguments.video.stem
    dataset = arguments.work / f"{name}.dataset"
    avatar = arguments.work / f"{name}.{arguments.preset}"
    report = arguments.work / f"{name}.{arguments.preset}.report"
    arguments.work.mkdir(parents=True, exist_ok=True)
    seconds = {}
    if not arguments.keep_dataset:
        seconds["preprocess"] = timed("preprocess", str(arguments.video), "--out", str(dataset))
    seconds |= {
        "train": timed("train", str(dataset), "--out", str(avatar), "--preset", arguments.preset),
        "evaluate": timed("evaluate", str(avatar), str(dataset), "--out", str(report)),
    }
    curve = [asdict(point) for point in AvatarBundle.open(avatar).manifest.training_curve]
    result = {
        "clip": name,
        "preset": arguments.preset,
        "wall_s": seconds,
        "report": json.loads((report / "report.json").read_text()),
        "training_curve": curve,
        "machine": asdict(describe_machine()),
    }
    out = ROOT / "benchmarks" / "results" / f"real_subject_{name}_{arguments.preset}.json"
    out.write_text(json.dumps(result, indent=2) + "\n")
    if arguments.contact_sheet:
        shutil.copyfile(report / "contact_sheet.png", out.with_suffix(".png"))
    keys = ("psnr", "psnr_head", "psnr_mouth", "ms_ssim", "lmd", "psnr_portrait")
    print(json.dumps({key: result["report"].get(key) for key in keys}), seconds)


if __name__ == "__main__":
    main()
