"""Requests and answers over a real log, with a scripted orchestrator."""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from odradek.client import (
    Client,
    RequestPolicy,
    WorkflowContinuedAsNewError,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
)
from odradek.common import (
    QueryRejectCondition,
    RetryPolicy,
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from odradek.exceptions import ApplicationError, CancelledError, TerminatedError, WorkflowAlreadyStartedError
from odradek.exceptions import TimeoutError as WorkflowTimeoutError
from odradek.log import AppendFailed, AppendQueueFull
from odradek.log.memory import MemoryAppender
from odradek.schemas.records import (
    Accepted,
    AwaitResult,
    CancelWorkflow,
    Failure,
    FailureKind,
    Payload,
    QueryAnswer,
    QueryWorkflow,
    Refused,
    ReplyBody,
    RunOutcome,
    RunStatus,
    SignalWorkflow,
    StartWorkflow,
    TerminateWorkflow,
)
from odradek.service import RPCError, RPCStatusCode
from tests.client.fake_orchestrator import Connected, FakeOrchestrator, obliging, silent
from tests.client.workflows import Anything, Order

SOON = timedelta(seconds=0.15)


def json_payload(text: str) -> Payload:
    return Payload("json/plain", text.encode())


async def start(client: Client, workflow_id: str = "order-7", **options: Any) -> WorkflowHandle[Any, Any]:
    return await client.start_workflow("Order", 1, id=workflow_id, task_queue="shop", **options)


# ----------------------------------------------------------------------------------------------------------- starts


async def test_start_is_answered_and_carries_every_option(connected: Connected, orchestrator: FakeOrchestrator) -> None:
    rank = SearchAttributeKey.for_int("Rank")
    async with connected(identity="till-4") as client:
        handle = await client.start_workflow(
            Order.run,
            12,
            id="order-7",
            task_queue="shop",
            execution_timeout=timedelta(hours=1),
            run_timeout=timedelta(minutes=5),
            task_timeout=timedelta(seconds=3),
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            retry_policy=RetryPolicy(maximum_attempts=3),
            memo={"note": "fragile"},
            search_attributes=TypedSearchAttributes([SearchAttributePair(rank, 4)]),
            static_summary="an order",
            static_details="of three books",
            start_delay=timedelta(seconds=1.5),
            request_id="my-request",
        )
    assert (handle.id, handle.run_id, handle.result_run_id) == ("order-7", None, "run-of-order-7")
    assert handle.first_execution_run_id == "run-of-order-7"
    (workflow_id, body), *rest = orchestrator.seen
    assert (workflow_id, rest) == ("order-7", [])
    assert (body.workflow_type, body.task_queue, list(body.input)) == ("Order", "shop", [json_payload("12")])
    assert (body.execution_timeout_ms, body.run_timeout_ms, body.task_timeout_ms) == (3_600_000, 300_000, 3000)
    assert (body.id_reuse_policy, body.id_conflict_policy) == ("reject-duplicate", "use-existing")
    assert (body.retry_policy.maximum_attempts, body.start_delay_ms, body.wait_result) == (3, 1500, False)
    assert body.memo == {"note": json_payload('"fragile"')}
    assert body.search_attributes == {"Rank": Payload("json/plain", b"4", {"type": b"Int"})}
    assert (body.static_summary, body.static_details) == ("an order", "of three books")
    assert (body.request.id, body.request.identity) == ("my-request", "till-4")


async def test_execute_takes_one_request(connected: Connected, orchestrator: FakeOrchestrator) -> None:
    async with connected() as client:
        result: Any = await client.execute_workflow(Order.run, 5, id="a", task_queue="shop", result_type=int)
        assert result == 5
        assert await client.execute_workflow("Order", args=["x", "y"], id="b", task_queue="shop") == "x"
    assert [type(body) for _, body in orchestrator.seen] == [StartWorkflow, StartWorkflow]


async def test_an_unanswered_start_is_repeated_with_the_same_request_id(
    connected: Connected, orchestrator: FakeOrchestrator
) -> None:
    orchestrator.lost_copies = 2
    async with connected() as client:
        await start(client)
    assert list(orchestrator.copies.values()) == [3]


async def test_answers_that_come_twice_change_nothing(connected: Connected, orchestrator: FakeOrchestrator) -> None:
    orchestrator.script = lambda i, b: [Accepted("first"), Accepted("second"), *obliging(i, b), *obliging(i, b)]
    async with connected() as client:
        assert (await start(client)).result_run_id == "first"
        assert await client.execute_workflow("Order", "x", id="b", task_queue="shop") == "x"
        assert (await start(client, "c")).result_run_id == "first"


async def test_an_outcome_without_acceptance_counts_for_both(
    connected: Connected, orchestrator: FakeOrchestrator
) -> None:
    """The acceptance may have been lost with the owner that sent it."""
    orchestrator.script = lambda i, b: [RunOutcome("r", RunStatus.COMPLETED, json_payload("3"))]
    async with connected() as client:
        assert await client.execute_workflow("Order", id="a", task_queue="shop") == 3


async def test_without_wait_the_append_is_enough(connected: Connected, orchestrator: FakeOrchestrator) -> None:
    orchestrator.script = silent
    async with connected() as client:
        handle = await start(client, wait=False, rpc_timeout=timedelta(seconds=5))
        assert handle.result_run_id is None
        await handle.signal("approve", wait=False)
        await handle.cancel(wait=False)
        await handle.terminate(wait=False)
    partition = orchestrator.namespace.partition("order-7")
    offsets = orchestrator.namespace.log.offsets(orchestrator.namespace.topics.inbox, partition)
    assert offsets.end == 4
    for _, body in orchestrator.seen:
        assert body.request.reply_partition == -1


@pytest.mark.parametrize("workflow_id", ["", "a\0b", "x" * 1001])
async def test_ids_that_cannot_be_are_refused_before_sending(connected: Connected, workflow_id: str) -> None:
    async with connected() as client:
        with pytest.raises(ValueError, match="ODR-135: a workflow ID is a text of 1 to 1000 bytes"):
            await start(client, workflow_id)


async def test_mistakes_in_arguments(connected: Connected) -> None:
    async with connected() as client:
        untyped: Any = client
        with pytest.raises(ValueError, match="run_timeout is -1 day"):
            await start(client, run_timeout=timedelta(days=-1))
        with pytest.raises(ValueError, match='task queue "a/b" cannot be part'):
            await client.start_workflow("Order", id="a", task_queue="a/b")
        with pytest.raises(TypeError, match="either one argument or args="):
            await client.start_workflow("Order", 1, args=[2], id="a", task_queue="q")
        with pytest.raises(TypeError, match=r"str is no workflow: give its type's name or the run method"):
            await client.start_workflow(str, id="a", task_queue="q")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"Anything\.run is a dynamic workflow"):
            await client.start_workflow(Anything.run, id="a", task_queue="q")
        with pytest.raises(TypeError, match=r"Order\.total is no signal handler"):
            await client.get_workflow_handle("a").signal(Order.total)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
            await untyped.start_workflow("Order", id="a", task_queue="q", colour="red")


async def test_large_payloads_are_refused_before_sending(connected: Connected, orchestrator: FakeOrchestrator) -> None:
    text = "x" * (2 * 1024 * 1024)
    async with connected() as client:
        with pytest.raises(RPCError) as caught:
            await client.start_workflow("Order", text, id="order-7", task_queue="shop")
        assert caught.value.code == "ODR-105"
        assert caught.value.status is RPCStatusCode.INVALID_ARGUMENT
        assert "takes 2097154 bytes, and a payload may have 2097152" in str(caught.value)
        with pytest.raises(RPCError, match=r'memo value "big" for workflow "order-7" takes 2097154'):
            await start(client, memo={"big": text})
        parts = ["x" * 1_500_000] * 3
        with pytest.raises(RPCError, match=r"ODR-105: signal .* makes a record of 45\d+ bytes, above the namespace's"):
            await client.get_workflow_handle("order-7").signal("s", args=parts)
    assert orchestrator.seen == []


# ------------------------------------------------------------------------------------------------ refusals, timeouts


async def test_refused_starts(connected: Connected, orchestrator: FakeOrchestrator) -> None:
    async with connected() as client:
        for code in ("ODR-101", "ODR-103"):
            answers = [Refused(code, "no", run_id="r9")]
            orchestrator.script = lambda i, b, answers=answers: answers  # type: ignore[misc]
            with pytest.raises(WorkflowAlreadyStartedError) as caught:
                await start(client)
            error = pickle.loads(pickle.dumps(caught.value))
            assert (error.workflow_id, error.workflow_type, error.run_id) == ("order-7", "Order", "r9")
            with pytest.raises(WorkflowAlreadyStartedError):
                await client.execute_workflow("Order", id="order-7", task_queue="shop")


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("ODR-100", RPCStatusCode.NOT_FOUND),
        ("ODR-102", RPCStatusCode.NOT_FOUND),
        ("ODR-104", RPCStatusCode.DEADLINE_EXCEEDED),
        ("ODR-105", RPCStatusCode.INVALID_ARGUMENT),
        ("ODR-108", RPCStatusCode.FAILED_PRECONDITION),
        ("ODR-999", RPCStatusCode.UNKNOWN),
    ],
)
async def test_other_refusals(
    connected: Connected, orchestrator: FakeOrchestrator, code: str, status: RPCStatusCode
) -> None:
    orchestrator.script = lambda i, b: [Refused(code, f"{code}: not now", run_id="r")]
    async with connected() as client:
        with pytest.raises(RPCError, match=f"^{code}: not now$") as caught:
            await client.get_workflow_handle("order-7").signal("approve")
    assert (caught.value.status, caught.value.code) == (status, code)
    assert pickle.loads(pickle.dumps(caught.value)).status is status


async def test_a_timeout_says_what_was_waited_for(connected: Connected, orchestrator: FakeOrchestrator) -> None:
    orchestrator.script = silent
    async with connected() as client:
        handle = client.get_workflow_handle("order-7")
        with pytest.raises(RPCError) as caught:
            await handle.signal("approve", rpc_timeout=SOON)
        partition = orchestrator.namespace.partition("order-7")
        request_id = orchestrator.seen[0][1].request.id
        assert str(caught.value) == (
            f'ODR-130: no answer to signal "approve" of workflow "order-7" '
            f"(namespace shop, inbox partition {partition}) within 0.15 s; "
            f"the request stands in the inbox and may still be taken in (request ID {request_id}). "
            f'Is an orchestrator of this namespace running? "odradek doctor" tells.'
        )
        assert (caught.value.status, caught.value.code) == (RPCStatusCode.DEADLINE_EXCEEDED, "ODR-130")
        with pytest.raises(RPCError, match='no answer to the start of workflow "order-8" of type "Order"'):
            await start(client, "order-8", rpc_timeout=SOON)
        with pytest.raises(RPCError, match=r"no answer to the question for the state .* stands in the inbox \("):
            await handle.describe(rpc_timeout=SOON)
        with pytest.raises(RPCError, match="may still be running"):
            await handle.result(rpc_timeout=SOON)
    assert all(count > 1 for request, count in orchestrator.copies.items()), "asked more than once before giving up"


async def test_a_log_that_does_not_acknowledge_is_told_from_an_orchestrator_that_does_not_answer(
    connected: Connected, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected() as client:
        monkeypatch.setattr("odradek.log.memory.MemoryAppender.append", lambda *_: None)
        with pytest.raises(
            RPCError, match=r"ODR-131: the start .* could not be written to the inbox within 0.15 s"
        ) as caught:
            await start(client, rpc_timeout=SOON)
    assert "it may still be written and taken in" in str(caught.value)
    assert "memory://" in str(caught.value)


async def test_a_full_queue_is_waited_for(
    connected: Connected, orchestrator: FakeOrchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = iter([False, False, True])
    append = MemoryAppender.append

    def crowded(self: Any, topic: str, *rest: Any) -> None:
        if topic.endswith(".inbox") and not next(room, True):
            raise AppendQueueFull(topic, 5)
        append(self, topic, *rest)

    monkeypatch.setattr(MemoryAppender, "append", crowded)
    async with connected() as client:
        assert (await start(client)).result_run_id == "run-of-order-7"


async def test_a_fatal_append_error_is_outlived(
    connected: Connected, orchestrator: FakeOrchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new appender takes over, and the request goes out again."""
    append = MemoryAppender.append
    failing = iter([True])

    def fatal(self: Any, topic: str, partition: int, key: Any, value: Any, on_appended: Any = None) -> None:
        if topic.endswith(".inbox") and next(failing, False):
            self._due.append((on_appended, None, AppendFailed(topic, partition, "fenced", fatal=True)))
        else:
            append(self, topic, partition, key, value, on_appended)

    monkeypatch.setattr(MemoryAppender, "append", fatal)
    async with connected() as client:
        before = client.connection._pump._appender
        await start(client, wait=False)
        assert client.connection._pump._appender is not before


# ---------------------------------------------------------------------------------------------------------- results


async def test_a_result_is_asked_for_again_until_it_is_there(
    connected: Connected, orchestrator: FakeOrchestrator
) -> None:
    """An owner's list of waiters is gone when the partition moves."""
    orchestrator.lost_copies = 2
    async with connected(request_policy=RequestPolicy(retry_seconds=0.05, retry_seconds_max=0.05)) as client:
        assert await client.get_workflow_handle_for(Order.run, "a").result() is None
    first, second, third = (body.request for body in orchestrator.bodies(AwaitResult))
    assert first.id == second.id == third.id
    assert first.expires_ms < second.expires_ms < third.expires_ms


async def test_execute_asks_for_the_result_when_it_does_not_come(
    connected: Connected, orchestrator: FakeOrchestrator
) -> None:
    def script(workflow_id: str, body: Any) -> Sequence[ReplyBody]:
        if isinstance(body, StartWorkflow):
            return (Accepted("r"),)
        return (RunOutcome("r", RunStatus.COMPLETED, json_payload("[1]")),)

    orchestrator.script = script
    async with connected(request_policy=RequestPolicy(rpc_timeout_seconds=0.1, retry_seconds=0.1)) as client:
        assert await client.execute_workflow(Order.run, 1, id="a", task_queue="shop") == [1]
        longer = timedelta(seconds=0.2)
        handle = await client.start_workflow(Order.run, 1, id="b", task_queue="shop", rpc_timeout=longer)
        assert await handle.result() == [1]
    assert [body.run_id for body in orchestrator.bodies(AwaitResult)] == ["r", "r"]


@pytest.mark.parametrize(
    ("outcome", "kind", "message"),
    [
        (RunOutcome("r", RunStatus.CANCELLED), CancelledError, "Workflow cancelled"),
        (RunOutcome("r", RunStatus.TERMINATED), TerminatedError, "Workflow terminated"),
        (RunOutcome("r", RunStatus.TIMED_OUT), WorkflowTimeoutError, "Workflow timed out"),
        (
            RunOutcome("r", RunStatus.TERMINATED, failure=Failure(FailureKind.TERMINATED, "enough")),
            TerminatedError,
            "enough",
        ),
    ],
)
async def test_every_end_has_its_exception(
    connected: Connected, orchestrator: FakeOrchestrator, outcome: RunOutcome, kind: type, message: str
) -> None:
    orchestrator.script = lambda i, b: [outcome]
    async with connected() as client:
        with pytest.raises(WorkflowFailureError) as caught:
            await client.get_workflow_handle("a").result()
    assert type(caught.value.cause) is kind
    assert str(caught.value.cause) == message


async def test_a_failure_keeps_its_causes(connected: Connected, orchestrator: FakeOrchestrator) -> None:
    inner = Failure(FailureKind.APPLICATION, "no stock", type="OutOfStock", details=[json_payload("7")])
    outer = Failure(
        FailureKind.ACTIVITY,
        "activity failed",
        cause=inner,
        attributes={"activity_type": "reserve", "activity_id": "1"},
    )
    orchestrator.script = lambda i, b: [Accepted("r"), RunOutcome("r", RunStatus.FAILED, failure=outer)]
    async with connected() as client:
        with pytest.raises(WorkflowFailureError) as caught:
            await client.execute_workflow("Order", id="a", task_queue="shop")
    copied = pickle.loads(pickle.dumps(caught.value))
    for error in (caught.value, copied):
        root = error.cause.__cause__
        assert isinstance(root, ApplicationError)
        assert (root.type, root.message, list(root.details)) == ("OutOfStock", "no stock", [7])


async def test_continued_runs_are_followed_unless_told_otherwise(
    connected: Connected, orchestrator: FakeOrchestrator
) -> None:
    def script(workflow_id: str, body: Any) -> Sequence[ReplyBody]:
        if body.run_id == "r1":
            return (RunOutcome("r1", RunStatus.CONTINUED_AS_NEW, next_run_id="r2"),)
        assert body.run_id == "r2"
        return (RunOutcome("r2", RunStatus.COMPLETED, json_payload('"done"')),)

    orchestrator.script = script
    async with connected() as client:
        handle = client.get_workflow_handle("a", run_id="r1", result_type=str)
        assert await handle.result() == "done"
        with pytest.raises(WorkflowContinuedAsNewError) as caught:
            await handle.result(follow_runs=False)
        assert caught.value.new_execution_run_id == "r2"


async def test_cancelling_a_waiting_call_leaves_nothing_behind(
    connected: Connected, orchestrator: FakeOrchestrator
) -> None:
    orchestrator.script = lambda i, b: [Accepted("r")] if isinstance(b, StartWorkflow) else []
    async with connected(request_policy=RequestPolicy()) as client:
        calls = [
            asyncio.ensure_future(client.execute_workflow("Order", id="a", task_queue="q")),
            asyncio.ensure_future(client.get_workflow_handle("b").result()),
            asyncio.ensure_future(client.get_workflow_handle("c").signal("s")),
        ]
        await asyncio.sleep(0.05)
        assert len(orchestrator.seen) == 3
        for call in calls:
            call.cancel()
        assert all(isinstance(e, asyncio.CancelledError) for e in await asyncio.gather(*calls, return_exceptions=True))
        assert client.connection._pump._exchanges == {}


# ------------------------------------------------------------------------------------------------- handles' requests


async def test_signals_cancels_and_terminations_carry_what_they_were_given(
    connected: Connected, orchestrator: FakeOrchestrator
) -> None:
    async with connected() as client:
        handle = client.get_workflow_handle_for(Order.run, "a", run_id="r")
        await handle.signal(Order.approve, "me")
        await handle.signal("other", args=[1, 2])
        await handle.cancel(reason="late")
        await handle.terminate("because", reason="stuck")
    one, two, cancel, terminate = (body for _, body in orchestrator.seen)
    assert isinstance(one, SignalWorkflow)
    assert (one.name, list(one.input), one.run_id) == ("approve", [json_payload('"me"')], "r")
    assert (two.name, list(two.input)) == ("other", [json_payload("1"), json_payload("2")])
    assert isinstance(cancel, CancelWorkflow)
    assert (cancel.reason, cancel.run_id) == ("late", "r")
    assert isinstance(terminate, TerminateWorkflow)
    assert (terminate.reason, list(terminate.details)) == ("stuck", [json_payload('"because"')])


async def test_queries(connected: Connected, orchestrator: FakeOrchestrator) -> None:
    orchestrator.script = lambda i, b: [QueryAnswer(json_payload("[1,2]" if b.name == "part" else "4"))]
    async with connected(default_workflow_query_reject_condition=QueryRejectCondition.NOT_OPEN) as client:
        handle = client.get_workflow_handle_for(Order.run, "a")
        assert await handle.query(Order.part, args=[1, 2]) == (1, 2)
        assert repr(await handle.query(Order.total)) == "4.0"
        condition = QueryRejectCondition.NOT_COMPLETED_CLEANLY
        assert await handle.query("total", result_type=int, reject_condition=condition, consistent=True) == 4
    sent = orchestrator.bodies(QueryWorkflow)
    assert [query.reject_condition for query in sent] == ["not-open", "not-open", "not-completed-cleanly"]
    assert [query.consistent for query in sent] == [False, False, True]


async def test_failed_and_rejected_queries(connected: Connected, orchestrator: FakeOrchestrator) -> None:
    answers: dict[str, ReplyBody] = {
        "raises": QueryAnswer(failure=Failure(FailureKind.APPLICATION, "no such shelf", type="KeyError")),
        "unknown": Refused("ODR-107", "ODR-107: no query handler"),
        "closed": Refused("ODR-106", "no", status="timed-out"),
        "parked": Refused("ODR-108", "it is parked"),
    }
    orchestrator.script = lambda i, b: [answers[b.name]]
    async with connected() as client:
        handle = client.get_workflow_handle("a")
        with pytest.raises(WorkflowQueryFailedError, match=r"^no such shelf$"):
            await handle.query("raises")
        with pytest.raises(WorkflowQueryFailedError, match=r"^ODR-107: no query handler$") as failed:
            await handle.query("unknown")
        assert failed.value.code == "ODR-107"
        with pytest.raises(WorkflowQueryRejectedError, match="the run is timed out") as rejected:
            await handle.query("closed")
        assert rejected.value.status is not None
        with pytest.raises(RPCError, match=r"^ODR-108: it is parked$"):
            await handle.query("parked")


# ------------------------------------------------------------------------------------------------ loops and closing


async def test_thousands_of_starts_at_once(connected: Connected, orchestrator: FakeOrchestrator) -> None:
    async with connected(request_policy=RequestPolicy()) as client:
        calls = (client.execute_workflow("Order", n, id=f"order-{n}", task_queue="shop") for n in range(2000))
        assert await asyncio.gather(*calls) == list(range(2000))
        assert client.connection._pump._exchanges == {}
    assert set(orchestrator.copies.values()) == {1}


async def test_one_client_serves_several_event_loops(connected: Connected, orchestrator: FakeOrchestrator) -> None:
    async with connected() as client:
        results: list[list[int]] = []

        async def many(base: int) -> list[int]:
            calls = (
                client.execute_workflow("Order", base + n, id=f"order-{base + n}", task_queue="q") for n in range(50)
            )
            return list(await asyncio.gather(*calls))

        threads = [
            threading.Thread(target=lambda base=base: results.append(asyncio.run(many(base)))) for base in (0, 100, 200)
        ]
        for thread in threads:
            thread.start()
        results.append(await many(300))
        for thread in threads:
            await asyncio.to_thread(thread.join)
    assert sorted(n for some in results for n in some) == [base + n for base in (0, 100, 200, 300) for n in range(50)]


async def test_a_handle_may_be_awaited_in_another_loop(connected: Connected, orchestrator: FakeOrchestrator) -> None:
    async with connected() as client:
        handle = await start(client)
        assert await asyncio.to_thread(lambda: asyncio.run(handle.result())) is None


async def test_close_tells_those_who_wait(connected: Connected, orchestrator: FakeOrchestrator) -> None:
    orchestrator.script = silent
    async with connected() as client:
        waiting = [
            asyncio.ensure_future(client.get_workflow_handle("a").result()),
            asyncio.ensure_future(start(client)),
        ]
        await asyncio.sleep(0.02)
        await client.close()
        for call in waiting:
            with pytest.raises(RPCError, match="ODR-132: this client's connection is closed: the client was closed"):
                await call
        with pytest.raises(RPCError, match="ODR-132"):
            await start(client)
        await client.close()
    assert not any(thread.name.startswith("odradek-client") for thread in threading.enumerate())


async def test_a_second_client_shares_the_connection(connected: Connected, orchestrator: FakeOrchestrator) -> None:
    async with connected() as client:
        config = client.config()
        config["identity"] = "second"
        config["namespace"] = "depot"
        second = Client(**config)
        assert second.connection is client.connection
        with FakeOrchestrator(client.connection.log, "depot") as depot:
            await start(second, "there")
            await start(client, "here")
    assert [(workflow_id, body.request.identity) for workflow_id, body in depot.seen] == [("there", "second")]
    assert [workflow_id for workflow_id, _ in orchestrator.seen] == ["here"]


async def test_answers_deleted_before_they_were_read_are_asked_for_again(
    connected: Connected, orchestrator: FakeOrchestrator
) -> None:
    orchestrator.script = lambda i, b: silent(i, b) if orchestrator.copies[b.request.id] < 2 else obliging(i, b)
    async with connected() as client:
        await start(client, "before")
        pump = client.connection._pump
        pump._lanes.append((orchestrator.namespace.topics.replies, 0, 10_000, orchestrator.namespace.codec))
        lane = client.connection.opened("shop")
        assert lane is not None
        pump._lanes.append(
            (orchestrator.namespace.topics.replies, lane._reply_partition, 10_000, orchestrator.namespace.codec)
        )
        await start(client, "after")
