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


@pytest.fixture(scope="module")
def contract_report(suite: Suite, victim: Person, aim: Aim) -> Report:
    """Of about half of the requests, in at most half of the time."""
    before = victim.things()
    with gateway_stays(suite):
        report = fuzz_schema(aim, DOCUMENT, SEED, REQUESTS // 2, SECONDS / 2)
    assert victim.things() == before
    return report


def test_requests_made_of_the_contract(contract_report: Report) -> None:
    well(contract_report)


def test_damaged_requests(
    suite: Suite, victim: Person, aim: Aim, stranger: Person, contract_report: Report
) -> None:
    """As many as make all requests whole, whatever the contract gave."""
    before = victim.things()
    bodies = {
        operation: [dict(body) for body in make(victim.named, stranger.named)]
        for operation, make in BODIES.items()
    }
    operations = attack_contract.operations(DOCUMENT)
    missing, left = REQUESTS - contract_report.count, SECONDS - contract_report.seconds
    with gateway_stays(suite):
        report = fuzz_bytes(aim, operations, bodies, SEED, missing, left)
    well(report)
    assert contract_report.count + report.count == REQUESTS or report.out_of_time, report
    assert victim.things() == before


def test_reports_say_that_their_time_was_over(aim: Aim) -> None:
    operations = attack_contract.operations(DOCUMENT)
    made = fuzz_schema(aim, DOCUMENT, SEED, REQUESTS, 0.0)
    damaged = fuzz_bytes(aim, operations, {}, SEED, REQUESTS, 0.0)
    for report in (made, damaged):
        assert (report.count, report.out_of_time) == (0, True)
        assert "ENDED BY THE TIME LIMIT" in str(report)
