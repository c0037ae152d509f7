"""Every process serves at /metrics what docs/reference says that it does."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from suite import RunningService, Suite

from services.common.local import LocalServers
from services.common.storage import ObjectStore

TABLE = Path(__file__).parents[3] / "docs" / "reference" / "metrics.md"
NOWHERE = "127.0.0.1:9"
SETTINGS = {
    "dubbing": {"EXPRESSION_TARGET": NOWHERE, "RENDERER_TARGETS": [NOWHERE]},
    "expression": {},
    "gateway": {"PREPROCESS_TARGET": NOWHERE, "TRAINER_TARGET": NOWHERE},
    "preprocess serve": {},
    "preprocess work": {},
    "renderer": {},
    "trainer serve": {},
    "trainer work": {},
}


@pytest.fixture(scope="module")
def processes(
    local_servers: LocalServers, object_store: ObjectStore, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, RunningService]]:
    folder = tmp_path_factory.mktemp("metrics")
    suite = Suite(local_servers, folder)

    def start(name: str) -> RunningService:
        settings = SETTINGS[name] | {"WORK_DIR": str(folder / "work")}
        return suite.start(f"services.{name}", **settings)

    try:
        with ThreadPoolExecutor(len(SETTINGS)) as pool:
            yield dict(zip(SETTINGS, pool.map(start, SETTINGS), strict=True))
    finally:
        suite.stop()


def documented(process: str) -> dict[str, str]:
    """Names and types of the metrics that the table says a process serves."""
    rows = [
        [cell.strip(" `") for cell in line.strip("|").split(" | ")]
        for line in TABLE.read_text().splitlines()
        if line.startswith("| `")
    ]
    assert len(rows) > 20
    return {name: kind for name, kind, _, _, served in rows if process in served.split(", ")}


def served(process: RunningService) -> dict[str, str]:
    found = {}
    for family in process.families():
        own = not family.name.startswith(("python_", "process_"))
        if own and not family.name.endswith("_created"):
            counts = family.type == "counter"  # the parser strips its suffix
            found[f"{family.name}_total" if counts else family.name] = family.type
    return found


@pytest.mark.parametrize("name", SETTINGS)
def test_a_process_serves_the_documented_metrics_and_no_others(
    processes: dict[str, RunningService], name: str
) -> None:
    assert served(processes[name]) == documented(name)


def test_every_queue_can_be_watched(processes: dict[str, RunningService]) -> None:
    up = "synctalk_jobs_redis_up"
    assert processes["preprocess serve"].metric(up, queue="preprocess") == 1
    assert processes["trainer serve"].metric(up, queue="train") == 1
    assert processes["dubbing"].metric(up, queue="dub") == 1
