"""Write an evaluation down: ``report.json`` for programs, ``index.html`` for people."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from synctalk.evaluation.contact import contact_sheet, difference, save_image
from synctalk.evaluation.page import page
from synctalk.evaluation.paper import NOT_MEASURED
from synctalk.evaluation.result import (
    Drive,
    EvaluationResult,
    Example,
    Image,
    Series,
    correlation,
    mean,
)

REPORT_VERSION = 1
INDEX = "index.html"
REPORT = "report.json"
CONTACT_SHEET = "contact_sheet.png"
WORST_FRAMES = "worst_frames.png"


def write_report(result: EvaluationResult, folder: Path) -> None:
    """Write page, figures and pictures beside the videos that are already in ``folder``.

    ``index.html`` opens by a double click and needs nothing but the files beside it.
    """
    save_image(str(folder / CONTACT_SHEET), _examples_sheet(result))
    save_image(str(folder / WORST_FRAMES), _worst_sheet(result))
    text = json.dumps(figures(result), indent=2, allow_nan=False)
    (folder / REPORT).write_text(text + "\n", encoding="utf-8")
    (folder / INDEX).write_text(page(result, CONTACT_SHEET, WORST_FRAMES), encoding="utf-8")


def figures(result: EvaluationResult) -> dict[str, Any]:
    """The content of ``report.json``; a figure that does not exist is null.

    The flat keys are the oracle's (lips from tracked landmarks); ``audio_driven`` holds the same
    keys with the lips driven by the audio.
    """
    return {
        "report_version": REPORT_VERSION,
        "subject": result.subject,
        "preset": result.preset,
        **drive_figures(result.tracked, result.source_lip_gap),
        "audio_driven": drive_figures(result.audio, result.source_lip_gap),
        "timings": {
            "preprocess_s": _rounded(result.timings.preprocess_s),
            "train_s": _rounded(result.timings.train_s),
            "frame_ms": _rounded(result.timings.frame_ms),
        },
        "protocol": _protocol(result),
        "not_measured": NOT_MEASURED,
        "machine": result.machine.as_dict(),
    }


def drive_figures(drive: Drive, source_lip_gap: Series) -> dict[str, float | int | None]:
    """``psnr``, ``psnr_head``, ``psnr_mouth``, ``ssim``, ``ssim_mouth``, ``ms_ssim``, ``lmd``, …

    The image metrics once more with ``_portrait`` behind their names.
    """
    plain = {name: _number(value) for name, value in drive.plain.means().items()}
    portrait = {f"{name}_portrait": _number(v) for name, v in drive.portrait.means().items()}
    faces = int(np.isfinite(drive.lmd).sum())
    mouth = {
        "lmd": _number(mean(drive.lmd)),
        "lmd_frames": faces,
        "lip_gap_correlation": _number(correlation(drive.lip_gap, source_lip_gap)),
    }
    return {**plain, **mouth, **portrait}


def _protocol(result: EvaluationResult) -> dict[str, Any]:
    return {
        "name": "own-audio reconstruction of the last 1/11 of the frames",
        "first_frame": result.first,
        "n_frames": result.n_frames - result.first,
        "clip_frames": result.n_frames,
        "fps": result.fps,
        "size": result.size,
        "dataset_tracker": result.tracker,
        "lmd_tracker": "mesh",
        "held_out_poses": "the dataset's; nothing is fitted to the rendering",
        "flat_keys": "lips driven by tracked landmarks of the held-out frames (oracle)",
        "audio_driven": "lips driven by the clip's own audio",
    }


def _examples_sheet(result: EvaluationResult) -> Image:
    tracked, audio = result.tracked.examples, result.audio.examples
    rows = [[e.source for e in tracked], *_pair(tracked), *_pair(audio)]
    labels = [
        "source",
        "rendered, lips from tracked landmarks",
        "difference x4",
        "rendered, lips from audio",
        "difference x4",
    ]
    return contact_sheet(rows, labels, [f"{e.index / result.fps:.2f} s" for e in tracked])


def _worst_sheet(result: EvaluationResult) -> Image:
    rows, labels = [], []
    for drive, name in ((result.tracked, "tracked landmarks"), (result.audio, "audio")):
        shown = ", ".join(str(e.index) for e in drive.worst)
        span = f"{drive.worst[0].psnr:.1f} to {drive.worst[-1].psnr:.1f} dB"
        rows += [[e.source for e in drive.worst], *_pair(drive.worst)]
        labels += [f"lips from {name}: frames {shown} ({span})", "rendered", "difference x4"]
    return contact_sheet(rows, labels)


def _pair(examples: tuple[Example, ...]) -> list[list[Image]]:
    """The rendered frames and their differences."""
    return [[e.rendered for e in examples], [difference(e.rendered, e.source) for e in examples]]


def _number(value: float) -> float | None:
    return round(value, 5) if math.isfinite(value) else None


def _rounded(seconds: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in seconds.items()}
