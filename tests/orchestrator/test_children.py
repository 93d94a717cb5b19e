"""Child workflows on one partition, driven by hand: start, result, failures, cancellation, the parent's end."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from odradek import workflow
from odradek.exceptions import (
    ApplicationError,
    CancelledError,
    ChildWorkflowError,
    RetryState,
    TerminatedError,
    TimeoutError,
    is_cancelled_exception,
)
from odradek.orchestrator.core.children import child_run_id
from odradek.schemas import records as r
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
        limits = {name: timedelta(seconds=seconds) for name, seconds in options.items()}
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
    partition, owner = run(Family, Double, instances_in_memory_max=0)
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
