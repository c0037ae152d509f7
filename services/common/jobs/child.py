"""The forked process in which a handler works on one job."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from services.common.jobs.connect import connect_worker
from services.common.jobs.context import JobContext
from services.common.jobs.leases import Ending, Lease, Leases, Outcome
from services.common.jobs.model import JobSettings, JobType, PayloadT, ResultT
from synctalk.errors import Cancelled, InputError, SyncTalkError

Handler = Callable[[JobContext, PayloadT], ResultT]
"""Does the work and returns what to publish. Runs in a process of its own.

:class:`synctalk.errors.InputError` means that no retry can help; any other error is retried.
Import heavy modules inside the function: the worker's process stays small and free of threads.
"""

_MESSAGE_LIMIT = 4000
_POLL_S = 0.2
_EXIT_S = 0.005


@dataclass(frozen=True)
class Account:
    """What the child says when it ends.

    Args:
        stage_rates: units a second, of stages that count units.
        eta_ratio: the time left as it was said half way, over the time it then took.
    """

    ending: Ending
    stage_durations_s: Mapping[str, float] = field(default_factory=dict)
    stage_rates: Mapping[str, float] = field(default_factory=dict)
    eta_ratio: float | None = None


class Child:
    """A handler at work, as its worker sees it.

    The child leads a process group, so that whatever it has started ends with it. It hears of the
    worker's death by the end of a pipe, also after SIGKILL.
    """

    def __init__(self, pid: int, account: int, lifeline: int) -> None:
        self.pid = pid
        self._account = account
        self._lifeline = lifeline
        self._text = b""
        os.set_blocking(account, False)

    def wait(self, timeout_s: float) -> bool:
        """Whether it has ended, after at most ``timeout_s``."""
        deadline = time.monotonic() + timeout_s
        while not self._ended():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            # The account is the last thing a child writes, so this wakes up at once. A
            # grandchild may hold the pipe open: it does not tell whether the child has ended.
            select.select([self._account], [], [], min(left, _POLL_S))
            if not self._read():
                time.sleep(min(left, _EXIT_S))
        return True

    def stop(self, grace_s: float) -> None:
        """SIGTERM, then SIGKILL to the whole group after ``grace_s``."""
        os.kill(self.pid, signal.SIGTERM)
        if not self.wait(grace_s):
            os.killpg(self.pid, signal.SIGKILL)

    def reap(self) -> Account:
        """Wait for the end, end what the child has left behind, and read its account."""
        try:
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
            # Not yet reaped, so the group's number cannot belong to anybody else.
            os.killpg(self.pid, signal.SIGKILL)
            _, status = os.waitpid(self.pid, 0)
            self._read()
        finally:
            os.close(self._account)
            os.close(self._lifeline)
        return _parse_account(self._text) or _no_account(os.waitstatus_to_exitcode(status))

    def _ended(self) -> bool:
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.pid, flags) is not None

    def _read(self) -> bool:
        """Read what is there; False at the end of the pipe."""
        while True:
            try:
                chunk = os.read(self._account, 65536)
            except BlockingIOError:
                return True
            if not chunk:
                return False
            self._text += chunk


def start_child(
    lease: Lease,
    job_type: JobType[PayloadT, ResultT],
    handler: Handler[PayloadT, ResultT],
    settings: JobSettings,
    redis_url: str,
) -> Child:
    """Fork, and work on the leased job there."""
    account_read, account_write = os.pipe()
    lifeline_read, lifeline_write = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.setpgid(pid, pid)  # here and there: whoever comes first
        os.close(account_write)
        os.close(lifeline_read)
        return Child(pid, account_read, lifeline_write)
    try:
        os.setpgid(0, 0)
        os.close(account_read)
        os.close(lifeline_write)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the worker's to handle
        leases = Leases(connect_worker(redis_url), job_type.prefix, settings)
        context = JobContext(lease.job, leases, settings, lifeline_read)
        _work(context, lease, job_type, handler, account_write)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _work(
    context: JobContext,
    lease: Lease,
    job_type: JobType[PayloadT, ResultT],
    handler: Handler[PayloadT, ResultT],
    account: int,
) -> None:
    def on_sigterm(number: int, frame: FrameType | None) -> None:
        context.request_stop()

    signal.signal(signal.SIGTERM, on_sigterm)
    context.start()
    ending = _run_handler(context, lease, job_type, handler)
    eta_ratio = context.eta_ratio()
    context.close()
    body = {
        "ending": ending.__dict__, "stages": context.stage_durations_s,
        "rates": context.stage_rates, "eta_ratio": eta_ratio,
    }  # fmt: skip
    _write_all(account, json.dumps(body).encode())
    sys.stdout.flush()
    sys.stderr.flush()


def _run_handler(
    context: JobContext,
    lease: Lease,
    job_type: JobType[PayloadT, ResultT],
    handler: Handler[PayloadT, ResultT],
) -> Ending:
    try:
        payload = job_type.load_payload(lease.payload_json)
    except InputError as error:  # of a later release, which another worker may be
        context.log(error.message)
        return Ending(Outcome.RETRY, "", error.reason, error.message, error.remedy)
    try:
        result = handler(context, payload)
        return Ending(Outcome.SUCCEEDED, job_type.dump_result(result))
    except Cancelled as error:  # the worker knows why; unasked, it counts as a failure
        return Ending(Outcome.RETRY, "", "STOPPED", error.message, error.remedy)
    except InputError as error:
        context.log(traceback.format_exc())
        return Ending(Outcome.FAILED, "", error.reason, error.message, error.remedy)
    except SyncTalkError as error:
        context.log(traceback.format_exc())
        return Ending(Outcome.RETRY, "", error.reason, error.message, error.remedy)
    except Exception as error:
        context.log(traceback.format_exc())
        message = f"{type(error).__name__}: {error}"[:_MESSAGE_LIMIT]
        return Ending(
            Outcome.RETRY, "", "INTERNAL", message, "The job's log has the traceback: report it."
        )


def _parse_account(text: bytes) -> Account | None:
    try:
        raw: Any = json.loads(text)
    except ValueError:  # killed before or while it wrote
        return None
    ending = raw["ending"] | {"outcome": Outcome(raw["ending"]["outcome"])}
    return Account(Ending(**ending), raw["stages"], raw["rates"], raw["eta_ratio"])


def _no_account(code: int) -> Account:
    how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
    return Account(
        Ending(
            Outcome.RETRY,
            reason="CHILD_DIED",
            message=f"the process that did the work was {how}",
            remedy="SIGKILL mostly means that memory ran out: give the worker more.",
        )
    )


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
