"""A folder of this machine that one supervisor runs servers on, and how to find and end them all.

The supervisor holds ``FOLDER/lock`` and its processes inherit it. So a second one is refused, and
whatever a killed supervisor left behind is found by its having the lock open: a process id alone
might be somebody else's by now. Needs ``/proc``.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
from pathlib import Path

from services.common.errors import FailedPrecondition, Unavailable

_LOCK = "lock"
_GONE_S = 5.0


def hold(folder: Path) -> int:
    """Take the folder for this process and those that inherit the file descriptor returned.

    Raises:
        FailedPrecondition: something runs on it.
    """
    fd = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise FailedPrecondition(
            f"servers already run on {folder}",
            reason="LOCAL_SERVERS_UP",
            remedy="Stop them first (avatar down), or use another folder.",
        ) from None
    os.truncate(fd, 0)
    os.write(fd, f"{os.getpid()}\n".encode())
    return fd


def supervisor(folder: Path) -> int | None:
    """Process id of whoever took the folder, while it lives."""
    try:
        pid = int((folder / _LOCK).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return pid if pid in holders(folder) else None


def holders(folder: Path) -> list[int]:
    """Process ids of all that run on the folder."""
    lock = str(folder.resolve() / _LOCK)
    found = []
    for entry in Path("/proc").glob("[0-9]*/fd"):
        with contextlib.suppress(OSError):  # gone, or another user's
            if any(os.readlink(link) == lock for link in entry.iterdir()):
                found.append(int(entry.parent.name))
    return found


def stop(folder: Path, grace_s: float = 30.0) -> None:
    """End whatever runs on ``folder``, also what a killed supervisor left; nothing is no error.

    SIGTERM to the supervisor, which ends the others in order; to all of them where it is gone;
    SIGKILL to what is still there after ``grace_s``.

    Raises:
        Unavailable: something survives even that.
    """
    told: set[int] = set()
    deadline = time.monotonic() + grace_s
    while found := holders(folder):
        late = time.monotonic() - deadline
        if late > _GONE_S:
            raise Unavailable(
                f"processes {found} on {folder} do not end",
                reason="LOCAL_SERVERS_STUCK",
                remedy="They wait for the disk or are another user's: look at them with ps.",
            )
        chief = supervisor(folder)
        targets = [chief] if chief is not None and late < 0 else found
        for pid in targets:
            _tell(pid, told, kill=late > 0)
        time.sleep(0.1)


def _tell(pid: int, told: set[int], *, kill: bool) -> None:
    with contextlib.suppress(ProcessLookupError):
        if kill:
            os.kill(pid, signal.SIGKILL)
        elif pid not in told:  # a second SIGTERM might cut an orderly end short
            told.add(pid)
            os.kill(pid, signal.SIGTERM)
