"""Alerts and dashboards ask for figures that there are, and every alert says what to do."""

from __future__ import annotations

import json
import re

import pytest
import yaml
from chart_render import CHART, NAMESPACE, ROOT, of_kind, render

_NAME = re.compile(r"\b((?:synctalk|grpc_server)_[a-z0-9_]+)")
_SUFFIX = re.compile(r"_(bucket|count|sum)$")
_ADDED = {"namespace", "app_kubernetes_io_component"}  # by Prometheus
RUNBOOKS = ROOT / "docs" / "runbooks"
DASHBOARDS = sorted((CHART / "dashboards").glob("*.json"))


def _served() -> dict[str, str]:
    """Name and type of every metric, from the generated table."""
    table = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]*) \|", table, re.MULTILINE)
    return {name: kind for name, kind, _ in rows}


def _check(expression: str) -> None:
    served = _served()
    for used in _NAME.findall(expression):
        base = _SUFFIX.sub("", used)
        assert used in served or served.get(base) == "histogram", f"nothing serves {used}"
    assert f'namespace="{NAMESPACE}"' in expression or 'namespace="$namespace"' in expression
    assert expression.count("(") == expression.count(")")


def _alerts() -> list[dict[str, object]]:
    (rule,) = of_kind(render("monitored"), "PrometheusRule")
    return [alert for group in rule["spec"]["groups"] for alert in group["rules"]]


def test_alerts_ask_for_what_is_served() -> None:
    assert len(_alerts()) > 10
    for alert in _alerts():
        _check(str(alert["expr"]))
        assert "$MAX" not in str(alert["expr"])


def test_labels_of_alerts_are_those_of_the_metrics() -> None:
    table = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    labels: dict[str, set[str]] = {}
    for name, words in re.findall(r"^\| `(\w+)` \| \w+ \| ([^|]*) \|", table, re.MULTILINE):
        labels.setdefault(name, set()).update(re.findall(r"\w+", words))
    for alert in _alerts():
        for name, selector in re.findall(r"(\w+)\{([^}]*)\}", str(alert["expr"])):
            if name.startswith("kube_"):  # kube-state-metrics'
                continue
            used = set(re.findall(r"(\w+) *[=!]", selector)) - _ADDED
            assert used <= labels[_SUFFIX.sub("", name)], f"{alert['alert']}: {name} {used}"


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    names = {str(alert["alert"]) for alert in _alerts()}
    assert {path.stem for path in RUNBOOKS.glob("*.md")} - {"README"} == names
    for alert in _alerts():
        name = alert["alert"]
        assert alert["annotations"]["runbook_url"].endswith(f"/docs/runbooks/{name}.md")  # type: ignore[index]
        assert alert["labels"]["severity"] in ("warning", "critical")  # type: ignore[index]
        page = (RUNBOOKS / f"{name}.md").read_text()
        for heading in (f"# {name}", "## What it means", "## Look", "## Do"):
            assert heading in page, f"{name}: no {heading}"


def test_the_rules_file_is_plain_yaml() -> None:
    groups = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())["groups"]
    assert all(rule["alert"].startswith("Avatar") for group in groups for rule in group["rules"])


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_dashboards_ask_for_what_is_served(path) -> None:  # type: ignore[no-untyped-def]
    dashboard = json.loads(path.read_text())
    assert dashboard["uid"] == f"avatar-{path.stem}"
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            _check(target["expr"])


def test_each_dashboard_has_its_config_map() -> None:
    maps = of_kind(render("monitored"), "ConfigMap")
    found = {next(iter(m["data"])): m for m in maps}
    assert {path.name for path in DASHBOARDS} <= set(found)
    for path in DASHBOARDS:
        assert json.loads(found[path.name]["data"][path.name]) == json.loads(path.read_text())
        assert found[path.name]["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_everything_with_metrics_is_scraped_once() -> None:
    """Services by the ServiceMonitor, the rest by the PodMonitor."""
    for case in ("monitored", "monitored-ray", "values-production.yaml"):
        manifests = render(case)
        services = {
            service["metadata"]["labels"]["app.kubernetes.io/component"]
            for service in of_kind(manifests, "Service")
            if any(port["name"] == "metrics" for port in service["spec"]["ports"])
        }
        (monitor,) = of_kind(manifests, "PodMonitor")
        by_pod = set(monitor["spec"]["selector"]["matchExpressions"][0]["values"])
        assert not services & by_pod
        assert services | by_pod == {
            "gateway", "preprocess", "trainer", "expression", "renderer",
            "preprocess-worker", "trainer-worker", "dubbing-worker",
        }  # fmt: skip
