"""Rows of tables out of cells: seeds together, our rows beside the paper's."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from synctalk.benchmark.paper import TABLES, PaperTable
from synctalk.benchmark.result import CellResult
from synctalk.benchmark.switches import SWITCHES
from synctalk.evaluation.quality import METRICS

OUR_NAMES = {"lpips": "lpips_alex", "fps": "fps_one_stream"}
"""Columns of the paper by the names of our metrics, where they differ. Its AUE has no counterpart
that may stand in the same column."""
TRUE_LAG = 1.0
"""Frames: the own judge knows a person whose own video it finds to be no further out of sync."""


@dataclass(frozen=True)
class Figure:
    """One value of a table.

    Args:
        value: mean over seeds; None where there is none.
        spread: standard deviation over seeds, if there are several.
        why: what a missing one needs.
        bound: ``"≤"`` or ``"≥"`` where it is no more than that: others worked on the machine that
            timed it.
        unsure: the judge that gave it mistakes this person's own video.
    """

    value: float | None
    spread: float | None = None
    why: str = ""
    bound: str = ""
    unsure: bool = False


@dataclass(frozen=True)
class Row:
    """One row.

    Args:
        name: method. subject: of whom; empty for the paper's.
        figures: by column.
        where: machine, training time and size.
        ours: marked. paper: of the paper.
        contends: it may be the best; the source as it is and an oracle for the audio may not.
    """

    name: str
    subject: str
    figures: tuple[Figure, ...]
    where: str
    ours: bool = False
    paper: bool = False
    contends: bool = True


@dataclass(frozen=True)
class Group:
    """The seeds of one cell.

    Args:
        judge_unsure: the own judge of sync finds a wrong lag in the subject's own video.
    """

    cells: tuple[CellResult, ...]
    judge_unsure: bool = False

    @property
    def contends(self) -> bool:
        """Whether it is a method that may be the best."""
        return self.first.kind not in ("source", "oracle")

    @property
    def first(self) -> CellResult:
        """What all seeds share."""
        return self.cells[0]

    def figure(self, name: str, output: str) -> Figure:
        """A metric over the seeds."""
        values = [v for c in self.cells if (v := c.figure(name, output)) is not None]
        if not values:
            scored = self.first.outputs.get(output)
            absent = scored.absent.get(name) if scored is not None else None
            return Figure(None, why=absent["remedy"] if absent else "")
        spread = statistics.stdev(values) if len(values) > 1 else None
        unsure = self.judge_unsure and name.startswith("sync_own")
        return Figure(statistics.fmean(values), spread, bound=self._bound(name), unsure=unsure)

    def _bound(self, name: str) -> str:
        if name == "train_s":
            return "≤" if any(c.trained_while_busy for c in self.cells) else ""
        if name == "peak_memory_mb":  # of the process, which may have done other things before
            return "≤"
        if name in ("latency_ms", "cost_per_minute") or name.startswith("fps"):
            busy = any(c.timed_while_busy for c in self.cells)
            return ("≥" if name.startswith("fps") else "≤") if busy else ""
        return ""

    def point(self, name: str) -> Figure:
        """A single figure of the protocol over the seeds."""
        values = [v for c in self.cells for v in c.points.get(name, ()) if v is not None]
        return Figure(statistics.fmean(values) if values else None)


def grouped(results: Iterable[CellResult]) -> list[Group]:
    """Cells that differ in their seed alone, together; failed ones left out."""
    results = list(results)
    mistaken = {r.subject for r in results if _judge_mistakes(r)}
    found: dict[tuple[str, ...], list[CellResult]] = {}
    for cell in results:
        if cell.failure is None:
            key = (cell.protocol, cell.subject, cell.sound, cell.method)
            found.setdefault(key, []).append(cell)
    return [Group(tuple(cells), cells[0].subject in mistaken) for cells in found.values()]


def _judge_mistakes(cell: CellResult) -> bool:
    """Whether it is a person's own video and the own judge finds it out of sync."""
    if cell.kind != "source" or cell.sound or cell.failure is not None:
        return False
    return (cell.figure("sync_own_lag") or 0.0) > TRUE_LAG


def table_rows(number: str, groups: Sequence[Group]) -> list[Row]:
    """The paper's rows of a table and ours after them; nothing where we have none."""
    table = TABLES[number]
    ours = _OURS[number](table, groups)
    if not ours:
        return []
    paper = [
        Row(name, "", tuple(Figure(v) for v in values), "RTX 4090, 512×512", name in table.ours,
            paper=True)
        for name, values in table.rows.items()
    ]  # fmt: skip
    return [*paper, *ours]


def where(cell: CellResult) -> str:
    """Machine, training time and size of a row."""
    machine = cell.machine
    device = str(machine.get("gpu", "none"))
    if device == "none":
        device = f"{machine.get('cpu', 'CPU')}, {machine.get('cores', '?')} cores"
    parts = [device]
    train_s = cell.run.get("train_s")
    if train_s:
        parts.append(f"trained {trained_words(cell)}")
    parts.append(f"{cell.side}×{cell.side}")
    trained = cell.run.get("trained_size")
    if trained and trained != cell.side:
        parts[-1] += f" (trained at {trained:.0f})"
    return ", ".join(parts)


def trained_words(cell: CellResult) -> str:
    """How long it was trained: the time, or on a busy machine a bound and what all cores did."""
    words = duration(cell.run.get("train_s") or 0.0)
    if not cell.trained_while_busy:
        return words
    return f"≤ {words}, {duration(cell.run.get('train_cpu_s') or 0.0)} of CPU time"


def duration(seconds: float) -> str:
    """E.g. ``"48 s"``, ``"10.5 min"`` or ``"3.2 h"``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def _row(group: Group, name: str, figures: Sequence[Figure]) -> Row:
    first = group.first
    ours = first.kind in ("ours", "avatar") and not first.without
    return Row(name, first.subject, tuple(figures), where(first), ours, contends=group.contends)


def _reconstructions(groups: Sequence[Group]) -> list[Group]:
    """Whole methods under their own sound."""
    return [g for g in groups if g.first.protocol == "reconstruction" and not g.first.without]


def _metric(column: str) -> str:
    return OUR_NAMES.get(column, column)


def _table_i(table: PaperTable, groups: Sequence[Group]) -> list[Row]:
    rates = {(g.first.subject, g.first.method): g for g in groups if g.first.protocol == "speed"}
    rows = []
    for group in _reconstructions(groups):
        timed = rates.get((group.first.subject, group.first.method))
        figures = [
            _rate(timed) if m == "fps" else group.figure(_metric(m), "plain") for m in table.metrics
        ]
        rows.append(_row(group, group.first.method, figures))
    return rows


def _rate(timed: Group | None) -> Figure:
    if timed is None:
        return Figure(None, why="Add the protocol speed to the plan.")
    return timed.figure(_metric("fps"), "plain")


def _table_ii(table: PaperTable, groups: Sequence[Group]) -> list[Row]:
    rows = []
    for group in _reconstructions(groups):
        if "blended" in group.first.outputs:
            for output, words in (("plain", "w/o Portrait"), ("blended", "Portrait")):
                figures = [group.figure(_metric(m), output) for m in table.metrics]
                rows.append(_row(group, f"{group.first.method} ({words})", figures))
    return rows


def _table_iii(table: PaperTable, groups: Sequence[Group]) -> list[Row]:
    """LSE of the paper where SyncNet's weights are given, and our own judge's beside it."""
    crossed: dict[tuple[str, str], list[Group]] = {}
    for group in groups:
        if group.first.protocol == "cross-audio" and not group.first.without:
            crossed.setdefault((group.first.subject, group.first.method), []).append(group)
    rows = []
    for found in crossed.values():
        figures = []
        for column in table.metrics:
            role, _, metric = column.rpartition(" ")
            named = next((g for g in found if g.first.role == role), None)
            figures.append(named.figure(metric, "blended") if named else Figure(None))
        rows.append(_row(found[0], found[0].first.method, figures))
    return rows


def _of_output(group: Group, column: str, output: str) -> Figure:
    """A column's figure; lips are the same plain and blended, and measured once."""
    return group.figure(_metric(column), "plain" if column in ("lmd", "lse_c") else output)


def _ablated(table: PaperTable, groups: Sequence[Group], protocol: str, output: str) -> list[Row]:
    wanted = [s.name for s in SWITCHES.values() if s.table == table.number]
    rows = []
    for group in groups:
        switches = group.first.without
        if group.first.protocol == protocol and len(switches) == 1 and switches[0] in wanted:
            figures = [_of_output(group, m, output) for m in table.metrics]
            rows.append(_row(group, SWITCHES[switches[0]].row, figures))
    return rows


def _whole(table: PaperTable, groups: Sequence[Group], protocol: str) -> list[Group]:
    """The methods that the table's switches leave something out of, of the same subjects."""
    ablated = {
        (g.first.subject, g.first.sound, g.first.base)
        for g in groups
        if g.first.without and SWITCHES[g.first.without[0]].table == table.number
    }
    return [
        g
        for g in groups
        if g.first.protocol == protocol
        and (g.first.subject, g.first.sound, g.first.method) in ablated
    ]


def _table_iv(table: PaperTable, groups: Sequence[Group]) -> list[Row]:
    ours = _ablated(table, groups, "reconstruction", "plain")
    if not ours:
        return []
    whole = [
        _row(g, f"{g.first.method}: linear basis, seeded on the face mesh",
             [g.figure(_metric(m), "plain") for m in table.metrics])
        for g in _whole(table, groups, "reconstruction")
    ]  # fmt: skip
    return [*whole, *ours]


def _table_vi(table: PaperTable, groups: Sequence[Group]) -> list[Row]:
    ours = _ablated(table, groups, "reconstruction", "blended")
    if not ours:
        return []
    rows = []
    for group in _whole(table, groups, "reconstruction"):
        for output, name in (("blended", "full"), ("plain", "w/o Portrait-Sync Generator")):
            figures = [_of_output(group, m, output) for m in table.metrics]
            rows.append(_row(group, name, figures))
    return [rows[0], *ours, *rows[1:]] if rows else ours


def _table_vii(table: PaperTable, groups: Sequence[Group]) -> list[Row]:
    rows = []
    found = [
        *_whole(table, groups, "cross-audio"),
        *(g for g in groups if g.first.without == ("torso-restorer",)),
    ]
    for group in sorted(found, key=lambda g: (g.first.subject, g.first.sound)):
        word = "w/o" if group.first.without else "w/"
        figures = [group.figure(m, "blended") for m in table.metrics]
        rows.append(_row(group, f"{word} torso restorer, {group.first.sound}", figures))
    return rows if any(g.first.without for g in found) else []


_OURS: dict[str, Callable[[PaperTable, Sequence[Group]], list[Row]]] = {
    "I": _table_i,
    "II": _table_ii,
    "III": _table_iii,
    "IV": _table_iv,
    "VI": _table_vi,
    "VII": _table_vii,
}


def better(metric: str) -> str:
    """``"higher"`` or ``"lower"`` for a column's metric."""
    name = _metric(metric.rpartition(" ")[2])
    if name in ("aue", "lpips"):
        return "lower"
    return METRICS[name].better
