"""Dockerfiles, what they install, and the chart agree.

That the steps work is proven by images/prove.py, which downloads and takes minutes for each: here
is looked at what it noted, and at what entry points import.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path
from types import ModuleType

import pytest
from chart_render import ROOT, of_kind, pods, render
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

SERVICES = ("gateway", "dubbing", "preprocess", "expression", "trainer", "renderer")


def _dockerfile(service: str) -> str:
    return (ROOT / "services" / service / "Dockerfile").read_text()


def _requirements_of(service: str) -> list[Requirement]:
    done = subprocess.run(
        [sys.executable, "images/requirements.py", service],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [Requirement(line) for line in done.stdout.splitlines()]


def _requirements(service: str) -> set[str]:
    return {requirement.name for requirement in _requirements_of(service)}


def test_every_service_that_is_deployed_has_an_image() -> None:
    wanted = set()
    for pod in pods(render("default")):
        wanted |= set(re.findall(r"/avatar-(\w+):", pod.containers[0]["image"]))
    assert wanted == set(SERVICES)
    found = {path.parent.name for path in (ROOT / "services").glob("*/Dockerfile")}
    assert found == set(SERVICES)


@pytest.mark.parametrize("service", SERVICES)
def test_a_dockerfile_takes_the_proven_steps_and_runs_as_nobody(service: str) -> None:
    text = _dockerfile(service)
    steps = re.findall(r"images/install\.sh (\w+) (\w+) (\S+)", text)
    assert steps == [("dependencies", service, "/opt/venv"), ("service", service, "/opt/venv")]
    assert text.count("\nFROM ") == 2
    for image in re.findall(r"^ARG (?:PYTHON_IMAGE|CUDA)=(\S+)", text, re.MULTILINE):
        assert re.search(r"\d+\.\d+\.\d+", image), "pinned by a whole version"
    assert "latest" not in text
    users = re.findall(r"^USER (\d+):(\d+)$", text, re.MULTILINE)
    context = pods(render("default"))[0].spec["securityContext"]
    assert users == [(str(context["runAsUser"]), str(context["runAsGroup"]))]


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_starts_by_itself_as_its_first_pod_does(service: str) -> None:
    command = json.loads(re.findall(r"^CMD (.*)$", _dockerfile(service), re.MULTILINE)[0])
    part = "dubbing-worker" if service == "dubbing" else service
    (pod,) = (pod for pod in pods(render("default")) if pod.part == part)
    assert command == pod.containers[0]["args"]


def test_torch_is_where_it_is_needed() -> None:
    assert {s for s in SERVICES if "torch" in _requirements(s)} == {
        "preprocess", "expression", "trainer", "renderer",
    }  # fmt: skip
    assert {s for s in SERVICES if "gsplat" in _requirements(s)} == {"trainer", "renderer"}
    assert {s for s in SERVICES if "ray" in _requirements(s)} == {"renderer"}
    assert {s for s in SERVICES if "gsplat_extension.py" in _dockerfile(s)} == {
        "trainer", "renderer",
    }  # fmt: skip


def test_the_gateway_decodes_nothing_and_stays_small() -> None:
    """Strangers' pictures and manifests are read elsewhere; PyAV is there for WebRTC's sound."""
    inside = _closure(_requirements_of("gateway"))
    assert not {"numpy", "opencv-python-headless", "c2pa-python", "torch", "scipy"} & inside
    proven = json.loads((ROOT / "images" / "proven.json").read_text())["gateway"]
    assert proven["megabytes"] < 400


def test_the_chart_names_the_ray_that_is_installed() -> None:
    pinned = re.findall(r"^ray==(.*)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    (service,) = of_kind(render("ray"), "RayService")
    assert [service["spec"]["rayClusterConfig"]["rayVersion"]] == pinned


def _proofs() -> ModuleType:
    sys.path.insert(0, str(ROOT / "images"))
    try:
        import prove
    finally:
        sys.path.pop(0)
    return prove


@pytest.mark.parametrize("service", SERVICES)
def test_what_was_proven_are_the_steps_of_today(service: str) -> None:
    proven = json.loads((ROOT / "images" / "proven.json").read_text())[service]
    assert proven["steps"] == _proofs().steps(service), (
        f"the steps have changed since {proven['day']}: run images/prove.py {service}"
    )
    needs_cuda = any("gsplat_extension.py" in line for line in proven["not_proven"])
    assert needs_cuda == (service in ("trainer", "renderer"))


@pytest.mark.parametrize("service", SERVICES)
def test_an_entry_point_imports_nothing_that_its_image_lacks(service: str) -> None:
    """Its main, with every package hidden that is not in what the image installs."""
    inside = _closure(_requirements_of(service))
    hidden = sorted(
        module
        for module, owners in packages_distributions().items()
        if not {_plain(owner) for owner in owners} & inside
    )
    code = (
        "import sys; hidden = set(sys.argv[2].split())\n"
        "class Hide:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in hidden:\n"
        "            raise ModuleNotFoundError(f'{name} is not in the image')\n"
        "sys.meta_path.insert(0, Hide())\n"
        "import importlib; importlib.import_module(f'services.{sys.argv[1]}.main')"
    )
    assert "pytest" in hidden
    done = subprocess.run(
        [sys.executable, "-c", code, service, " ".join(hidden)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def _plain(name: str) -> str:
    return canonicalize_name(name)


def _closure(wanted: list[Requirement]) -> set[str]:
    """Distributions that these bring, as they are installed here; and the project itself."""
    found, asked = {"synctalk"}, list(wanted)
    seen: set[str] = set()
    while asked:
        requirement = asked.pop()
        key = f"{requirement.name}[{','.join(sorted(requirement.extras))}]"
        if key in seen:
            continue
        seen.add(key)
        found.add(_plain(requirement.name))
        try:
            brought = requires(requirement.name) or []
        except PackageNotFoundError:  # of another platform
            continue
        for text in brought:
            each = Requirement(text)
            extras = requirement.extras or {""}
            if each.marker is None or any(each.marker.evaluate({"extra": e}) for e in extras):
                asked.append(each)
    return found


def test_what_the_steps_read_is_let_into_the_build() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    let_in = {line[1:] for line in lines if line.startswith("!")}
    assert "*" in lines
    assert all((ROOT / name).exists() for name in let_in)
    assert let_in >= {"pyproject.toml", "constraints.txt", "images", "services", "synctalk", "csrc"}


def test_the_list_of_parts_is_cyclonedx_and_names_ours(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "images" / "sbom.py"), "gateway"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    document = json.loads(done.stdout)
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    named = {part["name"]: part for part in document["components"]}
    assert named["redis"]["purl"].startswith("pkg:pypi/redis@")
    assert "synctalk" in named
