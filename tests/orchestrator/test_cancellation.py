"""Cancellation is asyncio's: it arrives where the code waits, the code may clean up, and decides how the run ends."""

from __future__ import annotations

import asyncio
import gc
from datetime import timedelta
from typing import Any

import pytest

from odradek import workflow
from odradek.exceptions import ActivityError, ApplicationError, CancelledError, is_cancelled_exception
from odradek.orchestrator.core.state import Room
from odradek.schemas import records as r
from tests.orchestrator.partition import Owner, Partition

SOON = {"start_to_close_timeout": timedelta(seconds=1000)}
WAIT = workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
ABANDON = workflow.ActivityCancellationType.ABANDON


async def work(**options: Any) -> Any:
    return await workflow.execute_activity("work", **{**SOON, **options})


async def undo() -> None:
    await workflow.execute_activity("undo", **SOON)


@workflow.defn
class Ways:
    def __init__(self) -> None:
        self.seen: list[str] = []

    @workflow.query
    def heard(self) -> list[str]:
        return self.seen

    @workflow.run
    async def run(self, way: str) -> Any:
        return await getattr(self, way)()

    async def lets_go(self) -> None:
        await asyncio.sleep(100)

    async def lets_go_of_activity(self) -> None:
        await work()

    async def cleans_up(self) -> None:
        try:
            await work()
        finally:
            await undo()
            self.seen.append("undone")

    async def swallows(self) -> str:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            return f"no: {workflow.cancellation_reason()}"
        return "?"

    async def fails_meanwhile(self) -> None:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            raise ApplicationError("while cancelling") from None

    async def sees_an_activity_error(self) -> list[Any]:
        try:
            await work()
        except ActivityError as error:
            return [type(error.cause).__name__, is_cancelled_exception(error), error.activity_type]
        return []

    async def shields(self) -> Any:
        task = asyncio.create_task(work())
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            self.seen.append("asked")
        return await task

    async def cancels_handle(self) -> str:
        handle = workflow.start_activity("work", **SOON)
        await asyncio.sleep(1)
        handle.cancel()
        try:
            await handle
        except ActivityError as error:
            return type(error.cause).__name__
        return "?"

    async def cancels_before_start(self) -> str:
        handle = workflow.start_activity("work", **SOON)
        handle.cancel()
        try:
            await handle
        except (ActivityError, asyncio.CancelledError) as error:
            return f"cancelled: {is_cancelled_exception(error)}"
        return "?"

    async def waits_for_the_end(self) -> Any:
        try:
            return await work(cancellation_type=WAIT)
        except ActivityError as error:
            return f"after all: {type(error.cause).__name__}"

    async def abandons(self) -> str:
        try:
            await work(cancellation_type=ABANDON)
        except ActivityError as error:
            return type(error.cause).__name__
        return "?"

    async def gathers(self) -> None:
        await asyncio.gather(work(), asyncio.sleep(100), undo())

    async def raises_the_failure(self) -> None:
        """Not asked to cancel: a failure like any other."""
        raise CancelledError("of my own")

    async def in_a_group(self) -> Any:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(work())
                await asyncio.sleep(0)
                raise ApplicationError("no")
        except* ApplicationError as errors:
            self.seen = [str(error) for error in errors.exceptions]
        return self.seen


def begin(way: str, **options: Any) -> tuple[Partition, Owner, r.Request]:
    partition = Partition([Ways])
    owner = Owner(partition)
    owner.activities = None
    request = partition.start("w", "Ways", way, **options)
    owner.run()
    return partition, owner, request


def cancel(partition: Partition, owner: Owner, reason: str = "enough") -> r.Request:
    request = partition.request()
    partition.send("w", r.CancelWorkflow(reason, request=request))
    owner.run()
    return request


def complete(partition: Partition, owner: Owner, seq: int, value: Any = None, failure: r.Failure | None = None) -> None:
    live = owner.shard.workflow("w").live
    assert live is not None
    result = None if failure else partition.payload(value)
    partition.send("w", r.ActivityResult(live.run.run_id, seq, 1, "worker", partition.now_ms, result, failure))
    owner.run()


def outcome(partition: Partition, request: r.Request) -> r.RunOutcome:
    (found,) = [body for body in partition.replies(request) if isinstance(body, r.RunOutcome)]
    return found


def scheduled(owner: Owner) -> list[str]:
    live = owner.shard.workflow("w").live
    assert live is not None
    return [activity.scheduled.activity_type for activity in live.run.activities.values()]


def events(partition: Partition, owner: Owner) -> list[str]:
    codec = owner.shard.config.codec
    return [type(e.body).__name__ for _, blocks in partition.archive for e in codec.decode_events(blocks)]


@pytest.mark.parametrize("way", ["lets_go", "lets_go_of_activity", "gathers"])
def test_a_run_that_lets_go_is_cancelled(way: str) -> None:
    partition, owner, request = begin(way)
    answered = cancel(partition, owner)
    assert isinstance(partition.replies(answered)[0], r.Accepted)
    assert outcome(partition, request).status == "cancelled"


def test_cleaning_up_may_take_activities_and_is_not_disturbed_by_a_second_request() -> None:
    partition, owner, request = begin("cleans_up")
    cancel(partition, owner)
    assert scheduled(owner) == ["undo"]
    again = cancel(partition, owner, "really")
    assert isinstance(partition.replies(again)[0], r.Accepted)
    assert scheduled(owner) == ["undo"]
    complete(partition, owner, 2)
    assert outcome(partition, request).status == "cancelled"


def test_a_run_may_swallow_its_cancellation_and_know_its_reason() -> None:
    partition, owner, request = begin("swallows")
    cancel(partition, owner, "closing time")
    assert partition.result(request) == "no: closing time"


def test_a_run_that_fails_while_it_is_cancelled_has_failed() -> None:
    partition, owner, request = begin("fails_meanwhile")
    cancel(partition, owner)
    found = outcome(partition, request)
    assert found.status == "failed"
    assert found.failure is not None
    assert found.failure.message == "while cancelling"


def test_an_activity_of_a_cancelled_run_raises_an_activity_error() -> None:
    partition, owner, request = begin("sees_an_activity_error")
    cancel(partition, owner)
    assert partition.result(request) == ["CancelledError", True, "work"]


def test_what_is_shielded_goes_on() -> None:
    partition, owner, request = begin("shields")
    cancel(partition, owner)
    assert scheduled(owner) == ["work"]
    complete(partition, owner, 1, "kept")
    assert partition.result(request) == "kept"


def test_a_cancelled_handle_raises_an_activity_error() -> None:
    partition, owner, request = begin("cancels_handle")
    owner.pass_time(1)
    assert partition.result(request) == "CancelledError"
    assert "ActivityCancelRequested" in events(partition, owner)


def test_a_handle_cancelled_before_it_ran_gives_the_activity_up() -> None:
    partition, owner, request = begin("cancels_before_start")
    assert partition.result(request) == "cancelled: True"
    assert "ActivityCancelRequested" in events(partition, owner)


@pytest.mark.parametrize("obeys", [True, False])
def test_who_waits_for_a_cancellation_gets_what_came_of_it(obeys: bool) -> None:
    partition, owner, request = begin("waits_for_the_end")
    cancel(partition, owner)
    assert scheduled(owner) == ["work"]
    if obeys:
        complete(partition, owner, 1, failure=r.Failure(r.FailureKind.CANCELLED, "Cancelled"))
        assert partition.result(request) == "after all: CancelledError"
    else:
        complete(partition, owner, 1, "finished first")
        assert partition.result(request) == "finished first"


def test_an_abandoned_activity_hears_nothing() -> None:
    partition, owner, request = begin("abandons")
    cancel(partition, owner)
    assert partition.result(request) == "CancelledError"
    assert "ActivityCancelRequested" not in events(partition, owner)


def test_a_cancellation_of_its_own_making_is_a_failure() -> None:
    partition, _, request = begin("raises_the_failure")
    assert outcome(partition, request).status == "failed"


def test_a_group_that_fails_names_only_what_failed() -> None:
    """Its tasks that were cancelled are no errors of it, whatever they waited for."""
    partition, _, request = begin("in_a_group")
    assert partition.result(request) == ["no"]


def test_a_request_that_comes_before_the_code_has_run_is_heard_at_the_first_wait() -> None:
    partition = Partition([Ways])
    owner = Owner(partition)
    owner.activities = None
    request = partition.start("w", "Ways", "swallows", start_delay_ms=60_000)
    partition.send("w", r.CancelWorkflow("early", request=partition.request()))
    owner.run()
    owner.pass_time(61)
    assert partition.result(request) == "no: early"


def test_a_terminated_run_is_not_asked() -> None:
    partition, owner, request = begin("cleans_up")
    partition.send("w", r.TerminateWorkflow(partition.request(), "now"))
    owner.run()
    assert outcome(partition, request).status == "terminated"
    assert "ActivityScheduled" not in events(partition, owner)[2:]


@pytest.mark.parametrize(
    "limit", [{"run_timeout_ms": 50_000}, {"execution_timeout_ms": 50_000}], ids=["run", "execution"]
)
def test_a_run_that_times_out_is_not_asked(limit: dict[str, Any]) -> None:
    partition, owner, request = begin("cleans_up", **limit)
    owner.pass_time(49)
    assert not [body for body in partition.replies(request) if isinstance(body, r.RunOutcome)]
    owner.pass_time(2)
    assert outcome(partition, request).status == "timed-out"


def test_a_task_timeout_says_how_long_a_step_of_the_code_may_take_and_ends_no_run() -> None:
    partition, owner, request = begin("swallows", task_timeout_ms=1_000)
    owner.pass_time(50)
    cancel(partition, owner, "later")
    assert partition.result(request) == "no: later"


@pytest.mark.parametrize("way", ["cleans_up", "shields", "waits_for_the_end"])
def test_a_cancelled_run_replays(way: str) -> None:
    """Dropped from memory at any moment, it comes back to where it was."""
    partition = Partition([Ways], room=Room(instances=0))
    owner = Owner(partition)
    owner.activities = None
    partition.start("w", "Ways", way)
    owner.run()
    cancel(partition, owner)
    cancel(partition, owner)
    complete(partition, owner, 2 if way == "cleans_up" else 1)
    assert not owner.shard.parked
    assert owner.shard.workflow("w").live is None


@workflow.defn
class CleaningUpAtLength:
    @workflow.run
    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(100))
                await asyncio.sleep(100)
        finally:
            await undo()


@workflow.defn
class Innocent:
    @workflow.run
    async def run(self) -> list[int]:
        gc.collect()
        await work()
        gc.collect()
        return [workflow.info().get_current_history_length()]


def test_what_is_left_of_a_dropped_run_does_not_act_in_the_name_of_another() -> None:
    """Its cleanup awaits, so one closing does not end it; the collector would end it inside whatever runs then."""
    partition = Partition([CleaningUpAtLength, Innocent])
    owner = Owner(partition)
    owner.activities = {"work": lambda: None}
    partition.start("dropped", "CleaningUpAtLength")
    owner.run()
    live = owner.shard.workflow("dropped").live
    assert live is not None
    gc.disable()
    try:
        owner.shard.drop_instance(live)
        request = partition.start("innocent", "Innocent")
        owner.run()
    finally:
        gc.enable()
    assert partition.result(request) == [3]
    assert events(partition, owner).count("ActivityScheduled") == 1
