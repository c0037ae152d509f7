"""Log lines for people: of processes on this machine, and of jobs wherever they run."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from services.cli.api import Api
from services.cli.waiting import ENDS

_LOOK_S = 0.3
_ASK_S = 1.0
_TAIL_BYTES = 4 << 20
_HIDDEN = ("event", "level", "logger", "service", "timestamp", "exception", "settings")


def show_processes(files: Sequence[Path], lines: int, follow: bool, raw: bool) -> None:
    """Print the last lines of each file, in the order of time; then what is added, until Ctrl-C."""
    shown = [(path.stem, line) for path in files for line in _tail(path, lines)]
    for name, line in sorted(shown, key=lambda pair: _time(pair[1])):
        _print(name, line, raw)
    ends = {path: path.stat().st_size for path in files}
    try:
        while follow:
            for path in files:
                ends[path] = _print_new(path, ends[path], raw)
            time.sleep(_LOOK_S)
    except KeyboardInterrupt:
        return


def show_job(api: Api, job: str, lines: int, *, follow: bool) -> None:
    """Print the last lines of a job's log; then what is added, until it ends or Ctrl-C."""
    following: int | None = None  # number of the line to go on with
    try:
        while True:
            ended = follow and api.get(f"jobs/{job}")["state"] in ENDS  # asked before the last look
            log = api.get(f"jobs/{job}/log")
            end = log["first"] + len(log["lines"])
            start = end - lines if following is None else following
            for line in log["lines"][max(0, start - log["first"]) :]:
                print(line, flush=True)
            following = end
            if not follow or ended:
                return
            time.sleep(_ASK_S)
    except KeyboardInterrupt:
        return


def readable(name: str, line: str) -> str:
    """A JSON line in words; another as it is."""
    try:
        said: Any = json.loads(line)
        clock, level = str(said["timestamp"])[11:23], str(said["level"])
    except (ValueError, KeyError, TypeError):
        return f"{name}: {line}"
    extra = " ".join(
        f"{key}={value}" for key, value in said.items() if key not in _HIDDEN and value != ""
    )
    words = f"{clock} {name} {level}: {said.get('event', '')} {extra}".rstrip()
    return words + ("\n" + said["exception"] if said.get("exception") else "")


def _print(name: str, line: str, raw: bool) -> None:
    print(line if raw else readable(name, line), flush=True)


def _tail(path: Path, lines: int) -> list[str]:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        found = file.read().decode(errors="replace").splitlines()
    return found[len(found) - lines :] if lines < len(found) else found


def _print_new(path: Path, end: int, raw: bool) -> int:
    """Print whole lines after ``end``; where they end."""
    size = path.stat().st_size
    if size < end:  # emptied by the rotation
        end = 0
    if size == end:
        return end
    with path.open("rb") as file:
        file.seek(end)
        added = file.read(size - end)
    whole = added[: added.rfind(b"\n") + 1]
    for line in whole.decode(errors="replace").splitlines():
        _print(path.stem, line, raw)
    return end + len(whole)


def _time(line: str) -> str:
    try:
        return str(json.loads(line)["timestamp"])
    except (ValueError, KeyError, TypeError):
        return ""
