"""Who attacks whom; the suite is that of all end-to-end tests."""

from __future__ import annotations

from collections.abc import Iterator

import attack_people
import httpx
import pytest
from attack_people import Person
from harness import Suite


@pytest.fixture(scope="session")
def victim(suite: Suite) -> Person:
    """Has one of everything."""
    return attack_people.victim(suite)


@pytest.fixture(scope="session")
def stranger(suite: Suite) -> Person:
    """Wants it."""
    return attack_people.stranger(suite)


@pytest.fixture(scope="session")
def web(suite: Suite) -> Iterator[httpx.Client]:
    """The API, without a key."""
    with httpx.Client(base_url=suite.settings.url, timeout=60) as client:
        yield client


@pytest.fixture(scope="module", autouse=True)
def healthy_after(suite: Suite) -> Iterator[None]:
    """Whatever was tried, no process died of it and all of them still serve."""
    before = {process.name: process.deaths for process in suite.state().processes}
    yield
    state = suite.state()
    assert {process.name: process.deaths for process in state.processes} == before
    assert {process.phase for process in state.processes} == {"ready"}
    assert httpx.get(f"{suite.settings.url}/readyz").json() == {"status": "ok", "away": []}
