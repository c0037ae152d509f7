"""The local Redis and S3 server: start, survive, stop."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from minio import Minio
from minio.error import InvalidResponseError

from services.common.errors import FailedPrecondition, Unavailable
from services.common.local import STATE_FILE, LocalServers, read_state, stop


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


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
        for path in (tmp_path / STATE_FILE, tmp_path / "redis" / "redis.conf"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_one_folder_serves_one_pair(tmp_path: Path) -> None:
    with LocalServers.start(tmp_path) as first:
        assert read_state(tmp_path) == first.state
        with pytest.raises(FailedPrecondition, match="already run") as caught:
            LocalServers.start(tmp_path)
    assert caught.value.reason == "LOCAL_SERVERS_UP"
    with pytest.raises(FailedPrecondition, match="no servers run"):
        read_state(tmp_path)


def test_a_server_that_cannot_start_shows_its_log(tmp_path: Path) -> None:
    with LocalServers.start(tmp_path) as servers:
        servers.redis.kill()
        (tmp_path / "redis" / "redis.conf").write_text("no-such-directive 1\n")
        with pytest.raises(Unavailable, match="no-such-directive"):
            servers.restart_dead()


def test_the_supervisor_restarts_what_dies_and_leaves_no_process_behind(tmp_path: Path) -> None:
    supervisor = subprocess.Popen([sys.executable, "-m", "services.common.local", str(tmp_path)])
    try:
        wait_for((tmp_path / STATE_FILE).exists)
        state = read_state(tmp_path)
        assert state.pid == supervisor.pid
        client = redis.Redis.from_url(state.redis_url)
        first = int(client.info("server")["process_id"])
        os.kill(first, signal.SIGKILL)

        def back() -> bool:
            try:
                return int(client.info("server")["process_id"]) != first
            except redis.ConnectionError:
                return False

        wait_for(back)
        second = int(client.info("server")["process_id"])
        children = Path(f"/proc/{supervisor.pid}/task/{supervisor.pid}/children").read_text()
        pids = [int(pid) for pid in children.split()]
        assert second in pids
        assert len(pids) == 2
        supervisor.send_signal(signal.SIGTERM)
        assert supervisor.wait(30) == 0
        assert [pid for pid in pids if alive(pid)] == []
        assert not (tmp_path / STATE_FILE).exists()
    finally:
        supervisor.kill()
        supervisor.wait()
        stop(tmp_path)  # should the test have failed


def test_what_a_killed_supervisor_left_is_noticed_and_can_be_stopped(tmp_path: Path) -> None:
    supervisor = subprocess.Popen([sys.executable, "-m", "services.common.local", str(tmp_path)])
    try:
        wait_for((tmp_path / STATE_FILE).exists)
        children = Path(f"/proc/{supervisor.pid}/task/{supervisor.pid}/children").read_text()
    finally:
        supervisor.kill()
        supervisor.wait()
    pids = [int(pid) for pid in children.split()]
    assert [alive(pid) for pid in pids] == [True, True]
    with pytest.raises(FailedPrecondition, match="already run"):
        LocalServers.start(tmp_path)

    stop(tmp_path)
    assert not any(alive(pid) for pid in pids)
    assert not (tmp_path / STATE_FILE).exists()
    stop(tmp_path)
    with LocalServers.start(tmp_path):
        pass


def test_the_state_file_is_plain_json(local_servers: LocalServers) -> None:
    state = json.loads((local_servers.folder / STATE_FILE).read_text())
    assert state["redis_url"] == local_servers.redis_url
