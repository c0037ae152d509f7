"""Run a plan: cell by cell, each kept as soon as it is measured, and the page at the end.

A cell is a folder ``cells/PROTOCOL/SUBJECT/NAME`` that appears in one rename. One whose digest is
still that of the plan is not measured again; one that failed is tried again.
"""

from __future__ import annotations

import dataclasses
import re
import shutil
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from synctalk.benchmark.cells import Cell, cells_of, digest, openface_tables, video_key
from synctalk.benchmark.endurance import measure_long
from synctalk.benchmark.measure import Stage, kind_of, measure, measure_rates
from synctalk.benchmark.plan import Plan
from synctalk.benchmark.report import PAGE, read_results, write_report
from synctalk.benchmark.result import RESULT, VERSION, CellResult, Failure
from synctalk.benchmark.workshop import Workshop, sole_user, write_json
from synctalk.dataset import FPS
from synctalk.errors import Cancelled, InputError, SyncTalkError
from synctalk.evaluation.machine import describe_machine
from synctalk.face import make_tracker
from synctalk.progress import ProgressCallback, ProgressEvent, ignore_progress

STEP_S, FRAME_S, PEER_S, USUAL_S = 0.06, 0.3, 240.0, 12.0
"""Seconds that a training step, a scored frame and the predecessor's training take on two cores,
and how long a held-out part is, roughly: the weights of the estimate of the time left."""
TRUSTED_S = 120.0
"""How much of the estimate counts as if it had been measured."""


@dataclass(frozen=True)
class BenchReport:
    """What a benchmark wrote.

    Args:
        path: the folder, with ``index.html``, ``bench.json`` and ``bench.csv``.
        results: of all cells that were measured, in the plan's order.
        missing: names of the plan's cells that are still to be measured.
        reused: how many were there from an earlier run.
    """

    path: Path
    results: tuple[CellResult, ...]
    missing: tuple[str, ...]
    reused: int

    @property
    def page(self) -> Path:
        """The HTML page."""
        return self.path / PAGE

    @property
    def failed(self) -> tuple[CellResult, ...]:
        """Cells without figures."""
        return tuple(r for r in self.results if r.failure is not None)


def bench(
    plan: Plan,
    out: Path,
    *,
    part: Plan | None = None,
    cache: Path | None = None,
    measured: Sequence[Path] = (),
    fresh: bool = False,
    device: str = "auto",
    progress: ProgressCallback = ignore_progress,
) -> BenchReport:
    """Measure the cells of a plan and write the page of all that is measured of it.

    Args:
        plan: see :mod:`synctalk.benchmark.plan`.
        out: folder of cells and page; may be one of an earlier run.
        part: ``plan.narrowed(…)``: measure no more than this. The page names what is missing.
        cache: folder of datasets and avatars; ``OUT/cache`` if None. Several benchmarks may share
            one, one at a time.
        measured: ``bench.json`` of runs elsewhere: cells of theirs that rest on the same files and
            settings are not measured again. They have figures, but nothing to look at.
        fresh: measure again what was measured; datasets and avatars are kept.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        progress: receives the events of all stages, and of ``bench`` with the time left.

    Raises:
        InputError: another benchmark works there, a file of the plan is missing, or ``measured``
            names no figures of this release.
        Cancelled: from ``progress``; what is measured is kept, and stands on the page.
    """
    cache = cache or out / "cache"
    with sole_user(out), sole_user(cache):
        workshop = Workshop(cache, device, progress)
        run = _Run(plan, out, workshop, read_results(measured), fresh, progress, device)
        try:
            run.measure(part or plan)
        except Cancelled:
            run.report()
            raise
        return run.report()


@dataclass
class _Slot:
    """A cell of the plan, and its result once there is one."""

    cell: Cell
    key: str | None
    result: CellResult | None


class _Run:
    def __init__(
        self,
        plan: Plan,
        out: Path,
        workshop: Workshop,
        elsewhere: Iterable[CellResult],
        fresh: bool,
        progress: ProgressCallback,
        device: str,
    ) -> None:
        self._plan, self._out, self._workshop = plan, out, workshop
        self._progress, self._reused = progress, 0
        self._elsewhere = {each.digest: each for each in elsewhere if each.failure is None}
        self._stage = Stage(workshop, make_tracker("mesh", device), plan, progress)
        self._weights = files_of(plan.weights)
        self._slots = [self._slot(cell) for cell in cells_of(plan)]
        self._fresh = fresh

    def measure(self, part: Plan) -> None:
        """All cells of ``part`` that are not known.

        Raises:
            InputError: a file of the plan is missing.
            Cancelled: from the progress callback.
        """
        wanted = {self.folder(cell) for cell in cells_of(part)}
        slots = [slot for slot in self._slots if self.folder(slot.cell) in wanted]
        todo = [s for s in slots if self._fresh or s.result is None or s.result.failure is not None]
        self._reused = sum(slot.result is not None for slot in self._slots) - sum(
            slot.result is not None for slot in todo
        )
        keys = [slot.key or self._key(slot.cell) for slot in todo]
        clock = _Clock([self._cost(slot.cell) for slot in todo])
        done = len(slots) - len(todo)
        for i, (slot, key) in enumerate(zip(todo, keys, strict=True)):
            self._report(done + i, len(slots), clock, slot.cell.name)
            slot.result = self._measured(slot.cell, key)
            clock.done_one()
        self._report(len(slots), len(slots), clock, "")

    def report(self) -> BenchReport:
        """Write down all that is known."""
        known = [(s.result, self.folder(s.cell)) for s in self._slots if s.result is not None]
        missing = tuple(s.cell.name for s in self._slots if s.result is None)
        results, folders = [r for r, _ in known], [f for _, f in known]
        write_report(self._plan, results, missing, self._out, folders)
        return BenchReport(self._out, tuple(results), missing, self._reused)

    def _slot(self, cell: Cell) -> _Slot:
        try:
            key = self._key(cell)
        except InputError:  # a file is missing; told when the cell is to be measured
            return _Slot(cell, None, None)
        return _Slot(cell, key, self._known(cell, key))

    def _key(self, cell: Cell) -> str:
        """Of all that a cell rests on but the machine."""
        shop, method = self._workshop, cell.method
        rests: list[object] = [VERSION, cell.protocol, shop.subject_key(cell.subject), method.kind]
        if cell.sound is not None:
            sound = dataclasses.replace(cell.sound, file=Path())
            rests += [dataclasses.asdict(sound), shop.digest_of(cell.sound.file), cell.seconds]
        if method.kind == "import":
            rests.append(shop.digest_of(method.paths[video_key(cell.subject, cell.sound)]))
        elif method.kind != "source":
            rests.append(shop.avatar_key(cell.subject, method, cell.seed))
        rests += [method.without, method.lips, self._plan.metrics, self._weights]
        if (tables := openface_tables(cell)) is not None:
            rests.append([shop.digest_of(tables.reference), shop.digest_of(tables.frame)])
        return digest(*rests)

    def _known(self, cell: Cell, key: str) -> CellResult | None:
        path = self.folder(cell) / RESULT
        if path.is_file():
            with suppress(InputError):  # of another release
                result = CellResult.from_json(path.read_text(encoding="utf-8"), path)
                if result.digest == key:
                    return result
        return self._elsewhere.get(key)

    def folder(self, cell: Cell) -> Path:
        """Where a cell's result lies."""
        sound = [cell.sound.name] if cell.sound else []
        name = "-".join([*sound, cell.method.name, f"seed{cell.seed}"])
        return self._out / "cells" / cell.protocol / _plain(cell.subject.name) / _plain(name)

    def _measured(self, cell: Cell, key: str) -> CellResult:
        """Measure a cell and keep it; what fails is noted, and the others go on."""
        folder = self.folder(cell)
        partial = folder.with_name(folder.name + ".writing")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            result = _MEASURES.get(cell.protocol, measure)(cell, key, self._stage, partial)
        except Cancelled:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        except SyncTalkError as error:
            result = _failed(cell, key, Failure.of(error))
        write_json(partial / RESULT, result.to_json())
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
        return result

    def _cost(self, cell: Cell) -> float:
        """Seconds on two cores, roughly."""
        seconds = max(cell.seconds, cell.sound.seconds if cell.sound else USUAL_S)
        cost = FRAME_S * FPS * seconds
        method = cell.method
        trains = method.kind in ("ours", "synctalk")
        if trains and not self._workshop.has_avatar(cell.subject, method, cell.seed):
            ours = method.kind == "ours"
            cost += STEP_S * self._workshop.config(method, cell.seed).steps if ours else PEER_S
        return cost

    def _report(self, done: int, total: int, clock: _Clock, message: str) -> None:
        event = ProgressEvent("bench", done, total, eta_s=clock.left_s(), message=message)
        self._progress(event)


_MEASURES = {"long": measure_long, "speed": measure_rates}


class _Clock:
    """Time left, by what was done of the estimated work."""

    def __init__(self, costs: list[float]) -> None:
        self._costs, self._done, self._start = costs, 0, time.monotonic()

    def done_one(self) -> None:
        self._done += 1

    def left_s(self) -> float:
        """Seconds; the first cells hardly change what was estimated."""
        left = sum(self._costs[self._done :])
        before = sum(self._costs[: self._done])
        elapsed = time.monotonic() - self._start if self._done else 0.0
        return left * (elapsed + TRUSTED_S) / (before + TRUSTED_S)


def _failed(cell: Cell, key: str, failure: Failure) -> CellResult:
    return CellResult(
        digest=key,
        protocol=cell.protocol,
        subject=cell.subject.name,
        method=cell.method.name,
        kind=kind_of(cell.method),
        sound=cell.sound.name if cell.sound else "",
        role=cell.sound.role if cell.sound else "",
        seed=cell.seed,
        without=cell.method.without,
        base=cell.method.base,
        public=cell.subject.public,
        machine=describe_machine().as_dict(),
        failure=failure,
    )


def files_of(weights: Path | None) -> list[tuple[str, int]]:
    """Names and sizes of the networks and parameters at hand: they say what can be measured."""
    if weights is None or not weights.is_dir():
        return []
    return sorted((f.name, f.stat().st_size) for f in weights.iterdir() if f.is_file())


def _plain(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name)
