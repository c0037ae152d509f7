"""The limited process of synctalk.media, forked instead of started: a few milliseconds a file.

Only for a process without other threads: a fork of locks that they hold is none that works.

What a child may do is what it may in life: it calls the very `answer` of synctalk.media.worker,
which limits and confines it before a byte of the file is read.
"""

from __future__ import annotations

import json
import os
import resource
import selectors
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from synctalk.media.sandbox import Request
from synctalk.media.worker import answer

# Of the wall clock; CPU time is limited in the child. Machines stand still at times.
HANG_S = 120.0


@dataclass(frozen=True)
class Outcome:
    """How one file ended.

    Args:
        kind: ``ok``, ``refused``, ``limit`` (the kernel ended it), ``crash`` (a signal), ``bug``
            (an exception that nobody expected) or ``hang``.
        detail: the reason, the signal, or the last line of the traceback.
    """

    kind: str
    detail: str = ""


def run(request: Request, said: Path) -> Outcome:
    """Do one request in a child of its own; ``said`` takes its stderr."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _work(request, writing, said)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        lines, ended = _hear(pipe.fileno())
    if not ended:
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return _outcome(lines, ended, status, said)


def _work(request: Request, writing: int, said: Path) -> None:
    status = 1
    try:
        os.dup2(writing, 1)
        log = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 2)
        os.closerange(3, 256)
        sys.stdout = os.fdopen(1, "w")  # pytest's own goes elsewhere
        try:
            answer(request)
            status = 0
        except BaseException:
            os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(status)


def _hear(pipe: int) -> tuple[bytes, bool]:
    """All that the child says, and whether it ended."""
    heard, deadline = b"", time.monotonic() + HANG_S
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while selector.select(max(0.0, deadline - time.monotonic())):
            chunk = os.read(pipe, 65536)
            if not chunk:
                return heard, True
            heard = (heard + chunk)[-65536:]
    return heard, False


def _outcome(heard: bytes, ended: bool, status: int, said: Path) -> Outcome:
    if not ended:
        return Outcome("hang")
    if -status in (signal.SIGXCPU, signal.SIGXFSZ, signal.SIGKILL):
        return Outcome("limit", signal.Signals(-status).name)
    if status < 0:
        return Outcome("crash", signal.Signals(-status).name)
    if status > 0:
        return Outcome("bug", said.read_text(errors="replace").strip().rpartition("\n")[2][:300])
    last = json.loads(heard.splitlines()[-1])
    if "error" not in last:
        return Outcome("ok")
    if not last["error"]["reason"] or not last["error"]["remedy"]:
        return Outcome("bug", f"an error without words: {last}")
    return Outcome("refused", last["error"]["reason"])


@dataclass(frozen=True)
class Held:
    """What this process holds on to."""

    files: int
    children: int
    memory_bytes: int


def held() -> Held:
    """Open files, children and peak memory of this process now."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    memory = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    return Held(len(os.listdir("/proc/self/fd")), len(children), memory)


@contextmanager
def nothing_leaks(memory_bytes: int = 64 << 20) -> Iterator[None]:
    """Within, no file, no child and no more memory than that may be left behind."""
    before = held()
    yield
    after = held()
    assert after.files <= before.files, f"{after.files - before.files} files are open still"
    assert after.children <= before.children, "a child is still there"
    grown = after.memory_bytes - before.memory_bytes
    assert grown < memory_bytes, f"{grown >> 20} MiB more are held than before"
