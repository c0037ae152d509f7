"""The command line `avatar` as a shell script sees it: processes, exit codes, stdout and stderr."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from services.common import local_folder
from services.suite.settings import make

COMMANDS = [
    "up", "down", "status", "doctor", "backup", "restore", "create", "dub", "wait", "demo", "list",
    "show", "dubs", "delete", "jobs", "cancel", "requeue", "logs", "me", "keys", "webhooks",
    "consents", "receipts", "audit", "verify",
]  # fmt: skip


def avatar(*arguments: str | Path, home: Path, **more: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AVATAR_")}
    environment = {
        **clean, "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb",
        "AVATAR_HOME": str(home), **more,
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, "-m", "services.cli", *map(str, arguments)],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip


def only_json(done: subprocess.CompletedProcess[str]) -> dict[str, object]:
    """The one JSON object that stdout must be, and nothing but it."""
    lines = done.stdout.splitlines()
    assert len(lines) == 1, done.stdout + done.stderr
    value = json.loads(lines[0])
    assert isinstance(value, dict)
    return value


def failure(done: subprocess.CompletedProcess[str]) -> tuple[int, str]:
    """Exit code and reason, as a script reads them; people are told too, without a traceback."""
    said = only_json(done)
    error = said["error"]
    assert isinstance(error, dict)
    assert not said["ok"]
    assert said["exit_code"] == done.returncode
    assert error["message"].splitlines()[0] in done.stderr
    assert error["remedy"] in done.stderr
    assert "Traceback" not in done.stderr
    return done.returncode, error["reason"]


def test_help_names_every_command_and_the_exit_codes(tmp_path: Path) -> None:
    done = avatar("--help", home=tmp_path)
    assert done.returncode == 0
    assert [command for command in COMMANDS if f" {command} " not in done.stdout] == []
    for code in ("0 done", "2 wrong usage", "5 the job failed", "6 the service", "7 refused"):
        assert code in done.stdout


def test_no_command_loads_torch_or_the_network_before_it_is_needed() -> None:
    code = (
        "import sys, services.cli.app as cli\n"
        "import services.cli.demo, services.suite.control\n"
        "heavy = {'torch', 'av', 'cv2', 'grpc'} & set(sys.modules)\n"
        "print(sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_avatar_needs_consent(tmp_path: Path) -> None:
    video = tmp_path / "me.mp4"
    video.write_bytes(b"x")
    for options in ((), ("--consent", "Yes.", "--i-have-consent")):
        done = avatar("create", video, "--name", "me", *options, home=tmp_path)
        assert done.returncode == 2
        assert "must not be made" in " ".join(done.stderr.split())


def test_without_a_suite_it_says_how_to_start_one(tmp_path: Path) -> None:
    done = avatar("list", "--json", home=tmp_path)
    assert failure(done) == (2, "NO_SUITE")
    assert "avatar up" in done.stderr


def test_a_suite_that_is_away_has_an_exit_code_of_its_own(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    video = tmp_path / "absent.mp4"
    here = {"AVATAR_URL": url, "AVATAR_KEY": "avk_x"}
    done = avatar(
        "create", video, "--name", "me", "--i-have-consent", "--json", home=tmp_path, **here
    )
    assert failure(done) == (3, "FILE_UNREADABLE")  # before the network is tried


def test_status_and_down_of_nothing(tmp_path: Path) -> None:
    done = avatar("status", "--json", home=tmp_path)
    assert done.returncode == 6
    assert only_json(done)["result"] == {"running": False, "folder": str(tmp_path)}
    done = avatar("down", "--json", home=tmp_path)
    assert done.returncode == 0
    assert only_json(done)["result"] == {"stopped": False, "folder": str(tmp_path)}


def test_up_refuses_a_taken_port_and_leaves_nothing_running(tmp_path: Path) -> None:
    with socket.socket() as intruder:
        intruder.bind(("127.0.0.1", 0))
        intruder.listen()
        port = str(intruder.getsockname()[1])
        done = avatar("up", "--detach", "--port", port, "--json", home=tmp_path)
    assert failure(done) == (3, "PORT_TAKEN")
    assert local_folder.holders(tmp_path) == []


def test_up_refuses_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = avatar("up", "--json", home=tmp_path / "file" / "suite")
    assert failure(done) == (2, "FOLDER_UNUSABLE")


def test_up_refuses_settings_that_cannot_be_used(tmp_path: Path) -> None:
    make(tmp_path).with_changes({"SUITE_RENDERERS": "none"}).save()
    done = avatar("up", "--detach", "--json", home=tmp_path)
    assert done.returncode == 2, done.stderr
    assert failure(done)[1] == "INVALID_SETTINGS"
    assert local_folder.holders(tmp_path) == []


def test_doctor_looks_before_anything_was_started(tmp_path: Path) -> None:
    done = avatar("doctor", "--json", home=tmp_path)
    result = only_json(done)["result"]
    assert isinstance(result, dict)
    findings = {finding["name"]: finding for finding in result["findings"]}
    assert {"redis-server", "rclone", "disk", "memory", "settings"} <= findings.keys()
    assert findings["redis-server"]["ok"], findings
    assert findings["rclone"]["ok"], findings
