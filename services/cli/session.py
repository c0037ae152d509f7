"""One run of a command: what it says on stdout, on stderr and by its exit code."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Annotated

import typer

from services.common.errors import ServiceError
from synctalk.errors import Cancelled, SyncTalkError

if TYPE_CHECKING:
    from services.cli.screen import Screen

Json = Mapping[str, object]


class ExitCode(IntEnum):
    """What the process returns."""

    OK = 0
    UNEXPECTED = 1
    USAGE = 2
    BAD_INPUT = 3
    MISSING = 4
    JOB_FAILED = 5
    AWAY = 6
    REFUSED = 7
    INTERRUPTED = 130


EXIT_CODES = (
    "Exit codes: 0 done; 1 unexpected error (a bug); 2 wrong usage or settings; 3 the input cannot "
    "be used, or there is no such thing; 4 something is missing on this machine; 5 the job failed "
    "or was cancelled; 6 the service cannot be reached; 7 refused: key, role, quota or consent; "
    "130 interrupted."
)

AsJson = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON object on stdout; all else stays on stderr."),
]


class JobFailed(ServiceError):
    """The work that was waited for has failed or was cancelled."""

    exit_code = ExitCode.JOB_FAILED


class Missing(ServiceError):
    """Something is missing or wrong on this machine."""

    exit_code = ExitCode.MISSING


@dataclass(frozen=True)
class Outcome:
    """What a command has to say.

    Args:
        result: for programs.
        words: for people, rich markup.
        exit_code: when it is not simply done.
    """

    result: Json
    words: str
    exit_code: ExitCode = ExitCode.OK


def run(command: str, work: Callable[[Screen], Outcome], *, as_json: bool = False) -> None:
    """Do ``work``, print what came of it, and exit with its code.

    Raises:
        typer.Exit: always when the code is not 0.
    """
    from services.cli.screen import Screen

    screen = Screen()
    try:
        with screen:
            outcome = work(screen)
    except KeyboardInterrupt:
        _fail(command, Cancelled("Stopped."), as_json, screen)
    except SyncTalkError as error:
        _fail(command, error, as_json, screen)
    except Exception as error:  # a bug, or a machine in trouble
        screen.say(traceback.format_exc())
        remedy = "This is not meant to happen: please report the lines above."
        named = SyncTalkError(f"{type(error).__name__}: {error}", reason="BUG", remedy=remedy)
        _fail(command, named, as_json, screen)
    else:
        _succeed(command, outcome, as_json)


def _succeed(command: str, outcome: Outcome, as_json: bool) -> None:
    if as_json:
        ok = outcome.exit_code == ExitCode.OK
        _print_json({"command": command, "ok": ok, "result": outcome.result})
    elif outcome.words:
        from rich.console import Console

        Console().print(outcome.words, highlight=False, soft_wrap=True)
    if outcome.exit_code:
        raise typer.Exit(outcome.exit_code)


def _fail(command: str, error: SyncTalkError, as_json: bool, screen: Screen) -> None:
    screen.complain(error.message, error.remedy, mild=isinstance(error, Cancelled))
    if as_json:
        what = {"reason": error.reason, "message": error.message, "remedy": error.remedy}
        _print_json({"command": command, "ok": False, "error": what, "exit_code": error.exit_code})
    raise typer.Exit(error.exit_code)


def _print_json(value: Json) -> None:
    print(json.dumps(value, ensure_ascii=False, default=str))
