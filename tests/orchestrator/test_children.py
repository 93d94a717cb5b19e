"""Child workflows on one partition, driven by hand: start, result, failures, cancellation, the parent's end."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import timedelta
from typing import Any

import pytest

from odradek import workflow
from odradek.common import (
    Priority,
    RetryPolicy,
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDReusePolicy,
)
from odradek.converter import decode_typed_search_attributes
from odradek.exceptions import (
    ApplicationError,
    CancelledError,
    ChildWorkflowError,
    RetryState,
    TerminatedError,
    TimeoutError,
    WorkflowAlreadyStartedError,
    is_cancelled_exception,
)
from odradek.orchestrator.core import effects as fx
from odradek.orchestrator.core.children import child_run_id
from odradek.orchestrator.core.describe import describe
from odradek.orchestrator.core.state import Room
from odradek.schemas import records as r
from odradek.schemas.codec import Codec
from odradek.workflow import ChildWorkflowCancellationType, ChildWorkflowConfig, ParentClosePolicy
from tests.orchestrator.partition import Owner, Partition


@workflow.defn
class Double:
    @workflow.run
    async def run(self, number: int) -> int:
        if number < 0:
            raise ApplicationError("no negative numbers", number, type="Negative", non_retryable=True)
        return 2 * number


@workflow.defn
class Waiting:
    """Waits for a signal; says in its result what became of it."""

    def __init__(self) -> None:
        self.words: list[str] = []

    @workflow.signal
    def say(self, word: str) -> None:
        self.words.append(word)

    @workflow.run
    async def run(self, slow_to_cancel: bool = False) -> list[str]:
        try:
            await workflow.wait_condition(lambda: bool(self.words))
        except asyncio.CancelledError:
            if slow_to_cancel:
                await workflow.sleep(100)
            raise
        return self.words


@workflow.defn
class Family:
    """What the child gave back, and facts about it."""

    @workflow.run
    async def run(self, number: int) -> list[Any]:
        handle = await workflow.start_child_workflow(Double.run, number, id="child")
        assert isinstance(handle, asyncio.Task)
        assert handle.id == "child"
        by_name = await workflow.execute_child_workflow("Double", args=[number + 1], result_type=int)
        return [await handle, by_name, handle.first_execution_run_id]


@workflow.defn
class Kin:
    @workflow.run
    async def run(self, depth: int) -> list[Any]:
        info = workflow.info()
        own = [info.parent and info.parent.workflow_id, info.root and info.root.workflow_id]
        if depth:
            own += await workflow.execute_child_workflow(Kin.run, depth - 1, id=f"kin-{depth}")
        return own


@workflow.defn
class Fails:
    """Says how the child failed."""

    @workflow.run
    async def run(self, workflow_type: str, argument: Any, options: dict[str, int]) -> list[Any]:
        limits: Any = {name: timedelta(seconds=seconds) for name, seconds in options.items()}
        try:
            await workflow.execute_child_workflow(workflow_type, argument, id="child", **limits)
        except ChildWorkflowError as error:
            facts = [error.namespace, error.workflow_id, error.workflow_type, error.run_id, error.retry_state]
            return [*facts, type(error.cause).__name__, str(error.cause), is_cancelled_exception(error)]
        return []


def run(*workflows: type, **limits: Any) -> tuple[Partition, Owner]:
    partition = Partition(workflows, **limits)
    return partition, Owner(partition)


def test_parent_gets_the_results_of_its_children() -> None:
    partition, owner = run(Family, Double)
    request = partition.start("parent", "Family", 20)
    owner.run()
    doubled, by_name, run_id = partition.result(request)
    parent_run = partition.replies(request)[0].run_id
    assert (doubled, by_name) == (40, 42)
    assert run_id == child_run_id(parent_run, 1)


def test_default_id_of_a_child_is_the_same_in_a_replay() -> None:
    partition, owner = run(Family, Double, room=Room(instances=0))
    request = partition.start("parent", "Family", 1)
    owner.run()
    assert partition.result(request)[:2] == [2, 4]


def test_children_know_their_parent_and_their_root() -> None:
    partition, owner = run(Kin)
    request = partition.start("top", "Kin", 2)
    owner.run()
    assert partition.result(request) == [None, None, "top", "top", "kin-2", "top"]


@pytest.mark.parametrize(
    ("kind", "argument", "options", "cause", "state"),
    [
        ("Double", -1, {}, (ApplicationError, "Negative: no negative numbers"), RetryState.NON_RETRYABLE_FAILURE),
        ("Waiting", False, {"run_timeout": 5}, (TimeoutError, "Workflow timed out (run timeout)"), RetryState.TIMEOUT),
    ],
)
def test_failed_child_tells_its_parent_why(
    kind: str, argument: Any, options: dict[str, int], cause: tuple[type, str], state: RetryState
) -> None:
    partition, owner = run(Fails, Double, Waiting)
    request = partition.start("parent", "Fails", kind, argument, options)
    owner.run()
    owner.pass_time(6)
    found = partition.result(request)
    child = child_run_id(partition.replies(request)[0].run_id, 1)
    assert found == ["test", "child", kind, child, state.value, cause[0].__name__, cause[1], False]


@pytest.mark.parametrize(
    ("body", "cause", "cancelled"),
    [
        (lambda p: r.TerminateWorkflow(p.request(), "enough"), TerminatedError, False),
        (lambda p: r.CancelWorkflow("enough", request=p.request()), CancelledError, True),
    ],
)
def test_child_ended_from_outside(body: Any, cause: type, cancelled: bool) -> None:
    partition, owner = run(Fails, Waiting)
    request = partition.start("parent", "Fails", "Waiting", False, {})
    owner.run()
    partition.send("child", body(partition))
    owner.run()
    found = partition.result(request)
    assert found[5] == cause.__name__
    assert found[7] is cancelled


@workflow.defn
class Cancels:
    """Cancels the child, or is cancelled while it waits; says what it saw, and when."""

    @workflow.run
    async def run(self, how: str, cancellation_type: str, slow: bool) -> list[Any]:
        kind = ChildWorkflowCancellationType(cancellation_type)
        began = workflow.time()
        handle = None
        try:
            if how == "handle":
                handle = await workflow.start_child_workflow(Waiting.run, slow, id="child", cancellation_type=kind)
                assert handle.cancel("changed my mind")
                await handle
            else:
                await workflow.execute_child_workflow(Waiting.run, slow, id="child", cancellation_type=kind)
        except ChildWorkflowError as error:
            if is_cancelled_exception(error):
                return [type(error.cause).__name__, workflow.time() - began, handle is not None and handle.cancel()]
        return []


@pytest.mark.parametrize("how", ["handle", "task"])
@pytest.mark.parametrize(
    ("cancellation_type", "waited", "asked"),
    [
        (ChildWorkflowCancellationType.ABANDON, False, False),
        (ChildWorkflowCancellationType.TRY_CANCEL, False, True),
        (ChildWorkflowCancellationType.WAIT_CANCELLATION_REQUESTED, False, True),
        (ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED, True, True),
    ],
)
def test_cancellation_types(how: str, cancellation_type: str, waited: bool, asked: bool) -> None:
    """The parent goes on at once, when the child has been asked, or when the child has closed."""
    partition, owner = run(Cancels, Waiting)
    request = partition.start("parent", "Cancels", how, cancellation_type, True)
    owner.run()
    if how == "task":
        partition.send("parent", r.CancelWorkflow("changed my mind", request=partition.request()))
        owner.run()
    owner.pass_time(101)
    assert partition.result(request) == ["CancelledError", 101 if waited else 0, False]
    reasons = [b.reason for b in archived(partition, "child") if isinstance(b, r.CancelRequested)]
    assert reasons == (["changed my mind"] if asked else [])


@workflow.defn
class Hasty:
    """Starts a child and takes that back in the same step."""

    @workflow.run
    async def run(self) -> str:
        task = asyncio.create_task(workflow.execute_child_workflow(Double.run, 1, id="child"))
        await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except ChildWorkflowError as error:
            return type(error.cause).__name__
        return ""


def test_child_that_is_taken_back_in_the_same_step_is_never_started() -> None:
    partition, owner = run(Hasty, Double)
    request = partition.start("parent", "Hasty")
    owner.run()
    assert partition.result(request) == "CancelledError"
    assert archived(partition, "child") == []
    assert not any(isinstance(b, r.ChildScheduled) for b in archived(partition, "parent"))


@workflow.defn
class Leaves:
    """Starts a child with a parent close policy, and ends as it is told."""

    @workflow.run
    async def run(self, policy: str, how: str) -> None:
        if how == "continued":
            return
        await workflow.start_child_workflow(Waiting.run, id="child", parent_close_policy=ParentClosePolicy(policy))
        if how == "continues":
            workflow.continue_as_new(args=[policy, "continued"])
        elif how == "fails":
            raise ApplicationError("no")
        elif how == "waits":
            await workflow.sleep(1000)


@pytest.mark.parametrize("how", ["returns", "fails", "continues", "times out", "is terminated"])
@pytest.mark.parametrize(
    ("policy", "status"),
    [
        (ParentClosePolicy.TERMINATE, "terminated"),
        (ParentClosePolicy.REQUEST_CANCEL, "cancelled"),
        (ParentClosePolicy.ABANDON, "running"),
    ],
)
def test_parent_close_policies(policy: str, status: str, how: str) -> None:
    """Whichever way the parent closes, each open child hears what its policy says."""
    partition, owner = run(Leaves, Waiting)
    waits = how in ("times out", "is terminated")
    limit = 5000 if how == "times out" else None
    partition.start("parent", "Leaves", policy, "waits" if waits else how, run_timeout_ms=limit)
    owner.run()
    if how == "is terminated":
        partition.send("parent", r.TerminateWorkflow(partition.request(), "enough"))
    owner.pass_time(6)
    assert owner.shard.workflow("parent").live is None
    assert status_of(owner, "child") == status


@workflow.defn
class Flaky:
    @workflow.run
    async def run(self, good_attempt: int) -> int:
        info = workflow.info()
        assert info.parent is not None
        if info.attempt < good_attempt:
            raise ApplicationError(f"attempt {info.attempt}")
        return info.attempt


@workflow.defn
class Patient:
    @workflow.run
    async def run(self, good_attempt: int, attempts: int) -> Any:
        policy = RetryPolicy(maximum_attempts=attempts)
        handle = await workflow.start_child_workflow(Flaky.run, good_attempt, id="child", retry_policy=policy)
        try:
            return [await handle, handle.first_execution_run_id]
        except ChildWorkflowError as error:
            return [str(error.cause), error.retry_state]


def test_retries_of_a_child_are_one_child_to_its_parent() -> None:
    partition, owner = run(Patient, Flaky)
    request = partition.start("parent", "Patient", 3, 5)
    owner.run()
    owner.pass_time(2)
    assert not any(isinstance(body, r.RunOutcome) for body in partition.replies(request))
    owner.pass_time(3)
    assert partition.result(request) == [3, child_run_id(partition.replies(request)[0].run_id, 1)]


def test_child_that_runs_out_of_attempts() -> None:
    partition, owner = run(Patient, Flaky)
    request = partition.start("parent", "Patient", 9, 2)
    owner.run()
    owner.pass_time(2)
    assert partition.result(request) == ["attempt 2", RetryState.MAXIMUM_ATTEMPTS_REACHED.value]


@workflow.defn
class Doubling:
    """Starts a child under an ID that may be in use."""

    @workflow.run
    async def run(self, policy: str) -> str:
        try:
            reuse = WorkflowIDReusePolicy(policy)
            await workflow.execute_child_workflow(Double.run, 1, id="child", id_reuse_policy=reuse)
        except WorkflowAlreadyStartedError as error:
            return f"{error.workflow_id} {error.workflow_type}"
        return "done"


def test_child_whose_id_is_in_use() -> None:
    partition, owner = run(Doubling, Double, Waiting)
    partition.start("child", "Waiting")
    request = partition.start("parent", "Doubling", "allow-duplicate")
    owner.run()
    assert partition.result(request) == "child Double"
    assert status_of(owner, "child") == "running", "the end of the parent does not touch somebody else's workflow"


def test_child_whose_id_may_not_be_used_again() -> None:
    partition, owner = run(Doubling, Double)
    partition.start("child", "Double", 1)
    request = partition.start("parent", "Doubling", "reject-duplicate")
    again = partition.start("other", "Doubling", "allow-duplicate")
    owner.run()
    assert partition.result(request) == "child Double"
    assert partition.result(again) == "done"


def sent(partition: Partition, kind: type) -> list[Any]:
    return partition.bodies(kind)


def test_start_that_comes_again_is_answered_as_the_first_time() -> None:
    """While the child runs, after it has closed, and when its start was refused."""
    partition, owner = run(Family, Doubling, Double, Waiting)
    partition.start("parent", "Family", 1)
    partition.start("busy", "Waiting")
    owner.run()
    start = next(b for b in sent(partition, r.StartWorkflow) if b.origin is not None)
    first = next(b for b in sent(partition, r.MessageAnswer) if b.number == start.origin.number)
    assert first.started_run_id == child_run_id(start.parent.run_id, start.parent.number)
    refused = dataclasses.replace(start, request=dataclasses.replace(start.request, id="other/7"))
    refused.origin = dataclasses.replace(start.origin, number=7)
    refused.parent = dataclasses.replace(start.parent, number=7)
    partition.send("busy", refused)
    owner.run()
    no = sent(partition, r.MessageAnswer)[-1]
    assert no.failure.type == "ODR-101"
    for restarted in (False, True):
        if restarted:
            owner = Owner(partition)
            owner.run()
        count = len(sent(partition, r.MessageAnswer))
        partition.send("child", start)
        partition.send("busy", refused)
        owner.run()
        assert sent(partition, r.MessageAnswer)[count:] == [first, no]


def test_start_that_is_not_answered_is_sent_again() -> None:
    partition, owner = run(Leaves, Waiting)
    partition.start("parent", "Leaves", "abandon", "waits")
    send = partition.send
    partition.send = lambda to, body: None if isinstance(body, r.MessageAnswer) else send(to, body)  # type: ignore[method-assign,assignment,return-value]
    owner.run()
    partition.send = send  # type: ignore[method-assign]
    owner.pass_time(29)
    assert waits(owner, "parent") == [("child", "starting")]
    owner.pass_time(2)
    assert waits(owner, "parent") == [("child", "started"), ("timer", "")]
    assert len([b for b in sent(partition, r.StartWorkflow) if b.origin is not None]) == 2
    assert len([e for e in history(owner, "child") if isinstance(e.body, r.RunStarted)]) == 1


def test_result_that_comes_before_the_answer_to_the_start() -> None:
    partition, owner = run(Family, Double)
    request = partition.start("parent", "Family", 1)
    send = partition.send
    answers: list[tuple[str, Any]] = []

    def late(workflow_id: str, body: Any) -> Any:
        if isinstance(body, r.MessageAnswer):
            return answers.append((workflow_id, body))
        return send(workflow_id, body)

    partition.send = late  # type: ignore[method-assign]
    owner.run()
    assert partition.result(request)[:2] == [2, 4]
    for answer in answers:
        send(*answer)
    owner.run()
    kinds = [type(b).__name__ for b in archived(partition, "parent") if "Child" in type(b).__name__]
    assert kinds == ["ChildScheduled", "ChildStarted", "ChildScheduled", "ChildClosed", "ChildStarted", "ChildClosed"]


def test_children_are_described_as_what_their_parent_waits_for() -> None:
    partition, owner = run(Leaves, Waiting)
    partition.start("parent", "Leaves", "terminate", "waits")
    owner.run()
    description = describe(owner.shard, owner.shard.workflow("parent"), None)
    assert description is not None
    assert [(w.kind, w.name, w.state) for w in description.waits if w.kind == "child"] == [
        ("child", 'Waiting "child"', "started")
    ]
    child = describe(owner.shard, owner.shard.workflow("child"), None)
    assert child is not None
    assert child.parent is not None
    assert (child.parent.workflow_id, child.parent.namespace) == ("parent", "test")
    shown = [e.record for e in partition.emitted if isinstance(e, fx.Show) and e.record]
    assert {record.workflow_id: record.parent and record.parent.workflow_id for record in shown} == {
        "parent": None,
        "child": "parent",
    }


@workflow.defn
class Crowd:
    @workflow.run
    async def run(self, size: int) -> int:
        calls = (workflow.execute_child_workflow(Double.run, number, id=f"one-{number}") for number in range(size))
        return sum(await asyncio.gather(*calls))


def test_a_thousand_children() -> None:
    partition, owner = run(Crowd, Double)
    request = partition.start("parent", "Crowd", 1000)
    owner.run()
    assert partition.result(request) == 999_000
    starts = [b for b in sent(partition, r.StartWorkflow) if b.origin is not None]
    assert len(starts) == 1000


@workflow.defn
class Renewing:
    """Goes on in a new run at once, and then waits."""

    def __init__(self) -> None:
        self.words: list[str] = []

    @workflow.signal
    def say(self, word: str) -> None:
        self.words.append(word)

    @workflow.run
    async def run(self, renewed: bool = False) -> list[str]:
        if not renewed:
            workflow.continue_as_new(True)
        await workflow.wait_condition(lambda: bool(self.words))
        return self.words


@workflow.defn
class Guardian:
    @workflow.run
    async def run(self, how: str) -> list[str]:
        child = await workflow.start_child_workflow(Renewing.run, id="child")
        await workflow.sleep(5)
        if how == "signal":
            await child.signal(Renewing.say, "hello")
        elif how == "cancel":
            child.cancel()
        words: list[str] = await child
        return words


def test_child_that_has_continued_as_new_is_still_the_same_child() -> None:
    partition, owner = run(Guardian, Renewing)
    request = partition.start("parent", "Guardian", "signal")
    owner.run()
    owner.pass_time(6)
    assert partition.result(request) == ["hello"]


@pytest.mark.parametrize("how", ["cancel", "wait"])
def test_cancellation_that_nobody_catches_cancels_parent_and_child(how: str) -> None:
    partition, owner = run(Guardian, Renewing)
    partition.start("parent", "Guardian", how)
    owner.run()
    owner.pass_time(6)
    if how == "wait":
        partition.send("parent", r.CancelWorkflow("enough", request=partition.request()))
        owner.run()
    assert status_of(owner, "child") == "cancelled"
    assert status_of(owner, "parent") == ("cancelled" if how == "wait" else "failed")


def test_result_that_reaches_a_parked_parent_is_kept_for_it() -> None:
    """Without its code the parent records how its child ended, and acts on it when the code is there."""
    partition, owner = run(Family, Double, room=Room(instances=0))
    family, double = partition.hosted["Family"], partition.hosted.pop("Double")
    request = partition.start("parent", "Family", 20)
    owner.run()
    del partition.hosted["Family"]
    partition.hosted["Double"] = double
    owner.pass_time(5)
    told = [e for e in history(owner, "parent") if isinstance(e.body, r.ChildClosed)]
    assert [event.deferred for event in told] == [True, True]
    partition.hosted["Family"] = family
    owner.pass_time(60)
    assert partition.result(request)[:2] == [40, 42]


KEY = SearchAttributeKey.for_keyword("Region")
CONFIG: ChildWorkflowConfig = {
    "id": "child",
    "task_queue": "elsewhere",
    "execution_timeout": timedelta(hours=3),
    "run_timeout": timedelta(hours=2),
    "task_timeout": timedelta(seconds=5),
    "retry_policy": RetryPolicy(maximum_attempts=4),
    "memo": {"note": "fragile"},
    "search_attributes": TypedSearchAttributes([SearchAttributePair(KEY, "north")]),
    "static_summary": "doubles",
    "static_details": "a number",
    "priority": Priority(priority_key=2),
    "versioning_intent": None,
}


@workflow.defn
class Careful:
    @workflow.run
    async def run(self) -> int:
        return await workflow.execute_child_workflow(Double.run, 4, **CONFIG)


def test_options_of_a_child_reach_it() -> None:
    partition, owner = run(Careful, Double)
    request = partition.start("parent", "Careful")
    owner.run()
    assert partition.result(request) == 8
    started = archived(partition, "child")[0]
    assert isinstance(started, r.RunStarted)
    assert (started.workflow_type, started.task_queue, started.priority) == ("Double", "elsewhere", r.TaskPriority(2))
    limits = (started.execution_timeout_ms, started.run_timeout_ms, started.task_timeout_ms)
    assert limits == (3 * 3_600_000, 2 * 3_600_000, 5000)
    assert started.retry_policy is not None
    assert started.retry_policy.maximum_attempts == 4
    assert partition.converter.payload_converter.from_payload(started.memo["note"]) == "fragile"
    assert decode_typed_search_attributes(started.search_attributes)[KEY] == "north"
    assert (started.static_summary, started.static_details) == ("doubles", "a number")


@workflow.defn
class Mistaken:
    """Calls that cannot be right fail where they are made, and start nothing."""

    @workflow.run
    async def run(self) -> list[str]:
        wrong: list[tuple[Any, dict[str, Any]]] = [
            (Double.run, {"arg": 1, "args": [1]}),
            (Double.run, {"arg": 1, "id": "a\0b"}),
            (Double.run, {"arg": 1, "run_timeout": timedelta(seconds=-1)}),
            (str, {}),
        ]
        found = []
        for called, options in wrong:
            try:
                await workflow.execute_child_workflow(called, **options)
            except (TypeError, ValueError) as error:
                found.append(str(error).split(":", maxsplit=1)[0])
        return found


def test_calls_that_cannot_be_right() -> None:
    partition, owner = run(Mistaken, Double)
    request = partition.start("parent", "Mistaken")
    owner.run()
    negative = "run_timeout of a child workflow is -1 day, 23"
    assert partition.result(request) == ["ODR-063", "ODR-135", negative, "str is no workflow"]
    assert [b for b in sent(partition, r.StartWorkflow) if b.origin is not None] == []


def history(owner: Owner, workflow_id: str) -> list[r.Event]:
    live = owner.shard.workflow(workflow_id).live
    return [] if live is None else list(owner.shard.events(live))


def waits(owner: Owner, workflow_id: str) -> list[tuple[str, str]]:
    description = describe(owner.shard, owner.shard.workflow(workflow_id), None)
    assert description is not None
    return sorted((wait.kind, wait.state) for wait in description.waits)


def archived(partition: Partition, workflow_id: str) -> list[Any]:
    """The events of the workflow's closed runs, each once."""
    mine = [(record, blocks) for record, blocks in partition.archive if record.workflow_id == workflow_id]
    parts = {(record.run_id, record.part): blocks for record, blocks in mine}
    return [event.body for blocks in parts.values() for event in Codec().decode_events(blocks)]


def status_of(owner: Owner, workflow_id: str) -> str:
    description = describe(owner.shard, owner.shard.workflow(workflow_id), None)
    assert description is not None
    return description.status
