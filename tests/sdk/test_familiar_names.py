"""Code written for elsewhere imports and constructs what has no meaning here, and runs."""

from __future__ import annotations

import asyncio
import logging
import uuid
from datetime import timedelta

import pytest

from odradek import workflow
from odradek.client import Client
from odradek.worker import UnsandboxedWorkflowRunner, Worker
from odradek.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

with workflow.unsafe.imports_passed_through():
    import json


@workflow.defn(sandboxed=False)
class Greeting:
    @workflow.run
    async def run(self, name: str) -> str:
        with workflow.unsafe.sandbox_unrestricted():
            return json.dumps(name)


@pytest.mark.parametrize(
    "runner",
    [
        UnsandboxedWorkflowRunner(),
        SandboxedWorkflowRunner(restrictions=SandboxRestrictions.default.with_passthrough_modules("json")),
    ],
)
def test_options_of_elsewhere_are_accepted_with_a_warning(runner: object, caplog: pytest.LogCaptureFixture) -> None:
    async def body() -> None:
        async with (
            await Client.connect(f"memory://{uuid.uuid4().hex}") as client,
            Worker(
                client,
                task_queue="q",
                workflows=[Greeting],
                workflow_runner=runner,
                build_id="1.0",
                max_heartbeat_throttle_interval=timedelta(seconds=5),
            ),
        ):
            assert await client.execute_workflow(Greeting.run, "ann", id="g", task_queue="q") == '"ann"'

    with caplog.at_level(logging.WARNING, logger="odradek.worker"):
        asyncio.run(body())


def test_an_option_that_nobody_knows_is_refused() -> None:
    async def body() -> None:
        async with await Client.connect(f"memory://{uuid.uuid4().hex}") as client:
            with pytest.raises(TypeError, match='no option "max_concurent_activities"'):
                Worker(client, task_queue="q", workflows=[Greeting], max_concurent_activities=5)

    asyncio.run(body())
