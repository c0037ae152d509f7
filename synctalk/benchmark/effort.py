"""How long work took, and how much of the machine others used meanwhile.

Times of a busy machine are bounds, not measurements; these figures tell which is which.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

QUIET_CORES = 0.3
"""A machine of which others use less than so many cores is quiet."""
IDLE, IOWAIT, STEAL = 3, 4, 7
"""Columns of ``/proc/stat`` that matter; guests after them are counted before."""


@dataclass(frozen=True)
class Effort:
    """What some work took.

    Args:
        wall_s: from its begin to its end, interruptions left out.
        cpu_s: of all cores, in this process and those it waited for.
        others_s: CPU time that other processes used meanwhile; None where that cannot be told.
    """

    wall_s: float = 0.0
    cpu_s: float = 0.0
    others_s: float | None = 0.0

    def __add__(self, other: Effort) -> Effort:
        """Of both, one after the other."""
        known = self.others_s is not None and other.others_s is not None
        others = (self.others_s or 0.0) + (other.others_s or 0.0) if known else None
        return Effort(self.wall_s + other.wall_s, self.cpu_s + other.cpu_s, others)

    @property
    def others_cores(self) -> float | None:
        """Cores that others used, on average."""
        if self.others_s is None or not self.wall_s:
            return None
        return round(self.others_s / self.wall_s, 2)


class Stopwatch:
    """Runs from when it is made."""

    def __init__(self) -> None:
        self._wall, self._own, self._all = time.monotonic(), _own_s(), _machine_s()

    def read(self) -> Effort:
        """Since it was made."""
        own, all_now = _own_s() - self._own, _machine_s()
        others = None
        if self._all is not None and all_now is not None:
            others = max(0.0, all_now - self._all - own)
        return Effort(time.monotonic() - self._wall, own, others)


@contextmanager
def kept_effort(path: Path) -> Iterator[None]:
    """Add what the work inside takes to the file at ``path``, also where it is interrupted."""
    watch, before = Stopwatch(), read_effort(path) or Effort()
    try:
        yield
    finally:
        done = before + watch.read()
        others = None if done.others_s is None else round(done.others_s, 1)
        values = {"wall_s": round(done.wall_s, 1), "cpu_s": round(done.cpu_s, 1)}
        draft = path.with_name(f".{path.name}.writing")
        draft.write_text(json.dumps({**values, "others_s": others}))
        os.replace(draft, path)


def read_effort(path: Path) -> Effort | None:
    """What :func:`kept_effort` wrote; None where nothing is."""
    if not path.is_file():
        return None
    return Effort(**json.loads(path.read_text()))


def _own_s() -> float:
    return sum(os.times()[:4])


def _machine_s() -> float | None:
    """CPU time of all processes since the start of the machine; None where there is no /proc."""
    try:
        with open("/proc/stat", encoding="ascii") as file:
            ticks = [int(word) for word in file.readline().split()[1:]]
    except (OSError, ValueError):
        return None
    busy = sum(t for i, t in enumerate(ticks[: STEAL + 1]) if i not in (IDLE, IOWAIT))
    return busy / os.sysconf("SC_CLK_TCK")
