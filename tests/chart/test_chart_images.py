"""Dockerfiles, what they install, and the chart agree.

That the steps work is proven by images/prove.py, which downloads and takes minutes.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from chart_render import ROOT, of_kind, pods, render

SERVICES = ("gateway", "dubbing", "preprocess", "expression", "trainer", "renderer")


def _dockerfile(service: str) -> str:
    return (ROOT / "services" / service / "Dockerfile").read_text()


def _requirements(service: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "images/requirements.py", service],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return {re.split(r"[\[<>=]", line)[0] for line in done.stdout.splitlines()}


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


def test_the_chart_names_the_ray_that_is_installed() -> None:
    pinned = re.findall(r"^ray==(.*)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    (service,) = of_kind(render("ray"), "RayService")
    assert [service["spec"]["rayClusterConfig"]["rayVersion"]] == pinned


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
