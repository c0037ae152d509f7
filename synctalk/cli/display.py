"""Progress on stderr: a live table in a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, Task, TaskID, TextColumn
from rich.table import Column

from synctalk.progress import ProgressEvent

PLAIN_INTERVAL_S = 5.0
METRIC_WORDS = {"held_out_psnr_db": "held-out PSNR {:.2f} dB", "loss": "loss {:.4f}"}


class Display(Protocol):
    """Shows progress while it is entered."""

    def __enter__(self) -> Display: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def show(self, event: ProgressEvent) -> None:
        """Take one event; it may come from any thread."""


def make_display(console: Console) -> Display:
    """The display that suits ``console``."""
    return LiveDisplay(console) if console.is_terminal else PlainDisplay(console)


class LiveDisplay:
    """One row a stage: name, bar, count, units a second, time left, figures."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description}", table_column=Column(min_width=12, no_wrap=True)),
            BarColumn(bar_width=12),
            TextColumn("{task.fields[count]}", style="dim", justify="right"),
            TextColumn("{task.fields[rate]}", justify="right"),
            TextColumn("{task.fields[left]}", justify="right"),
            TextColumn("{task.fields[note]}", style="cyan", table_column=Column(ratio=1)),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}
        self._metrics: dict[str, str] = {}

    def __enter__(self) -> LiveDisplay:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def show(self, event: ProgressEvent) -> None:
        """Update the row of the event's stage, adding it when it is new."""
        if event.stage not in self._tasks:
            self._finish_open_stages()
            self._tasks[event.stage] = self._progress.add_task(
                event.stage, total=None, count="", rate="", left="", note=""
            )
        task_id = self._tasks[event.stage]
        metrics = metric_words(event)
        self._metrics[event.stage] = metrics or self._metrics.get(event.stage, "")
        note = "  ".join(filter(None, (self._metrics[event.stage], event.message)))
        task = self._task(task_id)
        done = event.total > 0 and event.done >= event.total
        self._progress.update(
            task_id,
            total=event.total or None,
            completed=event.done,
            count=count_words(event),
            rate=rate_words(event.rate),
            left=clock(task.elapsed or 0.0) if done else left_words(event),
            note=note,
        )

    def _task(self, task_id: TaskID) -> Task:
        return self._progress.tasks[self._progress.task_ids.index(task_id)]

    def _finish_open_stages(self) -> None:
        """A stage that never knew its length is done when another begins."""
        for task_id in self._tasks.values():
            task = self._task(task_id)
            if task.total is None:
                done = max(task.completed, 1)
                elapsed = clock(task.elapsed or 0.0)
                self._progress.update(task_id, total=done, completed=done, left=elapsed)


class PlainDisplay:
    """A line when a stage begins, ends or has news, and every few seconds in between."""

    def __init__(self, console: Console, interval_s: float = PLAIN_INTERVAL_S) -> None:
        self._console = console
        self._interval_s = interval_s
        self._stage = ""
        self._metrics = ""
        self._begun = 0.0
        self._last = 0.0

    def __enter__(self) -> PlainDisplay:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def show(self, event: ProgressEvent) -> None:
        """Print the event when it is due."""
        now = time.monotonic()
        new = event.stage != self._stage
        done = event.total > 0 and event.done >= event.total
        if new:
            self._stage, self._metrics, self._begun = event.stage, "", now
        self._metrics = metric_words(event) or self._metrics
        if new or done or event.message or now - self._last >= self._interval_s:
            self._last = now
            ending = f"in {clock(now - self._begun)}" if done else left_words(event)
            words = (event.stage, count_words(event), rate_words(event.rate), ending)
            line = "  ".join(filter(None, (*words, self._metrics, event.message)))
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)


def count_words(event: ProgressEvent) -> str:
    """E.g. ``"120/646"``."""
    return f"{event.done}/{event.total}" if event.total else str(event.done or "")


def rate_words(rate: float) -> str:
    """E.g. ``"23.4 it/s"``."""
    if rate <= 0:
        return ""
    return f"{rate:.1f} it/s" if rate >= 1 else f"{rate:.2f} it/s"


def left_words(event: ProgressEvent) -> str:
    """E.g. ``"ETA 1:05"``."""
    return "" if event.eta_s is None else f"ETA {clock(event.eta_s)}"


def metric_words(event: ProgressEvent) -> str:
    """The event's figures, the known ones in words."""
    return "  ".join(
        METRIC_WORDS.get(name, name + " {:.4g}").format(value)
        for name, value in event.metrics.items()
    )


def clock(seconds: float) -> str:
    """E.g. ``"0:07"`` or ``"1:02:03"``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
