"""Errors become exit codes, an interruption becomes a resumable stop."""

from __future__ import annotations

import json
import os
import signal

import click.exceptions
import pytest
import typer

from synctalk.cli.session import ExitCode, Outcome, run
from synctalk.errors import (
    BackendError,
    Cancelled,
    FootageError,
    MissingModelError,
    SyncTalkError,
    TrainingError,
)
from synctalk.progress import ProgressCallback, ProgressEvent

DONE = Outcome({"path": "x"}, "made x")


def exit_code_of(error: BaseException) -> int:
    def work(progress: ProgressCallback) -> Outcome:
        raise error

    with pytest.raises(typer.Exit) as caught:
        run("train", work, as_json=False, if_stopped="Go on with --resume.")
    return caught.value.exit_code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (FootageError("No face."), ExitCode.BAD_INPUT),
        (MissingModelError("No model."), ExitCode.MISSING),
        (BackendError("No kernel."), ExitCode.MISSING),
        (TrainingError("NaN."), ExitCode.TRAINING_FAILED),
        (SyncTalkError("Odd."), ExitCode.UNEXPECTED),
        (ZeroDivisionError("bug"), ExitCode.UNEXPECTED),
        (Cancelled("Stopped."), ExitCode.INTERRUPTED),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED),
    ],
)
def test_each_error_has_its_exit_code(error: BaseException, code: ExitCode) -> None:
    assert exit_code_of(error) == code


def test_an_expected_error_shows_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    exit_code_of(FootageError("No face in [frames] 3-7.", remedy="Film from the front."))
    shown = capsys.readouterr()
    assert shown.err == "No face in [frames] 3-7.\nFilm from the front.\n"
    assert shown.out == ""


def test_a_bug_shows_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    exit_code_of(ZeroDivisionError("bug"))
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert "please report" in shown


def test_ctrl_c_stops_at_the_next_event_and_says_how_to_go_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    finished = []

    def work(progress: ProgressCallback) -> Outcome:
        for step in range(10):
            if step == 3:
                os.kill(os.getpid(), signal.SIGINT)
            finished.append(step)  # the unit under way is finished
            progress(ProgressEvent("train", step, 10))
        return DONE

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(typer.Exit) as caught:
        run("train", work, as_json=False, if_stopped="Go on with --resume.")
    assert caught.value.exit_code == 130
    assert finished == [0, 1, 2, 3]
    assert "Stopped.\nGo on with --resume." in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_does_not_wait_for_an_event() -> None:
    reached = []

    def work(progress: ProgressCallback) -> Outcome:
        os.kill(os.getpid(), signal.SIGINT)
        reached.append(1)
        os.kill(os.getpid(), signal.SIGINT)
        reached.append(2)
        return DONE

    with pytest.raises(typer.Exit) as caught:
        run("train", work, as_json=False, if_stopped="")
    assert (caught.value.exit_code, reached) == (130, [1])


def test_json_output_is_one_object_and_progress_stays_on_stderr(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def work(progress: ProgressCallback) -> Outcome:
        progress(ProgressEvent("track", 5, 10, rate=2.0, eta_s=2.5))
        return Outcome({"psnr": float("nan"), "path": "x"}, "words")

    run("evaluate", work, as_json=True, if_stopped="")
    shown = capsys.readouterr()
    expected = {"command": "evaluate", "ok": True, "result": {"psnr": None, "path": "x"}}
    assert json.loads(shown.out) == expected
    assert "track  5/10  2.0 it/s  ETA 0:02" in shown.err


def test_a_finished_command_with_a_bad_verdict_exits_with_its_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bad = Outcome({"ready": False}, "Missing: kernel", ExitCode.MISSING)
    with pytest.raises((typer.Exit, click.exceptions.Exit)) as caught:
        run("doctor", lambda progress: bad, as_json=True, if_stopped="")
    assert caught.value.exit_code == 4
    assert json.loads(capsys.readouterr().out)["ok"] is False
