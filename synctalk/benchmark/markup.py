"""Pieces of HTML that several parts of the page are made of."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

from synctalk.benchmark.tables import Figure, Row, better, duration

DIGITS = {
    "psnr": 2, "psnr_head": 2, "psnr_mouth": 2, "ssim": 4, "ssim_mouth": 4, "ms_ssim": 4,
    "lpips": 4, "lpips_alex": 4, "lpips_vgg": 4, "lpips_squeeze": 4, "fid": 2, "lmd": 3, "fps": 1,
    "fps_one_stream": 1, "fps_batched": 1, "fps_end_to_end": 1, "latency_ms": 1,
    "peak_memory_mb": 0, "sync_own_lag": 1, "niqe": 2, "brisque": 1, "hyperiqa": 1,
}  # fmt: skip
TITLES = {
    "psnr": "PSNR", "psnr_head": "PSNR head", "psnr_mouth": "PSNR mouth", "ssim": "SSIM",
    "ssim_mouth": "SSIM mouth", "ms_ssim": "MS-SSIM", "lpips": "LPIPS", "lpips_alex": "LPIPS",
    "lpips_vgg": "LPIPS VGG", "lpips_squeeze": "LPIPS Squeeze", "fid": "FID", "niqe": "NIQE",
    "brisque": "BRISQUE", "hyperiqa": "HyperIQA", "lmd": "LMD", "aue": "AUE", "lse_c": "LSE-C",
    "lse_d": "LSE-D", "train_s": "Time", "fps": "FPS", "fps_one_stream": "FPS, one stream",
    "fps_batched": "FPS, batched", "fps_end_to_end": "FPS, end to end", "latency_ms": "Latency, ms",
    "peak_memory_mb": "Memory, MB", "cost_per_minute": "Cost a minute", "identity": "Identity",
    "sync_own_confidence": "Sync (own)", "sync_own_lag": "Lag (own), frames", "flicker": "Flicker",
    "pose_error": "Pose error, °", "pose_jitter": "Pose jitter, °", "aue_upper": "AUE upper",
    "aue_lower": "AUE lower", "aue_own": "AUE (own)", "aue_own_upper": "AUE (own) upper",
    "aue_own_lower": "AUE (own) lower",
}  # fmt: skip
SAME_DB = 99.9
"""A PSNR from here on is that of equal pictures."""


def anchor(name: str) -> str:
    """A name as an element's id."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "x"


def section(title: str, body: str) -> str:
    """A section; nothing where it would be empty."""
    if not body:
        return ""
    name = anchor(title)
    return (
        f'<section id="{name}" aria-labelledby="{name}-h"><h2 id="{name}-h">{escape(title)}</h2>'
        f"{body}</section>"
    )


def title_of(column: str) -> str:
    """Of a metric's column, with the arrow of what is better."""
    role, _, metric = column.rpartition(" ")
    words = TITLES.get(metric, metric.replace("_", " "))
    arrow = "↑" if better(column) == "higher" else "↓"
    return f"{role + ': ' if role else ''}{words} {arrow}"


def number(column: str, value: float) -> str:
    """A value with as many digits as mean something."""
    metric = column.rpartition(" ")[2]
    if metric == "train_s":
        return duration(value)
    if metric.startswith("psnr") and value >= SAME_DB:
        return "equal"
    return f"{value:.{DIGITS.get(metric, 3)}f}"


def figure_cell(column: str, figure: Figure, best: bool) -> str:
    """A table's cell."""
    if figure.value is None:
        why = figure.why or "not measured"
        return f'<td class="none" title="{escape(why)}">–</td>'
    spread = "" if figure.spread is None else f" ±{number(column, figure.spread)}"
    mark = ' class="best"' if best else ""
    bound = f"{figure.bound} " if figure.bound else ""
    unsure = ' <span class="of">judge unsure here</span>' if figure.unsure else ""
    return f"<td{mark}>{bound}{number(column, figure.value)}{spread}{unsure}</td>"


def table(caption: str, columns: Sequence[str], rows: Sequence[Row], *, marked: bool = True) -> str:
    """A table of figures; ``marked``: the best of our rows stands out in every column."""
    best = [_best(column, rows, i) if marked else None for i, column in enumerate(columns)]
    head = "".join(f'<th scope="col">{escape(title_of(c))}</th>' for c in columns)
    body = []
    for row in rows:
        marks = " ".join(
            name for name, on in (
                ("paper", row.paper), ("own", row.paper and row.ours),
                ("ours", row.ours and not row.paper),
            ) if on
        )  # fmt: skip
        cells = "".join(
            figure_cell(c, f, not row.paper and f.value is not None and f.value == b)
            for c, f, b in zip(columns, row.figures, best, strict=True)
        )
        subject = f' <span class="of">{escape(row.subject)}</span>' if row.subject else ""
        body.append(
            f'<tr class="{marks}"><td>{escape(row.name)}{subject}</td>{cells}'
            f'<td class="where">{escape(row.where)}</td></tr>'
        )
    return (
        f'<h3>{escape(caption)}</h3><div class="scroll" tabindex="0" role="region" '
        f'aria-label="{escape(caption)}"><table><thead><tr><th scope="col">Method</th>{head}'
        '<th scope="col" class="where">Where, and at what size</th></tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _best(column: str, rows: Sequence[Row], i: int) -> float | None:
    """The best value of our rows that contend."""
    values = [
        r.figures[i].value for r in rows
        if not r.paper and r.contends and not r.figures[i].unsure
    ]  # fmt: skip
    known = [v for v in values if v is not None]
    if len(set(known)) < 2 or column == "train_s":
        return None
    return max(known) if better(column) == "higher" else min(known)
