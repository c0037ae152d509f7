"""Damaged media files through the limited process."""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path

from fuzz_report import Report
from limited_forks import Outcome, nothing_leaks, run
from media_seeds import seeds, signer
from mutate import mutated

from synctalk.media import MediaLimits
from synctalk.media.sandbox import Request

LIMITS = MediaLimits(
    max_duration_s=20, memory_bytes=512 << 20, max_output_bytes=64 << 20, probe_s=10,
    cpu_s_per_media_s=2, max_side_px=1024, max_pixels=1024 * 1024,
)  # fmt: skip
TASKS = {
    "video": ("probe", "audio", "sample", "normalise", "manifest"),
    "audio": ("probe", "audio"),
    "picture": ("picture", "manifest"),
}
WRONG = ("crash", "bug", "hang")


def fuzz(seed: int, count: int, seconds: float, keep: Path | None = None) -> Report:
    """``count`` files, fewer if ``seconds`` are over; findings are kept as files in ``keep``."""
    good = seeds()
    names, report, began = sorted(good), Report("damaged media files", seed), time.monotonic()
    contents = [data for _, data in good.values()]
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder, nothing_leaks():
        work = Path(folder)
        for number in range(count):
            if time.monotonic() - began > seconds:
                report.out_of_time = True
                break
            rng = random.Random(f"{seed}/{number}")
            name = rng.choice(names)
            family, data = good[name]
            source = work / "source"
            source.write_bytes(mutated(data, contents, rng))
            task = rng.choice(TASKS[family])
            outcome = _one(task, source, work)
            report.count += 1
            _note(report, outcome, f"{task} of {name}, number {number}", source, keep)
    report.seconds = time.monotonic() - began
    return report


def _one(task: str, source: Path, work: Path) -> Outcome:
    out = work / "out"
    out.mkdir()
    (out / "trusted.pem").write_text(signer()[1])  # for manifests
    try:
        written = "" if task == "probe" else str(out)
        return run(
            Request(task, str(source), LIMITS, written, max_side=256, count=3), work / "stderr"
        )
    finally:
        for left in out.iterdir():
            left.unlink()
        out.rmdir()


def _note(report: Report, outcome: Outcome, where: str, source: Path, keep: Path | None) -> None:
    what = f"{outcome.kind} {outcome.detail}".strip()
    report.outcomes[what] += 1
    if outcome.kind in WRONG and what not in report.findings:
        report.findings[what] = where
        if keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            (keep / f"{outcome.kind}-{len(report.findings)}").write_bytes(source.read_bytes())
