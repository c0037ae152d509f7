"""Two trainings at once on the same cores: how much they cost each other.

    python benchmarks/crowded.py DATASET [--seconds 40] [--rounds 2]

As services do when a preprocessing, a training and a rendering share a machine. Trains with the
real command line, in turn alone and two at once, each with OpenMP's threads sleeping while they
wait (this project's default) and spinning (GNU OpenMP's). Writes the median iterations a second
of each to benchmarks/results/crowded.json.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path

from synctalk.evaluation.machine import describe_machine

ROOT = Path(__file__).resolve().parent.parent
RATE = re.compile(r"train +\d+/\d+ +([\d.]+) it/s")
POLICIES = {
    "sleeping": {"OMP_WAIT_POLICY": "PASSIVE"},
    "spinning": {"GOMP_SPINCOUNT": "300000"},  # what GNU OpenMP does when told nothing
}


def rates(dataset: Path, n: int, policy: dict[str, str], seconds: float) -> list[float]:
    """The last rate that each of ``n`` trainings at once has shown after ``seconds``."""
    with tempfile.TemporaryDirectory() as folder:
        logs = [Path(folder) / f"{i}.log" for i in range(n)]
        runs = [
            subprocess.Popen(
                [
                    *(sys.executable, "-m", "synctalk", "train", str(dataset)),
                    *("--out", str(log.with_suffix(".avatar")), "--preset", "standard"),
                ],
                stderr=log.open("wb"),
                env=os.environ | policy,
            )
            for log in logs
        ]
        time.sleep(seconds)
        for run in runs:
            run.kill()
            run.wait()
        return [float(RATE.findall(log.read_text())[-1]) for log in logs]


def main() -> None:
    """Measure in turn and write the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--seconds", type=float, default=40.0, help="loading included")
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    seen: dict[str, list[float]] = defaultdict(list)
    for _ in range(arguments.rounds):
        for n in (1, 2):
            for name, policy in POLICIES.items():
                seen[f"{n} at once, {name}"] += rates(
                    arguments.dataset, n, policy, arguments.seconds
                )
    result = {
        "dataset": arguments.dataset.name,
        "iterations_per_s_of_each": {name: statistics.median(r) for name, r in seen.items()},
        "machine": asdict(describe_machine()),
    }
    out = ROOT / "benchmarks" / "results" / "crowded.json"
    out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result["iterations_per_s_of_each"], indent=2))


if __name__ == "__main__":
    main()
