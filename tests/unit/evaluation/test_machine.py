from __future__ import annotations

import json
import os
import platform

import torch

from synctalk.evaluation.machine import describe_machine, usable_cores


def test_the_description_names_what_this_process_runs_on() -> None:
    machine = describe_machine()

    assert machine.python == platform.python_version()
    assert machine.torch == torch.__version__
    assert machine.cpu
    assert 1 <= machine.cores <= (os.cpu_count() or 1)
    assert 0.1 < machine.memory_gib < 100_000


def test_cores_respect_the_affinity_mask() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, before)


def test_the_description_survives_json() -> None:
    machine = describe_machine()
    assert json.loads(json.dumps(machine.as_dict()))["cores"] == machine.cores
    assert machine.cpu in machine.summary()
