"""What Helm makes of the chart is what Kubernetes and the operators take."""

from __future__ import annotations

import copy
import json
from functools import cache
from typing import Any

import pytest
from chart_render import (
    CASES,
    CHART,
    FILES,
    ROOT,
    SWITCHES,
    Manifest,
    chart,
    of_kind,
    pod_templates,
    pods,
    render,
    values_of,
)
from crd_schemas import CUSTOM, check_custom
from helm_python import lint
from jsonschema import Draft202012Validator
from kubernetes_validate import utils as kubernetes
from referencing import Registry, Resource

_ADDED = {"ray.io/serve", "statefulset.kubernetes.io/pod-name"}  # by KubeRay and Kubernetes
VERSIONS = ("1.30", "1.33", "1.37")


@cache
def _validator(version: str, kind: str, api: str) -> Draft202012Validator:
    """Kubernetes-validate's strict schema of a kind, read once."""
    folder = f"kubernetes-json-schema/v{version}.0-local-strict"
    group = api.partition("/")[0].partition(".")[0] if "/" in api else ""
    name = "-".join(filter(None, (kind.lower(), group, api.rpartition("/")[2])))
    schema = kubernetes.schema_contents(f"{folder}/{name}.json", version)
    registry: Any = Resource.from_contents(schema) @ Registry()
    return Draft202012Validator(schema, registry=_definitions(version) @ registry)


@cache
def _definitions(version: str) -> Resource[Any]:
    folder = f"kubernetes-json-schema/v{version}.0-local-strict"
    return Resource.from_contents(
        kubernetes.schema_contents(f"{folder}/_definitions.json", version)
    )


@cache
def _problems(version: str, text: str) -> tuple[str, ...]:
    """What is wrong with an object; most are the same in most cases."""
    manifest = json.loads(text)
    validator = _validator(version, manifest["kind"], manifest["apiVersion"])
    return tuple(f"{error.json_path}: {error.message}" for error in validator.iter_errors(manifest))


def _check(version: str, manifest: Manifest) -> None:
    problems = _problems(version, json.dumps(manifest, sort_keys=True))
    assert not problems, f"{manifest['kind']}/{manifest['metadata']['name']}: {problems}"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("case", CASES)
def test_every_object_is_strictly_valid(case: str, version: str) -> None:
    manifests = render(case)
    for manifest in manifests:
        if manifest["kind"] not in CUSTOM:
            _check(version, manifest)
            continue
        check_custom(manifest)
        for template in pod_templates(manifest):
            spec = {"template": {**template, "spec": {"restartPolicy": "Never"} | template["spec"]}}
            named = {"name": manifest["metadata"]["name"]}
            _check(
                version, {"apiVersion": "batch/v1", "kind": "Job", "metadata": named, "spec": spec}
            )


def test_a_wrong_field_would_be_seen() -> None:
    deployment = copy.deepcopy(of_kind(render("default"), "Deployment")[0])
    deployment["spec"]["replica"] = 2
    with pytest.raises(AssertionError, match="replica"):
        _check(VERSIONS[0], deployment)


@pytest.mark.parametrize("case", ["default", "monitored-ray", *FILES])
def test_lint_has_nothing_to_say(case: str) -> None:
    report = lint(CHART, dict(values_of(case)), strict=True, kube_version="v1.37.0")
    assert report["errors"] == []
    assert [message for message in report["messages"] if message["severity"] > 1] == []


@pytest.mark.parametrize("case", CASES)
def test_names_are_unique(case: str) -> None:
    names = [(m["kind"], m["metadata"]["name"]) for m in render(case)]
    assert len(names) == len(set(names))


def test_every_template_is_rendered_somewhere() -> None:
    rendered: set[str] = set()
    for case in (*SWITCHES, *FILES):
        made = chart().render(dict(values_of(case)), name="demo", namespace="talking")
        rendered |= {path for path, text in made.items() if text.strip()}
    templates = {
        f"avatar/{path.relative_to(CHART)}"
        for path in (CHART / "templates").rglob("*")
        if path.suffix in (".yaml", ".txt")
    }
    assert templates - rendered == {"avatar/templates/checks.yaml"}


@pytest.mark.parametrize("case", CASES)
def test_what_selects_pods_finds_some(case: str) -> None:
    manifests = render(case)
    labels = [pod.labels for pod in pods(manifests)]

    def found(selector: dict[str, str]) -> bool:
        wanted = {k: v for k, v in selector.items() if k not in _ADDED}
        return any(wanted.items() <= each.items() for each in labels)

    for service in of_kind(manifests, "Service"):
        assert found(service["spec"]["selector"]), service["metadata"]["name"]
    for budget in of_kind(manifests, "PodDisruptionBudget"):
        assert found(budget["spec"]["selector"]["matchLabels"]), budget["metadata"]["name"]
    scaled = {
        (each["kind"], each["metadata"]["name"])
        for each in of_kind(manifests, "Deployment", "StatefulSet")
    }
    for scaler in of_kind(manifests, "HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        assert (target["kind"], target["name"]) in scaled


@pytest.mark.parametrize("case", CASES)
def test_targets_are_services_of_the_chart(case: str) -> None:
    manifests = render(case)
    ports = {
        (service["metadata"]["name"], port["port"])
        for service in of_kind(manifests, "Service")
        for port in service["spec"]["ports"]
    }
    seen = 0
    for pod in pods(manifests):
        for variable in pod.containers[-1].get("env", []):
            value = variable.get("value", "")
            for target in value.strip('[]"').split():
                if ".svc.cluster.local:" in target and "_TARGET" in variable["name"]:
                    host, _, port = target.removeprefix("dns:///").rpartition(":")
                    assert (host.partition(".")[0], int(port)) in ports, value
                    seen += 1
    assert seen >= 4


def test_the_serve_config_is_the_file_that_runs_on_one_machine() -> None:
    ours = ROOT / "services" / "renderer" / "serve_config.yaml"
    service = of_kind(render("ray"), "RayService")[0]
    assert service["spec"]["serveConfigV2"].strip() == ours.read_text().strip()
