"""The tables of the benchmark's page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from synctalk.benchmark.markup import table
from synctalk.benchmark.paper import TABLES
from synctalk.benchmark.result import CellResult
from synctalk.benchmark.switches import SWITCHES
from synctalk.benchmark.tables import Group, Row, table_rows, where
from synctalk.evaluation.quality import METRICS


def paper_tables(groups: Sequence[Group]) -> str:
    """Tables I to IV, VI and VII with our rows, those that we have rows for."""
    parts = []
    for number, paper in TABLES.items():
        rows = table_rows(number, groups)
        caption = f"Table {number}. {paper.caption}"
        ours = [f for row in rows if not row.paper for f in row.figures]
        if any(figure.value is not None for figure in ours):
            parts.append(table(caption, paper.metrics, rows))
        elif ours:
            why = next((figure.why for figure in ours if figure.why), "Nothing of it is measured.")
            note = "What is measured without it stands below, under other protocols."
            parts.append(f"<h3>{escape(caption)}</h3><p>{escape(why)} {note}</p>")
    if not parts:
        return ""
    note = (
        '<p class="note">Grey: the paper. Bold green: the best of our rows. A dash: not measured; '
        "its title, and the list below, say what it takes.</p>"
    )
    return note + "".join(parts)


def protocol_tables(groups: Sequence[Group]) -> str:
    """Our own ablations; foreign sounds; other languages and noise; long talks."""
    parts = [_own_ablations(groups)]
    for protocol, caption in (
        ("cross-audio", "Other people's speech, all that is measured without a reference"),
        ("ood", "Other languages and noise"),
        ("long", "Long audio, as a whole"),
        ("speed", "Frame rates, each avatar by itself"),
    ):
        found = [g for g in groups if g.first.protocol == protocol]
        found.sort(key=lambda g: (g.first.subject, g.first.sound))
        if found:
            parts.append(_measured(f"{caption}", found, "blended", by_sound=True))
    return "".join(parts)


def _own_ablations(groups: Sequence[Group]) -> str:
    rows, columns = [], ("psnr", "psnr_head", "psnr_mouth", "lmd", "train_s")
    found = [g for g in groups if g.first.protocol == "reconstruction"]
    tried = [g for g in found if len(g.first.without) == 1]
    for subject in dict.fromkeys(g.first.subject for g in tried):
        own = [g for g in tried if g.first.subject == subject]
        bases = {g.first.base for g in own}
        whole = [g for g in found if g.first.subject == subject and g.first.method in bases]
        for group in (*whole, *own):
            name = f"{group.first.method}: the whole method"
            if group.first.without:
                switch = SWITCHES[group.first.without[0]]
                name = f"{switch.name}: {switch.words}"
            figures = tuple(group.figure(c, "plain") for c in columns)
            ours = not group.first.without
            rows.append(Row(name, subject, figures, where(group.first), ours))
    caption = "Every switch, what it does, and what it costs (as rendered, not blended)"
    return table(caption, columns, rows) if rows else ""


def all_figures(groups: Sequence[Group]) -> str:
    """Everything that has a value, subject by subject."""
    parts = []
    own = [g for g in groups if not g.first.sound]
    for subject in dict.fromkeys(g.first.subject for g in own):
        found = [g for g in own if g.first.subject == subject]
        for output, words in (("plain", "as rendered"), ("blended", "blended into the source")):
            there = [g for g in found if output in g.first.outputs]
            if there:
                parts.append(_measured(f"{subject}, {words}", there, output))
    return f"<details><summary>Show all tables</summary>{''.join(parts)}</details>" if parts else ""


def _measured(caption: str, groups: Sequence[Group], output: str, by_sound: bool = False) -> str:
    """A table of the metrics that any of the groups has."""
    columns = [
        name for name in METRICS
        if any(g.figure(name, output).value is not None for g in groups)
        and not (by_sound and name == "train_s")
    ]  # fmt: skip
    if not columns:
        return ""
    rows = [
        Row(
            ": ".join(filter(None, (g.first.sound if by_sound else "", g.first.method))),
            g.first.subject if by_sound else "",
            tuple(g.figure(c, output) for c in columns),
            where(g.first),
            g.first.kind in ("ours", "avatar") and not g.first.without,
            contends=g.contends,
        )
        for g in groups
    ]
    return table(caption, columns, rows, marked=not by_sound) + _openings(groups)


def _openings(groups: Sequence[Group]) -> str:
    """How the mouth opens beside the truth and beside the same words without noise."""
    lines = []
    for group in groups:
        for name, words in (
            ("opening_r_truth", "what the person really does"),
            ("opening_r_clean", "the same words without noise"),
        ):
            value = group.point(name).value
            if value is not None:
                lines.append(
                    f"<li>{escape(group.first.subject)}, {escape(group.first.sound)}, "
                    f"{escape(group.first.method)}: the mouth's opening correlates {value:.2f} "
                    f"with {words}.</li>"
                )
    return f"<ul>{''.join(lines)}</ul>" if lines else ""


def absent_metrics(groups: Sequence[Group]) -> str:
    """Metrics that could not be measured, each with how to get it."""
    found: dict[str, tuple[str, str]] = {}
    for group in groups:
        for scored in group.first.outputs.values():
            for name, why in scored.absent.items():
                found.setdefault(name, (why["reason"], why["remedy"]))
    if not found:
        return ""
    items = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(remedy)} <small>({escape(reason)})</small></dd>"
        for name, (reason, remedy) in found.items()
    )
    note = "Nothing stands in for a metric that is absent."
    return f'<p class="note">{note}</p><dl class="absent">{items}</dl>'


def still_missing(names: Sequence[str]) -> str:
    """Cells of the plan that there is nothing of yet."""
    items = "".join(f"<li>{escape(name)}</li>" for name in names)
    return f"<ul>{items}</ul>" if items else ""


def failures(results: Sequence[CellResult]) -> str:
    """Cells without figures."""
    items = "".join(
        f"<li>{escape(' · '.join(x for x in (r.protocol, r.subject, r.sound, r.method) if x))}: "
        f"{escape(r.failure.message)} {escape(r.failure.remedy)}</li>"
        for r in results
        if r.failure is not None
    )
    return f"<ul>{items}</ul>" if items else ""
