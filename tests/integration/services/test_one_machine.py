"""`avatar up`: all services as processes on one machine, whatever is killed meanwhile."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from services.common import local_folder
from services.common.local_server import free_port
from services.suite import control
from services.suite.settings import read
from services.suite.state import Phase, ProcessState, SuiteState

SERVICES = {
    "redis", "objects", "gateway", "preprocess", "trainer", "expression", "renderer-1",
    "preprocess-work-1", "trainer-work-1", "dubbing-work-1",
}  # fmt: skip


@dataclass(frozen=True)
class Suite:
    folder: Path

    def avatar(self, *arguments: str | Path) -> tuple[int, dict[str, Any]]:
        clean = {name: item for name, item in os.environ.items() if not name.startswith("AVATAR_")}
        done = subprocess.run(
            [sys.executable, "-m", "services.cli", *map(str, arguments), "--json"],
            capture_output=True, text=True, check=False,
            env={**clean, "AVATAR_HOME": str(self.folder)},
        )  # fmt: skip
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    def state(self) -> SuiteState:
        state = control.look(self.folder)
        assert state is not None
        return state

    def process(self, name: str) -> ProcessState:
        return next(process for process in self.state().processes if process.name == name)


def until(condition: Callable[[], bool], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    made = Suite(tmp_path_factory.mktemp("suite"))
    code, said = made.avatar(
        "up", "--detach", "--port", str(free_port()), "--workers", "1", "--renderers", "1"
    )
    assert code == 0, said
    yield made
    control.stop(made.folder)


def test_all_processes_are_ready_and_well(suite: Suite) -> None:
    code, said = suite.avatar("status")
    assert code == 0
    assert {process["name"] for process in said["result"]["processes"]} == SERVICES
    code, said = suite.avatar("doctor")
    wrong = [finding for finding in said["result"]["findings"] if not finding["ok"]]
    assert (code, wrong) == (0, [])


def test_the_command_line_has_a_key_of_its_own(suite: Suite) -> None:
    code, said = suite.avatar("me")
    assert code == 0
    assert (said["result"]["tenant"], said["result"]["role"]) == ("local", "admin")
    settings = read(suite.folder)
    assert settings is not None
    assert stat.S_IMODE((suite.folder / "settings.env").stat().st_mode) == 0o600
    assert stat.S_IMODE(suite.folder.stat().st_mode) == 0o700
    secrets = [settings.key, settings.bootstrap_key, settings.redis.password]
    logs = "".join(path.read_text() for path in (suite.folder / "logs").iterdir())
    lines = [Path(f"/proc/{pid}/cmdline").read_text() for pid in local_folder.holders(suite.folder)]
    assert [secret for secret in secrets if secret in logs or secret in "".join(lines)] == []


def test_a_second_suite_on_the_folder_is_refused(suite: Suite) -> None:
    code, said = suite.avatar("up", "--detach")
    assert (code, said["error"]["reason"]) == (3, "SUITE_UP")


def test_redis_and_a_service_come_back_when_they_are_killed(suite: Suite) -> None:
    before = {name: suite.process(name) for name in ("redis", "expression")}
    for process in before.values():
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
    for name, process in before.items():
        until(lambda name=name: suite.process(name).deaths == 1)  # type: ignore[misc]
        until(lambda name=name: suite.process(name).phase is Phase.READY)  # type: ignore[misc]
        assert suite.process(name).pid != process.pid
        assert suite.process(name).port == process.port
    assert suite.avatar("me")[0] == 0  # the key was on disk


def test_a_video_that_is_none_is_refused_in_words(suite: Suite, tmp_path: Path) -> None:
    notes = tmp_path / "notes.mp4"
    notes.write_text("no video")
    code, said = suite.avatar("create", notes, "--name", "x", "--i-have-consent", "--wait")
    assert code == 5, said
    assert said["error"]["reason"]
    assert said["error"]["remedy"]
    code, said = suite.avatar("list")
    assert [(one["name"], one["state"]) for one in said["result"]["data"]] == [("x", "failed")]
    code, said = suite.avatar("delete", "x", "--yes")
    assert code == 0
    assert suite.avatar("list")[1]["result"]["data"] == []


def test_a_killed_supervisor_leaves_nothing_that_down_does_not_find(suite: Suite) -> None:
    pids = local_folder.holders(suite.folder)
    os.kill(suite.state().pid, signal.SIGKILL)
    until(lambda: control.look(suite.folder) is None)
    code, said = suite.avatar("doctor")
    assert (code, [one["name"] for one in said["result"]["findings"] if not one["ok"]]) == (
        4, ["processes"],
    )  # fmt: skip
    assert suite.avatar("down") == (
        0, {"command": "down", "ok": True,
            "result": {"stopped": True, "folder": str(suite.folder)}},
    )  # fmt: skip
    assert local_folder.holders(suite.folder) == []
    assert [pid for pid in pids if Path(f"/proc/{pid}/exe").exists()] == []
