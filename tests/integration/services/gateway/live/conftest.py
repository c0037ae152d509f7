"""One gateway with two renderers for all tests of live sessions."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from gateway_suite import House, Tenant
from live_guests import (
    LIVE,
    Guest,
    Stage,
    start_renderer,
)


@pytest.fixture(scope="session")
def stage(house: House) -> Iterator[Stage]:
    renderers = [start_renderer(house, redness) for redness in (80, 180)]
    settings = {
        **house.settings,
        "EXPRESSION_TARGET": renderers[0].target,
        "RENDERER_TARGETS": [each.target for each in renderers],
        "LIVE": LIVE,
    }
    gateway = house.suite.start("services.gateway", **settings)
    yield Stage(house, gateway, renderers, settings)
    for service in (gateway, *renderers):
        service.process.terminate()
        service.process.wait(20)


@pytest.fixture
def guest(stage: Stage, tenant: Tenant) -> Iterator[Guest]:
    with stage.http(tenant) as http:
        yield Guest(stage, tenant, tenant.ready_avatar(), http)
