"""What a client shows: descriptions, histories, listings; and what interceptors see."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from odradek.client import (
    Client,
    Interceptor,
    OutboundInterceptor,
    SignalWorkflowInput,
    StartWorkflowInput,
    WorkflowExecutionStatus,
    WorkflowHandle,
    WorkflowHistory,
)
from odradek.client.history_json import event_from_json, payload_from_json, payload_to_json
from odradek.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from odradek.converter import encode_search_attributes
from odradek.exceptions import ApplicationError
from odradek.log import Log
from odradek.schemas.records import (
    ActivityFailed,
    ActivityScheduled,
    ActivityTimeouts,
    ArchivePart,
    ArchiveRecord,
    Description,
    Event,
    Failure,
    FailureKind,
    FetchHistory,
    HistoryPage,
    Parked,
    Payload,
    ReplyBody,
    RequestSeen,
    RetryPolicy,
    RunCompleted,
    RunStarted,
    SignalReceived,
    SignalWorkflow,
    StartWorkflow,
    TimerFired,
    VisibilityRecord,
    Wait,
)
from odradek.service import RPCError, RPCStatusCode
from tests.client.fake_orchestrator import Connected, FakeOrchestrator, obliging

NOON_MS = int(datetime(2030, 1, 31, 12, tzinfo=UTC).timestamp() * 1000)
REGION = SearchAttributeKey.for_keyword("Region")
RANK = SearchAttributeKey.for_int("Rank")


def json_payload(text: str) -> Payload:
    return Payload("json/plain", text.encode())


def attributes(region: str, rank: int) -> dict[str, Payload]:
    pairs: list[SearchAttributePair[Any]] = [SearchAttributePair(REGION, region), SearchAttributePair(RANK, rank)]
    return encode_search_attributes(TypedSearchAttributes(pairs))


# ----------------------------------------------------------------------------------------------------- descriptions


async def test_describe_shows_what_the_run_waits_for(connected: Connected, orchestrator: FakeOrchestrator) -> None:
    failure = Failure(FailureKind.APPLICATION, "no stock", type="OutOfStock")
    activity = Wait(
        "activity",
        "reserve",
        3,
        due_ms=NOON_MS,
        state="backing-off",
        attempt=2,
        worker="w1",
        last_failure=failure,
        heartbeat_details=[json_payload('"half"')],
        scheduled_ms=NOON_MS,
    )
    description = Description(
        "r",
        "r0",
        "Order",
        "shop",
        "timed-out",
        NOON_MS,
        NOON_MS + 1500,
        12,
        3400,
        waits=[activity, Wait("timer", "", 4)],
        parked=Parked("ODR-070", "a bug", NOON_MS, NOON_MS + 60_000, 4),
        memo={"note": json_payload('"fragile"')},
        search_attributes=attributes("north", 4),
        static_summary="an order",
    )
    orchestrator.script = lambda i, b: [description]
    async with connected() as client:
        shown = await client.get_workflow_handle("order-7").describe()
        assert await shown.memo() == {"note": "fragile"}
        assert await shown.memo_value("note", type_hint=str) == "fragile"
        assert await shown.memo_value("missing", None) is None
        with pytest.raises(KeyError):
            await shown.memo_value("missing")
        assert (await shown.static_summary(), await shown.static_details()) == ("an order", None)
    assert (shown.id, shown.run_id, shown.first_execution_run_id, shown.namespace) == ("order-7", "r", "r0", "shop")
    assert (shown.workflow_type, shown.task_queue, shown.status) == ("Order", "shop", WorkflowExecutionStatus.TIMED_OUT)
    noon = datetime(2030, 1, 31, 12, tzinfo=UTC)
    assert (shown.start_time, shown.close_time) == (noon, noon + timedelta(seconds=1.5))
    assert (shown.history_length, shown.history_size) == (12, 3400)
    assert shown.typed_search_attributes[RANK] == 4
    assert shown.search_attributes == {"Region": ["north"], "Rank": [4]}
    assert shown.parked is not None
    assert (shown.parked.code, shown.parked.next_try - shown.parked.since) == ("ODR-070", timedelta(minutes=1))
    reserve, timer = shown.waits
    assert (reserve.name, reserve.state, reserve.attempt, reserve.due_time) == ("reserve", "backing-off", 2, noon)
    assert isinstance(reserve.last_failure, ApplicationError)
    assert list(reserve.heartbeat_details) == ["half"]
    assert (timer.kind, timer.due_time) == ("timer", None)


# -------------------------------------------------------------------------------------------------------- histories

EVENTS = [
    Event(
        1,
        NOON_MS + 123,
        RunStarted(
            "Order",
            "shop",
            "r",
            input=(json_payload('{"amount":12.5,"who":"Zoë"}'), Payload("binary/null", b"")),
            headers={"trace": Payload("binary/plain", b"\xff\x00")},
            request=RequestSeen("q1", 5),
            retry_policy=RetryPolicy(maximum_attempts=3, non_retryable_error_types=("A", "B")),
            search_attributes=attributes("north", 4),
        ),
    ),
    Event(1, NOON_MS + 123, ActivityScheduled(1, "1", "reserve", "shop", timeouts=ActivityTimeouts(5))),
    Event(
        2,
        NOON_MS + 999,
        ActivityFailed(
            1,
            Failure(
                FailureKind.ACTIVITY,
                "failed",
                attributes={"activity_type": "reserve"},
                cause=Failure(FailureKind.APPLICATION, "no", details=(json_payload("[1, 2]"),), next_retry_delay_ms=0),
            ),
            2,
            "non-retryable-failure",
        ),
    ),
    Event(3, NOON_MS + 1000, SignalReceived("go", (json_payload('"Zo\\u00eb"'),)), deferred=True),
    Event(4, NOON_MS + 1001, TimerFired(2)),
    Event(5, NOON_MS + 1002, RunCompleted(json_payload("1e400"))),
]


def test_a_history_survives_json_and_can_be_read_by_people() -> None:
    history = WorkflowHistory("order-7", EVENTS, run_id="r")
    text = history.to_json()
    again = WorkflowHistory.from_json("order-7", text)
    assert (list(again.events), again.run_id, again.to_json()) == (EVENTS, "r", text)
    assert WorkflowHistory.from_json("order-7", history.to_json_dict()) == again
    shown = json.loads(text)["events"]
    assert shown[0]["type"] == "RunStarted"
    assert shown[0]["time"] == "2030-01-31T12:00:00.123Z"
    assert shown[0]["body"]["input"] == [{"json": {"amount": 12.5, "who": "Zoë"}}, {"encoding": "binary/null"}]
    assert shown[0]["body"]["headers"] == {"trace": {"encoding": "binary/plain", "base64": "/wA="}}
    assert shown[2]["body"]["failure"]["cause"]["details"] == [{"text": "[1, 2]"}]
    assert shown[4] == {"type": "TimerFired", "time": "2030-01-31T12:00:01.001Z", "n": 4, "body": {"seq": 2}}


@pytest.mark.parametrize(
    "payload",
    [
        json_payload("null"),
        json_payload('{"b":1,"a":[true,0.1,"\\n"]}'),
        json_payload('{"a":1,"a":2}'),
        json_payload("not json"),
        json_payload(""),
        json_payload("[" * 100_000),
        json_payload("NaN"),
        Payload("json/plain", b"\xff"),
        Payload("json/plain", b"1", {"type": b"Int", "raw": b"\xfe"}),
        Payload("", b""),
        Payload("binary/encrypted", b"text"),
    ],
)
def test_payloads_keep_their_bytes(payload: Payload) -> None:
    shown = json.loads(json.dumps(payload_to_json(payload)))
    assert payload_from_json(shown) == payload


def test_what_is_no_history_is_refused() -> None:
    with pytest.raises(ValueError, match="no history of format 1"):
        WorkflowHistory.from_json("a", "{}")
    with pytest.raises(ValueError, match="'Nonsense' is no type of event"):
        event_from_json({"type": "Nonsense"})
    with pytest.raises(ValueError, match="no event of type TimerFired"):
        event_from_json({"type": "TimerFired", "n": 1, "time": "2030-01-31T12:00:01Z", "body": {"colour": 3}})


async def test_an_open_runs_history_comes_in_pages(connected: Connected, orchestrator: FakeOrchestrator) -> None:
    def script(workflow_id: str, body: Any) -> Sequence[ReplyBody]:
        first = body.first_event
        following = first + 2 if first + 2 < len(EVENTS) else None
        return (HistoryPage("r", "running", first, following, EVENTS[first : first + 2]),)

    orchestrator.script = script
    async with connected() as client:
        history = await client.get_workflow_handle("order-7").fetch_history()
        assert (list(history.events), history.run_id, history.workflow_id) == (EVENTS, "r", "order-7")
        assert [event.n async for event in client.get_workflow_handle("b").fetch_history_events()] == [1, 1, 2, 3, 4, 5]
    asked = orchestrator.bodies(FetchHistory)
    assert [(body.run_id, body.first_event) for body in asked[:3]] == [(None, 0), ("r", 2), ("r", 4)]


def archive(orchestrator: FakeOrchestrator) -> list[ArchivePart]:
    """The events in two parts among other records, and where they stand, the last part first."""
    namespace = orchestrator.namespace
    places: list[ArchivePart] = []
    appender = namespace.log.appender()
    for part, events in enumerate((EVENTS[:4], EVENTS[4:])):
        record = ArchiveRecord("order-7", "r", "Order", "completed", part, 2, part * 4, events=events)
        appender.append(namespace.topics.archive, 1, b"other", namespace.codec.encode(record))
        value = namespace.codec.encode(record)
        appender.append(
            namespace.topics.archive, 1, b"order-7", value, lambda at, _: places.insert(0, ArchivePart(1, at or 0))
        )
    appender.close()
    return places


async def test_a_closed_runs_history_comes_from_the_archive(
    connected: Connected, orchestrator: FakeOrchestrator
) -> None:
    places = archive(orchestrator)
    orchestrator.script = lambda i, b: [HistoryPage("r", "completed", 0, None, archive=places)]
    async with connected() as client:
        assert list((await client.get_workflow_handle("order-7").fetch_history()).events) == EVENTS
        orchestrator.namespace.log.delete_records(orchestrator.namespace.topics.archive, {1: 4})
        with pytest.raises(
            RPCError, match=r"ODR-134: the history of closed workflow .* kept for the retention"
        ) as error:
            await client.get_workflow_handle("order-7").fetch_history()
        assert error.value.status is RPCStatusCode.NOT_FOUND


# --------------------------------------------------------------------------------------------------------- listings


def publish(orchestrator: FakeOrchestrator, *records: VisibilityRecord) -> None:
    namespace = orchestrator.namespace
    appender = namespace.log.appender()
    for record in records:
        partition = namespace.partition(record.workflow_id)
        key = f"{record.run_id}/{record.claim}".encode()
        appender.append(namespace.topics.visibility, partition, key, namespace.codec.encode(record))
    appender.close()


def seen(number: int, claim: int = 1, n: int = 1, status: str = "running", **fields: Any) -> VisibilityRecord:
    closed_ms = None if status == "running" else NOON_MS + number
    kind = "Order" if number < 3 else "Refund"
    return VisibilityRecord(
        f"order-{number}", f"r{number}", claim, n, kind, "shop", status, NOON_MS + number, closed_ms, **fields
    )


async def ids(client: Client, query: str | None = None, limit: int | None = None) -> str:
    return "".join([execution.id[-1] async for execution in client.list_workflows(query, limit=limit)])


async def test_listing_and_counting(connected: Connected, orchestrator: FakeOrchestrator) -> None:
    """The highest (claim, n) of a run counts, wherever it stands."""
    publish(
        orchestrator,
        seen(1, claim=7, n=2, status="completed"),
        seen(1, claim=7, n=1),
        seen(1, claim=5, n=9, status="failed"),
        seen(2, search_attributes=attributes("north", 4)),
        seen(3, search_attributes=attributes("south", 5), memo={"note": json_payload("1")}),
        seen(4, status="timed-out", parked=Parked("ODR-070", "bug", 0, 0, 1)),
        seen(5, status="refused"),
    )
    # The last record of run 1 under its newest key says again what stood there first.
    publish(orchestrator, seen(1, claim=7, n=2, status="completed"))
    async with connected() as client:
        assert await ids(client) == "4321"
        assert await ids(client, limit=2) == "43"
        assert await ids(client, "ORDER BY Rank DESC, StartTime") == "3214"
        assert await ids(client, "ExecutionStatus = 'Completed'") == "1"
        assert await ids(client, "WorkflowType = 'Order' AND Region STARTS_WITH 'n' OR Parked = true") == "42"
        assert await ids(client, "CloseTime IS NOT NULL AND StartTime >= '2030-01-31T12:00:00.004Z'") == "4"
        counted = await client.count_workflows("GROUP BY WorkflowType, Region")
        assert counted.count == 4
        groups = {tuple(group.group_values): group.count for group in counted.groups}
        assert groups == {("Order", None): 1, ("Order", "north"): 1, ("Refund", "south"): 1, ("Refund", None): 1}
        assert (await client.count_workflows("Rank > 4")).count == 1
        third = await anext(client.list_workflows("WorkflowId = 'order-3'"))
        assert (third.run_id, third.status, third.close_time) == ("r3", WorkflowExecutionStatus.RUNNING, None)
        assert third.typed_search_attributes[REGION] == "south"
        assert await third.memo() == {"note": 1}


async def test_a_deleted_run_is_not_listed(connected: Connected, orchestrator: FakeOrchestrator, log: Log) -> None:
    publish(orchestrator, seen(1), seen(2))
    appender = log.appender()
    topic = orchestrator.namespace.topics.visibility
    appender.append(topic, orchestrator.namespace.partition("order-1"), b"r1/1", None)
    appender.close()
    async with connected() as client:
        assert await ids(client) == "2"


async def test_queries_that_cannot_be_read(connected: Connected, orchestrator: FakeOrchestrator) -> None:
    async with connected() as client:
        with pytest.raises(RPCError, match="ODR-133: the filter cannot be read at position 14") as caught:
            client.list_workflows("WorkflowType Order")
        assert (caught.value.status, caught.value.code) == (RPCStatusCode.INVALID_ARGUMENT, "ODR-133")
        with pytest.raises(RPCError, match="GROUP BY is for count_workflows"):
            client.list_workflows("GROUP BY WorkflowType")
        with pytest.raises(RPCError, match="position 1"):
            await client.count_workflows("'x'")


async def test_a_listing_that_takes_too_long(
    connected: Connected, orchestrator: FakeOrchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = threading.Event()
    monkeypatch.setattr("odradek.client.outbound.read_runs", lambda *_, **__: finish.wait(5) and [])
    async with connected() as client:
        with pytest.raises(RPCError, match=r"ODR-136: reading shop\.visibility took longer than 0\.01 s"):
            await client.count_workflows(rpc_timeout=timedelta(seconds=0.01))
        finish.set()


async def test_histories_of_a_listing(connected: Connected, orchestrator: FakeOrchestrator) -> None:
    publish(orchestrator, seen(1), seen(2))
    orchestrator.script = lambda i, b: [HistoryPage(b.run_id, "running", 0, None, EVENTS)]
    async with connected() as client:
        histories = [history async for history in client.list_workflows().map_histories()]
    assert [(history.workflow_id, history.run_id) for history in histories] == [("order-2", "r2"), ("order-1", "r1")]


# ----------------------------------------------------------------------------------------------------- interceptors


class Tracing(Interceptor):
    def __init__(self, name: str, order: list[str]) -> None:
        self.name, self.order = name, order

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        return _TracingOutbound(next, self)


class _TracingOutbound(OutboundInterceptor):
    def __init__(self, next: OutboundInterceptor, tracing: Tracing) -> None:
        super().__init__(next)
        self.tracing = tracing

    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
        self.tracing.order.append(f"{self.tracing.name} starts {input.workflow}")
        input.headers = {**input.headers, self.tracing.name: json_payload("1")}
        return await super().start_workflow(input)

    async def signal_workflow(self, input: SignalWorkflowInput) -> None:
        input.headers = {**input.headers, self.tracing.name: json_payload("2")}
        await super().signal_workflow(input)


async def test_interceptors_see_every_call_and_add_headers(
    connected: Connected, orchestrator: FakeOrchestrator
) -> None:
    order: list[str] = []
    orchestrator.script = obliging
    async with connected(interceptors=[Tracing("outer", order), Tracing("inner", order)]) as client:
        await client.execute_workflow("Order", 3, id="a", task_queue="shop")
        await client.get_workflow_handle("a").signal("go")
    assert order == ["outer starts Order", "inner starts Order"]
    assert orchestrator.bodies(StartWorkflow)[0].headers == {"outer": json_payload("1"), "inner": json_payload("1")}
    assert orchestrator.bodies(SignalWorkflow)[0].headers == {"outer": json_payload("2"), "inner": json_payload("2")}


async def test_every_other_call_passes_through_interceptors_that_do_not_care(
    connected: Connected, orchestrator: FakeOrchestrator
) -> None:
    class Plain(Interceptor):
        def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
            return OutboundInterceptor(next)

    async with connected(interceptors=[Plain()]) as client:
        handle = client.get_workflow_handle("a")
        await handle.cancel()
        await handle.terminate()
        assert (await client.count_workflows()).count == 0
        assert await ids(client) == ""
        orchestrator.script = lambda i, b: [HistoryPage("r", "running", 0, None)]
        assert list((await handle.fetch_history()).events) == []
        for refused in (handle.describe, lambda: handle.query("q")):
            with pytest.raises(RPCError, match="HistoryPage is no answer to"):
                await refused()
