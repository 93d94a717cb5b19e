"""Metrics are named as Prometheus wants them, and no label is one that could take any value."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics import MetricWrapperBase

from odradek.client.metrics import ClientCollector
from odradek.common.build import BUILD
from odradek.common.redis_link import UP
from odradek.orchestrator import metrics
from odradek.workers.metrics import ActivityCollector
from tests.monitoring import expressions

BOUNDED = {
    "namespace", "partition", "phase", "topic", "task_queue", "to_namespace",  # as many as are made on the log
    "workflow_type", "activity_type",  # a thousand of them, and "(others)"
    "what", "outcome", "request", "code", "role", "used_by", "version",  # of a list in the code
}  # fmt: skip
"""Not among them: IDs of workflows, runs, requests, clients and workers; texts of errors; names of hosts."""


def test_labels_are_bounded() -> None:
    """A new one is added here by whoever knows why."""
    assert set[str]().union(*expressions.labels().values()) == BOUNDED


def test_names_end_in_their_unit() -> None:
    for name, kind, _, about in expressions.reference():
        assert name.startswith("odradek_"), name
        assert about, name
        assert name.endswith("_total") == (kind == "counter"), name
        assert name.endswith("_seconds") or kind != "histogram", name


@pytest.fixture
def scraped() -> Iterator[bytes]:
    """Every metric, with one series each."""
    registry = CollectorRegistry()
    of_processes = [one for one in (*vars(metrics).values(), BUILD, UP) if isinstance(one, MetricWrapperBase)]
    for metric in of_processes:
        metric.labels(*("x" for _ in metric._labelnames))
        registry.register(metric)
    workers, clients = ActivityCollector(), ClientCollector()
    workers.queue("x", "x", registry).of("x")
    clients.of("x", "x")
    clients.register(registry)
    yield generate_latest(registry)
    for metric in of_processes:
        metric.remove(*("x" for _ in metric._labelnames))


@pytest.mark.slow
@pytest.mark.timeout(1800)  # where promtool has to be built first
def test_promtool_finds_no_fault_with_them(promtool: Path, scraped: bytes) -> None:
    done = subprocess.run([promtool, "check", "metrics"], check=False, input=scraped, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
