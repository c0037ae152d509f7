"""What is planned for a suite."""

from __future__ import annotations

from pathlib import Path

from services.suite.plan import make_plan
from services.suite.settings import make


def test_who_answers_goes_before_who_renders_and_both_before_who_works_off_a_queue(
    tmp_path: Path,
) -> None:
    plan = make_plan(make(tmp_path).with_free_ports(), -1)
    nice = {server.name: server.nice for server in (*plan.servers, *plan.services)}
    assert nice["gateway"] == nice["redis"] == nice["objects"] == nice["trainer"] == 0
    assert nice["gateway"] < nice["renderer-1"] < nice["trainer-work-1"]
    assert nice["renderer-1"] == nice["expression"]
    workers = [value for name, value in nice.items() if "-work-" in name]
    assert len(set(workers)) == 1
