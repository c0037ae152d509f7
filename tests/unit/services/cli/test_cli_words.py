"""What people are told."""

from __future__ import annotations

import io
import json

from rich.console import Console

from services.cli import words
from services.cli.log_lines import readable
from services.cli.screen import Bar, Screen, clock
from services.cli.waiting import failure


def test_a_quality_report_says_what_is_not_good_and_what_to_do() -> None:
    good = {"name": "light", "level": "good", "message": "even", "remedy": ""}
    warn = {"name": "length", "level": "warn", "message": "only 9 s.", "remedy": "Film longer."}
    lines = words.quality({"level": "warn", "verdicts": [good, warn]})
    assert lines[0] == "Footage usable, and could be better"
    assert lines[1:] == ["  ! length: only 9 s. Film longer."]


def test_a_bar_in_words_leaves_out_what_is_not_known() -> None:
    assert Bar("dub", None).words() == "dub"
    assert Bar("dub", 0.5, 75.0, "rendering").words() == "dub  50 %  ETA 1:15  rendering"
    assert clock(3_723) == "1:02:03"


def test_the_reason_of_a_failure_is_kept_for_programs() -> None:
    error = {"code": "NO_FACE", "message": "No face.", "remedy": "Film one."}
    made = failure({"id": "av_1", "state": "failed", "error": error})
    assert (made.reason, made.remedy, made.exit_code) == ("NO_FACE", "Film one.", 5)
    assert failure({"id": "av_1", "state": "cancelled", "error": None}).reason == "CANCELLED"


def test_sizes_have_three_digits() -> None:
    assert [words.size(n) for n in (0, 999, 12_345, 48_000_000, 5 << 30)] == [
        "0 B", "999 B", "12.3 kB", "48 MB", "5.37 GB",
    ]  # fmt: skip


def test_a_table_shows_names_with_brackets_as_they_are() -> None:
    text = words.table(("name",), [("[bold]x[/]",)], "none")
    console = Console(file=io.StringIO(), width=80)
    with console.capture() as shown:
        console.print(text)
    assert "[bold]x[/]" in shown.get()
    assert words.table(("name",), [], "none") == "none"


def test_a_log_line_in_words() -> None:
    line = json.dumps(
        {"event": "job leased", "level": "info", "logger": "x", "service": "s", "job": "j1",
         "timestamp": "2026-01-02T03:04:05.678901Z"}
    )  # fmt: skip
    assert readable("trainer-work-1", line) == "03:04:05.678 trainer-work-1 info: job leased job=j1"
    assert readable("redis", "plain") == "redis: plain"


def test_a_note_is_said_once_in_a_row(capsys: object) -> None:
    screen = Screen()
    said: list[str] = []
    screen.say = said.append  # type: ignore[method-assign]
    for text in ("away", "away", "back", "away"):
        screen.note(text)
    assert said == ["away", "back", "away"]
