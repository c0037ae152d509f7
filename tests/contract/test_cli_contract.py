"""The command line as a shell script sees it: real processes, exit codes, stdout and stderr."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SAMPLES = Path(__file__).parents[2] / "samples"
COMMANDS = [
    "preprocess",
    "train",
    "dub",
    "evaluate",
    "bench",
    "study",
    "inspect",
    "verify",
    "doctor",
    "demo",
]


def synctalk(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
    return subprocess.run(
        [sys.executable, "-m", "synctalk", *map(str, arguments)],
        capture_output=True, text=True, cwd=cwd, env=environment, check=False,
    )  # fmt: skip


def only_json(done: subprocess.CompletedProcess[str]) -> dict[str, object]:
    """The one JSON object that stdout must be, and nothing but it."""
    lines = done.stdout.splitlines()
    assert len(lines) == 1, done.stdout
    value = json.loads(lines[0])
    assert isinstance(value, dict)
    return value


def test_help_names_every_command_and_the_exit_codes() -> None:
    done = synctalk("--help")
    assert done.returncode == 0
    for command in COMMANDS:
        assert command in done.stdout
    for code in ("0 done", "1 unexpected", "2 wrong usage", "3 the input", "4 a model file"):
        assert code in done.stdout
    for code in ("5 training failed", "130 interrupted"):
        assert code in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(command: str) -> None:
    done = synctalk(command, "--help")
    assert done.returncode == 0
    assert "--json" in done.stdout
    assert "Exit codes" in done.stdout


@pytest.mark.parametrize(
    ("command", "options"),
    [
        (
            "preprocess",
            ["VIDEO", "--out", "--tracker", "auto|mesh|face-alignment", "--size", "--face-model"],
        ),
        ("train", ["DATASET", "--out", "demo|standard|best", "auto|cpu|cuda", "--resume"]),
        ("dub", ["AVATAR", "AUDIO", "--out", "--no-portrait", "--background", "--label"]),
        ("evaluate", ["AVATAR", "DATASET", "--out"]),
        ("bench", ["PLAN", "--out", "--video", "--protocol", "--method", "--cache", "--fresh"]),
        ("inspect", ["PATH"]),
        ("verify", ["FILE"]),
        ("demo", ["--video", "--audio", "--out"]),
    ],
)
def test_each_command_has_its_arguments(command: str, options: list[str]) -> None:
    shown = synctalk(command, "--help").stdout
    assert [option for option in options if option not in shown] == []


def test_help_does_not_load_torch() -> None:
    code = (
        "import sys, synctalk.cli as cli\n"
        "try: cli.app(['train', '--help'])\n"
        "except SystemExit: pass\n"
        "print('torch' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "False"


def test_version_is_the_packages() -> None:
    from synctalk import __version__

    assert synctalk("--version").stdout == f"synctalk {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["no-such-command"],
        ["preprocess", "video.mp4"],
        ["train", "dataset", "--out", "avatar", "--preset", "fast"],
        ["dub", "avatar", "--out", "out.mp4"],
        ["preprocess", "video.mp4", "--out", "dataset", "--tracker", "none"],
        ["inspect", "video.mp4", "--no-such-option"],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str], tmp_path: Path) -> None:
    done = synctalk(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    path = tmp_path / "notes.mp4"
    path.write_text("This is not a video.\n" * 100)
    return path


def bad_inputs(folder: Path, text: Path) -> list[tuple[list[str | Path], str]]:
    """Commands on unusable input, each with the reason it must give."""
    gone, out = folder / "gone.mp4", folder / "out"
    empty = folder / "empty"
    empty.mkdir(exist_ok=True)
    return [
        (["preprocess", gone, "--out", out], "FILE_MISSING"),
        (["preprocess", text, "--out", out], "NOT_MEDIA"),
        (["preprocess", text, "--out", out, "--size", "100"], "BAD_SIZE"),
        (["train", empty, "--out", out], "DATASET_NOT_FOUND"),
        (["train", gone, "--out", out], "DATASET_NOT_FOUND"),
        (["dub", empty, SAMPLES / "speech.wav", "--out", out], "BUNDLE_NOT_FOUND"),
        (["evaluate", empty, empty, "--out", out], "BUNDLE_NOT_FOUND"),
        (["inspect", gone], "FILE_MISSING"),
        (["inspect", text], "NOT_MEDIA"),
        (["inspect", empty], "UNKNOWN_FOLDER"),
        (["demo", "--video", gone, "--out", out], "FILE_MISSING"),
    ]


@pytest.mark.parametrize("case", range(11))
def test_bad_input_exits_with_3_and_says_what_to_do(
    case: int, tmp_path: Path, text_file: Path
) -> None:
    arguments, reason = bad_inputs(tmp_path, text_file)[case]
    done = synctalk(*arguments, "--json")
    assert done.returncode == 3, done.stderr
    answer = only_json(done)
    error = answer["error"]
    assert isinstance(error, dict)
    assert (answer["command"], answer["ok"], answer["exit_code"]) == (arguments[0], False, 3)
    assert error["reason"] == reason
    assert error["message"]
    assert error["remedy"]
    assert str(error["message"]) in " ".join(done.stderr.split("\n"))
    assert "Traceback" not in done.stderr


def test_bad_input_leaves_no_output_behind(tmp_path: Path, text_file: Path) -> None:
    before = sorted(tmp_path.iterdir())
    assert synctalk("preprocess", text_file, "--out", tmp_path / "out").returncode == 3
    assert sorted(tmp_path.iterdir()) == before


def test_without_json_an_error_goes_to_stderr_alone(tmp_path: Path) -> None:
    done = synctalk("inspect", tmp_path / "gone.mp4")
    assert done.returncode == 3
    assert done.stdout == ""
    assert "gone.mp4: no such file." in done.stderr


def test_inspect_tells_the_facts_of_the_sample() -> None:
    answer = only_json(synctalk("inspect", SAMPLES / "portrait.mp4", "--json"))
    result = answer["result"]
    assert isinstance(result, dict)
    assert (answer["ok"], result["kind"]) == (True, "video")
    facts = result["facts"]
    assert (facts["width_px"], facts["height_px"], facts["fps"]) == (512, 512, 25)
    assert (facts["n_frames"], facts["sample_rate_hz"]) == (646, 16000)
    assert facts["duration_s"] == pytest.approx(25.84, abs=0.02)


def test_inspect_speaks_in_words() -> None:
    shown = synctalk("inspect", SAMPLES / "speech.wav").stdout
    assert "is a sound file" in shown
    assert "11.6 s long" in shown


def test_doctor_finds_this_machine_ready() -> None:
    done = synctalk("doctor", "--json")
    result = only_json(done)["result"]
    assert isinstance(result, dict)
    unmet = [f for f in result["findings"] if f["required"] and not f["ok"]]
    assert unmet == []
    assert (done.returncode, result["ready"]) == (0, True)


def test_doctor_exits_with_4_where_the_face_models_are_missing(tmp_path: Path) -> None:
    # Another prefix and home: no folder that is searched has the models.
    code = (
        "import sys; sys.prefix = sys.argv[1]\n"
        "from synctalk.cli import app\n"
        "app(['doctor', '--json'])"
    )
    environment = {k: v for k, v in os.environ.items() if k != "SYNCTALK_MODELS"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True, text=True, check=False, env={**environment, "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 4
    answer = only_json(done)
    assert answer["ok"] is False
    result = answer["result"]
    assert isinstance(result, dict)
    models = next(f for f in result["findings"] if f["name"] == "face models")
    assert not models["ok"]
    assert "synctalk.face.models" in models["remedy"]
