"""Redis and an S3 server on this machine: real servers, no docker, no account.

``python -m services.common.local FOLDER`` runs both in the foreground until SIGTERM or Ctrl-C,
restarts one that dies, and keeps ``FOLDER/servers.json`` (readable by its owner only) while they
run; ``python -m services.common.local stop FOLDER`` ends it. In code::

    with LocalServers.start(folder) as servers:
        redis.Redis.from_url(servers.redis_url)

Data lies in ``FOLDER/redis`` (append-only file) and ``FOLDER/objects`` (plain files), logs beside
them; both survive a restart. One folder serves one pair of servers at a time.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType, TracebackType

from services.common.errors import FailedPrecondition, Unavailable
from services.common.local_server import Server, redis_server, s3_server, write_private

STATE_FILE = "servers.json"
_STOP_S = 30.0
_RESTART_DELAY_S = 0.5


@dataclass(frozen=True)
class State:
    """How to reach the servers; the content of ``servers.json``. Holds secrets.

    Args:
        pid: process id of the supervisor.
        redis_url: with its password.
        s3_url: ``http://host:port``.
        access_key: for the object store.
        secret_key: for the object store.
    """

    pid: int
    redis_url: str
    s3_url: str
    access_key: str
    secret_key: str


class LocalServers:
    """A running Redis and S3 server on one folder; a context manager that stops them."""

    def __init__(self, folder: Path, lock_fd: int, redis: Server, store: Server, state: State):
        self.folder = folder
        self.redis = redis
        self.store = store
        self.state = state
        self._lock_fd = lock_fd

    @classmethod
    def start(cls, folder: Path) -> LocalServers:
        """Start both on free ports and write the state file.

        Raises:
            FailedPrecondition: servers already run on this folder.
            ConfigurationError: a server program is missing.
            Unavailable: a server does not come up.
        """
        folder = folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        lock_fd = _lock(folder)
        try:
            redis, redis_url = redis_server(folder, lock_fd)
            store, s3_url, keys = s3_server(folder, lock_fd)
            servers = cls(
                folder, lock_fd, redis, store, State(os.getpid(), redis_url, s3_url, *keys)
            )
        except BaseException:
            os.close(lock_fd)
            raise
        try:
            redis.start()
            store.start()
            servers._write_state()
        except BaseException:
            servers.stop()
            raise
        return servers

    @property
    def redis_url(self) -> str:
        """URL of the Redis server, with its password."""
        return self.state.redis_url

    def stop(self) -> None:
        """Stop both, remove the state file, free the folder. Calling it twice does no harm."""
        (self.folder / STATE_FILE).unlink(missing_ok=True)
        self.store.stop()
        self.redis.stop()
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def restart_dead(self) -> None:
        """Start again whichever server has died."""
        for server in (self.redis, self.store):
            if not server.running:
                server.start()

    def __enter__(self) -> LocalServers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.stop()

    def _write_state(self) -> None:
        write_private(self.folder / STATE_FILE, json.dumps(asdict(self.state), indent=2) + "\n")


def read_state(folder: Path) -> State:
    """How to reach the servers that run on ``folder``.

    Raises:
        FailedPrecondition: none run there.
    """
    try:
        return State(**json.loads((folder / STATE_FILE).read_text()))
    except FileNotFoundError:
        raise FailedPrecondition(
            f"no servers run on {folder}",
            reason="LOCAL_SERVERS_DOWN",
            remedy="Start them: make up.",
        ) from None


def stop(folder: Path) -> None:
    """Stop whatever serves ``folder``, also what a killed supervisor left; nothing is no error.

    Raises:
        Unavailable: it does not stop.
    """
    folder = folder.resolve()
    deadline = time.monotonic() + _STOP_S
    while holders := _holders(folder):
        supervisor = _supervisor(folder)
        for pid in [supervisor] if supervisor in holders else holders:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        if time.monotonic() > deadline:
            raise Unavailable(
                f"processes {holders} on {folder} do not stop",
                reason="LOCAL_SERVERS_STUCK",
                remedy="Look at the logs there, then end these processes.",
            )
        time.sleep(0.1)
    (folder / STATE_FILE).unlink(missing_ok=True)


def _supervisor(folder: Path) -> int:
    try:
        return read_state(folder).pid
    except FailedPrecondition:
        return -1


def _holders(folder: Path) -> list[int]:
    """Who has the folder's lock open. A process id alone might be somebody else's by now."""
    lock = str(folder / "lock")
    found = []
    for entry in Path("/proc").glob("[0-9]*/fd"):
        with contextlib.suppress(OSError):  # gone, or another user's
            if any(os.readlink(link) == lock for link in entry.iterdir()):
                found.append(int(entry.parent.name))
    return found


def _lock(folder: Path) -> int:
    """Hold the folder. Children inherit the lock, so orphans of a killed supervisor show."""
    fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise FailedPrecondition(
            f"servers already run on {folder}",
            reason="LOCAL_SERVERS_UP",
            remedy="Stop them first (make down), or use another folder.",
        ) from None
    return fd


def main(arguments: list[str] | None = None) -> int:
    """``FOLDER``: run the servers until SIGTERM or SIGINT. ``stop FOLDER``: stop them."""
    *command, folder_name = arguments or sys.argv[1:]
    folder = Path(folder_name)
    if command == ["stop"]:
        stop(folder)
        return 0
    stopping = threading.Event()

    def ask_to_stop(signum: int, frame: FrameType | None) -> None:
        stopping.set()

    signal.signal(signal.SIGTERM, ask_to_stop)
    signal.signal(signal.SIGINT, ask_to_stop)
    with LocalServers.start(folder) as servers:
        print(f"running; {servers.folder / STATE_FILE} says how to reach them", flush=True)
        while not stopping.wait(_RESTART_DELAY_S):
            servers.restart_dead()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
