"""Start a suite, wait for it, look at it, stop it. Costs little to import."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from services.common import local_folder
from services.common.errors import ConfigurationError, FailedPrecondition, Unavailable
from services.common.local_server import port_is_free
from services.suite import settings as suite_settings
from services.suite import state as suite_state
from services.suite.settings import SuiteSettings
from services.suite.state import Phase, SuiteState

SUPERVISOR_LOG = Path("logs", "supervisor.log")
_ROOT = Path(__file__).resolve().parents[2]
_READY_S = 300.0
_DEATHS_BEFORE_READY = 3
_POLL_S = 0.1


def prepare(folder: Path, changes: Mapping[str, str]) -> SuiteSettings:
    """Make or read the settings of ``folder``, change them as told, and save them.

    Raises:
        ConfigurationError: they cannot be used, or the folder cannot be written to.
        FailedPrecondition: the suite runs; or the port of its API is taken.
    """
    _make_folders(folder)
    if local_folder.supervisor(folder) is not None:
        raise FailedPrecondition(
            f"A suite already runs on {folder}.",
            reason="SUITE_UP",
            remedy="Look at it with avatar status; stop it with avatar down.",
        )
    local_folder.stop(folder)  # what a killed supervisor has left
    settings = suite_settings.read(folder) or suite_settings.make(folder)
    settings = settings.with_changes(changes)
    settings.check()
    if not port_is_free(settings.api_port):
        raise FailedPrecondition(
            f"Port {settings.api_port}, where the API is to listen, is taken.",
            reason="PORT_TAKEN",
            remedy="Free it, or choose another: avatar up --port 8090.",
        )
    settings.save()
    return settings


def launch(folder: Path, *, attached: bool) -> subprocess.Popen[bytes]:
    """Start the supervisor; attached: it ends when the stdin that it is given does."""
    with (folder / SUPERVISOR_LOG).open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "services.suite", str(folder), *(["attached"] * attached)],
            stdin=subprocess.PIPE if attached else subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=_ROOT,
            env=os.environ,
            start_new_session=True,  # Ctrl-C is for whoever looks on
        )


def wait_ready(
    folder: Path,
    supervisor: subprocess.Popen[bytes],
    on_change: Callable[[SuiteState], None],
    timeout_s: float = _READY_S,
) -> SuiteState:
    """Wait until all processes are ready.

    Raises:
        Unavailable: one of them, or the supervisor, does not come up; says what its log ends with.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        state = suite_state.read(folder)
        if state is not None and state.pid == supervisor.pid:
            on_change(state)
            if state.phase is Phase.READY:
                return state
            _raise_for_dying(folder, state)
        if supervisor.poll() is not None:
            raise _does_not_start("The supervisor", folder / SUPERVISOR_LOG)
        if time.monotonic() > deadline:
            raise _does_not_start(f"After {timeout_s:.0f} s the suite", folder / SUPERVISOR_LOG)
        time.sleep(_POLL_S)


def look(folder: Path) -> SuiteState | None:
    """The state of the suite that runs on ``folder``; None when no supervisor does."""
    pid = local_folder.supervisor(folder)
    state = suite_state.read(folder)
    return state if state is not None and state.pid == pid else None


def stop(folder: Path) -> bool:
    """Stop all of it, also what a killed supervisor left; whether anything ran.

    Raises:
        Unavailable: something does not end.
    """
    if not folder.is_dir() or not local_folder.holders(folder):
        return False
    local_folder.stop(folder, grace_s=45.0)
    (folder / suite_state.FILE).unlink(missing_ok=True)
    return True


def _make_folders(folder: Path) -> None:
    try:
        for part in ("logs", "run", "work"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        (folder / "run" / "probe").write_text("")
        (folder / "run" / "probe").unlink()
    except OSError as error:
        raise ConfigurationError(
            f"{folder} cannot be written to: {error.strerror}.",
            reason="FOLDER_UNUSABLE",
            remedy="Give another one: avatar up --folder DIR, or AVATAR_HOME=DIR for all commands.",
        ) from None


def _raise_for_dying(folder: Path, state: SuiteState) -> None:
    for process in state.processes:
        if process.deaths >= _DEATHS_BEFORE_READY and not state.was_ready:
            log = folder / "logs" / f"{process.name}.log"
            raise _does_not_start(f"{process.name} (exit {process.last_exit})", log)


def _does_not_start(what: str, log: Path) -> Unavailable:
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-8:]) if log.exists() else ""
    return Unavailable(
        f"{what} does not start. The end of {log}:\n{tail}",
        reason="SUITE_FAILED",
        remedy="Put right what it says and start again; avatar doctor looks for known causes.",
    )
