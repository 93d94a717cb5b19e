"""Activities on a worker: results, failures, facts, cancellation, heartbeats. The test plays the orchestrator."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from odradek import activity
from odradek.common import RawValue
from odradek.converter import DataConverter, PayloadCodec
from odradek.exceptions import ApplicationError, ApplicationErrorCategory, CancelledError
from odradek.schemas.records import ActivityTimeouts, Payload, RetryPolicy, TaskPriority
from odradek.workers import (
    ActivityInboundInterceptor,
    ActivityOutboundInterceptor,
    ActivityWorker,
    DuplicateActivity,
    ExecuteActivityInput,
    Interceptor,
)
from tests.workers.fake import QUICK, Orchestrator, holds, until


@dataclass
class Card:
    number: str
    cents: int


@activity.defn
async def charge(card: Card) -> str:
    return f"{card.number}:{card.cents}"


@activity.defn(name="charge-in-thread")
def charge_in_thread(card: Card, factor: int) -> int:
    assert threading.current_thread() is not threading.main_thread()
    return card.cents * factor


async def test_results_of_coroutines_and_threads() -> None:
    orchestrator = Orchestrator()
    async with orchestrator.worker(charge, charge_in_thread) as worker:
        await holds(worker)
        in_loop = orchestrator.start("charge", Card("4711", 5))
        in_thread = orchestrator.start("charge-in-thread", Card("4711", 5), 3)
        assert await orchestrator.value(in_loop) == "4711:5"
        assert await orchestrator.value(in_thread) == 15
        answer = orchestrator.answers(in_loop)[0]
        assert answer.worker == worker.worker_id
        assert answer.started_ms >= in_loop.scheduled_ms
    assert orchestrator.started() == []
    assert orchestrator.committed().offset == 2
    assert orchestrator.committed().clean


async def test_methods_callable_instances_and_dynamic_activities() -> None:
    class Shop:
        def __init__(self, prefix: str) -> None:
            self.prefix = prefix

        @activity.defn
        async def ship(self, order: str) -> str:
            return self.prefix + order

    class Count:
        @activity.defn(name="count")
        async def __call__(self, things: list[int]) -> int:
            return len(things)

    @activity.defn(dynamic=True)
    async def anything(arguments: Sequence[RawValue]) -> str:
        first = activity.payload_converter().from_payload(arguments[0].payload, str)
        return f"{activity.info().activity_type} {first}"

    orchestrator = Orchestrator()
    async with orchestrator.worker(Shop("x").ship, Count(), anything):
        assert await orchestrator.value(orchestrator.start("ship", "7")) == "x7"
        assert await orchestrator.value(orchestrator.start("count", [1, 2])) == 2
        assert await orchestrator.value(orchestrator.start("unheard-of", "hello")) == "unheard-of hello"


async def test_an_activity_sees_the_facts_of_its_attempt() -> None:
    seen: list[activity.Info] = []

    @activity.defn
    async def look() -> str:
        assert activity.in_activity()
        seen.append(activity.info())
        assert activity.client() == "client"
        return activity.info().idempotency_key

    orchestrator = Orchestrator()
    async with orchestrator.worker(look, client="client"):
        first = orchestrator.task(
            "look",
            attempt=3,
            heartbeat_details=tuple(orchestrator.converter.payload_converter.to_payloads([17, "x"])),
            timeouts=ActivityTimeouts(60_000, None, 10_000, 2_000),
            retry_policy=RetryPolicy(maximum_attempts=5),
            priority=TaskPriority(2),
        )
        orchestrator.send(first)
        assert await orchestrator.value(first) == f"{first.run_id}:1"
    (info,) = seen
    assert (info.attempt, info.activity_type, info.task_queue) == (3, "look", "q")
    assert list(info.heartbeat_details) == [17, "x"]
    assert info.heartbeat_timeout == timedelta(seconds=2)
    assert info.start_to_close_timeout == timedelta(seconds=10)
    assert info.schedule_to_close_timeout == timedelta(minutes=1)
    assert info.retry_policy is not None
    assert info.retry_policy.maximum_attempts == 5
    assert (info.workflow_id, info.workflow_run_id, info.workflow_type) == (first.workflow_id, first.run_id, "Order")
    assert info.workflow_namespace == info.namespace == "ns"
    assert info.priority.priority_key == 2
    assert info.scheduled_time.timestamp() * 1000 == pytest.approx(first.scheduled_ms)
    assert not info.is_local
    assert info.task_token
    assert not activity.in_activity()
    with pytest.raises(RuntimeError, match="ODR-126"):
        activity.info()


async def test_failures_keep_type_details_and_cause() -> None:
    @activity.defn
    async def fail(kind: str) -> None:
        if kind == "own":
            raise ApplicationError("no", 1, type="Declined", non_retryable=True, next_retry_delay=timedelta(seconds=9))
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise ValueError("outer") from error

    orchestrator = Orchestrator()
    async with orchestrator.worker(fail):
        own = await orchestrator.failure(orchestrator.start("fail", "own"))
        assert (own.kind, own.type, own.non_retryable, own.next_retry_delay_ms) == (
            "application",
            "Declined",
            True,
            9000,
        )
        plain = await orchestrator.failure(orchestrator.start("fail", "plain"))
        assert (plain.type, plain.message, plain.non_retryable) == ("ValueError", "outer", False)
        assert plain.cause.type == "KeyError"
        missing = await orchestrator.failure(orchestrator.start("fail"))
        assert (missing.type, missing.non_retryable) == ("TypeError", False)


async def test_arguments_that_do_not_fit_fail_the_attempt_only() -> None:
    orchestrator = Orchestrator()
    async with orchestrator.worker(charge):
        failure = await orchestrator.failure(orchestrator.start("charge", 17))
        assert failure.kind == "application"
        assert not failure.non_retryable
        assert await orchestrator.value(orchestrator.start("charge", Card("1", 2))) == "1:2"


async def test_an_unknown_type_is_answered_with_what_is_hosted() -> None:
    orchestrator = Orchestrator()
    async with orchestrator.worker(charge, charge_in_thread):
        failure = await orchestrator.failure(orchestrator.start("chrage"))
    assert failure.type == "ActivityTypeUnknown"
    assert not failure.non_retryable
    for word in ("ODR-120", "function chrage ", '"q"', "charge, charge-in-thread"):
        assert word in failure.message


async def test_a_result_that_is_too_large_fails_for_good() -> None:
    @activity.defn
    async def produce(size: int) -> str:
        return "x" * size

    @activity.defn
    async def explode(size: int) -> None:
        raise ApplicationError("no", "x" * size)

    orchestrator = Orchestrator()
    small = replace(QUICK, payload_bytes_max=1000)
    async with orchestrator.worker(produce, explode, settings=small):
        failure = await orchestrator.failure(orchestrator.start("produce", 2000))
        assert failure.non_retryable
        assert failure.type == "PayloadTooLarge"
        assert "ODR-105" in failure.message
        assert "2,002 bytes" in failure.message
        assert "1,000" in failure.message
    async with orchestrator.worker(produce, explode, settings=replace(QUICK, payload_bytes_max=10**9)):
        failure = await orchestrator.failure(orchestrator.start("produce", 5_000_000))
        assert "ODR-105" in failure.message
        failure = await orchestrator.failure(orchestrator.start("explode", 5_000_000))
        assert "ODR-105" in failure.message
        assert not failure.non_retryable
    assert orchestrator.committed().offset == 3


async def test_a_result_that_cannot_be_converted_is_a_failure() -> None:
    @activity.defn
    async def produce() -> Any:
        return object()

    orchestrator = Orchestrator()
    async with orchestrator.worker(produce):
        assert (await orchestrator.failure(orchestrator.start("produce"))).type == "ValueNotConvertible"


async def test_cancelling_a_coroutine() -> None:
    seen: list[Any] = []
    running = asyncio.Event()

    @activity.defn
    async def wait() -> None:
        running.set()
        try:
            await asyncio.sleep(60)
        finally:
            seen.append((activity.is_cancelled(), activity.cancellation_details()))

    orchestrator = Orchestrator()
    async with orchestrator.worker(wait) as worker:
        task = orchestrator.start("wait")
        await running.wait()
        orchestrator.revoke(task, worker, "cancelled")
        failure = await orchestrator.failure(task)
    assert failure.kind == "cancelled"
    assert seen == [(True, activity.ActivityCancellationDetails(cancel_requested=True))]


async def test_an_activity_may_finish_although_it_is_cancelled() -> None:
    running = asyncio.Event()

    @activity.defn
    async def stubborn() -> str:
        running.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "done all the same"
        return "never"

    orchestrator = Orchestrator()
    async with orchestrator.worker(stubborn) as worker:
        task = orchestrator.start("stubborn")
        await running.wait()
        orchestrator.revoke(task, worker, "cancelled")
        assert await orchestrator.value(task) == "done all the same"


async def test_cancelling_a_thread_raises_in_it() -> None:
    running = threading.Event()

    @activity.defn
    def spin() -> None:
        with activity.shield_thread_cancel_exception():
            running.set()
            activity.wait_for_cancelled_sync(5)
            assert activity.is_cancelled()
        while True:
            time.sleep(0.001)

    orchestrator = Orchestrator()
    async with orchestrator.worker(spin) as worker:
        task = orchestrator.start("spin")
        await until(running.is_set)
        orchestrator.revoke(task, worker, "cancelled")
        assert (await orchestrator.failure(task)).kind == "cancelled"


async def test_a_thread_can_be_left_alone() -> None:
    running = threading.Event()

    @activity.defn(no_thread_cancel_exception=True)
    def polite() -> str:
        running.set()
        activity.wait_for_cancelled_sync(timedelta(seconds=5))
        time.sleep(0.02)
        if activity.is_cancelled():
            raise CancelledError("tidied up", 42)
        return "not cancelled"

    orchestrator = Orchestrator()
    async with orchestrator.worker(polite) as worker:
        task = orchestrator.start("polite")
        await until(running.is_set)
        orchestrator.revoke(task, worker, "cancelled")
        failure = await orchestrator.failure(task)
    assert (failure.kind, failure.message) == ("cancelled", "tidied up")


@pytest.mark.parametrize("reason", ["superseded", "timed-out", "closed", "something newer"])
async def test_an_attempt_that_nobody_waits_for_ends_in_silence(reason: str) -> None:
    running, ended = asyncio.Event(), asyncio.Event()

    @activity.defn
    async def wait() -> None:
        running.set()
        try:
            await activity.wait_for_cancelled()
            await asyncio.sleep(60)
        finally:
            ended.set()

    orchestrator = Orchestrator()
    async with orchestrator.worker(wait) as worker:
        task = orchestrator.start("wait")
        await running.wait()
        orchestrator.revoke(task, worker, reason)
        await ended.wait()
        await until(lambda: orchestrator.committed().offset == 1)
    assert orchestrator.answers() == []


async def test_cancelling_a_task_that_has_not_begun() -> None:
    release = asyncio.Event()

    @activity.defn
    async def wait() -> None:
        await release.wait()

    orchestrator = Orchestrator()
    async with orchestrator.worker(wait, max_concurrent_activities=1) as worker:
        first, second = orchestrator.start("wait"), orchestrator.start("wait")
        await until(lambda: worker._parts and len(worker._parts.execution._waiting) == 1)
        orchestrator.revoke(second, worker, "cancelled")
        assert (await orchestrator.failure(second)).kind == "cancelled"
        release.set()
        assert await orchestrator.value(first) is None


async def test_start_to_close_is_enforced_here_too() -> None:
    @activity.defn
    async def slow() -> None:
        await asyncio.sleep(60)

    orchestrator = Orchestrator()
    async with orchestrator.worker(slow):
        task = orchestrator.start("slow", timeouts=ActivityTimeouts(start_to_close_ms=30))
        failure = await orchestrator.failure(task)
    assert (failure.kind, failure.timeout_type) == ("timeout", "start-to-close")


async def test_an_activity_that_cancels_itself_fails() -> None:
    @activity.defn
    async def confused() -> None:
        raise asyncio.CancelledError

    orchestrator = Orchestrator()
    async with orchestrator.worker(confused):
        failure = await orchestrator.failure(orchestrator.start("confused"))
    assert (failure.kind, failure.type) == ("application", "ActivityCancelled")


async def test_heartbeats_are_throttled_and_the_last_one_before_a_failure_is_sent() -> None:
    @activity.defn
    async def beat() -> None:
        for n in range(1000):
            activity.heartbeat(n)
        await asyncio.sleep(0.08)
        activity.heartbeat("last")
        raise ValueError

    orchestrator = Orchestrator()
    async with orchestrator.worker(beat, settings=replace(QUICK, heartbeat_seconds_min=0.05)):
        task = orchestrator.start("beat", timeouts=ActivityTimeouts(heartbeat_ms=50))
        await orchestrator.failure(task)
    details = [orchestrator.converter.payload_converter.from_payloads(b.details)[0] for b in orchestrator.heartbeats()]
    assert details[0] == 0
    assert details[1] == 999
    assert details[-1] == "last"
    assert len(details) == 3
    assert [type(body).__name__ for body in orchestrator.inbox()][-2:] == ["ActivityHeartbeat", "ActivityResult"]


async def test_heartbeats_from_a_thread() -> None:
    @activity.defn
    def beat() -> None:
        activity.heartbeat("from a thread")

    orchestrator = Orchestrator()
    async with orchestrator.worker(beat):
        await orchestrator.value(orchestrator.start("beat"))
    assert len(orchestrator.heartbeats()) == 1


class Reversing(PayloadCodec):
    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        await asyncio.sleep(0)
        return [Payload("reversed", p.data[::-1], {"was": p.encoding.encode()}) for p in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        await asyncio.sleep(0)
        return [Payload(p.metadata["was"].decode(), p.data[::-1]) for p in payloads]


async def test_a_codec_applies_to_arguments_results_heartbeats_and_failures() -> None:
    @activity.defn
    async def work(text: str) -> str:
        assert list(activity.info().heartbeat_details) == ["before"]
        activity.heartbeat("now")
        await asyncio.sleep(0.01)
        if text == "fail":
            raise ApplicationError("no", "detail")
        return text

    converter = DataConverter(payload_codec=Reversing())
    orchestrator = Orchestrator(converter=converter)
    async with orchestrator.worker(work):
        before = tuple(await converter.encode(["before"]))
        for text in ("fine", "fail"):
            task = orchestrator.task("work", input=tuple(await converter.encode([text])), heartbeat_details=before)
            orchestrator.send(task)
            await orchestrator.result(task)
    result, failure = orchestrator.answers()
    assert result.result is not None
    assert await converter.decode([result.result]) == ["fine"]
    assert failure.failure is not None
    assert failure.failure.details[0].encoding == "reversed"
    assert await converter.decode(orchestrator.heartbeats()[0].details) == ["now"]


async def test_interceptors_see_every_call() -> None:
    class Outbound(ActivityOutboundInterceptor):
        def info(self) -> activity.Info:
            return replace(super().info(), activity_type="intercepted")

    class Inbound(ActivityInboundInterceptor):
        def init(self, outbound: ActivityOutboundInterceptor) -> None:
            super().init(Outbound(outbound))

        async def execute_activity(self, input: ExecuteActivityInput) -> Any:
            input.args = [*input.args[:-1], input.args[-1] + 1]
            return [await super().execute_activity(input)]

    class Mine(Interceptor):
        def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
            return Inbound(next)

    @activity.defn
    async def in_loop(n: int) -> tuple[int, str]:
        return n, activity.info().activity_type

    @activity.defn
    def in_thread(n: int) -> int:
        return n

    orchestrator = Orchestrator()
    async with orchestrator.worker(in_loop, in_thread, interceptors=[Mine()]):
        assert await orchestrator.value(orchestrator.start("in_loop", 1)) == [[2, "intercepted"]]
        assert await orchestrator.value(orchestrator.start("in_thread", 1)) == [2]


async def test_the_logger_adds_the_attempts_facts(caplog: pytest.LogCaptureFixture) -> None:
    @activity.defn
    async def talk() -> None:
        activity.logger.warning("hello")

    orchestrator = Orchestrator()
    async with orchestrator.worker(talk):
        task = orchestrator.start("talk")
        await orchestrator.result(task)
    (line,) = [r for r in caplog.records if r.name == "odradek.activity"]
    assert "hello" in line.message
    assert task.workflow_id in line.message
    assert line.__dict__["odradek_activity"]["workflow_run_id"] == task.run_id


async def test_benign_failures_are_not_logged_as_warnings(caplog: pytest.LogCaptureFixture) -> None:
    @activity.defn
    async def expected() -> None:
        raise ApplicationError("as usual", category=ApplicationErrorCategory.BENIGN)

    orchestrator = Orchestrator()
    async with orchestrator.worker(expected):
        await orchestrator.failure(orchestrator.start("expected"))
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []


async def test_mistakes_are_found_when_the_worker_is_made() -> None:
    orchestrator = Orchestrator()
    with pytest.raises(DuplicateActivity, match="charge"):
        orchestrator.worker(charge, charge)
    with pytest.raises(TypeError, match="ODR-125"):
        orchestrator.worker(lambda: None)
    with pytest.raises(TypeError, match="ODR-128"):
        orchestrator.worker(activity.defn(lambda: None), activity_executor=ProcessPoolExecutor(1))
    worker: ActivityWorker = orchestrator.worker(charge)
    assert not worker.is_running
    async with worker:
        assert worker.is_running
    assert not worker.is_running
    with pytest.raises(RuntimeError, match="once"):
        await worker.run()
