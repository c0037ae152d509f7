"""Logs: JSON lines that carry the request id."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

import pytest

from services.common import logs


def logged(body: str) -> list[dict[str, Any]]:
    """What a process of its own writes: its logging is global, and pytest has its own."""
    script = "import logging\nfrom services.common import logs\nlogs.configure('tester')\n" + body
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_our_lines_and_the_libraries_carry_the_request_id() -> None:
    ours, theirs, after = logged("""
with logs.request_scope("req-1"):
    logs.logger("ours").info("loaded", avatar="ann")
    logging.getLogger("theirs").warning("odd %s", "thing")
logs.logger("ours").info("after")
""")
    assert (ours["event"], ours["avatar"], ours["service"]) == ("loaded", "ann", "tester")
    assert theirs["event"] == "odd thing"
    assert ours["request_id"] == theirs["request_id"] == "req-1"
    assert "request_id" not in after


def test_a_command_line_that_configures_nothing_has_its_stdout_to_itself() -> None:
    """Where a command's answer stands, for programs."""
    body = (
        "from services.common import logs\nlog = logs.logger('ours')\n"
        "log.info('backup made', keys=3)\nlog.warning('the store is away', tries=2)"
    )
    done = subprocess.run([sys.executable, "-c", body], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert done.stderr == "level='warning' event='the store is away' tries=2\n"


def test_a_traceback_is_in_its_line() -> None:
    ours, theirs = logged("""
try:
    raise ValueError("what")
except ValueError:
    logs.logger("ours").exception("failed")
    logging.getLogger("theirs").exception("failed too")
""")
    assert "ValueError: what" in ours["exception"]
    assert "ValueError: what" in theirs["exception"]


def test_requests_that_run_at_once_keep_their_ids() -> None:
    async def request(given: str) -> str:
        with logs.request_scope(given):
            await asyncio.sleep(0)
            return await asyncio.to_thread(logs.request_id)

    async def both() -> tuple[str, str]:
        first, second = await asyncio.gather(request("a"), request("b"))
        return first, second

    assert asyncio.run(both()) == ("a", "b")
    assert logs.request_id() == ""


@pytest.mark.parametrize("given", [None, "", "two words", "new\nline", "x" * 200, "ä"])
def test_an_id_that_would_spoil_a_log_is_replaced(given: str | None) -> None:
    with logs.request_scope(given) as used:
        assert used != given
        assert len(used) == 32
