"""Prometheus finds every pod that serves, and gets the rules and dashboards as they are in the chart's files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from tests.helm.chart import CHART, VALUES, Helm, Rendered, texts

RULES = """\
# Text in braces is Prometheus' own.
groups:
  - name: own
    rules:
      - alert: Parked
        expr: sum by (namespace) (odradek_workflows_parked) > 1000000
        annotations:
          summary: "{{ $value }} runs of {{ $labels.namespace }}"
"""
PANELS = {"uid": "own", "panels": [{"id": 1, "targets": [{"legendFormat": "{{namespace}}", "interval": "1e6"}]}]}


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chart with a file of rules and a dashboard more; they change by themselves, so none is golden."""
    folder = tmp_path_factory.mktemp("chart") / "odradek"
    shutil.copytree(CHART, folder)
    (folder / "files" / "dashboards").mkdir(parents=True, exist_ok=True)
    (folder / "files" / "alerts-own.yaml").write_text(RULES)
    (folder / "files" / "dashboards" / "own_Panels.json").write_text(json.dumps(PANELS, indent=2))
    return folder


@pytest.fixture(scope="module")
def watched(helm: Helm, chart: Path) -> Rendered:
    values = {"monitoring": {"prometheusRule": {"enabled": True}, "dashboards": {"enabled": True}}}
    return helm.render(VALUES / "minimal.yaml", values=values, chart=chart)


def test_monitor_selects_the_services_of_all_roles(rendered: dict[str, Rendered]) -> None:
    one = rendered["production"]
    (monitor,) = one.of("ServiceMonitor")
    selector = monitor["spec"]["selector"]
    (expression,) = selector["matchExpressions"]
    chosen = {
        service["metadata"]["name"]
        for service in one.of("Service")
        if selector["matchLabels"].items() <= service["metadata"]["labels"].items()
        and service["metadata"]["labels"][expression["key"]] in expression["values"]
    }
    assert chosen == {owner["metadata"]["name"] for owner in one.workloads}
    (endpoint,) = monitor["spec"]["endpoints"]
    ports = {port["name"] for service in one.of("Service") for port in service["spec"]["ports"]}
    assert {endpoint["port"]} == ports
    assert endpoint["path"] == "/metrics"


def test_rules_are_those_of_the_files(watched: Rendered, chart: Path) -> None:
    files = {f"shop-odradek-{file.stem}": yaml.safe_load(file.read_text()) for file in chart.glob("files/alerts*.yaml")}
    assert "shop-odradek-alerts-own" in files
    assert {rule["metadata"]["name"]: rule["spec"] for rule in watched.of("PrometheusRule")} == files


def test_alerts_link_to_the_runbooks_that_are_named(helm: Helm) -> None:
    place = "https://docs.example.com/odradek/runbooks"
    values = {"monitoring": {"prometheusRule": {"enabled": True, "runbooks": place}}}
    (rule,) = helm.render(VALUES / "minimal.yaml", values=values).of("PrometheusRule")
    links = {one["annotations"]["runbook_url"] for group in rule["spec"]["groups"] for one in group["rules"]}
    sections = {link.partition("#")[2] for link in links}
    assert links == {f"{place}#{section}" for section in sections}
    assert "no-workers-on-a-queue" in sections


def test_dashboards_are_those_of_the_files(watched: Rendered, chart: Path) -> None:
    files = {file.name: json.loads(file.read_text()) for file in chart.glob("files/dashboards/*.json")}
    found = {
        name: json.loads(text)
        for config in watched.of("ConfigMap")
        if "grafana_dashboard" in config["metadata"]["labels"]
        for name, text in config["data"].items()
    }
    assert found == files
    assert watched.one("ConfigMap", "shop-odradek-dashboard-own-panels")
    assert max(len(text) for text in texts(watched.of("ConfigMap"))) < 900_000, "a ConfigMap holds 1 MiB"


def test_nothing_needs_an_operator_unless_asked_for(rendered: dict[str, Rendered]) -> None:
    groups = {manifest["apiVersion"].partition("/")[0] for manifest in rendered["minimal"].manifests}
    assert not groups & {"keda.sh", "monitoring.coreos.com"}
