"""What a running suite says of itself: ``FOLDER/run/state.json``, written whole at each change."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

FILE = Path("run", "state.json")


class Phase(StrEnum):
    """Of a process, and of the suite as a whole."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"


@dataclass(frozen=True)
class ProcessState:
    """One process.

    Args:
        name: e.g. ``renderer-1``.
        phase: ready once it has said so; waiting before a start and between two.
        pid: while it runs.
        port: of gRPC, HTTP or the server's own protocol; None for a worker.
        metrics_port: of its ``/metrics``.
        deaths: how often it ended without being asked to.
        last_exit: the code it ended with; negative: the signal.
        since_s: Unix time of the last change of phase.
    """

    name: str
    phase: Phase
    pid: int | None
    port: int | None
    metrics_port: int | None
    deaths: int
    last_exit: int | None
    since_s: float


@dataclass(frozen=True)
class SuiteState:
    """All processes.

    Args:
        pid: of the supervisor.
        phase: ready when all processes are.
        was_ready: whether it has been ready since it was started.
        url: of the API.
        processes: in the order of starting.
    """

    pid: int
    phase: Phase
    was_ready: bool
    url: str
    processes: tuple[ProcessState, ...]

    def save(self, folder: Path) -> None:
        """Write it for others to read."""
        path = folder / FILE
        partial = path.with_suffix(".part")
        partial.write_text(json.dumps(asdict(self), indent=1) + "\n")
        partial.replace(path)


def read(folder: Path) -> SuiteState | None:
    """The last state written on ``folder``; whether its supervisor lives is another question."""
    try:
        raw = json.loads((folder / FILE).read_text())
    except FileNotFoundError:
        return None
    processes = tuple(
        ProcessState(**{**one, "phase": Phase(one["phase"])}) for one in raw["processes"]
    )
    return SuiteState(**{**raw, "phase": Phase(raw["phase"]), "processes": processes})
