"""Workflows of two namespaces on one log: children, signals and cancellations go from one to the other and back."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from odradek import workflow
from odradek.client import Client, RequestPolicy, WorkflowExecutionStatus, WorkflowFailureError
from odradek.exceptions import ApplicationError, ChildWorkflowError
from odradek.log import namespace as namespaces
from odradek.orchestrator import abroad
from odradek.orchestrator.settings import OrchestratorSettings
from odradek.worker import Worker

SETTINGS = OrchestratorSettings(checkpoint_seconds=0.1, claim_again_seconds=0.05, session_timeout_seconds=1)


@workflow.defn
class Charge:
    """Of the payments team."""

    def __init__(self) -> None:
        self.approved = False

    @workflow.signal
    def approve(self) -> None:
        self.approved = True

    @workflow.run
    async def run(self, amount: int) -> str:
        parent = workflow.info().parent
        await workflow.wait_condition(lambda: self.approved)
        return f"{parent.namespace if parent else None}/{workflow.info().namespace}: {amount}"


@workflow.defn
class Order:
    """Of the shop team, which knows the other only by names."""

    @workflow.run
    async def run(self, what: str, namespace: str) -> str:
        charge = await workflow.start_child_workflow(
            "Charge", 100, id="charge", namespace=namespace, task_queue="q", result_type=str
        )
        if what == "signal":
            await charge.signal("approve")
        elif what == "handle":
            await workflow.get_external_workflow_handle("charge", namespace=namespace).signal("approve")
        elif what == "cancel":
            charge.cancel()
        elif what == "cancel-handle":
            await workflow.get_external_workflow_handle_for(Charge.run, "charge", namespace=namespace).cancel("no")
        elif what == "leave":
            return "left"
        try:
            return str(await charge)
        except ChildWorkflowError as error:
            return f"{error.namespace}/{type(error.cause).__name__}"


@workflow.defn
class Lost:
    @workflow.run
    async def run(self, namespace: str) -> list[str]:
        found = []
        try:
            await workflow.execute_child_workflow("Charge", 1, id="c", namespace=namespace)
        except ChildWorkflowError as error:
            found.append(str(getattr(error.cause, "type", "")))
        handle = workflow.get_external_workflow_handle("c", namespace=namespace)
        for call in (handle.signal("approve"), handle.cancel()):
            try:
                await call
            except ApplicationError as error:
                found.append(error.type or "")
        return found


def on_two_namespaces(main: Callable[[Client, Client], Awaitable[None]], address: str = "") -> None:
    async def run() -> None:
        log = address or f"memory://{uuid.uuid4().hex}"
        policy = RequestPolicy(retry_seconds=0.3, retry_seconds_max=0.5)
        async with AsyncExitStack() as stack:
            clients = []
            for namespace, workflows in (("shop", [Order, Lost]), ("payments", [Charge])):
                connecting = Client.connect(log, namespace=namespace, request_policy=policy)
                client = await stack.enter_async_context(await connecting)
                worker = Worker(client, task_queue="q", workflows=workflows, orchestrator_settings=SETTINGS)
                await stack.enter_async_context(worker)
                clients.append(client)
            await asyncio.wait_for(main(*clients), 60)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("what", "outcome"),
    [
        ("signal", "shop/payments: 100"),
        ("handle", "shop/payments: 100"),
        ("cancel", "payments/CancelledError"),
        ("cancel-handle", "payments/CancelledError"),
    ],
)
def test_child_of_another_namespace(what: str, outcome: str) -> None:
    async def main(shop: Client, payments: Client) -> None:
        assert await shop.execute_workflow(Order.run, args=[what, "payments"], id="order", task_queue="q") == outcome
        described = await payments.get_workflow_handle("charge").describe()
        assert described.id == "charge"

    on_two_namespaces(main)


def test_child_of_another_namespace_on_a_file(tmp_path: Path) -> None:
    """The other namespace is opened in a thread of its own."""

    async def main(shop: Client, payments: Client) -> None:
        arguments = ["signal", "payments"]
        assert (
            await shop.execute_workflow(Order.run, args=arguments, id="order", task_queue="q") == "shop/payments: 100"
        )

    on_two_namespaces(main, f"sqlite:///{tmp_path}/log.db")


def test_end_of_a_parent_reaches_its_child_in_another_namespace() -> None:
    async def main(shop: Client, payments: Client) -> None:
        assert await shop.execute_workflow(Order.run, args=["leave", "payments"], id="order", task_queue="q") == "left"
        with pytest.raises(WorkflowFailureError):
            await payments.get_workflow_handle("charge").result()
        described = await payments.get_workflow_handle("charge").describe()
        assert described.status == WorkflowExecutionStatus.TERMINATED

    on_two_namespaces(main)


def test_namespace_that_does_not_exist_is_told_at_once_and_not_made() -> None:
    async def main(shop: Client, payments: Client) -> None:
        found = await shop.execute_workflow(Lost.run, "nowhere", id="lost", task_queue="q")
        assert found == ["ODR-129"] * 3
        assert shop.connection.log.topic("nowhere.inbox") is None
        found = await shop.execute_workflow(Lost.run, "not a name", id="lost", task_queue="q")
        assert found == ["ODR-129"] * 3

    on_two_namespaces(main)


def test_namespace_that_cannot_be_opened_holds_up_its_own_messages_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """They wait, in order, and are delivered once it can be."""
    attempts = 0
    opening = namespaces.open_namespace

    def open_namespace(*arguments: object, **options: object) -> object:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            raise RuntimeError("no right to read its facts")
        return opening(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(abroad, "open_namespace", open_namespace)
    monkeypatch.setattr(abroad, "OPEN_AGAIN_SECONDS", 0.1)

    async def main(shop: Client, payments: Client) -> None:
        order = await shop.start_workflow(Order.run, args=["signal", "payments"], id="order", task_queue="q")
        assert await shop.execute_workflow(Lost.run, "nowhere", id="lost", task_queue="q") == ["ODR-129"] * 3
        assert await order.result() == "shop/payments: 100"
        assert attempts >= 3

    on_two_namespaces(main)


def test_message_whose_lifetime_ends_before_its_namespace_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    def open_namespace(*_: object, **__: object) -> None:
        raise RuntimeError("no right to read its facts")

    monkeypatch.setattr(abroad, "open_namespace", open_namespace)
    monkeypatch.setattr(abroad, "CHECK_SECONDS", 0.01)
    monkeypatch.setattr("odradek.orchestrator.core.child_calls.MESSAGE_LIFETIME_MS", 1)
    monkeypatch.setattr("odradek.orchestrator.core.instance.MESSAGE_LIFETIME_MS", 1)

    async def main(shop: Client, payments: Client) -> None:
        assert await shop.execute_workflow(Lost.run, "payments", id="lost", task_queue="q") == ["ODR-129"] * 3

    on_two_namespaces(main)
