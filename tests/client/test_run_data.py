"""Data that workflow code sets on its run, as clients list, count and describe it: a real orchestrator behind them."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY

from odradek import activity, workflow
from odradek.client import Client, WorkflowFailureError
from odradek.common import RetryPolicy, SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from odradek.exceptions import ApplicationError
from odradek.testing import WorkflowEnvironment
from odradek.worker import Worker

REGION = SearchAttributeKey.for_keyword("Region")
ONCE: Any = {"retry_policy": RetryPolicy(maximum_attempts=1)}
RANK = SearchAttributeKey.for_int("Rank")


@activity.defn
async def counted() -> None:
    activity.metric_meter().create_counter("run_data_calls").add(2)


@workflow.defn(version="2")
class Ranked:
    def __init__(self) -> None:
        self.done = False

    @workflow.signal
    def finish(self) -> None:
        self.done = True

    @workflow.run
    async def run(self, rank: int) -> None:
        workflow.set_current_details(f"rank {rank}")
        workflow.upsert_search_attributes([RANK.value_set(rank), REGION.value_set("north" if rank > 1 else "south")])
        workflow.upsert_memo({"rank": rank})
        await workflow.execute_activity(counted, start_to_close_timeout=timedelta(seconds=10), **ONCE)
        await workflow.wait_condition(lambda: self.done)


@workflow.defn
class Raises:
    @workflow.run
    async def run(self) -> None:
        raise KeyError("nothing")


async def ranks(client: Client, query: str, count: int) -> list[object]:
    """The runs that match, once there are as many as expected: what is shown lags a little."""
    async with asyncio.timeout(20):
        while True:
            found = [run async for run in client.list_workflows(query)]
            if len(found) == count:
                return [run.typed_search_attributes.get(RANK) for run in found]
            await asyncio.sleep(0.02)


async def test_runs_are_found_counted_and_described_by_what_their_code_said() -> None:
    async with await WorkflowEnvironment.start_time_skipping() as env:
        client = env.client
        async with Worker(client, task_queue="q", workflows=[Ranked], activities=[counted]):
            before = REGISTRY.get_sample_value("run_data_calls_total", _labels(client)) or 0
            attributes = TypedSearchAttributes([SearchAttributePair(REGION, "none")])
            handles = [
                await client.start_workflow(
                    Ranked.run,
                    rank,
                    id=f"ranked-{rank}",
                    task_queue="q",
                    search_attributes=attributes,
                    memo={"kept": True},
                    static_summary="a summary",
                    static_details="its details",
                )
                for rank in (1, 2, 3)
            ]
            assert sorted(await ranks(client, "Rank >= 2 AND Region = 'north'", 2)) == [2, 3]  # type: ignore[type-var]
            assert await ranks(client, "WorkflowVersion = '2' AND Rank = 1", 1) == [1]
            count = await client.count_workflows("ExecutionStatus = 'Running' GROUP BY Region")
            assert {group.group_values[0]: group.count for group in count.groups} == {"north": 2, "south": 1}
            described = await handles[1].describe()
            assert described.typed_search_attributes.get(REGION) == "north"
            assert described.search_attributes["Rank"] == [2]
            assert await described.memo() == {"kept": True, "rank": 2}
            assert await described.static_summary() == "a summary"
            assert await described.static_details() == "its details"
            assert described.current_details == "rank 2"
            assert described.version == "2"
            for handle in handles:
                await handle.signal(Ranked.finish)
                await handle.result()
            assert await ranks(client, "ExecutionStatus = 'Completed' AND Rank IN (1, 2, 3)", 3)
            assert REGISTRY.get_sample_value("run_data_calls_total", _labels(client)) == before + 6


def _labels(client: Client) -> dict[str, str]:
    return {"namespace": client.namespace, "task_queue": "q", "activity_type": "counted"}


async def test_a_worker_may_name_exceptions_that_fail_its_workflows() -> None:
    async with await WorkflowEnvironment.start_time_skipping() as env:
        failing = [KeyError]
        async with Worker(env.client, task_queue="q", workflows=[Raises], workflow_failure_exception_types=failing):
            with pytest.raises(WorkflowFailureError) as caught:
                await env.client.execute_workflow(Raises.run, id="raises", task_queue="q")
            assert isinstance(caught.value.cause, ApplicationError)
            assert caught.value.cause.type == "KeyError"
