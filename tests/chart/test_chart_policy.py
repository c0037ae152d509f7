"""Pods are as a platform team wants them: restricted, limited, with no way but the needed ones."""

from __future__ import annotations

import re
from typing import Any

import pytest
from chart_render import CASES, NAMESPACE, RELEASE, Manifest, Pod, of_kind, pods, render

from services.preprocess.verification import AT_ONCE
from synctalk.media.limits import GIB
from synctalk.provenance.verifying import LIMITS

# The bootstrap job makes one Secret; Ray's head holds the autoscaler, which makes pods.
_TALKS_TO_KUBERNETES = {"bootstrap", "renderer"}
_COMPONENT = "app.kubernetes.io/component"


def _all(case: str) -> list[tuple[Pod, Manifest]]:
    return [(pod, container) for pod in pods(render(case)) for container in pod.containers]


@pytest.mark.parametrize("case", CASES)
def test_pods_satisfy_the_restricted_standard(case: str) -> None:
    for pod in pods(render(case)):
        context = pod.spec["securityContext"]
        assert context["runAsNonRoot"] is True, pod.name
        assert context["runAsUser"] > 0, pod.name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, pod.name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod.spec), pod.name
        kinds = {kind for volume in pod.spec["volumes"] for kind in volume} - {"name"}
        kept = {"persistentVolumeClaim"} if pod.part == "backup" else set()
        assert kinds <= {"emptyDir", "configMap", "secret"} | kept, pod.name
    for pod, container in _all(case):
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False, pod.name
        assert context["capabilities"] == {"drop": ["ALL"]}, pod.name
        assert context["runAsNonRoot"] is True, pod.name
        assert context["readOnlyRootFilesystem"] is True, pod.name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, pod.name
        assert "hostPort" not in str(container.get("ports")), pod.name


@pytest.mark.parametrize("case", CASES)
def test_pods_say_what_they_need_and_may_take(case: str) -> None:
    for pod, container in _all(case):
        resources = container["resources"]
        assert {"cpu", "memory"} <= set(resources["requests"]), pod.name
        assert "memory" in resources["limits"], pod.name


@pytest.mark.parametrize("case", ["default", "values-small.yaml", "values-production.yaml"])
def test_no_file_that_is_verified_can_end_its_pod(case: str) -> None:
    """What decodes it is stopped before the pod's memory is used up."""
    (pod,) = (pod for pod in pods(render(case)) if pod.part == "preprocess")
    limit = pod.containers[0]["resources"]["limits"]["memory"]
    assert limit.endswith("Gi")
    server_and_verifiers = 0.1 + AT_ONCE * 0.2 + AT_ONCE * 0.1  # and decoders before they decode
    assert int(limit[:-2]) >= server_and_verifiers + AT_ONCE * LIMITS.memory_bytes / GIB


@pytest.mark.parametrize("case", CASES)
def test_images_are_of_one_version(case: str) -> None:
    for pod, container in _all(case):
        image, _, tag = container["image"].rpartition(":")
        assert image, pod.name
        assert re.search(r"\d", tag), pod.name
        assert tag != "latest", pod.name


@pytest.mark.parametrize("case", CASES)
def test_secrets_stand_in_secrets_alone(case: str) -> None:
    for _, container in _all(case):
        for variable in container.get("env", []):
            if re.search("PASSWORD|TOKEN|_KEY$|SECRET_KEY|REDIS_URL", variable["name"]):
                value = variable.get("value", "$()")
                mounted = value.startswith(("/etc/avatar/tls/", "/etc/avatar/signer/"))
                assert "$(" in value or mounted, variable["name"]
                assert "secretKeyRef" in variable.get("valueFrom", {"secretKeyRef": 1})
    for config in of_kind(render(case), "ConfigMap"):
        assert not re.search(r"(?i)(password|secret[-_]?key): *\w", str(config["data"]))


@pytest.mark.parametrize("case", CASES)
def test_only_who_must_can_talk_to_kubernetes(case: str) -> None:
    for pod in pods(render(case)):
        if pod.part not in _TALKS_TO_KUBERNETES:
            assert pod.spec["automountServiceAccountToken"] is False, pod.name
    for role in of_kind(render(case), "Role", "ClusterRole"):
        assert role["kind"] == "Role"
        for rule in role["rules"]:
            assert rule["resources"] == ["secrets"]
            assert rule["verbs"] == ["create"] or "resourceNames" in rule


@pytest.mark.parametrize("case", [case for case in CASES if case != "open"])
def test_every_pod_is_shut_off_and_then_let_through(case: str) -> None:
    manifests = render(case)
    policies = [policy["spec"] for policy in of_kind(manifests, "NetworkPolicy")]
    shut = [policy for policy in policies if "ingress" not in policy and "egress" not in policy]
    assert len(shut) == 1
    assert shut[0]["policyTypes"] == ["Ingress", "Egress"]
    for pod in pods(manifests):
        assert shut[0]["podSelector"]["matchLabels"].items() <= pod.labels.items(), pod.name
        own = [
            policy
            for policy in policies
            if policy["podSelector"]["matchLabels"].get(_COMPONENT) == pod.part
        ]
        assert len(own) == 1, pod.name


@pytest.mark.parametrize("case", [case for case in CASES if case != "open"])
def test_ways_out_are_ways_in(case: str) -> None:
    manifests = render(case)
    out = _ways(manifests, "egress", "to")
    into = _ways(manifests, "ingress", "from")
    there = {policy for policy, _, _ in out} | {pod.part for pod in pods(manifests)}
    assert {(a, b, port) for a, b, port in out if b in there} == {
        (b, a, port) for a, b, port in into if b in there
    }
    assert {b for _, b, _ in out} <= there, "a way to a part that is not there"


def test_nobody_reaches_redis_but_who_keeps_something_there() -> None:
    callers = {b for a, b, _ in _ways(render("default"), "ingress", "from") if a == "redis"}
    queues = {"preprocess", "trainer", "preprocess-worker", "trainer-worker", "dubbing-worker"}
    # Renderers ask whether consents stand; the backup is let in before it is switched on.
    assert callers == {"gateway", "renderer", "backup", *queues}


def test_the_outside_is_closed_but_for_webhooks() -> None:
    for policy in of_kind(render("values-production.yaml"), "NetworkPolicy"):
        for rule in policy["spec"].get("egress", []):
            for peer in rule.get("to", []):
                if block := peer.get("ipBlock"):
                    assert policy["metadata"]["name"] == f"{RELEASE}-avatar-gateway"
                    assert rule["ports"] == [{"port": 443, "protocol": "TCP"}]
                    assert "10.0.0.0/8" in block["except"]
                    assert "169.254.0.0/16" in block["except"]


def _ways(manifests: list[Manifest], direction: str, side: str) -> set[tuple[str, str, Any]]:
    """(part of the policy, other part, port); None is every port."""
    ways = set()
    for policy in of_kind(manifests, "NetworkPolicy"):
        own = policy["spec"]["podSelector"]["matchLabels"].get(_COMPONENT)
        for rule in policy["spec"].get(direction, []):
            for peer in rule.get(side, []):
                labels = peer.get("podSelector", {}).get("matchLabels", {})
                if _COMPONENT in labels:
                    ports = rule.get("ports", [{"port": None}])
                    ways |= {(own, labels[_COMPONENT], port["port"]) for port in ports}
    return ways


@pytest.mark.parametrize("case", ["gpu", "mig-ray", "values-production.yaml"])
def test_gpus_are_asked_for_by_renderers_and_trainers_alone(case: str) -> None:
    wanted = {}
    for pod, container in _all(case):
        limits = container["resources"]["limits"]
        wanted[container["name"], pod.part] = [n for name, n in limits.items() if "/" in name]
    with_gpu = {key for key, counts in wanted.items() if counts}
    worker = "renderer" if case == "gpu" else "ray-worker"
    assert with_gpu == {(worker, "renderer"), ("trainer", "trainer-worker")}


def test_objects_are_made_in_the_release_s_namespace() -> None:
    for manifest in render("values-production.yaml"):
        assert manifest["metadata"].get("namespace", NAMESPACE) == NAMESPACE
