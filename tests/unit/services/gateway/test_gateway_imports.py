"""The gateway has neither torch nor numpy; PyAV it has for the sound of live sessions."""

from __future__ import annotations

import json
import subprocess
import sys

HEAVY = ("torch", "numpy", "scipy", "cv2", "ray", "synctalk.media", "synctalk.training")
CODE = """
import json, sys
import services.gateway.main
print(json.dumps(sorted(sys.modules)))
"""


def test_the_gateway_runs_without_torch_and_numpy() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    loaded = json.loads(done.stdout)
    assert "services.gateway.app" in loaded
    assert [name for name in HEAVY if name in loaded] == []
    other = [name for name in loaded if name.startswith("services.")]
    beside = ("services.common", "services.gateway", "services.gen")
    assert [name for name in other if not name.startswith(beside)] == []
