"""The examples of single patterns, each on a clock that skips what nobody wants to wait for."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from examples import approval, batching, catalogue, code_change, escalation, fan_out, monitor, subscription, webhook
from odradek import activity
from odradek.client import (
    WorkflowFailureError,
    WorkflowHistory,
    WorkflowUpdateFailedError,
)
from odradek.exceptions import ApplicationError
from odradek.testing import WorkflowEnvironment
from odradek.worker import Replayer, Worker

QUEUE = "examples"
Calls = list[tuple[Any, ...]]


@asynccontextmanager
async def served(
    workflows: Sequence[type], activities: Sequence[Callable[..., Any]]
) -> AsyncIterator[WorkflowEnvironment]:
    async with (
        await WorkflowEnvironment.start_time_skipping() as env,
        Worker(env.client, task_queue=QUEUE, workflows=workflows, activities=activities),
    ):
        yield env


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 60))


def noting(name: str, calls: Calls, answer: Callable[..., Any] = lambda *_: None) -> Callable[..., Any]:
    """An activity of this name that notes its arguments."""

    @activity.defn(name=name)
    async def noted(first: Any, second: Any = None, third: Any = None) -> Any:
        given = tuple(value for value in (first, second, third) if value is not None)
        calls.append(given)
        return answer(*given)

    return noted


# ------------------------------------------------------------------------------------------------------- approval

PURCHASE = approval.Purchase("p-1", "anna", 120_000)


def test_approval_by_somebody_else() -> None:
    async def body() -> None:
        calls: Calls = []
        async with served([approval.Approval], [noting("tell", calls)]) as env:
            handle = await env.client.start_workflow(approval.Approval.run, PURCHASE, id="p-1", task_queue=QUEUE)
            with pytest.raises(WorkflowUpdateFailedError):
                await handle.execute_update(approval.Approval.decide, approval.Decision("anna", True))
            assert await handle.query(approval.Approval.pending)
            first = await handle.execute_update(approval.Approval.decide, approval.Decision("bert", True))
            assert first == "bert"
            assert await handle.result() == "approved"
        assert calls == [("anna", "p-1 was approved by bert")]

    run(body())


def test_approval_expires_after_fourteen_days() -> None:
    async def body() -> None:
        async with served([approval.Approval], [noting("tell", [])]) as env:
            began = await env.get_current_time()
            outcome = await env.client.execute_workflow(approval.Approval.run, PURCHASE, id="p-2", task_queue=QUEUE)
            assert outcome == "expired"
            assert await env.get_current_time() - began >= approval.DEADLINE

    run(body())


# --------------------------------------------------------------------------------------------------- subscription


def test_a_subscription_charges_monthly_for_years() -> None:
    async def body() -> None:
        calls: Calls = []
        async with served([subscription.SubscriptionWorkflow], [noting("charge", calls)]) as env:
            handle = await env.client.start_workflow(
                subscription.SubscriptionWorkflow.run,
                subscription.Subscription("carla", "basic"),
                id="s-1",
                task_queue=QUEUE,
            )
            await env.sleep(timedelta(days=29))
            changed = await handle.execute_update(subscription.SubscriptionWorkflow.change_plan, "gold")
            assert changed.plan == "gold"
            await env.sleep(subscription.PERIOD * 29)
            current = env.client.get_workflow_handle_for(subscription.SubscriptionWorkflow.run, "s-1")
            await current.signal(subscription.SubscriptionWorkflow.cancel)
            assert await current.result() == len(calls) == 30
        assert Counter(plan for _, plan, _ in calls) == {"basic": 1, "gold": 29}
        assert len({key for _, _, key in calls}) == 30

    run(body())


# -------------------------------------------------------------------------------------------------------- monitor


@pytest.mark.parametrize("ready_at", [3, 10_000])
def test_a_monitor_polls_until_ready_or_too_late(ready_at: int) -> None:
    async def body() -> None:
        calls: Calls = []
        is_ready = noting("is_ready", calls, lambda job: len(calls) >= ready_at)
        async with served([monitor.Monitor], [is_ready]) as env:
            watch = monitor.Watch("job-1", await env.get_current_time() + timedelta(days=2))
            result = env.client.execute_workflow(monitor.Monitor.run, watch, id="m-1", task_queue=QUEUE)
            if ready_at == 3:
                assert await result < watch.until
            else:
                with pytest.raises(WorkflowFailureError) as caught:
                    await result
                assert isinstance(caught.value.cause, ApplicationError)
                assert caught.value.cause.type == "NotReady"

    run(body())


# -------------------------------------------------------------------------------------------------------- fan-out


def test_ten_thousand_items_side_by_side() -> None:
    async def body() -> None:
        async with served([fan_out.FanOut], [fan_out.process]) as env:
            report = await env.client.execute_workflow(
                fan_out.FanOut.run, args=[10_000, [17, 4711]], id="f-1", task_queue=QUEUE
            )
        assert sorted(report.failed) == [17, 4711]
        assert report.total == sum(item % 7 for item in range(10_000)) - 17 % 7 - 4711 % 7

    run(body())


# -------------------------------------------------------------------------------------------------------- webhook


def test_a_partner_calls_back_or_does_not() -> None:
    async def body() -> None:
        calls: Calls = []
        activities = [noting("ask_partner", calls), noting("withdraw", calls)]
        async with served([webhook.PartnerJob], activities) as env:
            answered = await env.client.start_workflow(webhook.PartnerJob.run, "print", id="w-1", task_queue=QUEUE)
            await env.sleep(timedelta(days=1))
            for _ in range(2):
                await webhook.on_callback(env.client, "w-1", webhook.Callback("done", "r-7"))
            assert await answered.result() == "done (r-7)"
            silent = await env.client.execute_workflow(webhook.PartnerJob.run, "print", id="w-2", task_queue=QUEUE)
            assert silent == "withdrawn"
        assert calls == [("print", "w-1"), ("print", "w-2"), ("w-2",)]

    run(body())


# ----------------------------------------------------------------------------------------------------- escalation


def test_a_ticket_goes_up_after_three_days() -> None:
    async def body() -> None:
        calls: Calls = []
        async with served([escalation.Ticket], [noting("page", calls)]) as env:
            handle = await env.client.start_workflow(
                escalation.Ticket.run, args=["disk full", ["support", "lead"]], id="t-1", task_queue=QUEUE
            )
            await env.sleep(timedelta(days=4, hours=1))
            await handle.signal(escalation.Ticket.take, "dora")
            assert await handle.result() == "dora"
        assert Counter(level for level, _ in calls) == {"support": 3, "lead": 2}

    run(body())


# ------------------------------------------------------------------------------------------------------- batching


def test_small_items_leave_together() -> None:
    async def body() -> None:
        calls: Calls = []
        rows = noting("write_rows", calls, len)
        async with served([batching.Batcher], [rows]) as env:
            handle = await env.client.start_workflow(batching.Batcher.run, args=[[], 0], id="b-1", task_queue=QUEUE)
            for number in range(230):
                await handle.signal(batching.Batcher.add, f"row {number}")
            await env.sleep(batching.AGE_MAX * 2)
            await handle.signal(batching.Batcher.add, "the last row")
            await handle.signal(batching.Batcher.finish)
            assert await handle.result() == 231
        written = [row for (batch,) in calls for row in batch]
        assert written == [*(f"row {number}" for number in range(230)), "the last row"]
        assert len(calls) <= 5

    run(body())


# ------------------------------------------------------------------------------------------------------ catalogue


def test_regions_are_imported_by_children() -> None:
    async def body() -> None:
        workflows = [catalogue.CatalogueImport, catalogue.RegionImport]
        async with served(workflows, [catalogue.import_page]) as env:
            counts = await env.client.execute_workflow(
                catalogue.CatalogueImport.run, {"north": 2, "south": 3, "atlantis": 1}, id="c-1", task_queue=QUEUE
            )
            assert counts == {"north": 21, "south": 33, "atlantis": -1}
            child = env.client.get_workflow_handle_for(catalogue.RegionImport.run, "c-1/south")
            assert await child.result() == 33

    run(body())


# ---------------------------------------------------------------------------------------------------- code change


def test_runs_from_before_the_change_replay_and_new_ones_take_the_new_way() -> None:
    history = (Path(code_change.__file__).parent / "histories" / "greeting.json").read_text()

    async def body() -> None:
        before = WorkflowHistory.from_json("greeting-1", history)
        await Replayer(workflows=[code_change.Greeting]).replay_workflow(before)
        activities = [code_change.post_letter, code_change.send_mail]
        async with served([code_change.Greeting], activities) as env:
            greeted = await env.client.execute_workflow(
                code_change.Greeting.run, "Main Street 1", id="g-1", task_queue=QUEUE
            )
            assert greeted == "mail to Main Street 1"
            new = await env.client.get_workflow_handle("g-1").fetch_history()
            await Replayer(workflows=[code_change.Greeting]).replay_workflow(new)

    run(body())
