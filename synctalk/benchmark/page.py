"""The benchmark as one HTML page: pictures, videos and script inside, light and dark."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from synctalk.benchmark import player
from synctalk.benchmark.curves import curves
from synctalk.benchmark.figures import (
    absent_metrics,
    all_figures,
    failures,
    paper_tables,
    protocol_tables,
    still_missing,
)
from synctalk.benchmark.markup import anchor, section
from synctalk.benchmark.paper import TABLES
from synctalk.benchmark.result import CellResult
from synctalk.benchmark.tables import Group, grouped, trained_words
from synctalk.evaluation.style import STYLE
from synctalk.evaluation.svg import Line, plot

COLOURS = ("c1", "c2", "c3", "c4", "c5")
MOST_LINES = 5
TIMED = ("speed", "long")


@dataclass(frozen=True)
class Shelf:
    """Results with the folders that hold their videos and pictures."""

    results: tuple[CellResult, ...]
    folders: tuple[Path, ...]

    def of(self, subject: str) -> list[tuple[CellResult, Path]]:
        """Of a subject, those that have something to look at; of several seeds the first."""
        found: dict[str, tuple[CellResult, Path]] = {}
        for result, folder in zip(self.results, self.folders, strict=True):
            if result.subject == subject and result.video:
                found.setdefault(video_id(result), (result, folder))
        return list(found.values())


def page(
    title: str,
    results: Sequence[CellResult],
    folders: Sequence[Path],
    missing: Sequence[str] = (),
) -> str:
    """The whole document; ``missing``: cells that are still to be measured."""
    shelf = Shelf(tuple(results), tuple(folders))
    groups = grouped(results)
    subjects = list(dict.fromkeys(r.subject for r in results))
    seen = [(subject, _subject(shelf, subject)) for subject in subjects]
    sections = [
        *(section(subject, body) for subject, body in seen if body),
        section("Beside the paper", paper_tables(groups)),
        section("Curves", curves(groups)),
        section("Other protocols", protocol_tables(groups)),
        section("All figures", all_figures(groups)),
        section("What is not measured", absent_metrics(groups)),
        section("What failed", failures(results)),
        section("Still to be measured", still_missing(missing)),
        section("How it was measured", _method(results)),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<link rel="icon" href="data:,">'
        f"<title>{escape(title)}: benchmark</title><style>{STYLE}{player.STYLE}</style></head>"
        '<body><a class="skip" href="#main">To the results</a>'
        f"{_head(title, results, groups, missing)}"
        f'<main id="main">{"".join(s for s in sections if s)}</main>'
        f"{_videos(shelf, subjects)}<script>{player.SCRIPT}</script></body></html>\n"
    )


# -- head ------------------------------------------------------------------------------------


def _head(
    title: str, results: Sequence[CellResult], groups: Sequence[Group], missing: Sequence[str]
) -> str:
    private = sorted({r.subject for r in results if not r.public and r.video})
    note = ""
    if private:
        note = (
            '<p class="warn"><b>Not to be passed on.</b> This page shows '
            f"{escape(', '.join(private))}, of whom no consent to publication is noted. "
            "<code>bench.json</code> and <code>bench.csv</code> hold figures alone.</p>"
        )
    if any(r.trained_while_busy or (r.protocol in TIMED and r.timed_while_busy) for r in results):
        note += (
            '<p class="warn">Others worked on the machine while some of this was trained or '
            "timed: such times (≤) and frame rates (≥) are bounds.</p>"
        )
    unsure = sorted({g.first.subject for g in groups if g.judge_unsure})
    if unsure:
        note += (
            '<p class="warn">Judge unsure here: in the own video of '
            f"{escape(', '.join(unsure))} our own judge of sync finds a wrong lag. "
            "What it says of these people is marked so, and says little.</p>"
        )
    if missing:
        note += (
            f'<p class="warn"><a href="#still-to-be-measured">{len(missing)} of '
            f"{len(missing) + len(results)} cells</a> are still to be measured.</p>"
        )
    links = "".join(
        f'<a href="#{anchor(name)}">{escape(name)}</a>'
        for name in (*dict.fromkeys(r.subject for r in results), "Beside the paper", "Curves",
                     "All figures", "What is not measured")
    )  # fmt: skip
    return (
        f"<header><h1>{escape(title)}</h1>"
        f'<p class="verdict">{escape(verdict(groups))}</p>{note}'
        f'<div class="tiles">{_tiles(groups)}</div>'
        f'<nav aria-label="Sections">{links}</nav></header>'
    )


def verdict(groups: Sequence[Group]) -> str:
    """One sentence on the first of our methods, beside the paper and the still mouth."""
    ours = _leading(groups)
    if not ours:
        return f"{len(groups)} measurements."
    values = [g.figure("psnr", "plain").value for g in ours]
    known = [v for v in values if v is not None]
    if not known:
        return f"{len(groups)} measurements."
    paper = TABLES["I"].rows["SyncTalk++"][0]
    people = list(dict.fromkeys(g.first.subject for g in ours))
    whose = f"our avatars of {len(people)} people reproduce"
    if len(people) == 1:
        whose = f"our avatar of {people[0]} reproduces"
    reach = f"{min(known):.1f}"
    if max(known) - min(known) > 0.05:
        reach += f" to {max(known):.1f}"
    words = f"Speaking with its own audio, {whose} frames it never saw at {reach}"
    if len(people) > 1:
        words = f"Speaking with their own audio, {whose} frames they never saw at {reach}"
    words += f" dB (paper {paper:.1f} on its own footage)"
    pairs = _beside_still(groups)
    if pairs:
        gain = float(np.mean([a / b for a, b in pairs]))
        whose = "its" if len(people) == 1 else "their"
        words += f"; {whose} lips stray {gain:.2f} times as far as a still mouth's"
    return words + "."


def _beside_still(groups: Sequence[Group]) -> list[tuple[float, float]]:
    """LMD of ours and of the mean mouth, subject by subject."""
    pairs = []
    for group in _leading(groups):
        for other in groups:
            same = other.first.subject == group.first.subject
            if same and other.first.kind == "mean-mouth" and not other.first.sound:
                a, b = group.figure("lmd", "plain").value, other.figure("lmd", "plain").value
                if a and b:
                    pairs.append((a, b))
    return pairs


def _leading(groups: Sequence[Group]) -> list[Group]:
    """The first of our methods of every subject, in the plan's order."""
    found: dict[str, Group] = {}
    for group in filter(_is_ours, groups):
        found.setdefault(group.first.subject, group)
    return list(found.values())


def _is_ours(group: Group) -> bool:
    first = group.first
    return (
        first.kind in ("ours", "avatar")
        and first.protocol == "reconstruction"
        and not first.without
    )


def _tiles(groups: Sequence[Group]) -> str:
    tiles = []
    for group in _leading(groups):
        first = group.first
        value = group.figure("psnr", "plain").value
        portrait = group.figure("psnr", "blended").value
        train_s = first.run.get("train_s")
        under = [f"portrait {portrait:.2f} dB" if portrait is not None else ""]
        under.append(f"trained {trained_words(first)}" if train_s else "")
        tiles.append(
            f'<div class="tile"><span>{escape(first.subject)} · {escape(first.method)}</span>'
            f"<b>{'–' if value is None else f'{value:.2f} dB'}</b>"
            f"<span>{escape(' · '.join(u for u in under if u))}</span></div>"
        )
    return "".join(tiles)


# -- what can be looked at ---------------------------------------------------------------------


def _subject(shelf: Shelf, subject: str) -> str:
    """Worst frames, videos in step, plots."""
    cells = shelf.of(subject)
    own = [(r, f) for r, f in cells if not r.sound and not r.without]
    parts = [_worst(own), _plots([r for r, _ in own]), _theatre(subject, "", own)]
    for sound in dict.fromkeys(r.sound for r, _ in cells if r.sound):
        spoken = [(r, f) for r, f in cells if r.sound == sound]
        parts.append(_theatre(subject, sound, spoken))
    return "".join(parts)


def _worst(cells: Sequence[tuple[CellResult, Path]]) -> str:
    """The worst frames of every method, the method with the worst one last."""
    found = [(r, f) for r, f in cells if r.worst and r.kind != "source"]
    if not found:
        return ""
    figures = []
    for result, folder in found[:MOST_LINES]:
        for bad in result.worst[:2]:
            data = base64.b64encode((folder / bad.picture).read_bytes()).decode()
            place = theatre_id(result.subject, "")
            words = f"{result.method}: frame {bad.frame}, {bad.psnr:.1f} dB"
            button = ""
            if bad.frame - result.first_frame < 250:
                button = (
                    f'<button data-goto="{place}@{bad.frame}" '
                    f'aria-label="Show frame {bad.frame} in the videos">Show</button>'
                )
            figures.append(
                f'<figure><img src="data:image/jpeg;base64,{data}" '
                f'alt="{escape(words)}; source left, method right">'
                f"<figcaption>{escape(words)} {button}</figcaption></figure>"
            )
    return (
        "<h3>Worst frames first</h3>"
        '<p class="note">The two held-out frames of each method with the lowest PSNR: source left, '
        f'method right.</p><div class="worst">{"".join(figures)}</div>'
    )


def _plots(results: Sequence[CellResult]) -> str:
    shown = [r for r in results if r.kind != "source" and "plain" in r.outputs][:MOST_LINES]
    names = (("psnr", "PSNR, dB"), ("psnr_mouth", "PSNR of the mouth, dB"), ("lmd", "LMD, px"))
    charts = []
    for metric, label in names:
        lines = []
        for colour, result in zip(COLOURS, shown, strict=False):
            values = result.outputs["plain"].series.get(metric)
            if values:
                y = np.array([np.nan if v is None else v for v in values], np.float64)
                x = (result.first_frame + np.arange(len(y))) / result.fps
                lines.append(Line(result.method, x, y, colour))
        if lines:
            charts.append(plot(lines, "time in the clip, s", label))
    return f'<h3>Frame by frame</h3><div class="pair">{"".join(charts)}</div>' if charts else ""


def theatre_id(subject: str, sound: str) -> str:
    """The element's id."""
    return "theatre-" + anchor(f"{subject} {sound}".strip())


def _theatre(subject: str, sound: str, cells: Sequence[tuple[CellResult, Path]]) -> str:
    if not cells:
        return ""
    cells = sorted(cells, key=lambda c: c[0].kind != "source")
    open_kinds = _opened([r for r, _ in cells])
    figures, chips, sounds = [], [], []
    for i, (result, _) in enumerate(cells):
        on = i in open_kinds
        psnr = result.figure("psnr")
        value = "" if psnr is None or result.kind == "source" else f"{psnr:.2f} dB"
        name = escape(result.method)
        figures.append(
            f"<figure{'' if on else ' hidden'}>"
            f'<video data-video="{video_id(result)}" playsinline muted preload="none" '
            f'aria-label="{name}"></video><figcaption>{name}<span>{value}</span></figcaption></figure>'
        )
        chips.append(f'<button data-chip="{i}" aria-pressed="{str(on).lower()}">{name}</button>')
        sounds.append(f'<option value="{i}"{" selected" if not i else ""}>{name}</option>')
    first = cells[0][0]
    last = min(first.n_frames, 250) - 1
    title = f"Under the sound “{sound}”" if sound else "Side by side, own audio"
    what = "as delivered, blended into the source" if sound else "as rendered, not blended"
    return (
        f'<h3>{escape(title)}</h3><p class="note">'
        f"{escape(what.capitalize())}; the first {(last + 1) / first.fps:.0f} s. "
        "The buttons choose what is shown.</p>"
        f'<div class="theatre" id="{theatre_id(subject, sound)}" role="group" '
        f'data-first="{first.first_frame}" aria-label="{escape(subject)}, {escape(title)}">'
        f'<div class="chips" role="group" aria-label="Shown methods">{"".join(chips)}</div>'
        f'<div class="shows">{"".join(figures)}</div><div class="bar">'
        '<button data-play aria-pressed="false">Play</button>'
        '<button data-back aria-label="One frame back">‹</button>'
        '<button data-on aria-label="One frame on">›</button>'
        f'<input type="range" min="0" max="{last}" value="0" step="1" aria-label="Frame">'
        "<output></output>"
        '<button data-loop aria-pressed="true">Loop</button>'
        '<select data-rate aria-label="Speed"><option value="1">1×</option>'
        '<option value="0.5">½×</option><option value="0.25">¼×</option></select>'
        f'<select data-sound aria-label="Sound of">{"".join(sounds)}'
        '<option value="none">no sound</option></select></div></div>'
    )


def _opened(results: Sequence[CellResult]) -> set[int]:
    """Shown at first: the source, the first of ours, and a baseline."""
    found: list[int] = []
    for kinds in (("source",), ("ours", "avatar"), ("synctalk", "import", "mean-mouth")):
        match = next((i for i, r in enumerate(results) if r.kind in kinds and i not in found), None)
        if match is not None:
            found.append(match)
    return set(found)


def video_id(result: CellResult) -> str:
    """The id of the element that holds a cell's video."""
    return "video-" + anchor(f"{result.subject} {result.sound} {result.method} {result.protocol}")


def _videos(shelf: Shelf, subjects: Sequence[str]) -> str:
    """Every video once, as text that no browser runs."""
    parts = {}
    for subject in subjects:
        for result, folder in shelf.of(subject):
            if result.sound or not result.without:
                data = base64.b64encode((folder / result.video).read_bytes()).decode()
                parts[video_id(result)] = data
    return "".join(
        f'<script type="text/plain" id="{name}">{data}</script>' for name, data in parts.items()
    )


def _method(results: Sequence[CellResult]) -> str:
    machines = dict.fromkeys(where_of_machine(r) for r in results)
    lines = "".join(f"<li>{escape(m)}</li>" for m in machines)
    return (
        "<p>Reconstruction: the last 1/11 of the frames, which no training saw, under their own "
        "audio; head pose, brows and lids come from the tracked source, lips from the audio. "
        "Under foreign audio the longest held-out shot with a face in each frame plays to and fro; "
        "nothing is true there, so nothing is compared with the source. The paper's figures are of "
        "its own footage, on an RTX 4090: they stand beside ours for orientation, not as a contest "
        "on equal ground. Its LMD and AUE depend on a tracker and a normalisation that it does not "
        "name.</p>"
        f"<p>Measured on:</p><ul>{lines}</ul>"
    )


def where_of_machine(cell: CellResult) -> str:
    """One line."""
    m = cell.machine
    return (
        f"{m.get('cpu')}, {m.get('cores')} cores, {m.get('memory_gib')} GiB, GPU {m.get('gpu')}; "
        f"{m.get('os')}; Python {m.get('python')}, torch {m.get('torch')}; commit {m.get('commit')}"
    )
