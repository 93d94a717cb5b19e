"""What clients count of their requests."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from prometheus_client import REGISTRY

from odradek import workflow
from odradek.client import Client
from odradek.service import RPCError
from odradek.worker import Worker

NAMESPACE = "client-metrics"


@workflow.defn
class Waits:
    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)


def counted(request: str, outcome: str) -> float:
    labels = {"namespace": NAMESPACE, "request": request, "outcome": outcome}
    return REGISTRY.get_sample_value("odradek_client_requests_total", labels) or 0.0


def value(name: str, request: str) -> float | None:
    return REGISTRY.get_sample_value(name, {"namespace": NAMESPACE, "request": request})


async def test_requests_are_counted_by_how_they_end() -> None:
    async with await Client.connect("memory://client-metrics", namespace=NAMESPACE) as client:
        async with Worker(client, task_queue="q", workflows=[Waits]):
            handle = await client.start_workflow(Waits.run, id="w", task_queue="q")
            with pytest.raises(RPCError):
                await client.get_workflow_handle("nobody").signal("x")
            assert counted("StartWorkflow", "answered") == 1
            assert counted("SignalWorkflow", "refused") == 1
            assert value("odradek_client_request_duration_seconds_count", "StartWorkflow") == 1
        asking = asyncio.create_task(handle.signal("x", rpc_timeout=timedelta(seconds=0.3)))
        await asyncio.sleep(0.05)
        assert value("odradek_client_requests_pending", "SignalWorkflow") == 1
        with pytest.raises(RPCError):
            await asking
    assert counted("SignalWorkflow", "failed") == 1
    assert value("odradek_client_requests_pending", "SignalWorkflow") == 0
    assert value("odradek_client_request_duration_seconds_count", "SignalWorkflow") == 1, "a failure is no latency"
