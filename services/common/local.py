"""Redis and an S3 server on this machine: real servers, no docker, no account. For tests::

    with LocalServers.start(folder) as servers:
        redis.Redis.from_url(servers.redis_url)

Data lies in ``FOLDER/redis`` (append-only file) and ``FOLDER/objects`` (plain files), logs beside
them; both survive a restart. One folder serves one pair of servers at a time.
:mod:`services.suite` runs the same two below all the services.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from services.common import local_folder
from services.common.local_server import RedisAccess, S3Access, Server, redis_server, s3_server


@dataclass(frozen=True)
class State:
    """How to reach the servers. Holds secrets.

    Args:
        redis_url: with its password.
        s3_url: ``http://host:port``.
        access_key: for the object store.
        secret_key: for the object store.
    """

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
        """Start both on free ports with new secrets.

        Raises:
            FailedPrecondition: servers already run on this folder.
            ConfigurationError: a server program is missing.
            Unavailable: a server does not come up.
        """
        folder = folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        lock_fd = local_folder.hold(folder)
        try:
            redis, s3 = RedisAccess.new(), S3Access.new()
            servers = cls(
                folder,
                lock_fd,
                redis_server(folder, folder / "redis.log", redis, lock_fd),
                s3_server(folder, folder / "objects.log", s3, lock_fd),
                State(redis.url, s3.url, s3.access_key, s3.secret_key),
            )
        except BaseException:
            os.close(lock_fd)
            raise
        try:
            servers.redis.start()
            servers.store.start()
        except BaseException:
            servers.stop()
            raise
        return servers

    @property
    def redis_url(self) -> str:
        """URL of the Redis server, with its password."""
        return self.state.redis_url

    def stop(self) -> None:
        """Stop both and free the folder. Calling it twice does no harm."""
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
