"""The run book for CUDA machines, gone through on the CPU: every line but those that need CUDA."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tiny import TinySubject

BOOK = Path(__file__).parents[2] / "benchmarks" / "gpu.sh"


def test_a_dry_run_goes_through_all_stages(tiny_subject: TinySubject, tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    run = subprocess.run(
        [
            BOOK, "--device", "cpu", "--quick", "--out", out,
            "--dataset", tiny_subject.dataset, "--avatar", tiny_subject.avatar,
        ],
        env={**os.environ, "PYTHON": sys.executable, "GPU_WORK": str(tmp_path / "work")},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    report = json.loads(out.read_text())
    assert report["dry_run"]
    stages = report["stages"]
    assert list(stages) == ["build", "parity", "speed", "train", "speed_trained"]
    assert all(stage["ok"] for stage in stages.values())
    assert len(stages["parity"]["checks"]) > 10
    assert stages["train"]["steps"] > 0
    for speed in (stages["speed"], stages["speed_trained"]):
        assert speed["one_stream_latency_ms"]["p50"] > 0
        assert speed["one_stream_fps"] > 0
        assert speed["end_to_end_fps"] > 0
        assert all(each["fps"] > 0 for each in speed["batched"])


def test_a_failed_stage_is_noted_and_the_others_go_on(
    tiny_subject: TinySubject, tmp_path: Path
) -> None:
    out = tmp_path / "gpu.json"
    run = subprocess.run(
        [
            sys.executable, BOOK.with_name("gpu.py"), "--device", "cpu", "--quick", "--out", out,
            "--dataset", tiny_subject.dataset, "--avatar", tmp_path / "none",
            "--work", tmp_path / "work", "--stages", "speed,build",
        ],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert run.returncode == 1
    stages = json.loads(out.read_text())["stages"]
    assert list(stages) == ["build", "speed"]
    assert stages["build"]["ok"]
    assert "BundleError" in stages["speed"]["error"]
