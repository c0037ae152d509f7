"""Folders for work on this machine's disk, which outlive the process that wrote them.

Whoever uses a folder holds its lock, which the system takes back from a process however it dies.
What nobody uses and nobody has touched for a while is removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from services.common.errors import Unavailable

_LOCK = ".lock"
_MAKING = ".making"
_CONTENT = "content"
_GONE = ".gone"
_OF = ".of"


class WorkFolders:
    """The folders under ``root``, by name."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @contextmanager
    def own(self, *names: str, of: str = "") -> Iterator[Path]:
        """The first of the named folders that nobody uses, with whatever is in it.

        Args:
            of: the resource that it is for, if it is for one; see :meth:`owners`.

        Raises:
            Unavailable: all of them are in use.
        """
        for name in names:
            lock = self._lock(name, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if lock is not None:
                try:
                    self._note(name, of)
                    yield self._root / name
                finally:
                    os.close(lock)
                return
        raise Unavailable(
            f"{' and '.join(names)} are in use under {self._root}",
            reason="WORK_FOLDER_IN_USE",
            remedy="Look for processes of earlier attempts that hang.",
        )

    @contextmanager
    def share(self, name: str, make: Callable[[Path], None], *, of: str) -> Iterator[Path]:
        """A folder that many read; where it is not there yet, one calls ``make`` and others wait.

        Args:
            make: writes its argument, a folder that does not exist; whole or not at all.
            of: a resource that it is for; see :meth:`owners`.
        """
        lock = self._lock(name, fcntl.LOCK_SH)
        assert lock is not None
        try:
            self._note(name, of)
            content = self._root / name / _CONTENT
            with (self._root / name / _MAKING).open("w") as making:
                fcntl.flock(making, fcntl.LOCK_EX)
                if not content.exists():
                    make(content)
            yield content
        finally:
            os.close(lock)

    def remove(self, name: str) -> bool:
        """Remove a folder unless it is in use; whether nothing is left of it."""
        folder = self._root / name
        if not folder.exists():
            return True
        lock = self._lock(name, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if lock is None:
            return False
        try:
            # Renamed first: whoever waits for the lock must not begin in a folder half removed.
            gone = self._root / f".{name}.{secrets.token_hex(4)}{_GONE}"
            folder.rename(gone)
            shutil.rmtree(gone)
        finally:
            os.close(lock)
        return True

    def owners(self) -> dict[str, set[str]]:
        """Of each folder the resources that it was used for."""
        found: dict[str, set[str]] = {}
        for path in self._root.glob(f"*/{_OF}"):
            with contextlib.suppress(FileNotFoundError):  # removed since
                found[path.parent.name] = set(path.read_text().split())
        return found

    def tidy(self, keep_s: float) -> None:
        """Remove folders that are not in use and were not touched for ``keep_s`` seconds."""
        if not self._root.is_dir():
            return
        before_s = time.time() - keep_s
        for folder in list(self._root.iterdir()):
            if folder.name.endswith(_GONE):
                shutil.rmtree(folder, ignore_errors=True)
            elif _touched_s(folder) < before_s:
                self.remove(folder.name)

    def _note(self, name: str, of: str) -> None:
        path = self._root / name / _OF
        if of and not (path.exists() and of in path.read_text().split()):
            with path.open("a") as file:
                file.write(f"{of}\n")

    def _lock(self, name: str, how: int) -> int | None:
        """The lock as a file descriptor to close; None where it is taken and is not waited for."""
        path = self._root / name / _LOCK
        while True:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            except FileNotFoundError:  # removed since
                continue
            try:
                fcntl.flock(lock, how)
                os.utime(path)
                if os.stat(path).st_ino == os.fstat(lock).st_ino:
                    return lock
            except BlockingIOError:
                os.close(lock)
                return None
            except FileNotFoundError:
                pass
            os.close(lock)


def _touched_s(folder: Path) -> float:
    """When anything in it was last written."""
    latest = 0.0
    for path in (folder, *folder.rglob("*")):
        try:
            latest = max(latest, path.stat().st_mtime)
        except FileNotFoundError:  # in use
            continue
    return latest
