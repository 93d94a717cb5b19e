"""Activities that clients start without a workflow, through client and worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from odradek import activity, workflow
from odradek.client import (
    ActivityExecutionDescription,
    ActivityExecutionStatus,
    ActivityFailureError,
    ActivityHandle,
    ActivityOptionsKeys,
    Client,
    Interceptor,
    OutboundInterceptor,
    PendingActivityState,
    RPCError,
    RPCStatusCode,
    StartActivityInput,
)
from odradek.common import (
    ActivityIDConflictPolicy,
    ActivityIDReusePolicy,
    Priority,
    RetryPolicy,
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
)
from odradek.contrib.encryption import EncryptionCodec
from odradek.converter import DataConverter
from odradek.exceptions import (
    ActivityAlreadyStartedError,
    ApplicationError,
    CancelledError,
    TerminatedError,
    TimeoutError,
    TimeoutType,
)
from odradek.testing import WorkflowEnvironment
from odradek.worker import Replayer, Worker

MINUTE = timedelta(minutes=1)
QUICKLY = RetryPolicy(initial_interval=timedelta(milliseconds=1))
ONCE = RetryPolicy(maximum_attempts=1)
COLOUR = SearchAttributeKey.for_keyword("Colour")

calls: list[str]
infos: asyncio.Queue[activity.Info]
gate: asyncio.Event


@pytest.fixture(autouse=True)
def nothing_yet() -> None:
    global calls, infos, gate
    calls, infos, gate = [], asyncio.Queue(), asyncio.Event()


@activity.defn
async def greet(name: str = "nobody", greeting: str = "Hello") -> str:
    calls.append(name)
    return f"{greeting}, {name}!"


@activity.defn
def in_a_thread(number: int) -> int:
    return 2 * number


@activity.defn
async def tell() -> None:
    infos.put_nowait(activity.info())


@activity.defn
async def fails(until_attempt: int) -> int:
    attempt = activity.info().attempt
    if attempt < until_attempt:
        raise ApplicationError(f"attempt {attempt}", attempt, type="Flaky")
    return attempt


@activity.defn
async def waits(name: str) -> str:
    activity.heartbeat(name)
    infos.put_nowait(activity.info())
    await gate.wait()
    return name


@activity.defn
async def by_hand() -> str:
    infos.put_nowait(activity.info())
    activity.raise_complete_async()


class Shouter:
    def __init__(self, mark: str) -> None:
        self.mark = mark

    @activity.defn
    async def __call__(self, text: str) -> str:
        return text.upper() + self.mark

    @activity.defn
    async def softly(self, text: str) -> str:
        return text.lower() + self.mark


shouter = Shouter("!")
ALL: list[Callable[..., Any]] = [greet, in_a_thread, tell, fails, waits, by_hand, shouter, shouter.softly]


def worker(client: Client) -> Worker:
    return Worker(client, task_queue="tq", activities=ALL, activity_executor=ThreadPoolExecutor(2))


def on(id: str, **more: Any) -> Any:
    return {"id": id, "task_queue": "tq", "start_to_close_timeout": MINUTE, **more}


async def started(client: Client) -> ActivityHandle[str]:
    """One that waits for the gate."""
    handle: ActivityHandle[str] = await client.start_activity(waits, "wait", **on("waiting", retry_policy=ONCE))
    await infos.get()
    return handle


async def told_when(handle: ActivityHandle[Any], so: Callable[[ActivityExecutionDescription], bool]) -> Any:
    """Its description, once the orchestrator has heard of it."""
    told = None
    for _ in range(1000):
        told = await handle.describe(include_heartbeat_details=True)
        if so(told):
            return told
        await asyncio.sleep(0.02)
    raise AssertionError(told)


async def backing_off(handle: ActivityHandle[Any]) -> None:
    await told_when(handle, lambda told: told.next_attempt_schedule_time is not None)


# ------------------------------------------------------------------------------------------------------------ shapes


async def test_every_shape_of_an_activity(odradek_env: WorkflowEnvironment) -> None:
    client = odradek_env.client
    async with worker(client):
        handle = await client.start_activity(greet, "Ada", **on("function"))
        assert (handle.id, bool(handle.run_id)) == ("function", True)
        assert await handle.result() == "Hello, Ada!"
        assert await handle.result() == "Hello, Ada!", "asked for twice"
        assert await client.execute_activity(greet, **on("no argument")) == "Hello, nobody!"
        assert await client.execute_activity(greet, args=["Ada", "Hi"], **on("several")) == "Hi, Ada!"
        assert await client.execute_activity("greet", "Ada", result_type=str, **on("name")) == "Hello, Ada!"
        assert await client.execute_activity(in_a_thread, 21, **on("thread")) == 42
        assert await client.execute_activity(shouter, "hi", **on("instance")) == "HI!"
        assert await client.execute_activity_class(Shouter, "hi", **on("class")) == "HI!"
        assert await (await client.start_activity_class(Shouter, "ho", **on("class 2"))).result() == "HO!"
        assert await client.execute_activity_method(Shouter.softly, "HI", **on("method")) == "hi!"
        assert await (await client.start_activity_method(Shouter.softly, "HO", **on("method 2"))).result() == "ho!"
        assert await client.execute_activity(tell, **on("nothing")) is None


async def test_what_the_activity_sees(odradek_env: WorkflowEnvironment, caplog: pytest.LogCaptureFixture) -> None:
    client = odradek_env.client
    async with worker(client):
        handle = await client.start_activity(
            tell, **on("facts", heartbeat_timeout=MINUTE, priority=Priority(priority_key=2), retry_policy=QUICKLY)
        )
        await handle.result()
    info = await infos.get()
    assert (info.activity_id, info.activity_type, info.attempt, info.namespace) == ("facts", "tell", 1, "default")
    assert not info.in_workflow
    assert (info.workflow_id, info.workflow_run_id, info.workflow_type, info.workflow_namespace) == (None,) * 4
    assert info.activity_run_id == handle.run_id
    assert (info.start_to_close_timeout, info.heartbeat_timeout) == (MINUTE, MINUTE)
    assert info.retry_policy == QUICKLY
    assert info.priority.priority_key == 2
    assert info._logger_details()["activity_run_id"] == handle.run_id
    assert "workflow_id" not in info._logger_details()


async def test_from_another_client(odradek_env: WorkflowEnvironment) -> None:
    client = odradek_env.client
    async with worker(client):
        await client.start_activity(greet, "Ada", **on("elsewhere"))
        other = Client(**client.config())
        assert await other.get_activity_handle("elsewhere").result() == "Hello, Ada!"
        with pytest.raises(RPCError, match='activity "nowhere"') as missing:
            await other.get_activity_handle("nowhere").describe()
        assert missing.value.status is RPCStatusCode.NOT_FOUND
        assert "__activity" not in str(missing.value)


async def test_it_begins_later(odradek_env: WorkflowEnvironment) -> None:
    client = odradek_env.client
    async with worker(client):
        before = await odradek_env.get_current_time()
        handle = await client.start_activity(greet, "Ada", **on("later", start_delay=timedelta(hours=2)))
        told = await handle.describe()
        assert (told.attempt, told.run_state, told.start_delay) == (
            0,
            PendingActivityState.SCHEDULED,
            timedelta(hours=2),
        )
        assert await handle.result() == "Hello, Ada!"
        assert await odradek_env.get_current_time() - before >= timedelta(hours=2)


async def test_a_codec_encodes_once(odradek_env: WorkflowEnvironment) -> None:
    """Arguments and result pass the orchestrator as they stand."""
    config = odradek_env.client.config()
    config["data_converter"] = DataConverter(payload_codec=EncryptionCodec({"k": b"k" * 32}, "k"))
    client = Client(**config)
    async with worker(client):
        handle = await client.start_activity(greet, "Ada", **on("secret", ordering_key="k"))
        assert await handle.result() == "Hello, Ada!"
        with pytest.raises(ActivityFailureError) as failed:
            await client.execute_activity(fails, 9, **on("secret failure", retry_policy=ONCE))
        assert isinstance(failed.value.cause, ApplicationError)
        assert (failed.value.cause.message, *failed.value.cause.details) == ("attempt 1", 1)
        told = await handle.describe(include_input=True, include_outcome=True)
        assert (await told.input(), await told.result()) == (["Ada"], "Hello, Ada!")


# ---------------------------------------------------------------------------------------------------------- failures


async def test_retries_until_it_succeeds(odradek_env: WorkflowEnvironment) -> None:
    client = odradek_env.client
    async with worker(client):
        handle = await client.start_activity(fails, 4, **on("flaky"))  # waits of 1, 2 and 4 s are skipped
        assert await handle.result() == 4
        told = await handle.describe(include_last_failure=True)
        assert told.attempt == 4
        assert str(await told.last_failure()) == "Flaky: attempt 3"


async def test_failures_of_all_kinds(odradek_env: WorkflowEnvironment) -> None:
    client = odradek_env.client
    moment = timedelta(milliseconds=50)
    no_worker: Any = {"task_queue": "nobody", "start_to_close_timeout": MINUTE, "schedule_to_start_timeout": moment}
    async with worker(client):
        with pytest.raises(ActivityFailureError) as gave_up:
            await client.execute_activity(fails, 9, **on("failed", retry_policy=ONCE))
        with pytest.raises(ActivityFailureError) as too_long:
            await client.execute_activity(fails, 99, **on("too long", schedule_to_close_timeout=MINUTE))
        with pytest.raises(ActivityFailureError) as no_start:
            await client.execute_activity(greet, id="no start", **no_worker)
        with pytest.raises(ActivityFailureError) as unknown:
            await client.execute_activity("unheard_of", **on("unknown", retry_policy=ONCE))
    assert isinstance(gave_up.value.cause, ApplicationError)
    assert (gave_up.value.cause.type, gave_up.value.cause.details) == ("Flaky", (1,))
    assert isinstance(too_long.value.cause, ApplicationError), "no attempt more would have begun in time"
    assert isinstance(no_start.value.cause, TimeoutError)
    assert no_start.value.cause.type is TimeoutType.SCHEDULE_TO_START
    assert "ODR-120" in str(unknown.value.cause) or "unheard_of" in str(unknown.value.cause)

    async def status(id: str) -> ActivityExecutionStatus:
        told = await client.get_activity_handle(id).describe(include_outcome=True)
        assert type(await told.outcome_failure()) in (ApplicationError, TimeoutError)
        return told.status

    async with worker(client):  # an environment asks the orchestrators of its workers
        assert await status("failed") is ActivityExecutionStatus.FAILED
        assert await status("no start") is ActivityExecutionStatus.TIMED_OUT
        found = [one.activity_id async for one in client.list_activities("ExecutionStatus = 'TimedOut'")]
        assert found == ["no start"]


async def test_what_cannot_be_started(odradek_env: WorkflowEnvironment) -> None:
    client = odradek_env.client
    with pytest.raises(ValueError, match="ODR-062"):
        await client.start_activity(greet, id="x", task_queue="tq")
    with pytest.raises(ValueError, match="ODR-200"):
        await client.start_activity(greet, **on("x" * 1000))
    with pytest.raises(ValueError, match="ODR-200: an ordering key"):
        await client.start_activity(greet, **on("x", ordering_key="k" * 1000))
    with pytest.raises(ValueError, match="ODR-201"):
        await client.start_activity(greet, **on("x", ordering_key="k", start_delay=MINUTE))
    with pytest.raises(TypeError, match="ODR-125"):
        await client.start_activity(worker, **on("x"))
    with pytest.raises(ValueError, match="start_to_close_timeout is -1 day"):
        await client.start_activity(greet, **on("x", start_to_close_timeout=timedelta(days=-1)))
    with pytest.raises(ValueError, match="ODR-048"):
        await client.start_activity(greet, **on("x", retry_policy=RetryPolicy(maximum_attempts=-1)))


# ----------------------------------------------------------------------------------------------------------- controls


async def test_cancel_a_running_one(odradek_env: WorkflowEnvironment) -> None:
    client = odradek_env.client
    async with worker(client):
        handle = await started(client)
        told = await told_when(handle, lambda told: told.has_heartbeat_details())
        assert told.run_state is PendingActivityState.STARTED
        assert await told.heartbeat_details() == ["wait"]
        await handle.cancel(reason="not needed")
        with pytest.raises(ActivityFailureError) as cancelled:
            await handle.result()
        assert isinstance(cancelled.value.cause, CancelledError)
        told = await handle.describe()
        assert (told.status, told.canceled_reason) == (ActivityExecutionStatus.CANCELED, "not needed")


async def test_cancel_between_two_attempts(odradek_env: WorkflowEnvironment) -> None:
    client = odradek_env.client
    hourly = RetryPolicy(initial_interval=timedelta(hours=1))
    async with worker(client):
        with odradek_env.auto_time_skipping_disabled():
            handle = await client.start_activity(fails, 9, **on("between", retry_policy=hourly))
            await backing_off(handle)
            await handle.cancel()
            with pytest.raises(ActivityFailureError) as cancelled:
                await handle.result()
        assert isinstance(cancelled.value.cause, CancelledError)


async def test_terminate(odradek_env: WorkflowEnvironment) -> None:
    client = odradek_env.client
    async with worker(client):
        handle = await started(client)
        await handle.terminate(reason="enough")
        with pytest.raises(ActivityFailureError) as ended:
            await handle.result()
        assert isinstance(ended.value.cause, TerminatedError)
        assert (await handle.describe()).status is ActivityExecutionStatus.TERMINATED
        gate.set()
        with pytest.raises(RPCError) as closed:
            await handle.cancel()
        assert closed.value.status is RPCStatusCode.NOT_FOUND


async def test_pause_unpause_and_options(odradek_env: WorkflowEnvironment) -> None:
    client = odradek_env.client
    keys = ActivityOptionsKeys
    async with worker(client):
        with odradek_env.auto_time_skipping_disabled():
            handle = await client.start_activity(
                fails, 3, **on("paused", retry_policy=RetryPolicy(initial_interval=timedelta(hours=1)))
            )
            await backing_off(handle)
            await handle.pause(reason="the bank is down")
            told = await handle.describe()
            assert (told.status, told.run_state) == (ActivityExecutionStatus.PAUSED, PendingActivityState.PAUSED)
            assert told.pause_reason == "the bank is down"
            changed = await handle.update_options(
                [keys.retry_policy.value_set(QUICKLY), keys.heartbeat_timeout.value_set(MINUTE)]
            )
            assert (changed.retry_policy, changed.heartbeat_timeout) == (QUICKLY, MINUTE)
            assert changed.start_to_close_timeout == MINUTE
            restored = await handle.restore_original_options()
            assert restored.heartbeat_timeout is None
            assert restored.retry_policy.initial_interval == timedelta(hours=1)
            await handle.update_options([keys.retry_policy.value_set(QUICKLY)])
            await handle.unpause()
            assert await handle.result() == 3
        with pytest.raises(ValueError, match="at least one"):
            await handle.update_options([])
        with pytest.raises(ValueError, match="two updates"):
            await handle.update_options([keys.priority.value_unset(), keys.priority.value_unset()])


@pytest.mark.parametrize("by_token", [True, False])
async def test_completed_from_outside(odradek_env: WorkflowEnvironment, by_token: bool) -> None:
    client = odradek_env.client
    async with worker(client):
        handle = await client.start_activity(by_hand, **on("outside"))
        info = await infos.get()
        where: Any = {"task_token": info.task_token} if by_token else {"activity_id": "outside"}
        await client.get_async_activity_handle(**where).complete("done")
        assert await handle.result() == "done"


# ------------------------------------------------------------------------------------------------------------ policies


async def test_one_id_is_one_activity_at_a_time(odradek_env: WorkflowEnvironment) -> None:
    client = odradek_env.client
    async with worker(client):
        handle = await started(client)
        with pytest.raises(ActivityAlreadyStartedError) as twice:
            await client.start_activity(greet, **on("waiting"))
        assert (twice.value.activity_id, twice.value.activity_type) == ("waiting", "greet")
        assert twice.value.run_id == handle.run_id
        existing = await client.start_activity(
            waits, "again", **on("waiting", id_conflict_policy=ActivityIDConflictPolicy.USE_EXISTING)
        )
        assert existing.run_id == handle.run_id
        gate.set()
        assert await existing.result() == "wait"


async def test_an_id_after_its_end(odradek_env: WorkflowEnvironment) -> None:
    client = odradek_env.client
    reuse = ActivityIDReusePolicy
    async with worker(client):
        with pytest.raises(ActivityFailureError):
            await client.execute_activity(fails, 9, **on("again", retry_policy=ONCE))
        with pytest.raises(ActivityAlreadyStartedError):
            await client.start_activity(greet, **on("again", id_reuse_policy=reuse.REJECT_DUPLICATE))
        only_failed = on("again", id_reuse_policy=reuse.ALLOW_DUPLICATE_FAILED_ONLY)
        assert await client.execute_activity(greet, "Ada", **only_failed) == "Hello, Ada!"
        with pytest.raises(ActivityAlreadyStartedError):
            await client.start_activity(greet, **only_failed)
        assert await client.execute_activity(greet, "Eve", **on("again")) == "Hello, Eve!"


async def test_a_request_that_comes_twice_counts_once(odradek_env: WorkflowEnvironment) -> None:
    client = odradek_env.client
    async with worker(client):
        first = await client.start_activity(greet, "Ada", **on("once", request_id="message-17"))
        again = await client.start_activity(greet, "Ada", **on("once", request_id="message-17"))
        assert await first.result() == await again.result() == "Hello, Ada!"
        assert first.run_id == again.run_id
        assert calls == ["Ada"]


# ------------------------------------------------------------------------------------------------------------ listings


@workflow.defn
class Ordinary:
    @workflow.run
    async def run(self) -> None: ...


async def test_listings_keep_activities_and_workflows_apart(odradek_env: WorkflowEnvironment) -> None:
    client = odradek_env.client
    red = TypedSearchAttributes([SearchAttributePair(COLOUR, "red")])
    async with (
        Worker(client, task_queue="tq", workflows=[Ordinary]),
        worker(client),
    ):
        await client.execute_workflow(Ordinary.run, id="wf", task_queue="tq")
        await client.execute_activity(greet, **on("a"))
        await client.execute_activity(greet, **on("b", search_attributes=red, summary="A greeting"))
        await client.execute_activity(in_a_thread, 1, **on("c", ordering_key="k"))

        async def ids(query: str | None = None, **more: Any) -> list[str]:
            return sorted([one.activity_id async for one in client.list_activities(query, **more)])

        assert await ids() == ["a", "b", "c"]
        assert await ids("ActivityType = 'greet' AND ActivityId != 'a'") == ["b"]
        assert await ids("Colour = 'red'") == ["b"]
        assert len(await ids(limit=2)) == 2
        assert await ids("WorkflowId IS NULL") == ["a", "b", "c"]
        [shown] = [one async for one in client.list_activities("ActivityId = 'b'")]
        assert (shown.activity_type, shown.task_queue, shown.namespace) == ("greet", "tq", "default")
        assert shown.status is ActivityExecutionStatus.COMPLETED
        assert shown.typed_search_attributes[COLOUR] == "red"
        assert shown.close_time is not None
        assert shown.execution_duration is not None
        assert (await client.count_activities()).count == 3
        by_type = await client.count_activities("GROUP BY ActivityType")
        assert [(group.count, *group.group_values) for group in by_type.groups] == [(2, "greet"), (1, "in_a_thread")]
        assert [run.id async for run in client.list_workflows()] == ["wf"]
        assert (await client.count_workflows()).count == 1
        assert (await client.get_activity_handle("b").describe()).summary == "A greeting"


# -------------------------------------------------------------------------------------------------------- order by key


async def test_those_of_one_key_run_one_after_the_other(odradek_env: WorkflowEnvironment) -> None:
    client = odradek_env.client
    async with worker(client):
        handles = [
            await client.start_activity(waits, str(n), **on(f"k-{n}", ordering_key="customer-7", retry_policy=QUICKLY))
            for n in range(5)
        ]
        assert (await infos.get()).activity_id == "k-0"
        other = await client.start_activity(greet, "Ada", **on("other", ordering_key="customer-8"))
        assert await other.result() == "Hello, Ada!", "another key waits for nothing of this one"
        told = await handles[3].describe()
        assert (told.attempt, told.ordering_key) == (0, "customer-7")
        assert told.run_state is PendingActivityState.SCHEDULED
        await handles[2].cancel()
        assert infos.empty()
        gate.set()
        with pytest.raises(ActivityFailureError) as cancelled:
            await handles[2].result()
        assert isinstance(cancelled.value.cause, CancelledError)
        assert [await handles[n].result() for n in (0, 1, 3, 4)] == ["0", "1", "3", "4"]
        assert [infos.get_nowait().activity_id for _ in range(3)] == ["k-1", "k-3", "k-4"]


async def test_a_terminated_one_does_not_hold_up_its_key(odradek_env: WorkflowEnvironment) -> None:
    client = odradek_env.client
    async with worker(client):
        first = await client.start_activity(waits, "0", **on("k-0", ordering_key="k"))
        second = await client.start_activity(greet, "Ada", **on("k-1", ordering_key="k"))
        await infos.get()
        await first.terminate()
        gate.set()
        assert await second.result() == "Hello, Ada!"  # the lane asks, after a while that is skipped


async def test_ordered_starts_obey_policies(odradek_env: WorkflowEnvironment) -> None:
    client = odradek_env.client
    async with worker(client):
        handle = await client.start_activity(waits, "0", **on("k-0", ordering_key="k"))
        await infos.get()
        with pytest.raises(ActivityAlreadyStartedError):
            await client.start_activity(waits, "1", **on("k-0", ordering_key="k"))
        existing = await client.start_activity(
            waits, "2", **on("k-0", ordering_key="k", id_conflict_policy=ActivityIDConflictPolicy.USE_EXISTING)
        )
        use = ActivityIDConflictPolicy.USE_EXISTING
        unordered = await client.start_activity(waits, "3", **on("plain"))
        same = await client.start_activity(waits, "4", **on("plain", ordering_key="k", id_conflict_policy=use))
        assert same.run_id == unordered.run_id, "it has its place already"
        gate.set()
        assert await existing.result() == await handle.result() == "0"


# -------------------------------------------------------------------------------------------------------- interceptors


class Tracing(Interceptor):
    def __init__(self) -> None:
        self.seen: list[str] = []

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        return _Traced(next, self.seen)


class _Traced(OutboundInterceptor):
    def __init__(self, next: OutboundInterceptor, seen: list[str]) -> None:
        super().__init__(next)
        self.seen = seen

    async def start_activity(self, input: StartActivityInput) -> ActivityHandle[Any]:
        self.seen.append(f"{input.activity_type}{list(input.args)}")
        input.args = ["Eve"]
        return await super().start_activity(input)


async def test_interceptors_see_starts(odradek_env: WorkflowEnvironment) -> None:
    tracing = Tracing()
    config = odradek_env.client.config()
    config["interceptors"] = [tracing]
    client = Client(**config)
    async with worker(client):
        assert await client.execute_activity(greet, "Ada", **on("seen")) == "Hello, Eve!"
    assert tracing.seen == ["greet['Ada']"]


async def test_its_history_can_be_replayed(odradek_env: WorkflowEnvironment) -> None:
    client = odradek_env.client
    async with worker(client):
        await client.execute_activity(fails, 2, **on("replayed", retry_policy=QUICKLY, ordering_key="k"))
        history = await client.get_workflow_handle("__activity:replayed").fetch_history()
        lane = await client.get_workflow_handle("__lane:k").fetch_history()
    for one in (history, lane):
        await Replayer(workflows=[Ordinary]).replay_workflow(one)


async def test_mocked(odradek_env: WorkflowEnvironment) -> None:
    """A test gives the worker another function under the activity's name."""

    @activity.defn(name="greet")
    async def mocked(name: str) -> str:
        return f"mocked {name}"

    async with Worker(odradek_env.client, task_queue="tq", activities=[mocked]):
        assert await odradek_env.client.execute_activity(greet, "Ada", **on("mocked")) == "mocked Ada"
