"""Curves of the page: quality by training time and by footage, and minute by minute."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from synctalk.benchmark.result import CellResult
from synctalk.benchmark.tables import Group
from synctalk.evaluation.svg import Level, Line, plot

COLOURS = ("c1", "c2", "c3", "c4", "c5", "c0")
PAPER_PSNR = Level("paper 36.38 dB after 1.5 h on a 4090", 36.38)
METRICS = (("psnr", "PSNR, dB"), ("psnr_mouth", "PSNR of the mouth, dB"), ("lmd", "LMD, px"))


def curves(groups: Sequence[Group]) -> str:
    """All curves that there are points for."""
    ours = [
        g for g in groups
        if g.first.protocol == "reconstruction" and g.first.kind == "ours" and not g.first.without
    ]  # fmt: skip
    whole = [g for g in ours if " s of footage" not in g.first.method]
    label, count = _clock([g.first for g in whole])

    def trained(group: Group) -> float | None:
        seconds, steps = (group.first.run.get(name) for name in ("train_s", "trained_steps"))
        return None if seconds is None or steps is None else count(seconds, steps)

    parts = [
        _while_training(groups),
        _by(whole, trained, label, "Quality by training time, each point a run of its own"),
        _by(_of_footage(ours), _footage, "seconds of footage learnt from",
            "Quality by footage (same held-out frames)"),
        _long(groups),
    ]  # fmt: skip
    return "".join(parts)


def _clock(cells: Sequence[CellResult]) -> tuple[str, Callable[[float, float], float]]:
    """What training is counted in: minutes of a quiet machine, else steps, of seconds and steps."""
    if any(cell.trained_while_busy for cell in cells):
        return "training steps", lambda seconds, step: step
    return "minutes of training", lambda seconds, step: seconds / 60


def _while_training(groups: Sequence[Group]) -> str:
    """Held-out PSNR as it was watched while the longest run of each subject trained."""
    lines: list[Line] = []
    runs: list[CellResult] = []
    for subject in dict.fromkeys(g.first.subject for g in groups):
        found = [g.first for g in groups if g.first.subject == subject and len(g.first.curve) > 1]
        found = [f for f in found if not f.without and f.run.get("train_s")]
        if found:
            runs.append(max(found, key=lambda f: f.run.get("train_s") or 0.0))
    label, count = _clock(runs)
    for colour, run in zip(COLOURS, runs, strict=False):
        x = np.array([count(seconds, step) for seconds, step, _ in run.curve])
        y = np.array([psnr for _, _, psnr in run.curve])
        lines.append(Line(f"{run.subject}, {run.method}", x, y, colour))
    if not lines:
        return ""
    chart = plot(lines, label, "held-out PSNR, dB", level=PAPER_PSNR)
    note = (
        "As watched while training: a few held-out frames, lips from tracked landmarks (an oracle "
        "for the audio)."
    )
    return f'<h3>While training</h3><p class="note">{note}</p><div class="single">{chart}</div>'


def _by(ours: Sequence[Group], x: Callable[[Group], float | None], label: str, title: str) -> str:
    """One plot a metric, one line a subject, where a subject has two points or more."""
    charts = []
    for metric, words in METRICS:
        lines: list[Line] = []
        for subject in dict.fromkeys(g.first.subject for g in ours):
            points = sorted(
                {
                    (round(at, 2), value)
                    for g in ours
                    if g.first.subject == subject
                    and (at := x(g)) is not None
                    and (value := g.figure(metric, "plain").value) is not None
                }
            )
            if len({at for at, _ in points}) > 1 and len(lines) < len(COLOURS):
                a, b = (np.array(v, np.float64) for v in zip(*points, strict=True))
                lines.append(Line(subject, a, b, COLOURS[len(lines)], dots=True))
        if lines:
            charts.append(plot(lines, label, words))
    if not charts:
        return ""
    return f'<h3>{title}</h3><div class="pair">{"".join(charts)}</div>'


def _of_footage(ours: Sequence[Group]) -> list[Group]:
    """Runs on some seconds of footage, and those on all of it that they were made of."""
    bases = {g.first.base for g in ours if " s of footage" in g.first.method}
    return [g for g in ours if " s of footage" in g.first.method or g.first.method in bases]


def _footage(group: Group) -> float | None:
    return group.first.run.get("footage_s")


def _long(groups: Sequence[Group]) -> str:
    """Minute by minute: does anything drift?"""
    names = (
        ("sync_own_confidence", "own sync confidence"),
        ("sync_own_lag", "lag of the lips, frames"),
        ("pose_jitter", "pose jitter, °"),
        ("fps", "frames a second, encoding included"),
    )
    charts = []
    long = [g for g in groups if g.first.protocol == "long" and g.first.points.get("minute")]
    found = [g.first for g in long]
    unsure = any(g.judge_unsure for g in long)
    for name, words in names:
        lines = []
        for colour, cell in zip(COLOURS, found, strict=False):
            values = cell.points.get(name)
            if values and any(v is not None for v in values):
                x = np.array(cell.points["minute"], np.float64)
                y = np.array([np.nan if v is None else v for v in values], np.float64)
                lines.append(Line(f"{cell.subject}, {cell.method}", x, y, colour, dots=True))
        if lines:
            mark = ", judge unsure here" if unsure and name.startswith("sync_own") else ""
            charts.append(plot(lines, "minute", words + mark))
    if not charts:
        return ""
    return f'<h3>Long audio, minute by minute</h3><div class="pair">{"".join(charts)}</div>'
