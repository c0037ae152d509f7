"""Values: mistakes are refused in words that help, and everything that can be set is documented."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
import yaml
from chart_render import CHART, ROOT, of_kind, pods, render, render_values
from helm_python import HelmError

MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "a section misspelt": ({"gatway": {}}, "additional properties 'gatway' not allowed"),
    "a value misspelt": (
        {"gateway": {"replica": 2}},
        "at '/gateway': additional properties 'replica' not allowed",
    ),
    "a number in quotes": (
        {"redis": {"port": "6379"}},
        "at '/redis/port': got string, want integer",
    ),
    "a word that is not one of a few": (
        {"renderer": {"mode": "kuberay"}},
        "at '/renderer/mode': value must be one of 'deployment', 'ray'",
    ),
    "less than nothing": (
        {"trainer": {"worker": {"replicas": -1}}},
        "at '/trainer/worker/replicas': minimum: got -1, want 0",
    ),
    "a URL without its scheme": (
        {"storage": {"publicUrl": "s3.example.com"}},
        "at '/storage/publicUrl': 's3.example.com' does not match pattern",
    ),
    "a quantity with a blank": (
        {"gateway": {"resources": {"limits": {"memory": "2 GB"}}}},
        "at '/gateway/resources/limits/memory': '2 GB' does not match pattern",
    ),
    "no limit of memory": (
        {"gateway": {"resources": {"limits": {"memory": None}}}},
        "at '/gateway/resources/limits': missing property 'memory'",
    ),
    "a bucket that S3 refuses": (
        {"storage": {"bucket": "My_Bucket"}},
        "at '/storage/bucket': 'My_Bucket' does not match pattern",
    ),
    "a variable that is none of ours": (
        {"gateway": {"env": {"RATE_PER_S": "5"}}},
        "at '/gateway/env': additional properties 'RATE_PER_S' not allowed",
    ),
    "yes for true": ({"keda": {"enabled": "yes"}}, "at '/keda/enabled': got string, want boolean"),
    "the tag latest": ({"image": {"tag": "latest"}}, "image.tag is latest"),
    "no address of an external Redis": (
        {"redis": {"bundled": False}},
        "redis.bundled is false: set redis.host, and redis.existingSecret",
    ),
    "no secret of an external store": (
        {"storage": {"bundled": False, "url": "https://s3.example"}},
        "storage.bundled is false: set storage.url, and storage.existingSecret",
    ),
    "a signer without its certificate": (
        {"provenance": {"signer": {"command": ["sh", "/etc/avatar/signer/sign.sh"]}}},
        "provenance.signer.command is set: set provenance.certificateSecret",
    ),
    "an algorithm that C2PA does not know": (
        {"provenance": {"signer": {"algorithm": "rs256"}}},
        "at '/provenance/signer/algorithm': value must be one of 'es256'",
    ),
    "TLS without certificates": (
        {"tls": {"enabled": True}},
        "tls.enabled is true: set tls.certManager.enabled",
    ),
    "live sessions on pods that cannot be told apart": (
        {"gateway": {"live": {"enabled": True}}},
        "gateway.live.enabled with up to 20 pods: a session stays with its pod",
    ),
    "a schedule that is none": (
        {"backup": {"schedule": "every hour"}},
        "at '/backup/schedule': 'every hour' does not match pattern",
    ),
    "an Ingress without a host": ({"ingress": {"enabled": True}}, "set ingress.host"),
    "fewer at most than at least": (
        {"gateway": {"autoscaling": {"minReplicas": 5, "maxReplicas": 2}}},
        "autoscaling.minReplicas (5) is more than autoscaling.maxReplicas (2)",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_refused_and_named(mistake: str) -> None:
    values, words = MISTAKES[mistake]
    with pytest.raises(HelmError) as refused:
        render_values(values)
    assert words in str(refused.value)


def _keys(schema: dict[str, Any], value: Any, definitions: Any) -> set[str]:
    """Paths at which schema and values differ."""
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    if not isinstance(value, dict) or "properties" not in schema:
        return set()
    different = set(schema["properties"]) ^ set(value)
    for key in set(schema["properties"]) & set(value):
        below = _keys(schema["properties"][key], value[key], definitions)
        different |= {f"{key}.{path}" for path in below}
    return different


def test_the_schema_knows_exactly_the_values_there_are() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    # Helm gives every chart a section global; peers and resources may be of several kinds.
    assert _keys(schema, values, schema["$defs"]) == {"global"}
    assert schema["additionalProperties"] is False


def test_every_value_is_documented() -> None:
    sys.path.insert(0, str(ROOT / "helm"))
    try:
        from generate import documented
    finally:
        sys.path.pop(0)
    text = (CHART / "values.yaml").read_text()
    told = {path for path, _ in documented(text)}

    def untold(values: Any, path: str) -> set[str]:
        if path in told:
            return set()
        if not isinstance(values, dict) or not values:
            return {path}
        below = (untold(v, f"{path}.{k}".lstrip(".")) for k, v in values.items())
        return set().union(*below)

    assert untold(yaml.safe_load(text), "") == set()


def test_readme_and_copies_are_current() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "helm" / "generate.py"), "--check"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_notes_tell_the_next_command() -> None:
    notes = render_values({})["avatar/templates/NOTES.txt"]
    assert "helm test demo -n talking" in notes
    assert "kubectl -n talking get secret demo-avatar-bootstrap-key" in notes
    assert "Nothing here is backed up" in notes
    assert "For trials only: Redis and the S3 server run here" in notes
    notes = render_values({"ingress": {"enabled": True, "host": "a.example", "tlsSecret": "t"}})[
        "avatar/templates/NOTES.txt"
    ]
    assert "AVATAR_URL=https://a.example" in notes


def test_secrets_are_made_only_where_none_is_named() -> None:
    made = {secret["metadata"]["name"]: secret for secret in of_kind(render("default"), "Secret")}
    names = ("secrets", "provenance", "redis", "storage")
    assert set(made) == {f"demo-avatar-{name}" for name in names}
    assert all(
        secret["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
        for secret in made.values()
    )
    assert of_kind(render("external"), "Secret") == []
    assert of_kind(render("values-production.yaml"), "Secret") == []


def test_production_runs_nothing_that_is_for_trials() -> None:
    parts = {pod.part for pod in pods(render("values-production.yaml"))}
    assert not {"redis", "storage"} & parts


def test_production_asks_for_evidence_of_consent_that_was_reviewed() -> None:
    (gateway,) = (pod for pod in pods(render("values-production.yaml")) if pod.part == "gateway")
    asked = {"name": "AVATAR_CONSENT_EVIDENCE", "value": "reviewed"}
    assert [asked in container["env"] for container in gateway.spec["containers"]] == [True]
