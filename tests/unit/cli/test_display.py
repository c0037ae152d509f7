"""Progress as people see it, in a terminal and in a log file."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from synctalk.cli.display import LiveDisplay, PlainDisplay, clock, make_display
from synctalk.progress import ProgressEvent


def shown_live(*events: ProgressEvent) -> str:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=140, color_system=None)
    with make_display(console) as display:
        assert isinstance(display, LiveDisplay)
        for event in events:
            display.show(event)
    return [line for line in stream.getvalue().splitlines() if "it/s" in line][-1]


def shown_plain(*events: ProgressEvent) -> list[str]:
    stream = io.StringIO()
    with make_display(Console(file=stream, width=60)) as display:
        assert isinstance(display, PlainDisplay)
        for event in events:
            display.show(event)
    return stream.getvalue().splitlines()


def test_a_terminal_shows_stage_count_rate_time_left_and_held_out_psnr() -> None:
    metrics = {"held_out_psnr_db": 35.217}
    line = shown_live(ProgressEvent("train", 120, 900, 23.44, 33.3, metrics))
    for words in ("train", "120/900", "23.4 it/s", "ETA 0:33", "held-out PSNR 35.22 dB"):
        assert words in line


def test_a_terminal_keeps_the_last_psnr_between_checks() -> None:
    first = ProgressEvent("train", 250, 900, 20.0, 30.0, {"held_out_psnr_db": 34.0})
    line = shown_live(first, ProgressEvent("train", 260, 900, 20.0, 29.0))
    assert "260/900" in line
    assert "held-out PSNR 34.00 dB" in line


def test_a_stage_of_unknown_length_is_ticked_off_when_another_begins() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=140, color_system=None)
    with make_display(console) as display:
        display.show(ProgressEvent("track", 646, 0, 80.0))
        display.show(ProgressEvent("pose", 1, 10, 2.0, 4.5))
    track = [line for line in stream.getvalue().splitlines() if "track" in line][-1]
    assert "✓" in track


def test_a_log_gets_whole_lines_without_control_codes() -> None:
    lines = shown_plain(
        ProgressEvent("track", 0, 646),
        ProgressEvent("track", 646, 646, 80.0, 0.0),
        ProgressEvent("train", 250, 900, 20.0, 32.5, {"held_out_psnr_db": 34.0}, "stage 2 begins"),
    )
    assert lines == [
        "track  0/646",
        "track  646/646  80.0 it/s  in 0:00",
        "train  250/900  20.0 it/s  ETA 0:32  held-out PSNR 34.00 dB  stage 2 begins",
    ]


def test_a_log_repeats_the_last_psnr_of_a_stage() -> None:
    lines = shown_plain(
        ProgressEvent("train", 0, 900),
        ProgressEvent("train", 250, 900, metrics={"held_out_psnr_db": 34.0}),  # not yet due
        ProgressEvent("train", 900, 900, 20.0, 0.0),
        ProgressEvent("lips", 0, 1),
    )
    assert lines == [
        "train  0/900",
        "train  900/900  20.0 it/s  in 0:00  held-out PSNR 34.00 dB",
        "lips  0/1",
    ]


def test_a_log_is_not_flooded() -> None:
    events = [ProgressEvent("track", n, 1000, 100.0, 1.0) for n in range(999)]
    assert shown_plain(*events) == ["track  0/1000  100.0 it/s  ETA 0:01"]


def test_work_of_unknown_length_shows_what_is_done() -> None:
    assert shown_plain(ProgressEvent("decode", 42, 0, 10.0)) == ["decode  42  10.0 it/s"]


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0:00"), (7, "0:07"), (59.6, "1:00"), (3723, "1:02:03")]
)
def test_clock(seconds: float, words: str) -> None:
    assert clock(seconds) == words
