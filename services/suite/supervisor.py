"""Starts the processes of a suite in order, starts again what dies, and ends them in order.

One thread looks at all of them ten times a second. A process that dies is started again after half
a second, then after twice as long each time, up to half a minute; one that has run for a minute
begins anew with half a second.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from services.common import local_folder, logs
from services.common.errors import ConfigurationError
from services.common.local_server import Server
from services.suite import settings as suite_settings
from services.suite.plan import Plan, answer_of, make_plan
from services.suite.settings import SuiteSettings
from services.suite.state import Phase, ProcessState, SuiteState
from synctalk.errors import SyncTalkError

_LOOK_S = 0.1
_BACKOFF_S, _BACKOFF_CAP_S = 0.5, 30.0
_SETTLED_S = 60.0
_STOP_S = 15.0
_ROTATE_EVERY_S = 10.0
_LOG_BYTES = 20 << 20
_LOGS_KEPT = 3

log = logs.logger(__name__)


class Keeper:
    """Keeps one process alive."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.phase = Phase.WAITING
        self.deaths = 0
        self.last_exit: int | None = None
        self.since_s = time.time()
        self._due_s = 0.0
        self._began_s = 0.0
        self._backoff_s = _BACKOFF_S
        self._stands_back = False

    def tend(self) -> bool:
        """Look after it; whether something has changed."""
        before = self.phase
        now = time.monotonic()
        if self.phase is Phase.WAITING:
            if now >= self._due_s:
                self._start(now)
        elif not self.server.running:
            self._on_death(now)
        elif self.phase is Phase.STARTING and self.server.ready():
            self.phase = Phase.READY
            log.info("ready", process=self.server.name, seconds=round(now - self._began_s, 1))
        if not self._stands_back:
            self._stands_back = self.server.stand_back()
        if self.phase is not before:
            self.since_s = time.time()
        return self.phase is not before

    def state(self) -> ProcessState:
        """For others to read."""
        process = self.server.process
        said = answer_of(self.server)
        return ProcessState(
            self.server.name,
            self.phase,
            process.pid if process is not None and self.phase is not Phase.WAITING else None,
            said.get("port", self.server.port),
            said.get("metrics_port"),
            self.deaths,
            self.last_exit,
            self.since_s,
        )

    def _start(self, now: float) -> None:
        self._began_s = now
        try:
            self.server.spawn()
        except OSError as error:
            log.error("cannot be run", process=self.server.name, error=str(error))
            self._on_death(now)
        else:
            self.phase = Phase.STARTING
            self._stands_back = False

    def _on_death(self, now: float) -> None:
        self.deaths += 1
        self.last_exit = self.server.process.returncode if self.server.process else None
        if now - self._began_s > _SETTLED_S:
            self._backoff_s = _BACKOFF_S
        log.error(
            "died",
            process=self.server.name, exit=self.last_exit, again_in_s=self._backoff_s,
        )  # fmt: skip
        self._due_s = now + self._backoff_s
        self._backoff_s = min(2 * self._backoff_s, _BACKOFF_CAP_S)
        self.phase = Phase.WAITING


class Supervisor:
    """All processes of one suite."""

    def __init__(self, settings: SuiteSettings, plan: Plan) -> None:
        self._settings = settings
        self._servers = [Keeper(server) for server in plan.servers]
        self._services = [Keeper(server) for server in plan.services]
        self._phase = Phase.STARTING
        self._was_ready = False
        self._has_servers = False
        self._rotated_s = 0.0
        self._stopping = False

    def run(self, lifeline: int | None) -> None:
        """Until :meth:`ask_to_stop`, or the end of the pipe ``lifeline``."""
        self._save()
        try:
            while not self._stopping and not (lifeline is not None and _has_ended(lifeline)):
                if self._look():
                    self._save()
                time.sleep(_LOOK_S)
        finally:
            self._stop()

    def ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        """Handler of signals."""
        self._stopping = True

    def _look(self) -> bool:
        changed = [keeper.tend() for keeper in self._servers]
        self._has_servers = self._has_servers or all(
            keeper.phase is Phase.READY for keeper in self._servers
        )
        if self._has_servers:
            changed += [keeper.tend() for keeper in self._services]
        keepers = [*self._servers, *self._services]
        ready = all(keeper.phase is Phase.READY for keeper in keepers)
        self._phase = Phase.READY if ready else Phase.STARTING
        self._was_ready = self._was_ready or ready
        self._rotate_logs()
        return any(changed)

    def _save(self) -> None:
        processes = tuple(keeper.state() for keeper in (*self._servers, *self._services))
        SuiteState(os.getpid(), self._phase, self._was_ready, self._settings.url, processes).save(
            self._settings.folder
        )

    def _rotate_logs(self) -> None:
        if time.monotonic() - self._rotated_s < _ROTATE_EVERY_S:
            return
        self._rotated_s = time.monotonic()
        for path in (self._settings.folder / "logs").glob("*.log"):
            if path.stat().st_size > _LOG_BYTES:
                rotate(path)

    def _stop(self) -> None:
        self._phase = Phase.STOPPING
        self._save()
        end([keeper.server for keeper in self._services])
        end([keeper.server for keeper in self._servers])
        log.info("all have ended")


def end(servers: list[Server], grace_s: float = _STOP_S) -> None:
    """SIGTERM to all at once, SIGKILL to those that do not heed it."""
    running = [server for server in servers if server.running]
    for server in running:
        assert server.process is not None
        server.process.terminate()
    deadline = time.monotonic() + grace_s
    for server in running:
        assert server.process is not None
        try:
            server.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            log.warning("does not end: killed", process=server.name)
            server.kill()


def rotate(path: Path) -> None:
    """Copy ``NAME.log`` to ``NAME.log.1``, that to ``.2`` and so on, and empty it.

    Its writer has it open for appending and goes on; what it writes between the copy and the
    emptying is lost.
    """
    for number in range(_LOGS_KEPT - 1, 0, -1):
        older = path.with_name(f"{path.name}.{number}")
        if older.exists():
            older.replace(path.with_name(f"{path.name}.{number + 1}"))
    shutil.copyfile(path, path.with_name(f"{path.name}.1"))
    os.truncate(path, 0)


def _has_ended(lifeline: int) -> bool:
    readable, _, _ = select.select([lifeline], [], [], 0)
    return bool(readable) and os.read(lifeline, 1) == b""


def main(arguments: list[str]) -> int:
    """``FOLDER [attached]``: run its suite until SIGTERM; attached: or until stdin ends."""
    folder = Path(arguments[0]).resolve()
    logs.configure("supervisor")
    try:
        supervisor = _supervisor(folder)
    except SyncTalkError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, supervisor.ask_to_stop)
    supervisor.run(0 if "attached" in arguments else None)
    return 0


def _supervisor(folder: Path) -> Supervisor:
    lock_fd = local_folder.hold(folder)
    settings = suite_settings.read(folder)
    if settings is None:
        raise ConfigurationError(
            f"{folder} has no settings.", reason="INVALID_SETTINGS", remedy="Run avatar up."
        )
    settings = settings.with_free_ports()
    settings.save()
    return Supervisor(settings, make_plan(settings, lock_fd))
