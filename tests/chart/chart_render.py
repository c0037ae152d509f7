"""The chart rendered by Helm itself, under every values file and switch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from helm_python import Chart, values_from_yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "avatar"
RELEASE, NAMESPACE = "demo", "talking"

Manifest = dict[str, Any]
Values = Mapping[str, Any]

_EXTERNAL = {
    "redis": {"bundled": False, "host": "redis.example", "existingSecret": "r", "tls": True},
    "storage": {"bundled": False, "url": "https://s3.example", "existingSecret": "s"},
    "secrets": {"existingSecret": "own"},
    "provenance": {"existingSecret": "marks"},
}
_ISSUED = {"enabled": True, "certManager": {"enabled": True, "issuerRef": {"name": "ca"}}}
_MONITORED = {"monitors": True, "rules": True, "dashboards": True}
_ROUTE = {"enabled": True, "hostnames": ["a.example"], "className": "istio", "tlsSecret": "t"}

_LIVE = {
    "enabled": True,
    "domain": "live.example",
    "iceServersSecret": "turn",
    "allowOrigins": ["https://b.example"],
    "turnTo": [{"ipBlock": {"cidr": "192.0.2.0/24"}}],
}

SWITCHES: dict[str, Values] = {
    "default": {},
    "external": _EXTERNAL,
    "keda": {"keda": {"enabled": True}},
    "keda-external": {"keda": {"enabled": True}, **_EXTERNAL},
    "ray": {"renderer": {"mode": "ray"}},
    "ray-tls-external": {"renderer": {"mode": "ray"}, "tls": _ISSUED, **_EXTERNAL},
    "gpu": {"gpu": {"enabled": True, "runtimeClassName": "nvidia"}},
    "mig-ray": {
        "renderer": {"mode": "ray"},
        "gpu": {"enabled": True, "resourceName": "nvidia.com/mig-1g.10gb", "count": 2},
    },
    "tls-issued": {"tls": _ISSUED},
    "tls-given": {"tls": {"enabled": True, "existingSecret": "certificate"}},
    "ingress": {"ingress": {"enabled": True, "host": "a.example", "tlsSecret": "t"}},
    "route": {"gatewayApi": _ROUTE},
    "route-shared": {"gatewayApi": {**_ROUTE, "parentRefs": [{"name": "g", "namespace": "n"}]}},
    "live-one-pod": {
        "gateway": {"live": {"enabled": True}, "replicas": 1, "autoscaling": {"enabled": False}}
    },
    "live-route": {
        "gateway": {"live": _LIVE, "autoscaling": {"maxReplicas": 3}},
        "gatewayApi": _ROUTE,
    },
    "live-ingress": {
        "gateway": {"live": {**_LIVE, "directUdp": True}, "autoscaling": {"maxReplicas": 3}},
        "ingress": {"enabled": True, "host": "a.example", "tlsSecret": "t"},
    },
    "monitored": {"monitoring": _MONITORED},
    "monitored-ray": {"monitoring": _MONITORED, "renderer": {"mode": "ray"}},
    "open": {"networkPolicy": {"enabled": False}, "bootstrap": {"enabled": False}},
    "closed": {
        "networkPolicy": {
            "publicFrom": [{"namespaceSelector": {"matchLabels": {"a": "b"}}}],
            "metricsFrom": [{"namespaceSelector": {"matchLabels": {"c": "d"}}}],
            "otlpTo": [{"ipBlock": {"cidr": "10.1.0.0/16"}}],
        },
        "settings": {"otlpEndpoint": "http://collector:4317"},
    },
    "fixed": {
        part: {"autoscaling": {"enabled": False}} for part in ("gateway", "expression", "renderer")
    },
    "priorities": {"priorityClasses": {"create": True}, "commonLabels": {"team": "faces"}},
    "bare": {"topologySpread": {"enabled": False}, "podDisruptionBudgets": {"enabled": False}},
    "named": {"fullnameOverride": "faces", "image": {"pullSecrets": ["pull"]}},
    "signed": {"provenance": {"existingSecret": "marks", "certificateSecret": "signer"}},
    "signed-by-kms": {
        "provenance": {
            "existingSecret": "marks",
            "certificateSecret": "signer",
            "signer": {
                "command": ["sh", "/etc/avatar/signer/sign.sh", 'a "key"'],
                "algorithm": "ps256",
                "port": 8443,
                "serviceAccountName": "may-sign",
            },
        },
        "networkPolicy": {"kmsTo": [{"ipBlock": {"cidr": "10.9.0.0/16"}}]},
    },
    "unmarked": {"provenance": {"watermark": False, "sign": False, "labelLive": False}},
    "backup": {"backup": {"enabled": True}},
    "backup-external": {"backup": {"enabled": True, "existingClaim": "far"}, **_EXTERNAL},
    "settings": {
        "gateway": {"env": {"AVATAR_RATE_PER_S": 5}, "podAnnotations": {"a": "b"}},
        "trainer": {"worker": {"env": {"AVATAR_TRAINER_CHECKPOINT_S": "20"}}},
    },
}
FILES = ("values-small.yaml", "values-production.yaml")
CASES = (*SWITCHES, *FILES)


@dataclass(frozen=True)
class Pod:
    """A pod that the chart has made, by whatever makes it.

    Args:
        owner: the object that the chart has.
        spec: of the pod.
        labels: of the pod.
    """

    owner: Manifest
    spec: Manifest
    labels: dict[str, str]

    @property
    def name(self) -> str:
        return f"{self.owner['kind']}/{self.owner['metadata']['name']}"

    @property
    def part(self) -> str:
        return self.labels["app.kubernetes.io/component"]

    @property
    def containers(self) -> list[Manifest]:
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]


def values_of(case: str) -> Values:
    if case in FILES:
        return values_from_yaml((CHART / case).read_text())
    return SWITCHES[case]


@cache
def chart() -> Chart:
    return Chart.load(CHART)


def render_values(values: Values) -> dict[str, str]:
    return chart().render(dict(values), name=RELEASE, namespace=NAMESPACE)


@cache
def _render(case: str) -> tuple[Manifest, ...]:
    return tuple(parse(render_values(values_of(case))))


def render(case: str) -> list[Manifest]:
    """All objects of a case; not to be changed."""
    return list(_render(case))


def parse(rendered: Mapping[str, str]) -> Iterator[Manifest]:
    for path, text in rendered.items():
        if path.endswith(".yaml"):
            yield from (found for found in yaml.load_all(text, yaml.CSafeLoader) if found)


def pods(manifests: list[Manifest]) -> list[Pod]:
    return [
        Pod(manifest, template["spec"], template["metadata"]["labels"])
        for manifest in manifests
        for template in pod_templates(manifest)
    ]


def pod_templates(manifest: Manifest) -> list[Manifest]:
    spec = manifest.get("spec", {})
    match manifest["kind"]:
        case "Pod":
            return [manifest]
        case "Deployment" | "StatefulSet" | "Job":
            return [spec["template"]]
        case "CronJob":
            return [spec["jobTemplate"]["spec"]["template"]]
        case "ScaledJob":
            return [spec["jobTargetRef"]["template"]]
        case "RayService":
            cluster = spec["rayClusterConfig"]
            groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
            return [group["template"] for group in groups]
    return []


def of_kind(manifests: list[Manifest], *kinds: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] in kinds]
