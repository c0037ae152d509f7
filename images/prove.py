"""Prove a Dockerfile's steps where no engine runs: install in a clean venv, start, ask how it is.

    .venv/bin/python images/prove.py gateway [--keep FOLDER]
    make images-proof                                              all of them: an hour, 10 GB

Runs images/install.sh as the Dockerfile does, in a copy of what .dockerignore lets through, and
then the entry point with the new venv's Python, far from this checkout, beside a real Redis and S3
server. Notes what was proven in images/proven.json; a test says when that is of other steps than
today's. Base images, apt-get and what needs CUDA are not proven by this.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from services.common.local import LocalServers
from services.common.rpc.health import health
from services.common.settings import RpcSettings

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "images" / "proven.json"
SERVICES = ("gateway", "dubbing", "preprocess", "expression", "trainer", "renderer")
STEPS = ("install.sh", "requirements.py", "sbom.py")
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

    @property
    def installed(self) -> str:
        """Digest of the steps that the venv was made by; empty where there is none."""
        path = self.folder / "steps"
        return path.read_text() if path.is_file() else ""

    def install(self) -> None:
        """Both steps, in a copy of the build's context."""
        shutil.rmtree(self.folder, ignore_errors=True)
        source, made_by = self.folder / "source", steps(self.service)
        copy_context(source)
        for step in ("dependencies", "service"):
            command = [str(source / "images" / "install.sh"), step, self.service, str(self.venv)]
            subprocess.run(command, cwd=source, check=True, env=clean())
        shutil.rmtree(source)  # nothing may be found there
        (self.folder / "steps").write_text(made_by)

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

    def report(self) -> dict[str, object]:
        """What is inside, and that torch is where it should be."""
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
        return {
            "steps": self.installed,
            "day": f"{datetime.now(UTC):%Y-%m-%d}",
            "python": platform.python_version(),
            "megabytes": round(size / 1e6),
            "packages": len(python),
            "not_proven": unproven(self.service),
        }


def steps(service: str) -> str:
    """Digest of all that says what an image installs and starts: its Dockerfile, the steps, and
    the versions of what it asks for by name.
    """
    dockerfile = (ROOT / "services" / service / "Dockerfile").read_text()
    asked = subprocess.run(
        [sys.executable, "images/requirements.py", service],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    names = {re.split(r"[\[<>=]", line)[0] for line in asked}
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    parts = [dockerfile, *((ROOT / "images" / name).read_text() for name in STEPS), *asked]
    parts += [pin for pin in pins if pin.partition("==")[0] in names]
    lines = (line.strip() for part in parts for line in part.splitlines())
    text = "\n".join(line for line in lines if line and not line.startswith("#"))
    return hashlib.sha256(text.encode()).hexdigest()


def unproven(service: str) -> list[str]:
    """Lines of the Dockerfile that nothing here stands for."""
    text = (ROOT / "services" / service / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [" ".join(line.split()) for line in text.splitlines()]
    wanted = ("FROM ", "RUN apt-get", "RUN TORCH_CUDA_ARCH_LIST", "ARG TORCH_INDEX")
    return [line for line in lines if line.startswith(wanted)]


def note(service: str, facts: Mapping[str, object]) -> None:
    """Into the record, which is committed."""
    known = json.loads(RECORD.read_text()) if RECORD.is_file() else {}
    known[service] = facts
    ordered = {each: known[each] for each in SERVICES if each in known}
    RECORD.write_text(json.dumps(ordered, indent=1) + "\n")


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
    parser.add_argument("service", nargs="*", choices=(*SERVICES, []), help="all without one")
    parser.add_argument("--keep", type=Path, help="folder that is not deleted")
    arguments = parser.parse_args()
    for service in arguments.service or SERVICES:
        with contextlib.ExitStack() as stack:
            made = stack.enter_context(tempfile.TemporaryDirectory(prefix="avatar-image-"))
            proof = Proof(service, (arguments.keep or Path(made)) / service)
            if proof.installed != steps(service):
                proof.install()
            facts = proof.report()
            servers = stack.enter_context(LocalServers.start(proof.folder / "servers"))
            for role in ROLES.get(service, ("",)):
                proof.start(servers, role)
        note(service, facts)
        print(f"{service}: proven")


if __name__ == "__main__":
    main()
