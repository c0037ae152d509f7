"""The local Redis and S3 server: start, survive, stop."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from minio import Minio
from minio.error import InvalidResponseError

from services.common import local_folder
from services.common.errors import FailedPrecondition, Unavailable
from services.common.local import LocalServers


def test_redis_keeps_its_data_when_it_is_killed(tmp_path: Path) -> None:
    with LocalServers.start(tmp_path) as servers:
        client = redis.Redis.from_url(servers.redis_url)
        client.set("answer", "42")
        servers.redis.kill()
        with pytest.raises(redis.ConnectionError):
            client.ping()
        servers.restart_dead()
        assert client.get("answer") == b"42"


def test_both_servers_refuse_strangers(tmp_path: Path) -> None:
    with LocalServers.start(tmp_path) as servers:
        port = int(servers.redis_url.rsplit(":", 1)[1].split("/")[0])
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(port=port).ping()
        stranger = Minio(
            servers.state.s3_url.removeprefix("http://"),
            access_key=servers.state.access_key, secret_key="a guess", secure=False,
            region="us-east-1",
        )  # fmt: skip
        with pytest.raises(InvalidResponseError, match="SignatureDoesNotMatch"):
            stranger.list_buckets()


def test_secrets_are_in_no_command_line_and_in_no_file_others_can_read(tmp_path: Path) -> None:
    with LocalServers.start(tmp_path) as servers:
        password = servers.redis_url.split(":")[2].split("@")[0]
        for server in (servers.redis, servers.store):
            assert server.process is not None
            command = Path(f"/proc/{server.process.pid}/cmdline").read_text()
            assert password not in command
            assert servers.state.secret_key not in command
        assert stat.S_IMODE((tmp_path / "redis" / "redis.conf").stat().st_mode) == 0o600


def test_one_folder_serves_one_pair(tmp_path: Path) -> None:
    with (
        LocalServers.start(tmp_path),
        pytest.raises(FailedPrecondition, match="already run") as caught,
    ):
        LocalServers.start(tmp_path)
    assert caught.value.reason == "LOCAL_SERVERS_UP"
    assert local_folder.holders(tmp_path) == []


def test_a_server_that_cannot_start_shows_its_log(tmp_path: Path) -> None:
    with LocalServers.start(tmp_path) as servers:
        servers.redis.kill()
        (tmp_path / "redis" / "redis.conf").write_text("no-such-directive 1\n")
        with pytest.raises(Unavailable, match="no-such-directive"):
            servers.restart_dead()


_HOLDER = """
import subprocess, sys
from pathlib import Path
from services.common import local_folder
fd = local_folder.hold(Path(sys.argv[1]))
child = subprocess.Popen(["sleep", "600"], pass_fds=(fd,))
print(child.pid, flush=True)
child.wait()
"""


@pytest.fixture
def held(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that holds the folder, and the id of its child."""
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    yield holder, int(holder.stdout.readline())
    holder.kill()
    holder.wait()
    local_folder.stop(tmp_path)


def test_a_folder_knows_its_supervisor_and_all_that_run_on_it(
    tmp_path: Path, held: tuple[subprocess.Popen[str], int]
) -> None:
    holder, child = held
    assert local_folder.supervisor(tmp_path) == holder.pid
    assert sorted(local_folder.holders(tmp_path)) == sorted([holder.pid, child])


def test_what_a_killed_supervisor_left_keeps_the_folder_and_can_be_stopped(
    tmp_path: Path, held: tuple[subprocess.Popen[str], int]
) -> None:
    holder, child = held
    holder.kill()
    holder.wait()
    assert local_folder.supervisor(tmp_path) is None
    assert local_folder.holders(tmp_path) == [child]
    with pytest.raises(FailedPrecondition, match="already run"):
        local_folder.hold(tmp_path)
    local_folder.stop(tmp_path)
    assert local_folder.holders(tmp_path) == []


def test_what_does_not_heed_sigterm_is_killed(
    tmp_path: Path, held: tuple[subprocess.Popen[str], int]
) -> None:
    holder, child = held
    holder.kill()
    holder.wait()
    os.kill(child, signal.SIGSTOP)  # a stopped process takes no SIGTERM
    local_folder.stop(tmp_path, grace_s=0.3)
    assert local_folder.holders(tmp_path) == []
