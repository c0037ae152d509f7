"""Running the kernel in a fresh interpreter: its variant is chosen once, at load."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def run_variant(tmp_path: Path) -> Callable[[str, str], str]:
    """Runs a snippet in a fresh interpreter with the named kernel variant; returns its stdout."""

    def run(variant: str, code: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=dict(os.environ, SYNCTALK_CPU_KERNEL=variant),
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return done.stdout + done.stderr[-2000:] * (done.returncode != 0)

    return run
