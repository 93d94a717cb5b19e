"""What a scrape shows of an orchestrator: each metric moves when what it speaks of happens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from heapq import heapify
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY

from odradek import workflow
from odradek.client import Client
from odradek.common.labels import Names
from odradek.orchestrator.gauges import Gauges
from odradek.orchestrator.outputs import Outputs
from odradek.orchestrator.owned import OwnedPartition, Phase
from odradek.orchestrator.settings import OrchestratorSettings
from odradek.schemas.topics import Topics
from odradek.service import RPCError
from odradek.worker import Worker
from tests.orchestrator.test_watch import until

NAMESPACE = "gauged"


async def noted() -> None: ...


@workflow.defn(name="Changing")
class Before:
    @workflow.run
    async def run(self) -> None:
        await workflow.step(noted)
        await asyncio.sleep(1000)


@workflow.defn(name="Changing")
class After:
    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)


def value(name: str, namespace: str = NAMESPACE, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"odradek_{name}", {"namespace": namespace, **labels})


def is_at(expected: float, name: str, **labels: str) -> Callable[[], bool]:
    return lambda: value(name, **labels) == expected


async def serve(store: Path) -> None:
    settings = OrchestratorSettings(watch_seconds=0.02, checkpoint_seconds=0.05, store=store)

    def worker(client: Client, code: type) -> Worker:
        return Worker(client, task_queue="q", workflows=[code], orchestrator_settings=settings)

    async with await Client.connect("memory://gauged", namespace=NAMESPACE) as client:
        partitions = partitions_of(client)
        async with worker(client, Before):
            handle = await client.start_workflow(Before.run, id="w", task_queue="q")
            with pytest.raises(RPCError):
                await client.get_workflow_handle("nobody").signal("x")
            lane = client.connection.opened(NAMESPACE)
            assert lane is not None
            appender = client.connection.log.appender()
            appender.append(lane.namespace.topics.inbox, 0, b"\0", b"junk")
            appender.flush(5)
            await until(is_at(1, "step_duration_seconds_count", workflow_type="Changing"))
            await until(is_at(1, "requests_refused_total", code="ODR-100"))
            await until(is_at(1, "inbox_records_refused_total", code="ODR-002"))
            await until(is_at(partitions, "namespace_partitions"))
            await until(is_at(partitions, "partitions", phase="live"))
            await until(is_at(0, "takeover_pending_seconds"))
            await until(lambda: (value("store_bytes") or 0) > 1000)
            await until(lambda: (value("inbox_wait_seconds_count") or 0) >= 2)
            assert value("replay_mismatches_total", workflow_type="Changing") == 0, "its first rise must be seen as one"
            assert value("dead_letters_total", topic="gauged.inbox") == 1
            assert value("dead_letters_total", topic="gauged.history") == 0
            assert value("inbox_records_refused_total", code="ODR-165") == 0
            appender.close()
        assert value("partitions", phase="live") == 0
        assert value("namespace_partitions") is None
        async with worker(client, After):
            await handle.signal("anything")
            await until(is_at(1, "replay_mismatches_total", workflow_type="Changing"))
            await until(is_at(1, "workflows_parked", code="ODR-070"))
            await handle.terminate()
            await until(is_at(0, "workflows_parked", code="ODR-070"))


def partitions_of(client: Client) -> int:
    lane = client.connection.opened(NAMESPACE)
    assert lane is not None
    return lane.namespace.partitions


def test_each_metric_moves(tmp_path: Path) -> None:
    asyncio.run(serve(tmp_path))
    roles = {
        sample.labels["role"]
        for family in REGISTRY.collect()
        if family.name == "odradek_build_info"
        for sample in family.samples
    }
    assert "orchestrator" in roles


async def serve_for_a_moment() -> None:
    async with (
        await Client.connect("memory://gone", namespace="gone") as client,
        Worker(client, task_queue="q", workflows=[After]),
    ):
        await client.start_workflow(After.run, id="w", task_queue="q")


def test_what_is_counted_last_is_not_lost() -> None:
    """Partitions that leave take with them what their shards have counted since the last second."""
    asyncio.run(serve_for_a_moment())
    assert value("workflow_events_total", "gone", workflow_type="Changing", what="started") == 1


def test_nothing_is_late_or_blocked_where_nothing_is_served_any_more() -> None:
    """The process may go on with something else, and an alert with it."""
    namespace, outputs = "cleared", cast("Outputs", SimpleNamespace(refusals={}, blocked_count=3))
    gauges = Gauges(Topics(namespace), 8)
    gauges.collect([partition(Phase.LIVE, 0, 90_000, 97_000)], 7, outputs, 100_000)
    names = ("timers_overdue_seconds", "appends_in_flight", "checkpoint_age_seconds", "outputs_blocked")
    assert [value(name, namespace) for name in names] == [3.0, 7.0, 10.0, 3.0]
    gauges.clear()
    assert [value(name, namespace) for name in names] == [0.0] * 4
    assert value("namespace_partitions", namespace) is None
    gauges.clear()


def test_two_orchestrators_of_a_process_add_up() -> None:
    """Each has half of the partitions: nobody is missing."""
    namespace, outputs = "both", cast("Outputs", SimpleNamespace(refusals={}, blocked_count=3))
    both = [Gauges(Topics(namespace), 4) for _ in range(2)]
    for gauges in (*both, *both):
        gauges.collect([partition(Phase.LIVE, 0, 0), partition(Phase.LIVE, 0, 0)], 1, outputs, 1000)
    names = ("partitions_owned", "namespace_partitions", "appends_in_flight", "outputs_blocked")
    assert [value(name, namespace) for name in names] == [4.0, 4.0, 2.0, 6.0]
    assert value("partitions", namespace, phase="live") == 4.0
    both[0].clear()
    assert [value(name, namespace) for name in names] == [2.0, None, 1.0, 3.0]


def test_types_without_end_are_counted_together() -> None:
    """A start may name any type: one that is made of an ID must not make a series of its own for each."""
    namespace, outputs = "flooded", cast("Outputs", SimpleNamespace(refusals={}, blocked_count=3))
    gauges = Gauges(Topics(namespace), 8, ["Order"])
    gauges._types = Names(3)
    one = partition(Phase.LIVE, 0, 0)
    assert one.shard is not None
    one.shard.counts = {("started", f"Order-{number}"): 1 for number in range(5)}
    one.shard.durations = [("workflow", f"Order-{number}", 1.0) for number in range(5)]
    gauges.collect([one], 0, outputs, 1000)
    shown = {
        (family.name, sample.labels["workflow_type"])
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.labels.get("namespace") == namespace
        and "workflow_type" in sample.labels
        and sample.name.endswith(("events_total", "_count"))
    }
    types = {"Order-0", "Order-1", "Order-2", "(others)"}
    assert shown == {
        *(
            (metric, kind)
            for metric in ("odradek_workflow_events", "odradek_workflow_duration_seconds")
            for kind in types
        )
    }
    assert value("workflow_events_total", namespace, workflow_type="(others)", what="started") == 2


def partition(phase: Phase, began_ms: int, checkpointed_ms: int, *due_ms: int) -> OwnedPartition:
    heap = [(due, "w") for due in due_ms]
    heapify(heap)
    shard = SimpleNamespace(
        workflows={}, transitions=0, replays=0, replayed_events=0, counts={}, durations=[], due_heap=heap
    )
    one: Any = SimpleNamespace(
        phase=phase, began_ms=began_ms, checkpointed_ms=checkpointed_ms, shard=shard, waits_ms=[20]
    )
    return cast("OwnedPartition", one)


def test_the_worst_partition_is_shown() -> None:
    """A takeover that hangs, a checkpoint that is not confirmed, a timer that is late: seen beside healthy ones."""
    namespace, outputs = "worst", cast("Outputs", SimpleNamespace(refusals={}, blocked_count=3))
    owned = [
        partition(Phase.LIVE, 0, 99_000),
        partition(Phase.LIVE, 0, 90_000, 97_000, 200_000),
        partition(Phase.RESTORING, 60_000, 60_000),
        partition(Phase.CATCHING_UP, 80_000, 80_000),
    ]
    gauges = Gauges(Topics(namespace), 8)
    gauges.collect(owned, 0, outputs, 100_000)
    shown = {
        name: value(name, namespace)
        for name in ("takeover_pending_seconds", "checkpoint_age_seconds", "timers_overdue_seconds", "partitions_owned")
    }
    assert shown == {
        "takeover_pending_seconds": 40.0,
        "checkpoint_age_seconds": 10.0,
        "timers_overdue_seconds": 3.0,
        "partitions_owned": 2.0,
    }
    assert value("inbox_wait_seconds_sum", namespace) == pytest.approx(0.08)
    phases = {phase: value("partitions", namespace, phase=phase) for phase in ("restoring", "catching-up", "live")}
    assert phases == {"restoring": 1.0, "catching-up": 1.0, "live": 2.0}
