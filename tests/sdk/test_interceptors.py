"""Interceptors of workflows and activities: every call passes them, what they change counts, headers travel."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, NoReturn

import pytest

from odradek import activity, workflow
from odradek.client import Client, OutboundInterceptor, StartWorkflowInput, WorkflowFailureError
from odradek.client import Interceptor as ClientInterceptor
from odradek.common import Payload, WorkflowIDConflictPolicy
from odradek.converter import PayloadConverter
from odradek.exceptions import ApplicationError
from odradek.testing import WorkflowEnvironment
from odradek.worker import (
    ActivityInboundInterceptor,
    ActivityOutboundInterceptor,
    ContinueAsNewInput,
    ExecuteActivityInput,
    ExecuteWorkflowInput,
    HandleQueryInput,
    HandleSignalInput,
    HandleUpdateInput,
    Interceptor,
    Replayer,
    SignalChildWorkflowInput,
    SignalExternalWorkflowInput,
    StartActivityInput,
    StartChildWorkflowInput,
    StartLocalActivityInput,
    Worker,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)

LIMIT = timedelta(seconds=10)
seen: Counter[str] = Counter()
"""What has passed, of all interceptors of this module; written by interceptors alone."""


class Tracing(Interceptor):
    """Counts everything that passes."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return TracingActivity(next)

    def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        return TracingInbound


class TracingActivity(ActivityInboundInterceptor):
    def init(self, outbound: ActivityOutboundInterceptor) -> None:
        super().init(TracingActivityOutbound(outbound))

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        note(f"activity {activity.info().activity_type}")
        return await super().execute_activity(input)


class TracingActivityOutbound(ActivityOutboundInterceptor):
    def info(self) -> activity.Info:
        note("activity info")
        return super().info()

    def heartbeat(self, *details: Any) -> None:
        note("activity heartbeat")
        super().heartbeat(*details)


def note(what: str) -> None:
    seen[what] += 1  # odradek: deterministic


class TracingInbound(WorkflowInboundInterceptor):
    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(TracingOutbound(outbound))

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        note(f"execute {input.type.__name__}")
        return await super().execute_workflow(input)

    async def handle_signal(self, input: HandleSignalInput) -> None:
        note(f"signal {input.signal}")
        await super().handle_signal(input)

    async def handle_query(self, input: HandleQueryInput) -> Any:
        note(f"query {input.query}")
        return await super().handle_query(input)

    def handle_update_validator(self, input: HandleUpdateInput) -> None:
        note(f"validate {input.update}")
        super().handle_update_validator(input)

    async def handle_update_handler(self, input: HandleUpdateInput) -> Any:
        note(f"update {input.update}")
        return await super().handle_update_handler(input)


class TracingOutbound(WorkflowOutboundInterceptor):
    def continue_as_new(self, input: ContinueAsNewInput) -> NoReturn:
        note("continue as new")
        super().continue_as_new(input)

    def info(self) -> workflow.Info:
        note("info")
        return super().info()

    async def signal_child_workflow(self, input: SignalChildWorkflowInput) -> None:
        note(f"signal child {input.child_workflow_id}")
        await super().signal_child_workflow(input)

    async def signal_external_workflow(self, input: SignalExternalWorkflowInput) -> None:
        note(f"signal external {input.workflow_id}")
        await super().signal_external_workflow(input)

    def start_activity(self, input: StartActivityInput) -> workflow.ActivityHandle[Any]:
        note(f"start {input.activity}")
        return super().start_activity(input)

    async def start_child_workflow(self, input: StartChildWorkflowInput) -> workflow.ChildWorkflowHandle[Any, Any]:
        note(f"start child {input.workflow}")
        return await super().start_child_workflow(input)

    def start_local_activity(self, input: StartLocalActivityInput) -> workflow.ActivityHandle[Any]:
        note(f"start local {input.activity}")
        return super().start_local_activity(input)


@activity.defn
async def greet(name: str) -> str:
    activity.heartbeat(activity.info().attempt)
    return f"Hello, {name}"


@activity.defn
def greet_in_a_thread(name: str) -> str:
    return f"Hello from a thread, {name}"


async def stepped() -> str:
    return activity.info().activity_type


@workflow.defn
class Child:
    def __init__(self) -> None:
        self.told: list[str] = []

    @workflow.run
    async def run(self, expected: int) -> list[str]:
        await workflow.wait_condition(lambda: len(self.told) == expected)
        return self.told

    @workflow.signal
    def tell(self, what: str) -> None:
        self.told.append(what)


@workflow.defn
class Everything:
    def __init__(self) -> None:
        self.value = 0
        self.free = False

    @workflow.run
    async def run(self, again: bool) -> list[Any]:
        assert workflow.info().workflow_type == "Everything"
        made: list[Any] = [
            await workflow.execute_activity(greet, "a", start_to_close_timeout=LIMIT),
            await workflow.start_activity(greet_in_a_thread, "b", start_to_close_timeout=LIMIT),
            await workflow.execute_local_activity(greet, "c", start_to_close_timeout=LIMIT),
            await workflow.step(stepped),
        ]
        child = await workflow.start_child_workflow(Child.run, 2, id="child")
        await child.signal(Child.tell, "one")
        await workflow.get_external_workflow_handle("child").signal(Child.tell, "two")
        made.append(await child)
        await workflow.wait_condition(lambda: self.free)
        if again:
            workflow.continue_as_new(False)
        return [*made, self.value]

    @workflow.signal
    async def release(self) -> None:
        self.free = True

    @workflow.query
    def current(self) -> int:
        return self.value

    @workflow.update
    async def add(self, number: int) -> int:
        self.value += number
        return self.value

    @add.validator
    def may_add(self, number: int) -> None:
        if number < 0:
            raise ApplicationError("only more")


ACTIVITIES = [greet, greet_in_a_thread]


async def test_everything_passes(odradek_env: WorkflowEnvironment) -> None:
    seen.clear()
    client = odradek_env.client
    async with Worker(
        client,
        task_queue="tq",
        workflows=[Everything, Child],
        activities=ACTIVITIES,
        interceptors=[Tracing()],
    ):
        handle = await client.start_workflow(Everything.run, True, id="wf", task_queue="tq")
        assert await handle.execute_update(Everything.add, 3) == 3
        assert await handle.query(Everything.current) == 3
        await handle.signal(Everything.release)
        second = client.get_workflow_handle("wf")
        async with asyncio.timeout(20):
            while (await second.describe()).run_id == handle.first_execution_run_id:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await second.signal(Everything.release)
        made = await handle.result()
        history = await second.fetch_history()
    assert made == ["Hello, a", "Hello from a thread, b", "Hello, c", "stepped", ["one", "two"], 0]
    expected = {
        "execute Everything", "execute Child", "signal release", "signal tell", "query current", "validate add",
        "update add", "continue as new", "info", "signal child child", "signal external child", "start greet",
        "start greet_in_a_thread", "start child Child", "start local greet", "start local stepped", "activity greet",
        "activity greet_in_a_thread", "activity stepped", "activity info", "activity heartbeat",
    }  # fmt: skip
    assert set(seen) == expected
    seen.clear()
    replayed = await Replayer(workflows=[Everything, Child], interceptors=[Tracing()]).replay_workflow(history)
    assert replayed.replay_failure is None
    assert seen["execute Everything"] == 1
    assert seen["start greet"] == 1


async def test_without_interceptors_nothing_stands_between(odradek_env: WorkflowEnvironment) -> None:
    outbounds: list[object] = []

    @workflow.defn(sandboxed=False)
    class Looking:
        @workflow.run
        async def run(self) -> None:
            from odradek.workflow.runtime import current

            outbounds.append(current().outbound)

    async with Worker(odradek_env.client, task_queue="tq", workflows=[Looking]):
        await odradek_env.client.execute_workflow(Looking.run, id="wf", task_queue="tq")
    assert outbounds == [None]


# ------------------------------------------------------------------------------------------------- what they change


class Changing(Interceptor):
    """Makes everything larger by ``number``, to tell several of them apart."""

    def __init__(self, number: int) -> None:
        self.number = number

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        number = self.number

        class Activities(ActivityInboundInterceptor):
            async def execute_activity(self, input: ExecuteActivityInput) -> Any:
                input.args = [input.args[0] * 10 + number]
                return await super().execute_activity(input)

        return Activities(next)

    def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        number = self.number

        class Outbound(WorkflowOutboundInterceptor):
            def start_activity(self, input: StartActivityInput) -> workflow.ActivityHandle[Any]:
                input.args = [input.args[0] * 10 + number]
                input.start_to_close_timeout = timedelta(seconds=77)
                return super().start_activity(input)

        class Inbound(WorkflowInboundInterceptor):
            def init(self, outbound: WorkflowOutboundInterceptor) -> None:
                super().init(Outbound(outbound))

            async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
                input.args = [input.args[0] * 10 + number]
                return [*await super().execute_workflow(input), number]

        return Inbound


@activity.defn
async def told(number: int) -> tuple[int, float]:
    limit = activity.info().start_to_close_timeout
    return number, limit.total_seconds() if limit else 0


@workflow.defn
class Telling:
    @workflow.run
    async def run(self, number: int) -> list[Any]:
        return [number, await workflow.execute_activity(told, number, start_to_close_timeout=LIMIT)]


async def test_the_first_is_outermost_and_changes_count(odradek_env: WorkflowEnvironment) -> None:
    around = [Changing(1), Changing(2)]
    async with Worker(odradek_env.client, task_queue="tq", workflows=[Telling], activities=[told], interceptors=around):
        made = await odradek_env.client.execute_workflow(Telling.run, 0, id="wf", task_queue="tq")
    # In: 1, then 2. Out: whoever was told of it last is first, so 2, then 1. Activity: 1, then 2.
    assert made == [12, [122112, 77.0], 2, 1]


# --------------------------------------------------------------------------------------------------- a context travels

user: ContextVar[str] = ContextVar("user", default="nobody")
CONVERT = PayloadConverter.default


def with_user(headers: Mapping[str, Payload]) -> Mapping[str, Payload]:
    return {**headers, "user": CONVERT.to_payload(user.get())}


def take_user(headers: Mapping[str, Payload]) -> None:
    if "user" in headers:
        user.set(CONVERT.from_payload(headers["user"], str))


class Context(ClientInterceptor, Interceptor):
    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        return ClientSide(next)

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return ActivitySide(next)

    def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        return WorkflowSide


class ClientSide(OutboundInterceptor):
    async def start_workflow(self, input: StartWorkflowInput) -> Any:
        input.headers = with_user(input.headers)
        return await super().start_workflow(input)

    async def signal_workflow(self, input: Any) -> None:
        input.headers = with_user(input.headers)
        await super().signal_workflow(input)

    async def query_workflow(self, input: Any) -> Any:
        input.headers = with_user(input.headers)
        return await super().query_workflow(input)

    async def start_workflow_update(self, input: Any) -> Any:
        input.headers = with_user(input.headers)
        return await super().start_workflow_update(input)


class ActivitySide(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        take_user(input.headers)
        return await super().execute_activity(input)


class WorkflowSide(WorkflowInboundInterceptor):
    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(WorkflowSideOut(outbound))

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        take_user(input.headers)
        return await super().execute_workflow(input)

    async def handle_signal(self, input: HandleSignalInput) -> None:
        take_user(input.headers)
        await super().handle_signal(input)

    async def handle_query(self, input: HandleQueryInput) -> Any:
        take_user(input.headers)
        return await super().handle_query(input)

    async def handle_update_handler(self, input: HandleUpdateInput) -> Any:
        take_user(input.headers)
        return await super().handle_update_handler(input)


class WorkflowSideOut(WorkflowOutboundInterceptor):
    def start_activity(self, input: StartActivityInput) -> workflow.ActivityHandle[Any]:
        input.headers = with_user(input.headers)
        return super().start_activity(input)

    def start_local_activity(self, input: StartLocalActivityInput) -> workflow.ActivityHandle[Any]:
        input.headers = with_user(input.headers)
        return super().start_local_activity(input)

    async def start_child_workflow(self, input: StartChildWorkflowInput) -> Any:
        input.headers = with_user(input.headers)
        return await super().start_child_workflow(input)

    async def signal_child_workflow(self, input: SignalChildWorkflowInput) -> None:
        input.headers = with_user(input.headers)
        await super().signal_child_workflow(input)

    def continue_as_new(self, input: ContinueAsNewInput) -> NoReturn:
        input.headers = with_user(input.headers)
        super().continue_as_new(input)


@activity.defn
async def who() -> str:
    return user.get()


@activity.defn
def who_in_a_thread() -> str:
    return user.get()


@workflow.defn
class WhoChild:
    def __init__(self) -> None:
        self.by = ""

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.wait_condition(lambda: bool(self.by))
        return [user.get(), self.by]

    @workflow.signal
    def mark(self) -> None:
        self.by = user.get()


@workflow.defn
class Who:
    def __init__(self) -> None:
        self.signalled = ""

    @workflow.run
    async def run(self, again: bool) -> list[Any]:
        if again:
            workflow.continue_as_new(False)
        child = await workflow.start_child_workflow(WhoChild.run, id="who-child")
        await child.signal(WhoChild.mark)
        found: list[Any] = [
            user.get(),
            await workflow.execute_activity(who, start_to_close_timeout=LIMIT),
            await workflow.execute_activity(who_in_a_thread, start_to_close_timeout=LIMIT),
            await workflow.execute_local_activity(who, start_to_close_timeout=LIMIT),
            await workflow.step(who),
            await child,
        ]
        await workflow.wait_condition(lambda: bool(self.signalled))
        return [*found, self.signalled]

    @workflow.signal
    def mark(self) -> None:
        self.signalled = user.get()

    @workflow.query
    def asked_by(self) -> str:
        return user.get()

    @workflow.update
    async def updated_by(self) -> str:
        by: str = await workflow.execute_activity(who, start_to_close_timeout=LIMIT)
        return by


async def test_a_context_travels_through_headers(odradek_env: WorkflowEnvironment) -> None:
    config = odradek_env.client.config()
    config["interceptors"] = [Context()]
    client = Client(**config)
    async with Worker(client, task_queue="tq", workflows=[Who, WhoChild], activities=[who, who_in_a_thread]):
        user.set("ada")
        handle = await client.start_workflow(Who.run, True, id="wf", task_queue="tq")
        user.set("bob")
        assert await handle.query(Who.asked_by) == "bob"
        assert await client.get_workflow_handle("wf").execute_update(Who.updated_by) == "bob"
        user.set("eve")
        await client.get_workflow_handle("wf").signal(Who.mark)
        assert await handle.result() == ["ada"] * 5 + [["ada", "ada"], "eve"]


# ----------------------------------------------------------------------------------------------------------- errors


class Failing(Interceptor):
    def __init__(self, where: str) -> None:
        self.where = where

    def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        where = self.where

        class Inbound(WorkflowInboundInterceptor):
            def init(self, outbound: WorkflowOutboundInterceptor) -> None:
                if where == "init":
                    raise ApplicationError("no init")
                super().init(outbound)

            async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
                if where == "execute":
                    raise ApplicationError("no start")
                return await super().execute_workflow(input)

            def handle_update_validator(self, input: HandleUpdateInput) -> None:
                raise ApplicationError("no update")

        return Inbound


async def test_an_interceptor_may_fail_a_workflow_and_reject_an_update(odradek_env: WorkflowEnvironment) -> None:
    client = odradek_env.client
    async with Worker(client, task_queue="tq", workflows=[Everything], interceptors=[Failing("execute")]):
        with pytest.raises(WorkflowFailureError) as failure:
            await client.execute_workflow(Everything.run, False, id="wf", task_queue="tq")
        assert str(failure.value.cause) == "no start"
    async with Worker(client, task_queue="other", workflows=[Child, Everything], interceptors=[Failing("update")]):
        start = await client.start_workflow(
            Everything.run, False, id="u", task_queue="other", id_conflict_policy=WorkflowIDConflictPolicy.FAIL
        )
        with pytest.raises(Exception, match="Workflow update failed") as refused:
            await start.execute_update(Everything.add, 5)
        assert str(refused.value.__cause__) == "no update"
        await start.terminate()


async def test_one_that_cannot_begin_parks_the_run(odradek_env: WorkflowEnvironment) -> None:
    client = odradek_env.client
    async with Worker(client, task_queue="tq", workflows=[Everything], interceptors=[Failing("init")]):
        with pytest.raises(Exception, match="no init"):
            await client.execute_workflow(Everything.run, False, id="wf", task_queue="tq")
