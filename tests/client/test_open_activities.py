"""Activities that go on without their worker, and operators' wishes, through client and worker."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from odradek import activity, workflow
from odradek.client import (
    AsyncActivityCancelledError,
    AsyncActivityHandle,
    Client,
    RPCError,
    RPCStatusCode,
    WorkflowFailureError,
)
from odradek.common import RetryPolicy
from odradek.exceptions import ActivityError, ApplicationError, CancelledError
from odradek.testing import WorkflowEnvironment
from odradek.worker import Worker

tokens: asyncio.Queue[bytes]


@activity.defn
async def by_hand(what: str) -> str:
    if not activity.info().heartbeat_details:
        tokens.put_nowait(activity.info().task_token)
        activity.raise_complete_async()
    return f"{what}, from {activity.info().heartbeat_details[0]} on"


@activity.defn
def by_hand_in_a_thread(what: str) -> str:
    asyncio.run_coroutine_threadsafe(tokens.put(activity.info().task_token), loop).result()
    activity.raise_complete_async()


loop: asyncio.AbstractEventLoop


@workflow.defn
class Approval:
    @workflow.run
    async def run(self, name: str, wait: bool) -> str:
        kind = workflow.ActivityCancellationType
        result: str = await workflow.execute_activity(
            name,
            "invoice",
            activity_id="approval",
            start_to_close_timeout=timedelta(hours=1),
            heartbeat_timeout=timedelta(minutes=10),
            retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=1), maximum_attempts=2),
            cancellation_type=kind.WAIT_CANCELLATION_COMPLETED if wait else kind.TRY_CANCEL,
        )
        return result


Body = Callable[[Client, Any, bytes], Awaitable[None]]


async def approved(env: WorkflowEnvironment, body: Body, name: str = "by_hand") -> None:
    global tokens, loop
    tokens, loop = asyncio.Queue(), asyncio.get_running_loop()
    async with Worker(env.client, task_queue="tq", workflows=[Approval], activities=[by_hand, by_hand_in_a_thread]):
        handle = await env.client.start_workflow(Approval.run, args=[name, True], id="wf", task_queue="tq")
        await body(env.client, handle, await tokens.get())


@pytest.mark.parametrize("name", ["by_hand", "by_hand_in_a_thread"])
@pytest.mark.parametrize("by_token", [True, False])
async def test_completed_from_outside(odradek_env: WorkflowEnvironment, name: str, by_token: bool) -> None:
    async def body(client: Client, handle: Any, token: bytes) -> None:
        where: Any = {"task_token": token} if by_token else {"workflow_id": "wf", "activity_id": "approval"}
        outside = client.get_async_activity_handle(**where)
        await outside.heartbeat("seen")
        await outside.complete("approved")
        assert await handle.result() == "approved"
        with pytest.raises(RPCError) as gone:
            await outside.complete("again")
        assert gone.value.status is RPCStatusCode.NOT_FOUND

    await approved(odradek_env, body, name)


async def test_a_failure_is_retried_from_the_last_details(odradek_env: WorkflowEnvironment) -> None:
    async def body(client: Client, handle: Any, token: bytes) -> None:
        outside = client.get_async_activity_handle(task_token=token)
        await outside.fail(ApplicationError("not yet"), last_heartbeat_details=["page 3"])
        assert await handle.result() == "invoice, from page 3 on"
        with pytest.raises(RPCError, match="ODR-102"):
            await outside.heartbeat()

    await approved(odradek_env, body)


async def test_a_failure_that_is_final(odradek_env: WorkflowEnvironment) -> None:
    async def body(client: Client, handle: Any, token: bytes) -> None:
        await client.get_async_activity_handle(task_token=token).fail(
            ApplicationError("refused", "because", type="Refused", non_retryable=True)
        )
        with pytest.raises(WorkflowFailureError) as failure:
            await handle.result()
        assert isinstance(failure.value.cause, ActivityError)
        cause = failure.value.cause.cause
        assert isinstance(cause, ApplicationError)
        assert (cause.message, cause.type, list(cause.details)) == ("refused", "Refused", ["because"])

    await approved(odradek_env, body)


async def test_a_cancellation_is_told_at_the_next_heartbeat(odradek_env: WorkflowEnvironment) -> None:
    async def body(client: Client, handle: Any, token: bytes) -> None:
        outside = client.get_async_activity_handle(task_token=token)
        await handle.cancel()
        with pytest.raises(AsyncActivityCancelledError) as told:
            await heartbeats(outside)
        assert told.value.details is not None
        assert told.value.details.cancel_requested
        await outside.report_cancellation("half")
        with pytest.raises(WorkflowFailureError) as failure:
            await handle.result()
        assert isinstance(failure.value.cause, CancelledError)

    await approved(odradek_env, body)


async def heartbeats(outside: AsyncActivityHandle) -> None:
    while True:
        await outside.heartbeat()


async def test_what_is_no_token(odradek_env: WorkflowEnvironment) -> None:
    client = odradek_env.client
    with pytest.raises(ValueError, match="ODR-117"):
        await client.get_async_activity_handle(task_token=b"what?").complete()
    with pytest.raises(ValueError, match="says it all"):
        client.get_async_activity_handle(task_token=b"x", activity_id="y")
    with pytest.raises(ValueError, match="or the IDs"):
        client.get_async_activity_handle(workflow_id="x")


def test_outside_of_an_activity_there_is_nothing_to_leave() -> None:
    with pytest.raises(RuntimeError, match="ODR-126"):
        activity.raise_complete_async()


async def test_a_step_cannot_be_left(odradek_env: WorkflowEnvironment) -> None:
    async def leave() -> None:
        activity.raise_complete_async()

    @workflow.defn
    class Leaving:
        @workflow.run
        async def run(self) -> str:
            try:
                await workflow.step(leave)
            except ActivityError as error:
                return str(error.cause)
            return "?"

    async with Worker(odradek_env.client, task_queue="tq", workflows=[Leaving]):
        assert "ODR-144" in await odradek_env.client.execute_workflow(Leaving.run, id="wf", task_queue="tq")


# ----------------------------------------------------------------------------------------------------------- controls


@activity.defn
async def stubborn() -> str:
    info = activity.info()
    if info.attempt > 1:
        return f"attempt {info.attempt}"
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        details = activity.cancellation_details()
        assert details is not None
        stopped.append("paused" if details.paused else "reset" if details.reset else "?")
        raise
    return "never"


stopped: list[str] = []


@workflow.defn
class Watching:
    @workflow.run
    async def run(self) -> str:
        result: str = await workflow.execute_activity(
            stubborn, activity_id="watch", start_to_close_timeout=timedelta(hours=1)
        )
        return result


async def test_an_operator_stops_and_resumes_an_activity(odradek_env: WorkflowEnvironment) -> None:
    stopped.clear()
    client = odradek_env.client
    with odradek_env.auto_time_skipping_disabled():
        async with Worker(client, task_queue="tq", workflows=[Watching], activities=[stubborn]):
            handle = await client.start_workflow(Watching.run, id="wf", task_queue="tq")
            await until(handle, "started")
            await handle.pause_activities("watch", reason="look first")
            await until(handle, "paused", attempt=2)
            assert stopped == ["paused"]
            await handle.update_activity_options("watch", start_to_close_timeout=timedelta(minutes=5))
            await handle.unpause_activities("watch")
            assert await handle.result() == "attempt 2"
            with pytest.raises(ValueError, match="not both"):
                await handle.pause_activities("watch", activity_type="stubborn")
            with pytest.raises(RPCError, match="ODR-102"):
                await handle.reset_activities()


async def until(handle: Any, state: str, attempt: int = 1) -> None:
    while True:
        waits = (await handle.describe()).waits
        if [(wait.state, wait.attempt) for wait in waits] == [(state, attempt)]:
            return
        await asyncio.sleep(0.02)


# ------------------------------------------------------------------------------------------------------------ defaults


@activity.defn(start_to_close_timeout=timedelta(seconds=33), retry_policy=RetryPolicy(maximum_attempts=3))
async def limits() -> list[Any]:
    info = activity.info()
    policy = info.retry_policy
    close, beat = info.start_to_close_timeout, info.heartbeat_timeout
    return [
        close.total_seconds() if close else None,
        beat.total_seconds() if beat else None,
        policy.maximum_attempts if policy else None,
    ]


@workflow.defn
class Limited:
    @workflow.run
    async def run(self) -> list[Any]:
        return [
            await workflow.execute_activity(limits),
            await workflow.execute_activity(limits, start_to_close_timeout=timedelta(seconds=7)),
            await workflow.start_activity("limits"),
        ]


async def test_what_a_call_does_not_say(odradek_env: WorkflowEnvironment) -> None:
    config = odradek_env.client.config()
    config["activity_defaults"] = {
        "start_to_close_timeout": timedelta(seconds=11),
        "heartbeat_timeout": timedelta(seconds=5),
    }
    client = Client(**config)
    defaults = activity.ActivityDefaults(start_to_close_timeout=timedelta(seconds=22))
    async with Worker(client, task_queue="tq", workflows=[Limited], activities=[limits], activity_defaults=defaults):
        made = await client.execute_workflow(Limited.run, id="wf", task_queue="tq")
        assert made == [[33, 5, 3], [7, 5, 3], [22, 5, 0]]
        assert await client.execute_activity(limits, id="a", task_queue="tq") == [33, 5, 3]
        assert await client.execute_activity("limits", id="b", task_queue="tq") == [11, 5, 0]
    async with Worker(odradek_env.client, task_queue="other", workflows=[Limited], activities=[limits]):
        with pytest.raises(Exception, match="ODR-062"):
            await odradek_env.client.execute_workflow(Limited.run, id="wf2", task_queue="other")
