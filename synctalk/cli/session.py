"""One run of a command: progress, interruption, the result, and errors turned into exit codes."""

from __future__ import annotations

import json
import os
import signal
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import FrameType

import typer
from rich.console import Console
from rich.markup import escape

from synctalk.cli.display import Display, make_display
from synctalk.errors import Cancelled, SyncTalkError
from synctalk.progress import ProgressCallback, ProgressEvent

Json = Mapping[str, object]


class ExitCode(IntEnum):
    """What the process returns."""

    OK = 0
    UNEXPECTED = 1
    USAGE = 2
    BAD_INPUT = 3
    MISSING = 4
    TRAINING_FAILED = 5
    INTERRUPTED = 130


EXIT_CODES = (
    "Exit codes: 0 done; 1 unexpected error (a bug); 2 wrong usage; 3 the input cannot be used; "
    "4 a model file or backend is missing; 5 training failed; 130 interrupted."
)


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


Work = Callable[[ProgressCallback], Outcome]


def run(command: str, work: Work, *, as_json: bool, if_stopped: str) -> None:
    """Do ``work`` with a progress display, print what came of it, and exit with its code.

    Args:
        command: its name, for the JSON result.
        work: receives the callback to report progress to.
        as_json: print one JSON object on stdout and nothing else.
        if_stopped: what to tell a person who pressed Ctrl-C.

    Raises:
        typer.Exit: always when the code is not 0.
    """
    errors = Console(stderr=True)
    try:
        with make_display(errors) as display, _Interruptible(display) as progress:
            outcome = work(progress)
    except KeyboardInterrupt:
        _fail(command, Cancelled("Stopped.", remedy=if_stopped), as_json, errors)
    except Cancelled as error:
        _fail(command, Cancelled(error.message, remedy=if_stopped), as_json, errors)
    except SyncTalkError as error:
        _fail(command, error, as_json, errors)
    except Exception as error:  # a bug, or a machine in trouble
        errors.print(traceback.format_exc(), highlight=False, markup=False, soft_wrap=True)
        remedy = "This is not meant to happen: please report the lines above."
        named = SyncTalkError(f"{type(error).__name__}: {error}", reason="BUG", remedy=remedy)
        _fail(command, named, as_json, errors)
    else:
        _succeed(command, outcome, as_json)


def _succeed(command: str, outcome: Outcome, as_json: bool) -> None:
    if as_json:
        ok = outcome.exit_code == ExitCode.OK
        print_json({"command": command, "ok": ok, "result": outcome.result})
    else:
        Console().print(outcome.words, highlight=False, soft_wrap=True)
    if outcome.exit_code:
        raise typer.Exit(outcome.exit_code)


def _fail(command: str, error: SyncTalkError, as_json: bool, errors: Console) -> None:
    colour = "yellow" if isinstance(error, Cancelled) else "red"
    message = escape(error.message)
    errors.print(f"[bold {colour}]{message}[/]", highlight=False, soft_wrap=True)
    if error.remedy:
        errors.print(escape(error.remedy), highlight=False, soft_wrap=True)
    if as_json:
        what = {"reason": error.reason, "message": error.message, "remedy": error.remedy}
        print_json({"command": command, "ok": False, "error": what, "exit_code": error.exit_code})
    raise typer.Exit(error.exit_code)


def print_json(value: Json) -> None:
    """One JSON object on stdout; figures that are not finite become null."""
    print(json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, default=str))


def _finite(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value


class _Interruptible:
    """Passes progress on; after Ctrl-C the next event raises ``Cancelled``.

    So work stops between two units, where its state is whole. A second Ctrl-C does not wait.
    """

    def __init__(self, display: Display) -> None:
        self._display = display
        self._asked = False
        self._previous: object = None

    def __enter__(self) -> ProgressCallback:
        self._previous = signal.signal(signal.SIGINT, self._ask)
        return self._on_event

    def __exit__(self, *exception: object) -> None:
        signal.signal(signal.SIGINT, self._previous)  # type: ignore[arg-type]

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        os.write(2, b"\nStopping at the next safe point. Ctrl-C again stops at once.\n")

    def _on_event(self, event: ProgressEvent) -> None:
        if self._asked:
            raise Cancelled("Stopped.")
        self._display.show(event)
