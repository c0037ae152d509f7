"""Keeping processes alive."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.common.local_server import Server
from services.suite.plan import answer_of
from services.suite.state import Phase, ProcessState, SuiteState, read
from services.suite.supervisor import Keeper, end, rotate

_SAYS_READY = 'import time; print(\'{"port": 7, "metrics_port": 8}\', flush=True); time.sleep(600)'


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.01)


@pytest.fixture
def keep(tmp_path: Path) -> Iterator[Callable[[str], Keeper]]:
    made: list[Server] = []

    def start(code: str) -> Keeper:
        server = Server(
            "one", [sys.executable, "-c", code], tmp_path / "one.log",
            lambda: bool(answer_of(server)), answer=tmp_path / "one.json",
        )  # fmt: skip
        made.append(server)
        return Keeper(server)

    yield start
    for server in made:
        server.kill()


def tended_until(keeper: Keeper, condition: Callable[[Keeper], bool]) -> None:
    def look() -> bool:
        keeper.tend()
        return condition(keeper)

    until(look)


def test_a_process_is_ready_when_it_has_said_its_ports(keep: Callable[[str], Keeper]) -> None:
    keeper = keep(_SAYS_READY)
    assert keeper.state().pid is None
    assert keeper.tend()
    assert keeper.phase is Phase.STARTING
    tended_until(keeper, lambda keeper: keeper.phase is Phase.READY)
    state = keeper.state()
    assert (state.port, state.metrics_port, state.deaths) == (7, 8, 0)


def test_a_killed_process_is_started_again(keep: Callable[[str], Keeper]) -> None:
    keeper = keep(_SAYS_READY)
    tended_until(keeper, lambda keeper: keeper.phase is Phase.READY)
    pid = keeper.state().pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    tended_until(keeper, lambda keeper: keeper.phase is Phase.WAITING)
    assert (keeper.state().pid, keeper.state().last_exit) == (None, -signal.SIGKILL)
    tended_until(keeper, lambda keeper: keeper.phase is Phase.READY)
    assert keeper.state().pid != pid
    assert keeper.state().deaths == 1


def test_a_process_that_is_to_stand_back_does_with_all_its_threads(
    keep: Callable[[str], Keeper],
) -> None:
    busy = (
        "import threading; threading.Thread(target=__import__('time').sleep, args=(600,)).start()"
    )
    keeper = keep(f"{busy}; {_SAYS_READY}")
    keeper.server.nice = 5
    level = min(19, os.getpriority(os.PRIO_PROCESS, 0) + 5)

    def stands_back(keeper: Keeper) -> bool:
        pid, own = keeper.state().pid, Path("/proc/self/autogroup")
        if keeper.phase is not Phase.READY or pid is None:
            return False
        threads = [int(path.name) for path in Path(f"/proc/{pid}/task").iterdir()]
        assert len(threads) == 2
        assert {os.getpriority(os.PRIO_PROCESS, thread) for thread in threads} == {level}
        return not own.exists() or f"nice {level}" in Path(f"/proc/{pid}/autogroup").read_text()

    tended_until(keeper, stands_back)


def test_one_that_keeps_dying_is_started_less_and_less_often(keep: Callable[[str], Keeper]) -> None:
    keeper = keep("raise SystemExit(3)")
    began = time.monotonic()
    tended_until(keeper, lambda keeper: keeper.deaths == 3)
    assert time.monotonic() - began >= 0.5 + 1.0
    assert keeper.state().last_exit == 3


def test_a_program_that_is_not_there_counts_as_a_death(tmp_path: Path) -> None:
    keeper = Keeper(Server("none", [str(tmp_path / "none")], tmp_path / "log", lambda: True))
    keeper.tend()
    assert (keeper.phase, keeper.deaths) == (Phase.WAITING, 1)


def test_one_that_does_not_heed_sigterm_is_killed(keep: Callable[[str], Keeper]) -> None:
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + _SAYS_READY
    keeper = keep(deaf)
    tended_until(keeper, lambda keeper: keeper.phase is Phase.READY)
    end([keeper.server], grace_s=0.2)
    assert not keeper.server.running


def test_a_rotated_log_goes_on_empty_and_three_old_ones_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "one.log"
    with path.open("ab", buffering=0) as log:
        for text in (b"1", b"2", b"3", b"4"):
            log.write(text)
            rotate(path)
        log.write(b"5")
    found = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert found == {
        "one.log": b"5", "one.log.1": b"4", "one.log.2": b"3", "one.log.3": b"2",
    }  # fmt: skip


def test_the_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    process = ProcessState("redis", Phase.READY, 12, None, None, 0, None, 1.5)
    state = SuiteState(1, Phase.STARTING, False, "http://127.0.0.1:8080", (process,))
    assert read(tmp_path) is None
    state.save(tmp_path)
    assert read(tmp_path) == state
