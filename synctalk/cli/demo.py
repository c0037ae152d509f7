"""The whole path in one command, each stage timed."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rich.markup import escape

from synctalk.cli import report
from synctalk.cli.session import Outcome
from synctalk.errors import InputError
from synctalk.progress import ProgressCallback

if TYPE_CHECKING:
    from synctalk.training import TrainConfig

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
_T = TypeVar("_T")


class _Stopwatch:
    """Seconds spent in each named stage."""

    def __init__(self) -> None:
        self.timings_s: dict[str, float] = {}

    def time(self, stage: str, work: Callable[[], _T]) -> _T:
        start = time.monotonic()
        made = work()
        self.timings_s[stage] = round(time.monotonic() - start, 2)
        return made


def run_demo(
    video: Path | None,
    audio: Path | None,
    out: Path,
    *,
    config: TrainConfig,
    device: str,
    progress: ProgressCallback,
) -> Outcome:
    """Preprocess, train, dub and evaluate into ``out``.

    Raises:
        SyncTalkError: whatever a stage raises.
    """
    from synctalk import dub, evaluate, preprocess, train

    video, audio = given_or_sample(video, "portrait.mp4"), given_or_sample(audio, "speech.wav")
    out.mkdir(parents=True, exist_ok=True)
    watch = _Stopwatch()
    watch.time("preprocess", lambda: preprocess(video, out / "dataset", progress=progress))
    made = watch.time(
        "train",
        lambda: train(
            out / "dataset", out / "avatar", config=config, device=device, progress=progress
        ),
    )
    done = watch.time(
        "dub",
        lambda: dub(out / "avatar", audio, out / "dubbed.mp4", device=device, progress=progress),
    )
    measured = watch.time(
        "evaluate",
        lambda: evaluate(
            out / "avatar", out / "dataset", out / "report", device=device, progress=progress
        ),
    )
    parts = (
        report.avatar(made),
        report.dubbed(done),
        report.evaluation(measured),
    )
    return _closing(out, watch.timings_s, *parts)


def given_or_sample(given: Path | None, name: str) -> Path:
    """``given``, or a file of the samples. Raises :class:`InputError`: it is not there."""
    if given is not None:
        return given
    if not (SAMPLES / name).is_file():
        raise InputError(
            f"The samples are not installed ({SAMPLES / name}).",
            reason="NO_SAMPLES",
            remedy="Run from a checkout of the project, or give --video and --audio.",
        )
    return SAMPLES / name


def _closing(
    out: Path, timings_s: dict[str, float], avatar: Outcome, dubbed: Outcome, measured: Outcome
) -> Outcome:
    seconds = "  ".join(f"{stage} {value:.1f} s" for stage, value in timings_s.items())
    page = out / "report" / "index.html"
    words = [
        avatar.words, dubbed.words, measured.words, "",
        f"Timings: {seconds}  total {sum(timings_s.values()):.1f} s",
        f"Watch   {escape(str(out / 'dubbed.mp4'))}",
        f"Open    {escape(str(page))}",
        f"Look at {escape(str(page.with_name('contact_sheet.png')))}",
    ]  # fmt: skip
    result = {
        "path": str(out),
        "timings_s": timings_s,
        "avatar": avatar.result,
        "dub": dubbed.result,
        "evaluation": measured.result,
    }
    return Outcome(result, "\n".join(words))
