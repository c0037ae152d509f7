"""One gateway with its services and stand-in workers for all these tests; tenants of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from gateway_suite import House, Tenant

from services.common.local import LocalServers
from services.common.storage import ObjectStore


@pytest.fixture(scope="session")
def house(
    local_servers: LocalServers,
    object_store: ObjectStore,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[House]:
    house = House.start(local_servers, object_store, tmp_path_factory.mktemp("gateway"))
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
