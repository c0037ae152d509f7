"""Real servers, one pair for the whole run of the tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.common.local import LocalServers


@pytest.fixture(scope="session")
def local_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServers]:
    """Redis and an S3 server in processes of their own."""
    with LocalServers.start(tmp_path_factory.mktemp("servers")) as servers:
        yield servers


@pytest.fixture(scope="session")
def redis_url(local_servers: LocalServers) -> str:
    """URL of a Redis server with its password. Tests share it: use keys or tenants of your own."""
    return local_servers.redis_url
