"""What is inside an image, as CycloneDX: Python's packages and Debian's. Runs in its venv."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib import metadata


def main(service: str) -> None:
    """Print it."""
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": f"avatar-{service}"}},
        "components": [*python_packages(), *debian_packages()],
    }
    print(json.dumps(document, indent=1))


def python_packages() -> list[dict[str, object]]:
    """Those of this interpreter."""
    found = {(d.metadata["Name"], d.version): d for d in metadata.distributions()}
    return [
        component(name, version, f"pkg:pypi/{name.lower()}@{version}", licence(distribution))
        for (name, version), distribution in sorted(found.items())
    ]


def licence(distribution: metadata.Distribution) -> str:
    """As the package states it, in one line; empty where it says nothing short."""
    about = distribution.metadata
    stated = about.get("License-Expression") or about.get("License") or ""
    return stated if len(stated) < 100 and "\n" not in stated else ""


def debian_packages() -> list[dict[str, object]]:
    """Those of the system, where it is Debian or Ubuntu."""
    if shutil.which("dpkg-query") is None:
        return []
    command = ["dpkg-query", "-W", "-f", "${Package} ${Version} ${Architecture}\\n"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    rows = [line.split() for line in lines]
    return [component(n, v, f"pkg:deb/debian/{n}@{v}?arch={a}", "") for n, v, a in rows]


def component(name: str, version: str, purl: str, stated: str) -> dict[str, object]:
    """One package."""
    licences = {"licenses": [{"license": {"name": stated}}]} if stated else {}
    return {"type": "library", "name": name, "version": version, "purl": purl, **licences}


if __name__ == "__main__":
    main(sys.argv[1])
