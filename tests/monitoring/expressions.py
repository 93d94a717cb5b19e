"""What alerts and dashboards ask Prometheus."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[2]
FILES = REPOSITORY / "helm" / "odradek" / "files"
ALERTS = FILES / "alerts.yaml"
DASHBOARDS = sorted((FILES / "dashboards").glob("*.json"))
RUNBOOKS = REPOSITORY / "docs" / "how-to" / "runbooks.md"
OF_TARGETS = {"job", "instance", "le"}
"""Labels that no metric of ours has by itself; the last one is of buckets."""
ABSENT_WHEN_WELL = {
    "odradek_workflows_parked",
    "odradek_requests_refused_total",
    "odradek_messages_dropped_total",
    "odradek_task_queue_unserved_seconds",
    "odradek_task_queue_expires_seconds",
    "odradek_inbox_expires_seconds",
    "odradek_activity_outcomes_total",
}
OF_PROCESSES = {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_start_time_seconds"}
"""What every Python process says through ``prometheus_client``."""


def known() -> set[str]:
    """The series that a scrape of odradek's processes shows."""
    found = set(OF_PROCESSES)
    for name, kind, _, _ in reference():
        found |= {f"{name}_{end}" for end in ("bucket", "sum", "count")} if kind == "histogram" else {name}
    return found


def labels() -> dict[str, set[str]]:
    """Of each metric."""
    return {name: set(labels.split(", ")) for name, _, labels, _ in reference()}


def reference() -> list[tuple[str, str, str, str]]:
    """Name, kind, labels and meaning of each metric, as the page of the metrics has them."""
    sys.path.insert(0, str(REPOSITORY / "docs" / "reference"))
    try:
        return list(importlib.import_module("make_metrics").rows())
    finally:
        sys.path.pop(0)


def metrics(expression: str) -> set[str]:
    """The names of metrics in an expression, without what stands in strings."""
    return set(re.findall(r"\b(?:odradek|process)_\w+", re.sub(r'"[^"]*"', '""', expression)))


def selections(expression: str) -> Iterator[tuple[str, str, str]]:
    """Each metric of an expression with a label that is selected by, and the wanted values."""
    for name, chosen in re.findall(r"\b((?:odradek|process)_\w+)\{([^}]*)\}", expression):
        for label, values in re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"', chosen):
            yield without_ending(name), label, values


def groupings(expression: str) -> set[str]:
    """The labels by which an expression groups and joins."""
    found = re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", expression)
    return {label.strip() for labels in found for label in labels.split(",")}


def without_ending(name: str) -> str:
    """Of a histogram's series."""
    return re.sub(r"_(bucket|sum|count)$", "", name)


def wrong_labels(expression: str) -> set[str]:
    """What an expression selects, groups or joins by, and its metrics do not have."""
    of = labels()
    known_here = OF_TARGETS.union(*(of.get(without_ending(name), set()) for name in metrics(expression)))
    selected = {label for name, label, _ in selections(expression) if label not in of.get(name, set()) | OF_TARGETS}
    return (groupings(expression) - known_here) | selected


def alerts() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def dashboard(path: Path) -> Any:
    return json.loads(path.read_text())


def targets(path: Path) -> Iterator[tuple[str, str, str]]:
    """Panel, expression and legend of each query of a dashboard."""
    for panel in dashboard(path)["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"], target["legendFormat"]
