"""What a service needs, one requirement a line: ``python images/requirements.py SERVICE``.

pip can install a package's extras only together with the package's own dependencies, torch among
them; the gateway is to have none of those.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

METHOD = "method"  # the dependencies of synctalk itself
NEEDS = {
    "gateway": ("services", "gateway"),
    "dubbing": ("services", "dubbing"),
    "preprocess": (METHOD, "services"),
    "expression": (METHOD, "services"),
    "trainer": (METHOD, "services", "cuda"),
    "renderer": (METHOD, "services", "renderer", "cuda"),
}


def main(service: str) -> None:
    """Print them."""
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    groups = {METHOD: project["dependencies"], **project["optional-dependencies"]}
    for group in NEEDS[service]:
        print("\n".join(groups[group]))


if __name__ == "__main__":
    main(sys.argv[1])
