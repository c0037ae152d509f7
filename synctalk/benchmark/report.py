"""Write a benchmark down: ``index.html`` for people, ``bench.json`` and ``bench.csv`` for programs.

The two files of figures hold no picture; the page holds the videos and needs nothing else.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from synctalk.benchmark.page import page
from synctalk.benchmark.plan import Plan
from synctalk.benchmark.result import CellResult, Scored
from synctalk.benchmark.workshop import write_json
from synctalk.errors import InputError
from synctalk.evaluation.machine import describe_machine
from synctalk.evaluation.quality import METRICS

PAGE, FIGURES, TABLE = "index.html", "bench.json", "bench.csv"
COLUMNS = (
    "protocol", "subject", "sound", "method", "kind", "without", "seed", "output", "metric",
    "value", "unit", "better", "absent",
)  # fmt: skip


def write_report(
    plan: Plan,
    results: Sequence[CellResult],
    missing: Sequence[str],
    out: Path,
    folders: Sequence[Path],
) -> None:
    """Write page, figures and table into ``out``, each whole or not at all.

    Args:
        results: of all cells that were measured.
        missing: names of the cells that were not.
        folders: of the measured cells, in the same order.
    """
    write_json(
        out / FIGURES,
        {
            "title": plan.title,
            "machine": describe_machine().as_dict(),
            "missing": list(missing),
            "cells": [_without_series(result) for result in results],
        },
    )
    _write_csv(out / TABLE, results)
    draft = out / f".{PAGE}.{os.getpid()}.writing"
    draft.write_text(page(plan.title, results, folders, missing), encoding="utf-8")
    os.replace(draft, out / PAGE)


def read_results(paths: Sequence[Path]) -> list[CellResult]:
    """The cells of files that :func:`write_report` wrote as figures: they show nothing.

    Raises:
        InputError: a file cannot be read, or is none of this release.
    """
    found = []
    for path in paths:
        try:
            cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path}: no figures of a benchmark ({error}).",
                reason="BENCH_RESULT",
                remedy="Name a bench.json that `synctalk bench` wrote.",
            ) from error
        found += [CellResult.from_json(json.dumps(cell), path) for cell in cells]
    return [replace(cell, outputs=_elsewhere(cell), video="", worst=()) for cell in found]


def _elsewhere(cell: CellResult) -> dict[str, Scored]:
    """What to do about an absent metric is not known here: :func:`_without_series` left it out."""
    remedy = "See to it on the machine that measured this."
    return {
        name: replace(one, absent={k: {**v, "remedy": remedy} for k, v in one.absent.items()})
        for name, one in cell.outputs.items()
    }


def _without_series(cell: CellResult) -> dict[str, Any]:
    """Figures alone, and nothing of this machine's folders: values frame by frame, and what an
    absent metric takes, are in the cell's own ``result.json``."""
    outputs = {
        name: Scored(one.figures, {k: {"reason": v["reason"]} for k, v in one.absent.items()})
        for name, one in cell.outputs.items()
    }
    points = {k: v for k, v in cell.points.items() if k != "opening_mm"}
    return replace(cell, outputs=outputs, points=points).to_json()


def _write_csv(path: Path, results: Sequence[CellResult]) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}.writing")
    with draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for result in results:
            writer.writerows(_lines(result))
    os.replace(draft, path)


def _lines(cell: CellResult) -> Iterator[tuple[object, ...]]:
    """One a figure, one an absent metric."""
    head = (cell.protocol, cell.subject, cell.sound, cell.method, cell.kind,
            " ".join(cell.without), cell.seed)  # fmt: skip
    if cell.failure is not None:
        yield (*head, "", "", "", "", "", cell.failure.reason)
        return
    for output, scored in cell.outputs.items():
        for name, value in scored.figures.items():
            spec = METRICS[name]
            yield (*head, output, name, _text(value), spec.unit, spec.better, "")
        for name, why in scored.absent.items():
            spec = METRICS[name]
            yield (*head, output, name, "", spec.unit, spec.better, why["reason"])
    for name, value in cell.run.items():
        known = METRICS.get(name)
        yield (*head, "run", name, _text(value), known.unit if known else "",
               known.better if known else "", "")  # fmt: skip


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
