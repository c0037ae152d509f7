"""What a number of avatars, dubs and live sessions a day asks of cores, Redis and the object store.

    python benchmarks/demand.py

Arithmetic on what other benchmarks measured on two cores: benchmarks/results/dub_speed.json,
real_subject_anchor_71s_512_standard.json, jobs.json and load.json. Averages over a day; for live
sessions, which do not wait, benchmarks/capacity.py looks at peaks. Writes
benchmarks/results/demand.json; docs/capacity.md says what follows.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from services.common.jobs import JobSettings

RESULTS = Path(__file__).resolve().parent / "results"
DAY_S = 86_400.0
CORES = 2  # of the machine that the figures are from
FPS = 25
# Of that subject: 71 s of 512² footage; du of its folders.
DATASET_MB, BUNDLE_MB, SOURCE_MB = 165.0, 27.0, 20.0
DUB_S = 60.0  # of speech, an assumption
SESSION_S = 300.0  # likewise


@dataclass(frozen=True)
class Unit:
    """Core seconds of each kind of work."""

    preprocess_core_s: float
    train_core_s: float
    frame_core_s: float
    post_core_s: float = 0.011  # load.json's note in docs/status.md


@dataclass(frozen=True)
class Demand:
    """Of one number of each a day.

    Args:
        workers_busy: jobs of all queues that run at a time, on average.
        redis_writes_hz: heartbeats, reports and changes of state, each synced to disk.
        store_gb_a_day: written; about as much is read.
    """

    a_day: int
    preprocess_cores: float
    train_cores: float
    dub_cores: float
    live_cores: float
    workers_busy: float
    redis_writes_hz: float
    store_gb_a_day: float


def units() -> Unit:
    """From the results."""
    subject = _read("real_subject_anchor_71s_512_standard")["wall_s"]
    frame_ms = _read("dub_speed")["ms_per_frame"]["portrait"]["frames"]
    return Unit(subject["preprocess"] * CORES, subject["train"] * CORES, frame_ms / 1000 * CORES)


def demand(a_day: int, unit: Unit, settings: JobSettings) -> Demand:
    """So many avatars, dubs and sessions a day each."""
    hz = a_day / DAY_S
    busy = hz * (unit.preprocess_core_s + unit.train_core_s + unit.frame_core_s * DUB_S * FPS)
    workers = busy / CORES
    beats_hz = workers * (1 / settings.heartbeat_s + 1 / settings.report_s)
    changes_hz = hz * 3 * 4  # three jobs: enqueue, lease, finish, sweep
    return Demand(
        a_day=a_day,
        preprocess_cores=round(hz * unit.preprocess_core_s, 2),
        train_cores=round(hz * unit.train_core_s, 2),
        dub_cores=round(hz * unit.frame_core_s * DUB_S * FPS, 2),
        live_cores=round(hz * unit.frame_core_s * SESSION_S * FPS, 2),
        workers_busy=round(workers, 2),
        redis_writes_hz=round(beats_hz + changes_hz, 2),
        store_gb_a_day=round(a_day * (DATASET_MB + BUNDLE_MB + SOURCE_MB) / 1000, 1),
    )


def _read(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text())


def main() -> None:
    """Three sizes; the largest also with rarer signs of life."""
    unit, usual = units(), JobSettings()
    rare = JobSettings(heartbeat_s=5.0, report_s=5.0)
    rows = [
        {"jobs": "as configured", **asdict(demand(n, unit, usual))} for n in (10, 1000, 100_000)
    ]
    rows.append({"jobs": "heartbeat_s 5, report_s 5", **asdict(demand(100_000, unit, rare))})
    always = [row for row in _read("jobs")["throughput"] if row["appendfsync"] == "always"]
    document = {"unit": asdict(unit), "rows": rows, "redis_measured": always}
    for row in rows:
        print(row)
    (RESULTS / "demand.json").write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
