"""Real servers, one pair for the whole run of the tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import SecretStr
from tiny import CONSENT

from services.common.consents import Consent, consent_key
from services.common.jobs.connect import connect_worker
from services.common.local import LocalServers
from services.common.settings import StorageSettings
from services.common.storage import ObjectStore


@pytest.fixture(scope="session")
def local_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServers]:
    """Redis and an S3 server in processes of their own."""
    with LocalServers.start(tmp_path_factory.mktemp("servers")) as servers:
        _, tenant, _, consent = CONSENT.split("/")
        with connect_worker(servers.redis_url) as redis:  # of the person whom these tests show
            redis.set(consent_key(tenant, consent), Consent().model_dump_json())
        yield servers


@pytest.fixture(scope="session")
def redis_url(local_servers: LocalServers) -> str:
    """URL of a Redis server with its password. Tests share it: use keys or tenants of your own."""
    return local_servers.redis_url


@pytest.fixture(scope="session")
def storage_settings(local_servers: LocalServers) -> StorageSettings:
    """How to reach the S3 server."""
    return storage_settings_of(local_servers)


@pytest.fixture(scope="session")
def object_store(storage_settings: StorageSettings) -> ObjectStore:
    """A bucket on the S3 server. Tests share it: use prefixes of your own."""
    store = ObjectStore(storage_settings)
    store.ensure_bucket()
    return store


def storage_settings_of(servers: LocalServers) -> StorageSettings:
    state = servers.state
    return StorageSettings(
        url=state.s3_url,
        access_key=SecretStr(state.access_key),
        secret_key=SecretStr(state.secret_key),
    )
