"""Quote ``results/paper.json`` in ``README.md``: own audio, others' audio, and what is missing.

``cp out/benchmark/bench.json benchmarks/results/paper.json`` first.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from synctalk.benchmark.markup import number, title_of
from synctalk.benchmark.report import read_results
from synctalk.benchmark.result import CellResult
from synctalk.benchmark.tables import Group, grouped, trained_words

FOLDER = Path(__file__).parent
BEGIN, END = "<!-- results/paper.json -->\n", "<!-- end -->\n"
COLUMNS = (
    ("psnr", "plain"), ("psnr", "blended"), ("psnr_head", "plain"), ("psnr_mouth", "plain"),
    ("ms_ssim", "plain"), ("niqe", "plain"), ("brisque", "plain"), ("lmd", "plain"),
    ("aue_own", "plain"),
)  # fmt: skip
SPOKEN = ("sync_own_confidence", "sync_own_lag", "pose_jitter", "niqe", "brisque")


def main() -> None:
    """Put the tables between the marks."""
    where = FOLDER / "results" / "paper.json"
    cells, missing = read_results([where]), json.loads(where.read_text())["missing"]
    readme = FOLDER / "README.md"
    before, _, rest = readme.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    readme.write_text(before + BEGIN + tables(cells, missing) + END + after)


def tables(cells: Sequence[CellResult], missing: Sequence[str]) -> str:
    """Markdown of what is measured and of what is not."""
    groups = [g for g in grouped(cells) if g.first.protocol == "reconstruction"]
    rates = {
        (c.subject, c.method): g for g in grouped(cells) for c in g.cells if c.protocol == "speed"
    }
    heads = [title_of(("blended " if out == "blended" else "") + name) for name, out in COLUMNS]
    lines = [f"| subject | method | {' | '.join(heads)} | FPS ↑ | head trained |"]
    lines.append("|---" * (len(heads) + 4) + "|")
    for group in groups:
        cell = group.first
        if cell.kind != "source":
            words = trained_words(cell) if cell.run.get("train_s") else "–"
            timed = rates.get((cell.subject, cell.method))
            figures = [figure(group, *column) for column in COLUMNS]
            figures.append(figure(timed, "fps_one_stream", "plain") if timed else "–")
            lines.append(f"| {cell.subject} | {cell.method} | {' | '.join(figures)} | {words} |")
    total = len(cells) + len(missing)
    left = f"{len(cells)} of {total} cells are measured"
    protocols = dict.fromkeys(name.partition(" · ")[0] for name in missing)
    counts = [f"{p} {sum(n.startswith(p + ' ·') for n in missing)}" for p in protocols]
    left += f"; still missing: {', '.join(counts)}.\n" if missing else ".\n"
    return "\n".join([*lines, "", *crossed(cells), "", left])


def crossed(cells: Sequence[CellResult]) -> list[str]:
    """Lines of the table of other people's speech."""
    lines = [f"| subject | speech | method | {' | '.join(map(title_of, SPOKEN))} |"]
    lines.append("|---" * (len(SPOKEN) + 3) + "|")
    for group in grouped(cells):
        cell = group.first
        if cell.protocol == "cross-audio":
            figures = " | ".join(figure(group, name, "blended") for name in SPOKEN)
            lines.append(f"| {cell.subject} | {cell.sound} | {cell.method} | {figures} |")
    return lines


def figure(group: Group, name: str, output: str) -> str:
    """A cell of the table."""
    found = group.figure(name, output)
    return "–" if found.value is None else f"{found.bound}{number(name, found.value)}"


if __name__ == "__main__":
    main()
