"""One gateway with its services and stand-in workers for all these tests; tenants of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from gateway_suite import House, Tenant
from pydantic import SecretStr

from services.common.local import LocalServers
from services.common.settings import StorageSettings
from services.common.storage import ObjectStore


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """On servers of its own: its stand-in workers would take the jobs of other tests."""
    with LocalServers.start(tmp_path_factory.mktemp("gateway-servers")) as servers:
        state = servers.state
        store = ObjectStore(
            StorageSettings(
                url=state.s3_url,
                access_key=SecretStr(state.access_key),
                secret_key=SecretStr(state.secret_key),
            )
        )
        store.ensure_bucket()
        house = House.start(servers, store, tmp_path_factory.mktemp("gateway"))
        yield house
        house.stop()


@pytest.fixture
def new_tenant(house: House) -> Iterator[Callable[[], Tenant]]:
    """Makes tenants that nobody else uses."""
    made: list[Tenant] = []

    def make() -> Tenant:
        made.append(house.tenant())
        return made[-1]

    yield make
    for tenant in made:
        tenant.close()


@pytest.fixture
def tenant(new_tenant: Callable[[], Tenant]) -> Tenant:
    return new_tenant()
