"""Thousands of requests that nobody thought of; `make fuzz` sends tens of thousands."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attack_contract
import pytest
from attack_contract import BODIES
from attack_fuzz import Aim, fuzz_bytes, fuzz_schema
from attack_people import Person
from fuzz_report import REQUESTS, SECONDS, SEED, Report
from harness import Suite

DOCUMENT = attack_contract.openapi_document()


@pytest.fixture(scope="module")
def aim(suite: Suite, victim: Person) -> Aim:
    """A tenant of its own, who knows the victim's ids."""
    return Aim(suite.settings.url, suite.tenant("fuzzer").key, victim.named)


@contextmanager
def gateway_stays(suite: Suite) -> Iterator[None]:
    """Within, the gateway neither dies nor keeps more than 128 MiB and 50 files."""
    before = suite.process("gateway")
    held = _held(before.pid)
    yield
    after = suite.process("gateway")
    assert (after.pid, after.deaths) == (before.pid, before.deaths)
    files, memory = _held(after.pid)
    assert files < held[0] + 50
    assert memory < held[1] + (128 << 20)


def _held(pid: int | None) -> tuple[int, int]:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return len(os.listdir(f"/proc/{pid}/fd")), pages * os.sysconf("SC_PAGE_SIZE")


def well(report: Report) -> None:
    report.publish()
    assert not report.findings, report
    assert report.count > 0


def test_requests_made_of_the_contract(suite: Suite, victim: Person, aim: Aim) -> None:
    before = victim.things()
    with gateway_stays(suite):
        well(fuzz_schema(aim, DOCUMENT, SEED, REQUESTS // 2, SECONDS))
    assert victim.things() == before


def test_damaged_requests(suite: Suite, victim: Person, aim: Aim, stranger: Person) -> None:
    before = victim.things()
    bodies = {
        operation: [dict(body) for body in make(victim.named, stranger.named)]
        for operation, make in BODIES.items()
    }
    with gateway_stays(suite):
        operations = attack_contract.operations(DOCUMENT)
        well(fuzz_bytes(aim, operations, bodies, SEED, REQUESTS - REQUESTS // 2, SECONDS))
    assert victim.things() == before
