"""Updates and questions about closed runs as clients see them: real client, worker and orchestrator."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from odradek import workflow
from odradek.client import (
    Client,
    Interceptor,
    OutboundInterceptor,
    StartWorkflowUpdateInput,
    WithStartWorkflowOperation,
    WorkflowExecutionStatus,
    WorkflowQueryRejectedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateHandle,
    WorkflowUpdateRPCTimeoutOrCancelledError,
    WorkflowUpdateStage,
)
from odradek.common import QueryRejectCondition, WorkflowIDConflictPolicy
from odradek.exceptions import ApplicationError, WorkflowAlreadyStartedError
from odradek.orchestrator.settings import OrchestratorSettings
from odradek.service import RPCError, RPCStatusCode
from odradek.worker import Worker

SETTINGS = OrchestratorSettings(checkpoint_seconds=0.1, session_timeout_seconds=2)


@workflow.defn
class Cart:
    @workflow.init
    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.items: list[str] = []
        self.paid = False

    @workflow.run
    async def run(self, limit: int) -> int:
        await workflow.wait_condition(lambda: self.paid)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return len(self.items)

    @workflow.update
    async def add(self, item: str) -> int:
        self.items.append(item)
        return len(self.items)

    @add.validator
    def may_add(self, item: str) -> None:
        if len(self.items) >= self.limit:
            raise ApplicationError(f"no room for {item}", type="Full")

    @workflow.update
    async def when_paid(self, greeting: str, punctuation: str) -> str:
        await workflow.wait_condition(lambda: self.paid)
        return greeting + punctuation

    @workflow.update
    def bug(self) -> None:
        raise RuntimeError("a bug")

    @workflow.signal
    def pay(self) -> None:
        self.paid = True

    @workflow.query
    def content(self) -> list[str]:
        return self.items


@asynccontextmanager
async def served(address: str | None = None, **options: Any) -> AsyncIterator[Client]:
    async with (
        await Client.connect(address or f"memory://{uuid.uuid4().hex}", **options) as client,
        Worker(client, task_queue="q", workflows=[Cart], orchestrator_settings=SETTINGS),
    ):
        yield client


def run(test: Callable[[Client], Awaitable[None]], address: str | None = None) -> None:
    async def main() -> None:
        async with served(address) as client:
            await asyncio.wait_for(test(client), 60)

    asyncio.run(main())


def starting(limit: int = 2, policy: WorkflowIDConflictPolicy = WorkflowIDConflictPolicy.USE_EXISTING) -> Any:
    return WithStartWorkflowOperation(Cart.run, limit, id="cart", task_queue="q", id_conflict_policy=policy)


def test_updates_are_executed_started_and_asked_for_again() -> None:
    async def body(client: Client) -> None:
        cart = await client.start_workflow(Cart.run, 2, id="cart", task_queue="q")
        assert await cart.execute_update(Cart.add, "tea") == 1
        assert await cart.execute_update("add", "jam", id="jam") == 2
        assert await cart.execute_update("add", "jam", id="jam") == 2, "the same update"
        with pytest.raises(WorkflowUpdateFailedError) as full:
            await cart.execute_update(Cart.add, "rice")
        assert isinstance(full.value.cause, ApplicationError)
        assert (full.value.cause.type, full.value.cause.message) == ("Full", "no room for rice")
        rejected = await cart.start_update(Cart.add, "rice", wait_for_stage=WorkflowUpdateStage.ACCEPTED)
        with pytest.raises(WorkflowUpdateFailedError):
            await rejected.result()
        waiting = await cart.start_update(
            Cart.when_paid, args=["thanks", "!"], id="thanks", wait_for_stage=WorkflowUpdateStage.ACCEPTED
        )
        assert (waiting.id, waiting.name, waiting.workflow_id) == ("thanks", "when_paid", "cart")
        with pytest.raises(WorkflowUpdateRPCTimeoutOrCancelledError):
            await waiting.result(rpc_timeout=timedelta(seconds=0.05))
        executing = asyncio.create_task(cart.execute_update(Cart.when_paid, args=["bye", "."]))
        again = cart.get_update_handle_for(Cart.when_paid, "thanks", workflow_run_id=waiting.workflow_run_id)
        asking = asyncio.create_task(again.result())
        await asyncio.sleep(0)
        await cart.signal(Cart.pay)
        assert await waiting.result() == "thanks!"
        assert await asking == "thanks!"
        assert await executing == "bye."
        assert await cart.result() == 2
        assert await again.result() == "thanks!"
        closed: WorkflowUpdateHandle[Any] = cart.get_update_handle("thanks", workflow_run_id=waiting.workflow_run_id)
        assert await closed.result() == "thanks!", "from the archive"
        with pytest.raises(RPCError) as unknown:
            await cart.get_update_handle("nonsense").result()
        assert (unknown.value.status, unknown.value.code) == (RPCStatusCode.NOT_FOUND, "ODR-139")
        with pytest.raises(RPCError) as late:
            await cart.execute_update(Cart.add, "late")
        assert late.value.status == RPCStatusCode.NOT_FOUND

    run(body)


def test_what_cannot_be_waited_for_and_what_does_not_exist() -> None:
    async def body(client: Client) -> None:
        cart = await client.start_workflow(Cart.run, 2, id="cart", task_queue="q")
        with pytest.raises(ValueError, match="ACCEPTED or COMPLETED"):
            await cart.start_update(Cart.add, "tea", wait_for_stage=WorkflowUpdateStage.ADMITTED)
        with pytest.raises(WorkflowUpdateFailedError) as unknown:
            await cart.execute_update("steal", "tea")
        assert "has: add, bug, when_paid" in str(unknown.value.cause)
        with pytest.raises(RPCError) as nobody:
            await client.get_workflow_handle("nobody").execute_update("add", "tea")
        assert nobody.value.status == RPCStatusCode.NOT_FOUND

    run(body)


def test_a_parked_workflow_takes_updates_in_when_its_code_is_mended() -> None:
    async def body(client: Client) -> None:
        cart = await client.start_workflow(Cart.run, 2, id="cart", task_queue="q")
        broken = await cart.start_update(Cart.bug, wait_for_stage=WorkflowUpdateStage.ACCEPTED)
        with pytest.raises(WorkflowUpdateRPCTimeoutOrCancelledError):
            await cart.execute_update(Cart.add, "tea", rpc_timeout=timedelta(seconds=0.3))
        adding = asyncio.create_task(cart.execute_update(Cart.add, "tea", id="tea"))
        handlers = workflow.Definition.of(Cart).updates
        kept = handlers["bug"]
        handlers["bug"] = type(kept)("bug", lambda self: None)
        try:
            assert await adding == 1
            assert await broken.result() is None
        finally:
            handlers["bug"] = kept

    run(body)


def test_cancelled_calls_say_so() -> None:
    async def body(client: Client) -> None:
        cart = await client.start_workflow(Cart.run, 2, id="cart", task_queue="q")
        waiting = await cart.start_update(Cart.when_paid, args=["a", "b"], wait_for_stage=WorkflowUpdateStage.ACCEPTED)
        asking = asyncio.create_task(waiting.result())
        await asyncio.sleep(0.05)
        asking.cancel()
        with pytest.raises(WorkflowUpdateRPCTimeoutOrCancelledError):
            await asking

    run(body)


def test_an_update_starts_the_workflow_or_meets_it() -> None:
    async def body(client: Client) -> None:
        first = starting()
        assert await client.execute_update_with_start_workflow(Cart.add, "tea", start_workflow_operation=first) == 1
        second = starting()
        started = await client.start_update_with_start_workflow(
            Cart.add, "jam", start_workflow_operation=second, wait_for_stage=WorkflowUpdateStage.COMPLETED
        )
        assert await started.result() == 2
        handles = [await operation.workflow_handle() for operation in (first, second)]
        assert handles[0].first_execution_run_id == handles[1].first_execution_run_id == started.workflow_run_id
        with pytest.raises(WorkflowUpdateFailedError):
            await client.execute_update_with_start_workflow(Cart.add, "rice", start_workflow_operation=starting())
        with pytest.raises(RuntimeError, match="one call only"):
            await client.execute_update_with_start_workflow(Cart.add, "x", start_workflow_operation=first)
        refused = starting(policy=WorkflowIDConflictPolicy.FAIL)
        with pytest.raises(WorkflowAlreadyStartedError):
            await client.execute_update_with_start_workflow(Cart.add, "x", start_workflow_operation=refused)
        with pytest.raises(WorkflowAlreadyStartedError):
            await refused.workflow_handle()
        await handles[0].signal(Cart.pay)
        assert await handles[0].result() == 2

    run(body)


def test_a_rejected_update_leaves_a_started_workflow() -> None:
    async def body(client: Client) -> None:
        operation = starting(limit=0)
        with pytest.raises(WorkflowUpdateFailedError):
            await client.execute_update_with_start_workflow(Cart.add, "tea", start_workflow_operation=operation)
        cart = await operation.workflow_handle()
        assert (await cart.describe()).status == WorkflowExecutionStatus.RUNNING

    run(body)
    with pytest.raises(TypeError, match="id_conflict_policy"):
        WithStartWorkflowOperation(Cart.run, 2, id="cart", task_queue="q")


def test_an_update_waits_for_a_delayed_start() -> None:
    async def body(client: Client) -> None:
        operation = WithStartWorkflowOperation(
            Cart.run, 2, id="cart", task_queue="q", id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            start_delay=timedelta(seconds=0.3),
        )  # fmt: skip
        assert await client.execute_update_with_start_workflow(Cart.add, "tea", start_workflow_operation=operation) == 1

    run(body)


@pytest.mark.parametrize("log", ["memory", "sqlite"])
def test_closed_workflows_answer_queries(log: str, tmp_path: Path) -> None:
    async def body(client: Client) -> None:
        for n in range(3):
            cart = await client.start_workflow(Cart.run, 9, id=f"cart-{n}", task_queue="q")
            await cart.execute_update(Cart.add, f"tea {n}")
            await cart.signal(Cart.pay)
            await cart.result()
        ended = await client.start_workflow(Cart.run, 9, id="cart-3", task_queue="q")
        await ended.terminate()

        async def contents(handle: Any) -> Sequence[str]:
            found: Sequence[str] = await handle.query(Cart.content)
            return found

        handles = [client.get_workflow_handle_for(Cart.run, f"cart-{n}") for n in range(4)]
        assert await asyncio.gather(*map(contents, handles)) == [["tea 0"], ["tea 1"], ["tea 2"], []]
        exact = client.get_workflow_handle("cart-0", run_id=(await handles[0].describe()).run_id)
        assert await exact.query("content") == ["tea 0"]
        with pytest.raises(WorkflowQueryRejectedError) as closed:
            await handles[0].query(Cart.content, reject_condition=QueryRejectCondition.NOT_OPEN)
        assert closed.value.status == WorkflowExecutionStatus.COMPLETED
        with pytest.raises(WorkflowQueryRejectedError) as unclean:
            await handles[3].query(Cart.content, reject_condition=QueryRejectCondition.NOT_COMPLETED_CLEANLY)
        assert unclean.value.status == WorkflowExecutionStatus.TERMINATED

    run(body, f"sqlite:///{tmp_path}/log.db" if log == "sqlite" else None)


def test_updates_pass_through_interceptors() -> None:
    seen: list[str] = []

    class Noting(OutboundInterceptor):
        async def start_workflow_update(self, input: StartWorkflowUpdateInput) -> WorkflowUpdateHandle[Any]:
            seen.append(input.update)
            return await super().start_workflow_update(input)

    class Noter(Interceptor):
        def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
            return Noting(next)

    async def main() -> None:
        async with served(interceptors=[Noter()]) as client:
            cart = await client.start_workflow(Cart.run, 2, id="cart", task_queue="q")
            assert await cart.execute_update(Cart.add, "tea") == 1

    asyncio.run(main())
    assert seen == ["add"]


def test_a_history_that_is_not_archived_any_more_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the partition goes on meanwhile, however long the read takes."""
    reading = threading.Event()

    def gone(namespace: object, workflow_id: str, places: object) -> list[Any]:
        reading.wait(30)
        raise RPCError(f'ODR-134: the history of closed workflow "{workflow_id}" is gone', RPCStatusCode.NOT_FOUND)

    monkeypatch.setattr("odradek.orchestrator.archives.read_archive", gone)

    async def body(client: Client) -> None:
        ended = await client.start_workflow(Cart.run, 9, id="cart", task_queue="q")
        await ended.terminate()
        asking = asyncio.create_task(ended.query(Cart.content))
        cart = await client.start_workflow(Cart.run, 9, id="other", task_queue="q")
        assert await cart.execute_update(Cart.add, "tea") == 1
        assert not asking.done()
        reading.set()
        with pytest.raises(RPCError) as missing:
            await asking
        assert (missing.value.status, missing.value.code) == (RPCStatusCode.NOT_FOUND, "ODR-134")

    try:
        run(body)
    finally:
        reading.set()
