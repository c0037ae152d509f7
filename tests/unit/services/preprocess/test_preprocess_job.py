"""What a preprocess job promises besides the work."""

from __future__ import annotations

from services.preprocess.job import SIZES_PX
from services.preprocess.worker import SHARES
from synctalk.preprocessing import SIZES


def test_the_sizes_at_the_door_are_those_of_the_method() -> None:
    assert SIZES_PX == SIZES


def test_the_worker_process_loads_nothing_heavy() -> None:
    import subprocess
    import sys

    code = (
        "import sys, services.preprocess.main, services.trainer.main, services.trainer.worker; "
        "print([m for m in ('torch', 'cv2', 'av', 'grpc') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_stage_of_preprocessing_has_a_share() -> None:
    assert {"locate", "normalise", "cuts", "track", "quality", "scene", "parse", "audio"} <= set(
        SHARES
    )
