"""What each command says when it is done: figures for programs, words for people."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from synctalk.cli.session import ExitCode, Outcome
from synctalk.doctor import Finding

if TYPE_CHECKING:
    from synctalk.benchmark import BenchReport
    from synctalk.bundle import AvatarBundle
    from synctalk.dataset import SubjectDataset
    from synctalk.dubbing import DubResult
    from synctalk.evaluation import EvaluationReport
    from synctalk.face_sync.pretrain import Pretrained
    from synctalk.inspect import Description
    from synctalk.provenance import Verification

HEADLINES = ("psnr", "psnr_head", "psnr_mouth", "ms_ssim", "lmd")


def dataset(made: SubjectDataset) -> Outcome:
    """What ``preprocess`` made."""
    from synctalk.dataset import QUALITY, QUALITY_PICTURE
    from synctalk.quality import QualityReport

    facts = made.manifest
    length = facts.n_frames / facts.fps
    warnings = QualityReport.from_json((made.path / QUALITY).read_text()).warnings
    result = {
        "path": str(made.path),
        "n_frames": facts.n_frames,
        "duration_s": length,
        "cuts": list(facts.cuts),
        "tracker": facts.tracker,
        "timings_s": dict(facts.timings_s),
        "warnings": [dataclasses.asdict(warning) for warning in warnings],
    }
    words = [
        f"[bold green]Dataset[/] {_name(made.path)}: {facts.n_frames} frames, {length:.1f} s, "
        f"{len(facts.cuts)} cuts, tracked by {facts.tracker}, in {_total(facts.timings_s):.1f} s",
        f"Footage report: {_name(made.path / QUALITY_PICTURE)}",
        *(f"[yellow]– {escape(w.message)}[/] {escape(w.remedy)}" for w in warnings),
    ]
    return Outcome(result, "\n".join(words))


def avatar(made: AvatarBundle) -> Outcome:
    """What ``train`` made."""
    facts = made.manifest
    result = {
        "path": str(made.path),
        "metrics": dict(facts.metrics),
        "timings_s": dict(facts.timings_s),
        "settings": dict(facts.settings),
    }
    return Outcome(result, f"[bold green]Avatar[/] {_name(made.path)}: {_figures(facts.metrics)}")


def dubbed(done: DubResult) -> Outcome:
    """What ``dub`` wrote."""
    result = {
        "path": str(done.path),
        "n_frames": done.n_frames,
        "duration_s": done.duration_s,
        "fps": done.fps,
        "timings_ms": dict(done.timings_ms),
        "mark_id": f"{done.mark_id:012x}" if done.mark_id else None,
        "signed": done.signed,
    }
    words = (
        f"[bold green]Video[/] {_name(done.path)}: {done.n_frames} frames, "
        f"{done.duration_s:.1f} s, made at {done.fps:.1f} frames a second"
    )
    return Outcome(result, words)


def evaluation(made: EvaluationReport) -> Outcome:
    """What ``evaluate`` measured."""
    figures = {name: made.figures[name] for name in HEADLINES if name in made.figures}
    words = [f"[bold green]Report[/] {_name(made.page)}: {_figures(figures)}"]
    return Outcome({"path": str(made.path), **made.figures}, "\n".join(words))


def benchmark(made: BenchReport) -> Outcome:
    """What ``bench`` measured; failed when nothing could be."""
    failed = [
        {"cell": f"{r.protocol} {r.subject} {r.sound} {r.method}", "reason": r.failure.reason}
        for r in made.results
        if r.failure is not None
    ]
    result = {
        "path": str(made.path),
        "page": str(made.page),
        "cells": len(made.results),
        "missing": len(made.missing),
        "reused": made.reused,
        "failed": failed,
    }
    words = [
        f"[bold green]Benchmark[/] {_name(made.page)}: {len(made.results)} cells, "
        f"{made.reused} of them from an earlier run"
    ]
    if made.missing:
        words.append(f"{len(made.missing)} cells are still to be measured")
    words += [f"[yellow]– {escape(f['cell'])}: {escape(f['reason'])}[/]" for f in failed]
    code = ExitCode.BAD_INPUT if len(failed) == len(made.results) else ExitCode.OK
    return Outcome(result, "\n".join(words), code)


def pretrained(made: Pretrained) -> Outcome:
    """What ``pretrain-encoder`` made."""
    result = {
        "path": str(made.path),
        "held_out": made.held_out,
        "held_out_causal": made.held_out_causal,
    }
    return Outcome(result, f"[bold green]Weights[/] {_name(made.path)}: {_figures(made.held_out)}")


def description(found: Description) -> Outcome:
    """What ``inspect`` sees."""
    facts = {fact.name: fact.value for fact in found.facts}
    words = [f"[bold]{_name(found.path)}[/] is {_article(found.kind)}:"]
    words += [f"  {escape(fact.words)}" for fact in found.facts]
    result = {"path": str(found.path), "kind": found.kind, "facts": facts}
    return Outcome(result, "\n".join(words))


def verified(found: Verification) -> Outcome:
    """What ``verify`` found."""
    colour = {"signed": "green", "watermarked": "green", "unknown": "yellow"}[found.verdict]
    words = [f"[bold {colour}]{found.verdict.capitalize()}[/]: {escape(found.words)}"]
    if found.development:
        words.append("[yellow]– Only a development certificate or key stands behind this.[/]")
    result = dataclasses.asdict(found)
    for name in ("mark_id", "signed_mark_id"):
        result[name] = None if result[name] is None else f"{result[name]:012x}"
    return Outcome(result, "\n".join(words))


def findings(found: Sequence[Finding]) -> Outcome:
    """What ``doctor`` found."""
    words = [line for finding in found for line in _finding_lines(finding)]
    missing = [finding.name for finding in found if finding.required and not finding.ok]
    closing = (
        f"[bold red]Missing: {', '.join(missing)}[/]"
        if missing
        else ("[bold green]Ready: video in, avatar out.[/]")
    )
    result = {"ready": not missing, "findings": [dataclasses.asdict(one) for one in found]}
    code = ExitCode.MISSING if missing else ExitCode.OK
    return Outcome(result, "\n".join([*words, "", closing]), code)


def _finding_lines(finding: Finding) -> list[str]:
    sign = "[green]✓[/]" if finding.ok else ("[red]✗[/]" if finding.required else "[yellow]–[/]")
    lines = [f"{sign} {finding.name:<25} {escape(finding.detail)}"]
    if finding.remedy:
        lines.append(f"  {'':<25} [dim]{escape(finding.remedy)}[/]")
    return lines


def _article(kind: str) -> str:
    return {"video": "a video", "audio": "a sound file", "dataset": "a dataset"}.get(
        kind, "an avatar"
    )


def _figures(metrics: Mapping[str, float | None]) -> str:
    return ", ".join(
        f"{name} {'not measured' if value is None else format(value, '.4g')}"
        for name, value in metrics.items()
    )


def _total(timings_s: Mapping[str, float]) -> float:
    return float(sum(timings_s.values()))


def _name(path: Path) -> str:
    return escape(str(path))
