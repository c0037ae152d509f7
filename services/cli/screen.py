"""What a person sees on stderr while a command works: bars in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn
from rich.table import Column, Table

PLAIN_INTERVAL_S = 5.0


@dataclass(frozen=True)
class Bar:
    """How far something is.

    Args:
        name: what, e.g. ``"training"``.
        fraction: 0 to 1; None: not known.
        left_s: seconds left; None: not known.
        note: a few words more, whose change is news.
        count: figures that always change.
    """

    name: str
    fraction: float | None
    left_s: float | None = None
    note: str = ""
    count: str = ""

    def words(self) -> str:
        """On one line."""
        percent = "" if self.fraction is None else f"{100 * self.fraction:.0f} %"
        left = "" if self.left_s is None else f"ETA {clock(self.left_s)}"
        return "  ".join(filter(None, (self.name, percent, self.count, left, self.note)))


class Screen:
    """Stderr, while it is entered."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description}", table_column=Column(min_width=14, no_wrap=True)),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[percent]}", justify="right"),
            TextColumn("{task.fields[count]}", style="dim", justify="right"),
            TextColumn("{task.fields[left]}", justify="right"),
            TextColumn("{task.fields[note]}", style="dim", table_column=Column(ratio=1)),
            console=self._console,
        )
        self._live: Live | None = None
        self._tasks: dict[str, TaskID] = {}
        self._plain: tuple[str, str, float] = ("", "", 0.0)
        self._note = ""

    def __enter__(self) -> Screen:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._tasks:
            self._progress.stop()
        if self._live is not None:
            self._live.stop()

    def show(self, bar: Bar) -> None:
        """Update the bar of this name; the bars before a new one are complete."""
        if not self._console.is_terminal:
            self.show_plainly(bar)
            return
        if bar.name not in self._tasks:
            self._complete_all()
            self._tasks[bar.name] = self._progress.add_task(
                escape(bar.name), total=None, percent="", count="", left="", note=""
            )
        self._progress.start()
        known = bar.fraction is not None
        self._progress.update(
            self._tasks[bar.name],
            total=1.0 if known else None,
            completed=bar.fraction or 0.0,
            percent=f"{100 * (bar.fraction or 0):.0f} %" if known else "",
            left="" if bar.left_s is None else f"ETA {clock(bar.left_s)}",
            note=escape(bar.note),
            count=bar.count,
        )

    def show_table(self, table: Table) -> None:
        """Show a table that is replaced by the next one; in a terminal only."""
        if not self._console.is_terminal:
            return
        if self._live is None:
            self._live = Live(table, console=self._console, auto_refresh=False)
            self._live.start()
        self._live.update(table, refresh=True)

    def show_plainly(self, bar: Bar) -> None:
        """A line, where there is no terminal: when its note changes, and now and then."""
        if self._console.is_terminal:
            return
        name, note, at_s = self._plain
        due = time.monotonic() - at_s >= PLAIN_INTERVAL_S
        if (bar.name, bar.note) != (name, note) or due:
            self.say(bar.words())
            self._plain = (bar.name, bar.note, time.monotonic())

    def note(self, text: str) -> None:
        """Say something once, however often it is noted in a row."""
        if text != self._note:
            self._note = text
            self.say(text)

    def say(self, text: str) -> None:
        """A line of plain text, above the bars."""
        self._console.print(escape(text), highlight=False, soft_wrap=True)

    def say_marked(self, text: str) -> None:
        """Lines with rich markup, above the bars."""
        self._console.print(text, highlight=False, soft_wrap=True)

    def complain(self, message: str, remedy: str, *, mild: bool = False) -> None:
        """What went wrong and what to do."""
        colour = "yellow" if mild else "red"
        self._console.print(f"[bold {colour}]{escape(message)}[/]", highlight=False, soft_wrap=True)
        if remedy:
            self.say(remedy)

    def _complete_all(self) -> None:
        for task in self._tasks.values():
            self._progress.update(task, total=1.0, completed=1.0, percent="", left="", note="")


def clock(seconds: float) -> str:
    """E.g. ``"0:07"`` or ``"1:02:03"``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
