"""A Redis server and a queue for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from job_bench import Bench, RedisServer
from job_worker import JOB_SETTINGS


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture
def bench(redis_server: RedisServer, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(redis_server, tmp_path, JOB_SETTINGS)
    yield bench
    bench.stop()
