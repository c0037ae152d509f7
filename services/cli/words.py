"""Resources of the API in words and tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from services.cli.screen import clock

_SIGNS = {"good": "✓", "warn": "!", "refuse": "✗"}
_COLOURS = {
    "ready": "green", "succeeded": "green", "failed": "red", "dead": "red", "cancelled": "yellow",
}  # fmt: skip
_LEVELS = {
    "good": "good: nothing to improve",
    "warn": "usable, and could be better",
    "refuse": "cannot be used",
}


def quality(report: Mapping[str, Any]) -> list[str]:
    """The report on the footage; of the checks those that are not good."""
    lines = [f"Footage {_LEVELS.get(report['level'], report['level'])}"]
    for verdict in report["verdicts"]:
        if verdict["level"] != "good":
            text = " ".join(filter(None, (verdict["message"], verdict["remedy"])))
            lines.append(f"  {_SIGNS[verdict['level']]} {verdict['name']}: {text}")
    return lines


def avatar(found: Mapping[str, Any]) -> str:
    """An avatar on a few lines."""
    lines = [f"[bold]Avatar[/] {escape(found['name'])}  {found['id']}  {state(found)}"]
    if found.get("quality"):
        lines += [escape(line) for line in quality(found["quality"])]
    if found.get("metrics"):
        lines.append("Measured " + figures(found["metrics"]))
    lines += _error(found)
    lines += _links(found, ("preview_url", "quality_picture_url"))
    jobs = "  ".join(f"{job['type']} {job['id']}" for job in found.get("jobs") or ())
    return "\n".join([*lines, f"Jobs     {jobs}"] if jobs else lines)


def dub(found: Mapping[str, Any]) -> str:
    """A dub on a few lines."""
    length = f"{found['duration_s']:.1f} s" if found.get("duration_s") else ""
    lines = [f"[bold]Dub[/] {found['id']}  of {found['avatar']}  {state(found)}  {length}".rstrip()]
    lines += _error(found)
    lines += _links(
        found, ("video_url", "captions_vtt_url", "captions_srt_url", "manifest_url", "preview_url")
    )
    return "\n".join(lines)


def verdict(found: Mapping[str, Any]) -> str:
    """What a file is."""
    colour = "yellow" if found["verdict"] == "unknown" else "green"
    lines = [f"[bold {colour}]{found['verdict'].capitalize()}[/]: {escape(found['words'])}"]
    mark = found["mark"]
    if mark and mark["made_for"]:
        lines.append(f"  made for {escape(mark['made_for'])}, avatar {escape(mark['avatar'])}")
    if found["development"]:
        lines.append("  [yellow]Only a development certificate or key stands behind this.[/]")
    return "\n".join(lines)


def job(found: Mapping[str, Any]) -> str:
    """A job on a few lines."""
    lines = [
        f"[bold]Job[/] {found['id']}  {found['type']}  {state(found)}  for {found['resource']}",
        f"Attempt {found['attempt']} of {found['max_attempts']}",
    ]
    if found.get("metrics"):
        lines.append("Measured " + figures(found["metrics"]))
    return "\n".join([*lines, *_error(found)])


def state(found: Mapping[str, Any]) -> str:
    """State and progress, coloured."""
    name = str(found["state"])
    colour = _COLOURS.get(name)
    parts = [f"[{colour}]{name}[/]" if colour else name]
    if colour is None and found.get("fraction") is not None:
        parts.append(f"{100 * found['fraction']:.0f} %")
    if colour is None and found.get("eta_s") is not None:
        parts.append(f"ETA {clock(found['eta_s'])}")
    return " ".join(parts)


def figures(metrics: Mapping[str, float]) -> str:
    """E.g. ``"psnr 34.1, lmd 1.2"``."""
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())


def size(n_bytes: int) -> str:
    """E.g. ``"12.3 MB"``."""
    value = float(n_bytes)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} GB"


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> str:
    """Rows under headings, as text; ``empty`` when there are none."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        made.add_column(column, no_wrap=True)
    for row in rows:
        made.add_row(*("" if cell is None else escape(str(cell)) for cell in row))
    if not made.rows:
        return empty
    console = Console(width=max(200, Console().width), color_system=None)
    with console.capture() as capture:
        console.print(made)
    return "\n".join(escape(line.rstrip()) for line in capture.get().rstrip().splitlines())


def _error(found: Mapping[str, Any]) -> list[str]:
    error = found.get("error")
    if not error:
        return []
    return [f"[red]{escape(error['code'])}[/] {escape(error['message'])} {escape(error['remedy'])}"]


def _links(found: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    return [
        f"{name.removesuffix('_url').replace('_', ' ').capitalize():<8} {escape(str(found[name]))}"
        for name in names
        if found.get(name)
    ]
