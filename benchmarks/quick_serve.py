"""The renderer on Ray Serve as it is, but for the time after which a replica too many goes.

    python -m benchmarks.quick_serve

``services/renderer/serve_config.yaml`` says five minutes, which nobody wants to watch.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import yaml

from services.common import logs
from services.common.settings import load
from services.renderer import deployment
from services.renderer.settings import RendererSettings

DOWNSCALE_DELAY_S = 10


def main() -> None:
    """Serve until SIGTERM."""
    settings = load(RendererSettings)
    logs.configure("renderer", settings.log_level)
    config = yaml.safe_load(deployment.CONFIG.read_text())
    (application,) = config["applications"]
    (options,) = application["deployments"]
    options["autoscaling_config"]["downscale_delay_s"] = DOWNSCALE_DELAY_S
    with tempfile.TemporaryDirectory() as folder:
        deployment.CONFIG = Path(folder) / "serve_config.yaml"
        deployment.CONFIG.write_text(yaml.safe_dump(config))
        deployment.run_here(settings)


if __name__ == "__main__":
    main()
