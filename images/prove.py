"""Prove a Dockerfile's steps where no engine runs: install in a clean venv, start, ask how it is.

    .venv/bin/python images/prove.py gateway [--keep FOLDER]

Runs images/install.sh as the Dockerfile does, in a copy of what .dockerignore lets through, and
then the entry point with the new venv's Python, far from this checkout, beside a real Redis and S3
server. Prints what was installed, and its size. Base image and apt-get are not proven by this.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from services.common.local import LocalServers
from services.common.rpc.health import health
from services.common.settings import RpcSettings

ROOT = Path(__file__).resolve().parents[1]
TOKEN = "proof-" * 4
TIMEOUT_S = 180.0
TORCHLESS = ("gateway", "dubbing")
ROLES = {"preprocess": ("serve", "work"), "trainer": ("serve", "work")}
UNKNOWN = "127.0.0.1:1"  # a service that is called by nobody here
OWN = {
    "gateway": {"AVATAR_PREPROCESS_TARGET": UNKNOWN, "AVATAR_TRAINER_TARGET": UNKNOWN},
    "dubbing": {
        "AVATAR_EXPRESSION_TARGET": UNKNOWN,
        "AVATAR_RENDERER_TARGETS": json.dumps([UNKNOWN]),
    },
}


@dataclass(frozen=True)
class Proof:
    """A service in a folder of its own.

    Args:
        service: name.
        folder: holds source, venv and data.
    """

    service: str
    folder: Path

    @property
    def venv(self) -> Path:
        """What the image has under /opt/venv."""
        return self.folder / "venv"

    def install(self) -> None:
        """Both steps, in a copy of the build's context."""
        source = self.folder / "source"
        copy_context(source)
        for step in ("dependencies", "service"):
            command = [str(source / "images" / "install.sh"), step, self.service, str(self.venv)]
            subprocess.run(command, cwd=source, check=True, env=clean())
        shutil.rmtree(source)  # nothing may be found there

    def start(self, servers: LocalServers, role: str) -> None:
        """Until the health check answers, and down again by SIGTERM."""
        state = servers.state
        environment = {
            "AVATAR_STORAGE__URL": state.s3_url,
            "AVATAR_STORAGE__ACCESS_KEY": state.access_key,
            "AVATAR_STORAGE__SECRET_KEY": state.secret_key,
            "AVATAR_REDIS_URL": state.redis_url,
            "AVATAR_RPC__TOKEN": TOKEN,
            "AVATAR_WORK_DIR": str(self.folder / "work"),
            **OWN.get(self.service, {}),
        }
        command = [str(self.venv / "bin" / "python"), "-m", f"services.{self.service}", role]
        with running([part for part in command if part], environment, self.folder) as ports:
            print(f"{self.service} {role}: ports {ports}")
            check(ports)

    def report(self) -> None:
        """Sizes, and that torch is where it should be."""
        packages = next((self.venv / "lib").glob("python*/site-packages"))
        size = sum(path.lstat().st_size for path in packages.rglob("*") if not path.is_dir())
        torch = (packages / "torch").is_dir()
        inside = json.loads((self.venv / "sbom.cdx.json").read_text())["components"]
        python = [part for part in inside if part["purl"].startswith("pkg:pypi")]
        print(
            f"{self.service}: site-packages {size / 1e6:.0f} MB, {len(python)} packages, {torch=}"
        )
        if torch and self.service in TORCHLESS:
            sys.exit(f"{self.service} has torch")


def clean() -> dict[str, str]:
    """Our environment without what would lead back to this checkout."""
    return {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}


def copy_context(target: Path) -> None:
    """What .dockerignore lets through."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    ignored = shutil.ignore_patterns(*(x.removeprefix("**/") for x in lines if x[:2] == "**"))
    target.mkdir(parents=True)
    for line in lines:
        source = ROOT / line[1:]
        if line.startswith("!") and source.is_dir():
            shutil.copytree(source, target / line[1:], ignore=ignored)
        elif line.startswith("!"):
            shutil.copy(source, target)


@contextlib.contextmanager
def running(
    command: list[str], environment: Mapping[str, str], folder: Path
) -> Iterator[Mapping[str, int | None]]:
    """The process while it runs; yields the ports that it says on its first line."""
    log = folder / "log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            command, cwd=folder, env={**clean(), **environment}, stdout=subprocess.PIPE,
            stderr=errors, text=True,
        )  # fmt: skip
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            sys.exit(f"{' '.join(command)} ended:\n{log.read_text()[-2000:]}")
        yield json.loads(line)
        process.terminate()
        if process.wait(timeout=60) != 0:
            sys.exit(f"SIGTERM: exit code {process.returncode}\n{log.read_text()[-2000:]}")
    finally:
        process.kill()
        process.wait()


def check(ports: Mapping[str, int | None]) -> None:
    """By the same check as in the chart: gRPC's health, /readyz, or that metrics are served."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        answer = ask(ports)
        if answer == "well":
            return
        if time.monotonic() > deadline:
            sys.exit(f"not well: {answer}")
        time.sleep(0.5)


def ask(ports: Mapping[str, int | None]) -> str:
    """``well``, or what it says."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{ports['metrics_port']}/metrics") as page:
            page.read()
        if (port := ports.get("port")) is None:
            return "well"
        answer = health(f"127.0.0.1:{port}", RpcSettings(token=TOKEN))
        if answer == "SERVING":
            return "well"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz") as page:
            return "well" if json.load(page)["status"] == "ok" else "not ready"
    except OSError as error:
        return str(error)


def main() -> None:
    """One service, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("service", nargs="+")
    parser.add_argument("--keep", type=Path, help="folder that is not deleted")
    arguments = parser.parse_args()
    for service in arguments.service:
        with contextlib.ExitStack() as stack:
            made = stack.enter_context(tempfile.TemporaryDirectory(prefix="avatar-image-"))
            proof = Proof(service, (arguments.keep or Path(made)) / service)
            if not proof.venv.exists():
                proof.install()
            proof.report()
            servers = stack.enter_context(LocalServers.start(proof.folder / "servers"))
            for role in ROLES.get(service, ("",)):
                proof.start(servers, role)
        print(f"{service}: proven")


if __name__ == "__main__":
    main()
