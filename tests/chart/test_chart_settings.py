"""What the chart tells the services is what they take, and all that they need."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
from pathlib import Path
from types import UnionType

import pytest
from chart_render import CASES, Manifest, Pod, of_kind, pods, render
from pydantic import BaseModel
from pydantic_settings import BaseSettings

from services.common.settings import PREFIX, DataSettings, ServiceSettings, load
from services.gateway.backup.command import parser

_SECRET = "s3cret-s3cret-s3cret"
_PROVENANCE = f"{PREFIX}PROVENANCE__"


def _model(service: str) -> type[ServiceSettings]:
    module = importlib.import_module(f"services.{service}.settings")
    return next(
        value
        for _, value in inspect.getmembers(module, inspect.isclass)
        if issubclass(value, ServiceSettings) and value.__module__ == module.__name__
    )


def _variables(model: type[BaseModel], prefix: str = PREFIX) -> set[str]:
    names = set()
    for name, field in model.model_fields.items():
        kinds = [field.annotation]
        if isinstance(field.annotation, UnionType):
            kinds += field.annotation.__args__
        nested = [k for k in kinds if inspect.isclass(k) and issubclass(k, BaseModel)]
        path = f"{prefix}{name}".upper()
        names |= _variables(nested[0], f"{path}__") if nested else {path}
    return names


def _ours(case: str) -> list[tuple[Pod, Manifest, str]]:
    """Containers with a service of ours: pod, container, service."""
    found = []
    for pod in pods(render(case)):
        container = pod.spec["containers"][0]
        match = re.search(r"/avatar-(\w+):", container["image"])
        if match and pod.part not in ("bootstrap", "test", "backup"):
            found.append((pod, container, match[1]))
    return found


def _environment(container: Manifest, certificates: Path) -> dict[str, str]:
    """As the kubelet would make it."""
    made: dict[str, str] = {}
    for variable in container["env"]:
        value = variable.get("value", _from_elsewhere(variable))
        for name, known in made.items():
            value = value.replace(f"$({name})", known)
        made[variable["name"]] = re.sub("^/etc/avatar/(tls|signer)", str(certificates), value)
    return made


def _from_elsewhere(variable: Manifest) -> str:
    if variable["name"] == "AVATAR_LIVE__ICE_SERVERS":
        return json.dumps([{"urls": ["turn:t.example"], "username": "u", "credential": _SECRET}])
    return "demo-avatar-gateway-0" if "fieldRef" in str(variable.get("valueFrom")) else _SECRET


@pytest.mark.parametrize("case", CASES)
def test_every_variable_is_a_setting(case: str) -> None:
    for pod, container, service in _ours(case):
        told = [v["name"] for v in container["env"]]
        assert len(told) == len(set(told)), pod.name
        unknown = {name for name in told if name.startswith(PREFIX)} - _variables(_model(service))
        assert not unknown, f"{pod.name}: {service} has no {unknown}"


@pytest.mark.parametrize("case", CASES)
def test_services_can_start_with_what_they_are_told(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tls.crt", "tls.key", "ca.crt"):
        (tmp_path / name).write_text("PEM")
    for pod, container, service in _ours(case):
        environment = _environment(container, tmp_path)
        with monkeypatch.context() as patched:
            for name in list(os.environ):
                if name.startswith(PREFIX):
                    patched.delenv(name)
            for name, value in environment.items():
                patched.setenv(name, value)
            settings = load(_model(service))
        assert isinstance(settings, BaseSettings), pod.name
        assert settings.redis_url.get_secret_value().count(_SECRET) == 1
        assert "svc.cluster.local" in settings.storage.url or "example" in settings.storage.url


def test_who_marks_signs_and_verifies_has_the_same_key_and_only_the_signer_its_private_key() -> (
    None
):
    every = ("CHAIN", "PRIVATE_KEY", "SIGN_COMMAND", "TRUSTED")
    for case, names in (
        ("default", ()),
        ("signed", ("CHAIN", "PRIVATE_KEY", "TRUSTED")),
        ("signed-by-kms", ("CHAIN", "SIGN_COMMAND", "TRUSTED")),
    ):
        told = {}
        for pod, container, _ in _ours(case):
            variables = {v["name"]: v for v in container["env"] if "PROVENANCE" in v["name"]}
            if variables:
                told[pod.part] = variables
        assert set(told) == {"preprocess", "renderer", "dubbing-worker"}
        (secret,) = {
            str(variables[f"{_PROVENANCE}KEY"]["valueFrom"]) for variables in told.values()
        }
        assert "watermark-key" in secret
        named = {part: {n for n in every if f"{_PROVENANCE}{n}" in v} for part, v in told.items()}
        assert named["dubbing-worker"] == set(names)
        assert named["preprocess"] == set(names) & {"TRUSTED"}
        assert not named["renderer"]
    volumes = {
        pod.part: volume["secret"].get("items")
        for pod, _, _ in _ours("signed")
        for volume in pod.spec["volumes"]
        if volume["name"] == "signer"
    }
    ca = [{"key": "ca.crt", "path": "ca.crt"}]
    assert volumes == {"preprocess": ca, "dubbing-worker": None}


def test_the_signing_command_is_told_as_it_was_written_and_reaches_its_kms() -> None:
    manifests = render("signed-by-kms")
    (worker,) = (pod for pod in pods(manifests) if pod.part == "dubbing-worker")
    told = {v["name"]: v.get("value") for v in worker.containers[0]["env"]}
    command = json.loads(told[f"{_PROVENANCE}SIGN_COMMAND"])
    assert command == ["sh", "/etc/avatar/signer/sign.sh", 'a "key"']
    assert told[f"{_PROVENANCE}SIGN_ALGORITHM"] == "ps256"
    accounts = {pod.part: pod.spec.get("serviceAccountName") for pod in pods(manifests)}
    assert {part for part, name in accounts.items() if name == "may-sign"} == {"dubbing-worker"}
    kms = {
        "ports": [{"port": 8443, "protocol": "TCP"}],
        "to": [{"ipBlock": {"cidr": "10.9.0.0/16"}}],
    }
    ways = {
        policy["metadata"]["name"]
        for policy in of_kind(manifests, "NetworkPolicy")
        if kms in policy["spec"].get("egress", [])
    }
    assert ways == {"demo-avatar-dubbing-worker"}


@pytest.mark.parametrize("case", ["tls-issued", "ray-tls-external", "values-production.yaml"])
def test_a_service_takes_calls_of_those_alone_who_have_business_with_it(case: str) -> None:
    """By names that their certificates hold."""
    names = {
        name: certificate["metadata"]["labels"]["app.kubernetes.io/component"]
        for certificate in of_kind(render(case), "Certificate")
        for name in certificate["spec"]["dnsNames"]
    }
    taken = {}
    for pod, container, _ in _ours(case):
        told = {v["name"]: v.get("value", "") for v in container["env"]}
        if (callers := told.get(f"{PREFIX}RPC__TLS__CALLERS")) is not None:
            taken[pod.part] = {names[each] for each in json.loads(callers)}
    live = {"gateway"} if case == "values-production.yaml" else set()
    makers = {"dubbing-worker"} | live
    wanted = {"preprocess": {"gateway"}, "trainer": {"gateway"}, "expression": makers}
    assert taken == wanted | ({"renderer": makers} if case == "tls-issued" else {})


@pytest.mark.parametrize("case", ["backup", "backup-external"])
def test_the_backup_is_told_where_the_data_are_and_no_more(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cron,) = of_kind(render(case), "CronJob")
    (pod,) = pods([cron])
    container = pod.spec["containers"][0]
    environment = _environment(container, tmp_path)
    told = {name for name in environment if name.startswith(PREFIX)}
    assert told <= _variables(DataSettings)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert load(DataSettings).redis_url.get_secret_value().count(_SECRET) == 1
    assert container["args"][:2] == ["-m", "services.gateway.backup"]
    parsed = parser().parse_args(container["args"][2:])
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert (parsed.command, str(parsed.folder)) == ("save", mounted["backup"])
    (volume,) = (v for v in pod.spec["volumes"] if v["name"] == "backup")
    claims = {claim["metadata"]["name"] for claim in of_kind(render(case), "PersistentVolumeClaim")}
    claim = volume["persistentVolumeClaim"]["claimName"]
    assert (claim in claims) == (case == "backup")


@pytest.mark.parametrize("case", ["live-route", "live-ingress", "values-production.yaml"])
def test_every_pod_with_sessions_can_be_reached_by_itself(case: str) -> None:
    manifests = render(case)
    (gateway,) = (m for m in of_kind(manifests, "StatefulSet") if "gateway" in str(m["metadata"]))
    (scaler,) = (
        m
        for m in of_kind(manifests, "HorizontalPodAutoscaler")
        if m["spec"]["scaleTargetRef"]["kind"] == "StatefulSet"
    )
    name = gateway["metadata"]["name"]
    env = {v["name"]: v.get("value") for v in pods([gateway])[0].containers[0]["env"]}
    scheme, _, host = env["AVATAR_LIVE__URL"].partition("://")
    assert scheme == "https"
    reached = {
        host for route in of_kind(manifests, "HTTPRoute") for host in route["spec"]["hostnames"]
    } | {rule["host"] for i in of_kind(manifests, "Ingress") for rule in i["spec"]["rules"]}
    services = {service["metadata"]["name"] for service in of_kind(manifests, "Service")}
    for number in range(scaler["spec"]["maxReplicas"]):
        assert f"{name}-{number}" in services
        assert host.replace("$(POD_NAME)", f"{name}-{number}") in reached


def test_every_service_has_a_pod() -> None:
    assert {service for _, _, service in _ours("default")} == {
        "gateway", "preprocess", "trainer", "expression", "renderer", "dubbing",
    }  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_pods_outlive_what_they_drain(case: str) -> None:
    for pod, container, _ in _ours(case):
        for variable in container["env"]:
            if variable["name"].endswith("DRAIN_S"):
                assert pod.spec["terminationGracePeriodSeconds"] > float(variable["value"])
