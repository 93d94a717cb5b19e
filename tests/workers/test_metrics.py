"""What a scrape shows."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from odradek import activity
from odradek.exceptions import ApplicationError, ApplicationErrorCategory
from odradek.workers import metrics
from odradek.workers.metrics import ActivityCollector
from tests.workers.fake import Orchestrator


@activity.defn
async def work(how: str) -> str:
    if how == "fail":
        raise ValueError
    if how == "benign":
        raise ApplicationError("as usual", category=ApplicationErrorCategory.BENIGN)
    return how


def test_types_without_end_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dynamic activity may be asked for by any name."""
    monkeypatch.setattr(metrics, "NAMES_MAX", 2)
    stats = metrics.QueueStats()
    for number in range(5):
        stats.of(f"charge-{number}").started += 1
    assert {name: one.started for name, one in stats.types.items()} == {"charge-0": 1, "charge-1": 1, "(others)": 3}


async def test_activities_are_counted_by_type_and_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    registry, collector = CollectorRegistry(), ActivityCollector()
    registry.register(collector)
    monkeypatch.setattr(collector, "_registered", True)
    monkeypatch.setattr("odradek.workers.worker.COLLECTOR", collector)
    orchestrator = Orchestrator()
    async with orchestrator.worker(work):
        for how in ("fine", "fine", "fail", "benign"):
            await orchestrator.result(orchestrator.start("work", how))
        working = generate_latest(registry).decode()
    for line in (
        'odradek_activity_slots{namespace="ns",task_queue="q"} 100.0',
        'odradek_activity_partitions{namespace="ns",task_queue="q"} 1.0',
    ):
        assert line in working
    text = generate_latest(registry).decode()
    labels = 'activity_type="work",namespace="ns",task_queue="q"'
    for line in (
        f"odradek_activity_started_total{{{labels}}} 4.0",
        f"odradek_activity_completed_total{{{labels}}} 2.0",
        f"odradek_activity_failed_total{{{labels}}} 1.0",
        f"odradek_activity_running{{{labels}}} 0.0",
        f"odradek_activity_duration_seconds_count{{{labels}}} 4.0",
        'odradek_activity_queued{namespace="ns",task_queue="q"} 0.0',
        'odradek_activity_slots{namespace="ns",task_queue="q"} 0.0',
        'odradek_activity_schedule_to_start_seconds_count{namespace="ns",task_queue="q"} 4.0',
        'odradek_activity_expired_total{namespace="ns",task_queue="q"} 0.0',
    ):
        assert line in text
    assert metrics.COLLECTOR is not collector
