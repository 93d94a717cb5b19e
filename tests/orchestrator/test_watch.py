"""The metrics of an orchestrator that are not counted on the way: lag, pending work, replays."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from prometheus_client import REGISTRY

from odradek import activity, workflow
from odradek.client import Client
from odradek.orchestrator.settings import OrchestratorSettings
from odradek.worker import Worker

NAMESPACE = "watched"
SETTINGS = OrchestratorSettings(watch_seconds=0.02, checkpoint_seconds=0.05)
release = asyncio.Event()


@activity.defn
async def held() -> None:
    await release.wait()


@workflow.defn
class Waiting:
    @workflow.run
    async def run(self) -> None:
        doing = workflow.start_activity(held, start_to_close_timeout=timedelta(seconds=30))
        first, second = asyncio.create_task(asyncio.sleep(1000)), asyncio.create_task(asyncio.sleep(2000))
        await doing
        first.cancel()
        second.cancel()


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"odradek_{name}", {"namespace": NAMESPACE, **labels})


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(1000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not within 10 s")


async def one_run(settings: OrchestratorSettings) -> None:
    async with await Client.connect("memory://watched", namespace=NAMESPACE) as client:
        worker = Worker(client, task_queue="q", workflows=[Waiting], activities=[held], orchestrator_settings=settings)
        async with worker:
            handle = await client.start_workflow(Waiting.run, id="w", task_queue="q")
            await until(lambda: (value("activities_pending"), value("timers_pending")) == (1.0, 2.0))
            await until(lambda: value("inbox_lag_records", partition=str(partition(client))) == 0)
            assert not value("replays_total")
        assert (value("activities_pending"), value("timers_pending")) == (0.0, 0.0)
        assert value("inbox_lag_records", partition=str(partition(client))) is None
        async with Worker(
            client, task_queue="q", workflows=[Waiting], activities=[held], orchestrator_settings=settings
        ):
            release.set()
            await asyncio.wait_for(handle.result(), 20)
            await until(lambda: value("replays_total") == 1)
        replayed = value("replayed_events_total")
        assert replayed is not None
        assert replayed >= 4


def partition(client: Client) -> int:
    lane = client.connection.opened(NAMESPACE)
    assert lane is not None
    return lane.namespace.partition("w")


def test_lag_pending_work_and_replays() -> None:
    """Gauges speak of what this process serves, and fall silent when it stops."""
    asyncio.run(one_run(SETTINGS))


async def _unreachable(settings: OrchestratorSettings) -> None:
    async with await Client.connect("memory://watched-too", namespace=NAMESPACE) as client:
        worker = Worker(client, task_queue="q", workflows=[Waiting], orchestrator_settings=settings)
        async with worker:
            client.connection.log.lag = _fails  # type: ignore[method-assign]
            await asyncio.sleep(0.1)
            assert worker.is_running


def _fails(group: str, topic: str) -> dict[int, int]:
    raise ConnectionError("no broker")


def test_a_log_that_does_not_answer_stops_nobody() -> None:
    asyncio.run(_unreachable(replace(SETTINGS, watch_seconds=0.01)))
