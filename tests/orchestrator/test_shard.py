"""What a partition's state machine does with each kind of input, driven by hand on a log in memory."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, ClassVar

import pytest

from odradek import workflow
from odradek.common import RetryPolicy
from odradek.exceptions import ActivityError, ApplicationError
from odradek.orchestrator.core import effects as fx
from odradek.orchestrator.core.shard import Shard
from odradek.orchestrator.core.state import Room
from odradek.orchestrator.core.store import MemoryStore
from odradek.schemas import records as r
from odradek.schemas.codec import Codec
from odradek.workflow.definition import Definition
from tests.orchestrator.partition import Owner, Partition

SOON = {"start_to_close_timeout": timedelta(seconds=10)}


@workflow.defn
class Steps:
    """As many activities in a row as asked for."""

    @workflow.run
    async def run(self, count: int, text: str = "") -> int:
        total = 0
        for _ in range(count):
            total += await workflow.execute_activity("add", args=[1, text], result_type=int, **SOON)
        return total


@workflow.defn
class Waiter:
    def __init__(self) -> None:
        self.words: list[str] = []

    @workflow.signal
    def say(self, word: str) -> None:
        self.words.append(word)

    @workflow.query
    def heard(self) -> list[str]:
        return self.words

    @workflow.run
    async def run(self, enough: int) -> list[str]:
        await workflow.wait_condition(lambda: len(self.words) >= enough)
        return self.words


@workflow.defn
class Sleeper:
    @workflow.run
    async def run(self, seconds: float) -> float:
        began = workflow.time()
        await asyncio.sleep(seconds)
        return workflow.time() - began


@workflow.defn
class Stubborn:
    """One activity with the limits that the test gives."""

    limits: ClassVar[dict[str, Any]] = {}

    @workflow.run
    async def run(self) -> str:
        try:
            return str(await workflow.execute_activity("do", **self.limits))
        except ActivityError as error:
            return f"{type(error.cause).__name__}: {error.cause}, {error.retry_state}"


@workflow.defn
class Undoing:
    @workflow.run
    async def run(self, order: str) -> str:
        async with workflow.saga(**SOON) as saga:
            for step in ("stock", "card", "parcel"):
                saga.compensate(f"undo_{step}", order)
                await workflow.execute_activity(
                    f"do_{step}", order, retry_policy=RetryPolicy(maximum_attempts=1), **SOON
                )
        return "done"


def open_partition(*workflows: type, **limits: Any) -> tuple[Partition, Owner]:
    partition = Partition(workflows, **limits)
    return partition, Owner(partition)


def signal(partition: Partition, workflow_id: str, word: str, request: r.Request | None = None) -> r.Request:
    request = request or partition.request()
    partition.send(workflow_id, r.SignalWorkflow("say", [partition.payload(word)], request=request))
    return request


def describe(partition: Partition, owner: Owner, workflow_id: str) -> r.Description:
    request = partition.request()
    partition.send(workflow_id, r.DescribeWorkflow(request))
    owner.run()
    (answer,) = partition.replies(request)
    assert isinstance(answer, r.Description), answer
    return answer


def tasks(partition: Partition) -> list[r.TaskRecord]:
    return [e.task for e in partition.emitted if isinstance(e, fx.SendTask) and e.task]


# ---------------------------------------------------------------------- chunks and records


def test_a_short_workflow_ends_as_one_record() -> None:
    """Its chunk is one key, and in the end only the summary is left of it."""
    partition, owner = open_partition(Steps)
    owner.activities = {"add": lambda one, text: one}
    request = partition.start("short", "Steps", 3)
    owner.run()
    owner.shard.checkpoint(partition.now_ms)
    owner.run()
    assert partition.result(request) == 3
    partition.compact()
    left = [record for record in partition.history if record and record[0][:1] != b"\0" and record[1] is not None]
    assert len(left) == 1
    assert b"\0s0\0" in left[0][0]


def test_a_long_history_is_cut_into_chunks_and_read_back() -> None:
    partition, owner = open_partition(Steps, chunk_bytes=300)
    owner.activities = {"add": lambda one, text: one}
    request = partition.start("long", "Steps", 50, "x" * 50)
    owner.run()
    assert partition.result(request) == 50
    events = [e for record, blocks in partition.archive for e in Codec().decode_events(blocks)]
    assert len(events) == 1 + 50 * 2 + 1
    assert [event.n for event in events] == sorted(event.n for event in events)


def test_a_transition_larger_than_a_record_is_spread_and_counts_as_a_whole() -> None:
    """A fan-out over the record limit takes several chunks; cut off half-way, none of it has happened."""
    partition = Partition([Fan], record_bytes_max=6_000)
    owner = Owner(partition)
    owner.activities = None
    partition.start("fan", "Fan", 400)
    owner.read()
    for _ in range(2):  # the first parts land, the last ones never do
        owner.send()
        entry = owner.in_flight.pop(0)
        owner.shard.acked(entry, partition.land(entry.key, entry.value))
        owner.emit_all()
    assert tasks(partition) == []
    successor = Owner(partition)
    successor.activities = {"add": lambda one: one}
    request = partition.request()
    partition.send("fan", r.AwaitResult(request))
    successor.run()
    assert partition.result(request) == 400
    assert len({(t.run_id, t.seq) for t in tasks(partition)}) == 400


@workflow.defn
class Fan:
    @workflow.run
    async def run(self, count: int) -> int:
        return sum(
            await asyncio.gather(*(workflow.execute_activity("add", 1, result_type=int, **SOON) for _ in range(count)))
        )


# ---------------------------------------------------------------------------------------------------- requests


def test_a_request_that_is_sent_twice_is_taken_once_and_answered_twice() -> None:
    partition, owner = open_partition(Waiter)
    first = partition.start("w", "Waiter", 2)
    partition.start("w", "Waiter", 2, request=first)
    request = signal(partition, "w", "hello")
    signal(partition, "w", "hello", request)
    owner.run()
    assert [type(answer) for answer in partition.replies(request)] == [r.Accepted, r.Accepted]
    assert len({answer.run_id for answer in partition.replies(first)}) == 1
    query = partition.request()
    partition.send("w", r.QueryWorkflow(query, "heard"))
    owner.run()
    assert partition.replies(query)[0].result.data == b'["hello"]'


def test_a_second_start_is_refused_and_the_refusal_stands_in_the_history() -> None:
    partition, owner = open_partition(Waiter)
    partition.start("w", "Waiter", 1)
    second = partition.start("w", "Waiter", 1)
    owner.run()
    (refusal,) = partition.replies(second)
    assert (refusal.code, refusal.status) == ("ODR-101", "running")
    successor = Owner(partition)
    partition.start("w", "Waiter", 1, request=second)
    successor.run()
    assert partition.replies(second)[1].code == "ODR-101"


def test_conflict_policies_join_or_replace_the_open_run() -> None:
    partition, owner = open_partition(Waiter)
    first = partition.start("w", "Waiter", 1)
    joined = partition.start("w", "Waiter", 1, id_conflict_policy="use-existing")
    owner.run()
    run_id = partition.replies(first)[0].run_id
    assert partition.replies(joined)[0] == r.Accepted(run_id, already=True)
    replaced = partition.start("w", "Waiter", 1, id_conflict_policy="terminate-existing")
    owner.run()
    assert partition.replies(replaced)[0].run_id != run_id
    assert [outcome.status for outcome in partition.replies(first)[1:]] == ["terminated"]


@pytest.mark.parametrize(
    ("policy", "fails", "code"),
    [
        ("allow-duplicate", False, None),
        ("allow-duplicate-failed-only", False, "ODR-103"),
        ("allow-duplicate-failed-only", True, None),
        ("reject-duplicate", True, "ODR-103"),
    ],
)
def test_reuse_policies_are_decided_by_the_owner(policy: str, fails: bool, code: str | None) -> None:
    partition, owner = open_partition(Steps)
    owner.activities = {"add": _refuse if fails else lambda one, text: one}
    partition.start("again", "Steps", 1)
    owner.run()
    request = partition.start("again", "Steps", 1, id_reuse_policy=policy)
    Owner(partition).run()
    assert getattr(partition.replies(request)[0], "code", None) == code


def _refuse(*_: object) -> None:
    raise ApplicationError("no", non_retryable=True)


def test_what_is_sent_to_nobody_gets_a_definite_answer_once_x_is_past_it() -> None:
    """ "No such workflow" is said only when an acknowledged record carries an x beyond the request."""
    partition, owner = open_partition(Waiter)
    request = signal(partition, "nobody", "hello")
    owner.read()
    owner.emit_all()
    assert partition.replies(request) == []
    owner.run()
    assert [answer.code for answer in partition.replies(request)] == ["ODR-100"]
    written = [Codec().decode(r.HistoryRecord, record[1]) for record in partition.history if record and record[1]]
    assert max(record.x for record in written) >= 0


def test_a_closed_run_refuses_signals_and_keeps_its_result() -> None:
    partition, owner = open_partition(Waiter)
    partition.start("w", "Waiter", 0)
    owner.run()
    late = signal(partition, "w", "too late")
    again = partition.request()
    partition.send("w", r.AwaitResult(again))
    Owner(partition).run()
    assert [(a.code, a.status) for a in partition.replies(late)] == [("ODR-102", "completed")]
    assert partition.result(again) == []


def test_a_request_that_arrives_after_it_expired_is_refused() -> None:
    partition, owner = open_partition(Waiter)
    partition.start("w", "Waiter", 1)
    stale = r.Request("stale", partition.now_ms - 1000, "client", 0)
    signal(partition, "w", "hello", stale)
    start = r.Request("stale-start", partition.now_ms - 1000, "client", 0)
    partition.start("v", "Waiter", 1, request=start)
    owner.run()
    assert partition.replies(stale)[0].code == "ODR-104"
    assert partition.replies(start)[0].code == "ODR-104"


def test_terminate_ends_a_run_without_asking_its_code() -> None:
    partition, owner = open_partition(Waiter)
    first = partition.start("w", "Waiter", 1)
    stop = partition.request()
    partition.send("w", r.TerminateWorkflow(stop, "enough"))
    owner.run()
    assert isinstance(partition.replies(stop)[0], r.Accepted)
    outcome = partition.replies(first)[-1]
    assert (outcome.status, outcome.failure.message) == ("terminated", "enough")


def test_cancel_reaches_the_code_as_asyncio_cancellation() -> None:
    partition, owner = open_partition(Sleeper)
    first = partition.start("s", "Sleeper", 1000.0)
    owner.run()
    partition.send("s", r.CancelWorkflow("changed my mind", request=partition.request()))
    owner.run()
    assert partition.replies(first)[-1].status == "cancelled"


# ---------------------------------------------------------------------------------------------------- time


def test_a_timer_fires_once_and_never_early() -> None:
    partition, owner = open_partition(Sleeper)
    request = partition.start("s", "Sleeper", 14 * 24 * 3600.0)
    owner.run()
    owner.pass_time(14 * 24 * 3600 - 1)
    assert len(partition.replies(request)) == 1
    owner.pass_time(2)
    assert partition.result(request) >= 14 * 24 * 3600


def test_a_timer_that_became_due_while_nobody_owned_the_partition_fires_at_takeover() -> None:
    partition, owner = open_partition(Sleeper)
    request = partition.start("s", "Sleeper", 60.0)
    owner.run()
    partition.now_ms += 3_600_000
    successor = Owner(partition)
    again = partition.request()
    partition.send("s", r.AwaitResult(again))
    successor.run()
    successor.pass_time(0)
    assert partition.result(again) == 3600.0
    assert request.id


def test_timers_of_workflows_that_are_not_in_memory_fire() -> None:
    """Far due times stand in the store only."""
    partition = Partition([Sleeper], room=Room(0, 0))
    owner = Owner(partition)
    requests = [partition.start(f"s{n}", "Sleeper", 300.0 + n) for n in range(1200)]
    owner.run()
    assert len(owner.shard.workflows) <= 1001
    for request in requests:
        partition.send(f"s{requests.index(request)}", r.AwaitResult(request))
    owner.run()
    for _ in range(60):
        owner.pass_time(30)
    assert all(partition.result(request) >= 300 for request in requests)


def test_a_delayed_start_reaches_its_code_later() -> None:
    partition, owner = open_partition(Waiter)
    request = partition.start("w", "Waiter", 0, start_delay_ms=60_000)
    owner.run()
    assert "start delay" in [wait.name for wait in describe(partition, owner, "w").waits]
    owner.pass_time(61)
    assert partition.result(request) == []


def test_run_and_execution_timeouts_close_a_run() -> None:
    partition, owner = open_partition(Waiter)
    request = partition.start("w", "Waiter", 1, run_timeout_ms=5000)
    owner.run()
    owner.pass_time(6)
    assert partition.replies(request)[-1].status == "timed-out"


# ---------------------------------------------------------------------------------------------------- activities


def stubborn(**limits: Any) -> tuple[Partition, Owner, r.Request]:
    Stubborn.limits = limits
    partition, owner = open_partition(Stubborn)
    owner.activities = None
    request = partition.start("a", "Stubborn")
    owner.run()
    return partition, owner, request


def started(partition: Partition, worker: str = "w1") -> None:
    task = tasks(partition)[-1]
    partition.send("a", r.ActivityStarted(task.run_id, task.seq, task.attempt, worker, partition.now_ms))


def fail(partition: Partition, **facts: Any) -> None:
    task = tasks(partition)[-1]
    failure = r.Failure(r.FailureKind.APPLICATION, "broken", **facts)
    partition.send("a", r.ActivityResult(task.run_id, task.seq, task.attempt, "w1", partition.now_ms, None, failure))


def test_schedule_to_start_is_not_retried() -> None:
    partition, owner, request = stubborn(schedule_to_start_timeout=timedelta(seconds=5), **SOON)
    owner.pass_time(6)
    assert partition.result(request) == "TimeoutError: schedule-to-start timeout of 5 s, timeout"


def test_start_to_close_is_retried_until_schedule_to_close() -> None:
    partition, owner, request = stubborn(
        start_to_close_timeout=timedelta(seconds=4), schedule_to_close_timeout=timedelta(seconds=20)
    )
    for _ in range(12):
        if partition.replies(request)[-1:] and isinstance(partition.replies(request)[-1], r.RunOutcome):
            break
        started(partition)
        owner.run()
        owner.pass_time(5)
    assert "start-to-close timeout of 4 s" in partition.result(request) or "schedule-to-close" in partition.result(
        request
    )
    assert len({task.attempt for task in tasks(partition)}) >= 2


def test_a_missing_heartbeat_fails_the_attempt_and_the_next_resumes_from_its_details() -> None:
    partition, owner, _ = stubborn(heartbeat_timeout=timedelta(seconds=2), **SOON)
    task = tasks(partition)[-1]
    beat = r.ActivityHeartbeat(task.run_id, task.seq, 1, "w1", partition.now_ms, [partition.payload("half")])
    partition.send("a", beat)
    owner.run()
    owner.pass_time(1)
    assert len(tasks(partition)) == 1
    owner.pass_time(2)
    owner.pass_time(2)
    assert tasks(partition)[-1].attempt == 2
    assert tasks(partition)[-1].heartbeat_details[0].data == b'"half"'


def test_retries_wait_longer_each_time_and_stop_at_the_maximum() -> None:
    policy = RetryPolicy(initial_interval=timedelta(seconds=1), backoff_coefficient=3, maximum_attempts=3)
    partition, owner, request = stubborn(retry_policy=policy, **SOON)
    fail(partition)
    owner.run()
    (wait,) = describe(partition, owner, "a").waits
    assert (wait.state, wait.attempt, wait.due_ms) == ("backing-off", 2, partition.now_ms + 1000)
    owner.pass_time(1)
    fail(partition)
    owner.run()
    owner.pass_time(2.9)
    assert tasks(partition)[-1].attempt == 2
    owner.pass_time(0.2)
    fail(partition)
    owner.run()
    assert partition.result(request) == "ApplicationError: broken, maximum-attempts-reached"


@pytest.mark.parametrize("room", [Room(), Room(0, 0)], ids=["kept", "evicted"])
def test_a_task_that_nobody_begins_is_issued_again_as_its_queue_demands(room: Room) -> None:
    """And is one attempt, whose tasks expire before that."""
    partition = Partition([Stubborn], room=room)
    owner = Owner(partition, activities=False)
    Stubborn.limits = {"start_to_close_timeout": timedelta(seconds=4)}
    owner.shard.dispatch_expiry_ms = {"queue": 10_000}.__getitem__
    partition.start("s", "Stubborn")
    owner.run()
    for seconds, expected in ((9, 1), (2, 2), (9, 2), (2, 3)):
        owner.pass_time(seconds)
        assert len(tasks(partition)) == expected
    assert {task.attempt for task in tasks(partition)} == {1}
    assert tasks(partition)[1].expires_ms == partition.now_ms - 11_000 + 10_000


def test_a_retry_in_progress_survives_a_takeover_and_is_dispatched_once_more_at_most() -> None:
    partition, owner, request = stubborn(**SOON)
    fail(partition)
    owner.run()
    successor = Owner(partition)
    successor.activities = None
    successor.run()
    assert [task.attempt for task in tasks(partition)] == [1]
    successor.pass_time(1.1)
    assert [task.attempt for task in tasks(partition)] == [1, 2]
    assert request.id


@pytest.mark.parametrize(
    ("facts", "state"),
    [({"non_retryable": True}, "non-retryable-failure"), ({"type": "Known"}, "non-retryable-failure")],
)
def test_failures_that_say_so_are_not_retried(facts: dict[str, Any], state: str) -> None:
    partition, owner, request = stubborn(retry_policy=RetryPolicy(non_retryable_error_types=["Known"]), **SOON)
    fail(partition, **facts)
    owner.run()
    assert partition.result(request).endswith(state)


def test_next_retry_delay_overrides_the_policy() -> None:
    partition, owner, _ = stubborn(**SOON)
    fail(partition, next_retry_delay_ms=30_000)
    owner.run()
    assert describe(partition, owner, "a").waits[0].due_ms == partition.now_ms + 30_000


def test_a_result_counts_once_and_only_for_the_current_attempt() -> None:
    partition, owner, request = stubborn(**SOON)
    old = tasks(partition)[-1]
    fail(partition)
    owner.run()
    owner.pass_time(2)
    for attempt, value in ((1, "late"), (2, "right"), (2, "again")):
        body = r.ActivityResult(old.run_id, old.seq, attempt, "w", partition.now_ms, partition.payload(value))
        partition.send("a", body)
    owner.run()
    assert partition.result(request) == "right"


def test_a_lost_worker_fails_its_attempts_unless_another_one_holds_them_too() -> None:
    partition, owner, _ = stubborn(**SOON)
    started(partition, "w1")
    started(partition, "w2")
    owner.run()
    owner.shard.worker_lost("w1", "silent")
    owner.run()
    assert describe(partition, owner, "a").waits[0].state == "started"
    owner.shard.worker_lost("w2", "silent")
    owner.run()
    (wait,) = describe(partition, owner, "a").waits
    assert (wait.state, wait.attempt) == ("backing-off", 2)
    assert wait.last_failure is not None
    assert "ODR-073" in wait.last_failure.message


def test_who_holds_an_attempt_is_known_after_a_takeover() -> None:
    partition, owner, _ = stubborn(**SOON)
    started(partition, "w1")
    owner.run()
    successor = Owner(partition)
    successor.activities = None
    successor.run()
    assert "w1" in successor.shard.holders
    successor.shard.worker_lost("w1", "silent")
    successor.run()
    assert describe(partition, successor, "a").waits[0].attempt == 2


def test_a_worker_that_reports_a_superseded_attempt_is_told_to_stop() -> None:
    partition, owner, _ = stubborn(**SOON)
    owner.shard.worker_partition = lambda worker: 7
    old = tasks(partition)[-1]
    fail(partition)
    owner.run()
    partition.send("a", r.ActivityStarted(old.run_id, old.seq, 1, "slow", partition.now_ms))
    owner.run()
    notices = [e for e in partition.emitted if isinstance(e, fx.Reply) and isinstance(e.body, r.AttemptRevoked)]
    assert [(n.partition, n.recipient, n.body.reason) for n in notices] == [(7, "slow", "superseded")]


def test_a_saga_undoes_everything_and_names_what_could_not_be_undone() -> None:
    partition, owner = open_partition(Undoing)
    undone: list[str] = []

    def undo(step: str, works: bool = True) -> Any:
        def action(order: str) -> None:
            undone.append(step)
            if not works:
                raise ApplicationError("printer on fire", non_retryable=True)

        return action

    owner.activities = {
        "do_stock": lambda order: None, "do_card": lambda order: None, "do_parcel": _refuse,
        "undo_parcel": undo("parcel"), "undo_card": undo("card", works=False), "undo_stock": undo("stock"),
    }  # fmt: skip
    request = partition.start("u", "Undoing", "order-1")
    owner.run()
    assert undone == ["parcel", "card", "stock"]
    failure = partition.replies(request)[-1].failure
    assert failure.type == "CompensationFailed"
    assert "undo_card: printer on fire" in failure.message
    assert failure.cause.kind == "activity"


# ---------------------------------------------------------------------------------------------------- parking


def test_an_unknown_type_parks_alone_and_a_deploy_resumes_it() -> None:
    partition, owner = open_partition(Steps)
    owner.activities = {"add": lambda one, text: one}
    request = partition.start("w", "Waiter", 1)
    other = partition.start("s", "Steps", 2)
    signal(partition, "w", "recorded meanwhile")
    owner.run()
    assert partition.result(other) == 2
    parked = describe(partition, owner, "w").parked
    assert parked is not None
    assert parked.code == "ODR-072"
    assert "hosted: Steps" in parked.message
    partition.hosted["Waiter"] = Definition.of(Waiter)
    owner.pass_time(2)
    assert partition.result(request) == ["recorded meanwhile"]


@workflow.defn(name="Fragile")
class Broken:
    @workflow.run
    async def run(self) -> str:
        await workflow.execute_activity("add", args=[1, ""], **SOON)
        raise ValueError("a bug")


@workflow.defn(name="Fragile")
class Mended:
    @workflow.run
    async def run(self) -> str:
        await workflow.execute_activity("add", args=[1, ""], **SOON)
        return "mended"


@workflow.defn(name="Fragile")
class Different:
    @workflow.run
    async def run(self) -> str:
        await asyncio.sleep(1)
        return "different"


def test_a_bug_parks_its_run_and_mended_code_goes_on_where_it_stood() -> None:
    partition, owner = open_partition(Broken)
    owner.activities = {"add": lambda one, text: one}
    request = partition.start("f", "Fragile")
    owner.run()
    parked = describe(partition, owner, "f").parked
    assert parked is not None
    assert "ValueError: a bug" in parked.message
    partition.hosted["Fragile"] = Definition.of(Mended)
    owner.pass_time(2)
    assert partition.result(request) == "mended"
    assert len(tasks(partition)) == 1


def test_a_parked_run_stays_parked_over_a_takeover_and_is_tried_by_the_new_owner() -> None:
    partition, owner = open_partition(Broken)
    owner.activities = {"add": lambda one, text: one}
    partition.start("f", "Fragile")
    owner.run()
    partition.hosted["Fragile"] = Definition.of(Mended)
    successor = Owner(partition)
    request = partition.request()
    partition.send("f", r.AwaitResult(request))
    successor.run()
    successor.pass_time(1)
    assert partition.result(request) == "mended"


def test_code_that_does_not_replay_is_parked_with_the_first_difference() -> None:
    partition, owner = open_partition(Mended)
    owner.activities = None
    partition.start("f", "Fragile")
    owner.run()
    partition.hosted["Fragile"] = Definition.of(Different)
    successor = Owner(partition)
    successor.activities = None
    task = tasks(partition)[-1]
    partition.send("f", r.ActivityResult(task.run_id, task.seq, 1, "w", partition.now_ms, partition.payload(1)))
    successor.run()
    parked = describe(partition, successor, "f").parked
    assert parked is not None
    assert (
        'the history records ActivityScheduled(1, "add"), and the code answers with TimerStarted(1)' in parked.message
    )


def test_a_query_on_a_parked_run_says_so() -> None:
    partition, owner = open_partition(Steps)
    partition.start("w", "Waiter", 1)
    query = partition.request()
    partition.send("w", r.QueryWorkflow(query, "heard"))
    owner.run()
    assert partition.replies(query)[0].code == "ODR-108"


# ---------------------------------------------------------------------------------------------------- messages


@workflow.defn
class Caller:
    @workflow.run
    async def run(self, target: str) -> str:
        try:
            await workflow.get_external_workflow_handle(target).signal("say", "from another workflow")
        except ApplicationError as error:
            return f"{error.type}"
        return "taken in"


def test_a_signal_between_workflows_is_taken_in_once_across_takeovers() -> None:
    partition, owner = open_partition(Caller, Waiter)
    partition.start("target", "Waiter", 2)
    request = partition.start("caller", "Caller", "target")
    owner.run()
    assert partition.result(request) == "taken in"
    partition.send("target", partition.bodies(r.SignalWorkflow)[0])  # the log delivers it once more, to another owner
    successor = Owner(partition)
    query = partition.request()
    partition.send("target", r.QueryWorkflow(query, "heard"))
    successor.run()
    assert partition.replies(query)[0].result.data == b'["from another workflow"]'


def test_a_signal_to_an_unknown_or_closed_workflow_fails_in_its_sender() -> None:
    partition, owner = open_partition(Caller, Waiter)
    nobody = partition.start("caller-1", "Caller", "nobody")
    partition.start("done", "Waiter", 0)
    closed = partition.start("caller-2", "Caller", "done")
    owner.run()
    assert (partition.result(nobody), partition.result(closed)) == ("ODR-100", "ODR-102")


# ---------------------------------------------------------------------------------------------------- bad input


def test_an_unreadable_history_record_costs_one_workflow_only() -> None:
    partition, owner = open_partition(Waiter)
    partition.start("good", "Waiter", 1)
    partition.start("bad", "Waiter", 1)
    owner.run()
    place = next(n for n, record in enumerate(partition.history) if record and record[0].startswith(b"bad\0"))
    partition.history[place] = (partition.history[place][0], b"\x02garbage")  # type: ignore[index]
    successor = Owner(partition)
    signal(partition, "good", "hello")
    request = partition.request()
    partition.send("good", r.AwaitResult(request))
    successor.run()
    assert partition.result(request) == ["hello"]
    assert [lost.workflow_id for lost in successor.shard.lost_records] == ["bad"]
    parked = describe(partition, successor, "bad").parked
    assert parked is not None
    assert parked.code == "ODR-079"
    again, late = partition.start("bad", "Waiter", 1), signal(partition, "bad", "hello")
    successor.run()
    assert [partition.replies(request)[0].code for request in (again, late)] == ["ODR-079", "ODR-079"]
    stop = partition.request()
    partition.send("bad", r.TerminateWorkflow(stop, "damaged"))
    anew = partition.start("bad", "Waiter", 0)
    successor.run()
    assert isinstance(partition.replies(stop)[0], r.Accepted)
    assert partition.result(anew) == []


def test_an_older_copy_does_not_pass_for_a_damaged_record() -> None:
    """What was decided last cannot be read: what stood before must not be taken for the state of the run."""
    partition, owner = open_partition(Waiter)
    partition.start("w", "Waiter", 3)
    owner.run()
    second = Owner(partition)
    signal(partition, "w", "hello")
    second.run()
    partition.history = [record for record in partition.history if record and record[1] is not None]
    newest = max(n for n, record in enumerate(partition.history) if record and record[0].startswith(b"w\0"))
    partition.history[newest] = (partition.history[newest][0], b"garbage")  # type: ignore[index]
    third = Owner(partition)
    third.run()
    assert third.shard.workflow("w").live is None
    assert third.shard.workflow("w").damaged


def test_x_waits_for_a_dead_letter() -> None:
    """An inbox record that cannot be read may be deleted only when its copy is safe."""
    partition, owner = open_partition(Waiter)
    letter = fx.DeadLetter(record=r.DeadLetterRecord("ODR-002", "bad", "inbox", 0, 0, 0, None, b"?"))
    owner.shard.take([(0, letter)], partition.now_ms)
    owner.shard.flush()
    assert owner.shard.writer.x == -1
    assert letter.on_stored is not None
    letter.on_stored(0, 0)
    assert owner.shard.writer.x == 0


def test_a_takeover_keeps_to_the_room_that_there_is() -> None:
    """However many workflows wait; and what was put aside meanwhile is not forgotten."""
    partition = Partition([Waiter], room=Room(20, 5), replays_each_activation=False)
    owner = Owner(partition)
    for number in range(300):
        partition.start(f"w{number}", "Waiter", 1)
    for _ in range(2):
        owner.run()
        owner.shard.checkpoint(partition.now_ms)
    owner.run()
    old = MemoryStore()
    old.write({b"m": b"-1 -1 -1 -1"})
    shard = not_loaded(partition, old)
    most = 0
    while not shard.load(10):
        most = max(most, len(shard.workflows))
    assert 20 <= most <= 50
    successor = Owner(partition)
    requests = [partition.request() for _ in range(300)]
    for number, request in enumerate(requests):
        partition.send(f"w{number}", r.AwaitResult(request))
        signal(partition, f"w{number}", "go")
    successor.run()
    assert [partition.result(request) for request in requests] == [["go"]] * 300


def not_loaded(partition: Partition, store: MemoryStore | None = None) -> Shard:
    shard = Shard(partition.config(), store or MemoryStore())
    for offset, record in enumerate(partition.history):
        if record is not None:
            shard.restore(offset, *record)
    shard.begin(len(partition.history), partition.now_ms)
    return shard


def restored(partition: Partition) -> Shard:
    shard = not_loaded(partition)
    while not shard.load(3):
        pass
    return shard


def comparable(shard: Shard, ids: Sequence[str]) -> list[Any]:
    found = []
    for workflow_id in ids:
        wf = shard.workflow(workflow_id)
        run = wf.live.run if wf.live else None
        found.append((wf.closed, run and (run.n, run.status, run.timers, run.activities, run.event_count)))
    return found


def test_a_compacted_history_restores_to_the_same_state() -> None:
    partition, owner = open_partition(Steps, Waiter, Sleeper, chunk_bytes=300)
    owner.activities = {"add": lambda one, text: one}
    ids = []
    for n in range(5):
        ids += [f"a{n}", f"b{n}", f"c{n}"]
        partition.start(f"a{n}", "Steps", n, "x" * 100)
        partition.start(f"b{n}", "Waiter", 3)
        partition.start(f"c{n}", "Sleeper", 100.0 + n)
        signal(partition, f"b{n}", "hello")
    owner.run()
    before = comparable(restored(partition), ids)
    partition.compact()
    assert comparable(restored(partition), ids) == before


def test_the_code_of_a_run_is_dropped_from_memory_and_comes_back_by_replay() -> None:
    partition = Partition([Waiter], room=Room(instances=1))
    owner = Owner(partition)
    requests = [partition.start(f"w{n}", "Waiter", 2) for n in range(5)]
    owner.run()
    for _ in range(2):
        for n in range(5):
            signal(partition, f"w{n}", "hi")
        owner.run()
    assert [partition.result(request) for request in requests] == [["hi", "hi"]] * 5
    assert len(owner.shard.instances) <= 1


def test_nothing_of_a_dropped_run_goes_on() -> None:
    """Closing its coroutines runs no cleanup that could decide anything."""
    left: list[str] = []

    @workflow.defn
    class Tidy:
        @workflow.run
        async def run(self) -> None:
            try:
                await asyncio.sleep(1000)
            finally:
                with contextlib.suppress(Exception):
                    workflow.start_activity("add", args=[1, ""], **SOON)
                    left.append("started something")

    partition, owner = open_partition(Tidy)
    partition.start("t", "Tidy")
    owner.run()
    owner.shard.drop_instance(owner.shard.workflow("t").live)  # type: ignore[arg-type]
    owner.run()
    assert left == []
    assert tasks(partition) == []


@workflow.defn
class Large:
    @workflow.run
    async def run(self, where: str) -> str:
        value = "x" * 2_200_000
        try:
            if where == "argument":
                await workflow.execute_activity("add", value, **SOON)
        except ApplicationError as error:
            return f"caught {error.type}"
        return value


def test_a_value_over_the_limit_is_a_failure_of_the_call_or_of_the_run() -> None:
    partition, owner = open_partition(Large)
    argument, result = partition.start("l1", "Large", "argument"), partition.start("l2", "Large", "result")
    owner.run()
    assert partition.result(argument) == "caught PayloadTooLarge"
    outcome = partition.replies(result)[-1]
    assert (outcome.status, outcome.failure.type) == ("failed", "PayloadTooLarge")
    assert "2,200,002 bytes are over the limit of 2,097,152" in outcome.failure.message


def test_values_at_the_limit_pass_everywhere_and_into_the_archive() -> None:
    partition, owner = open_partition(Steps)
    owner.activities = {"add": lambda one, text: one}
    text = "x" * 2_000_000
    request = partition.start("big", "Steps", 3, text)
    owner.run()
    assert partition.result(request) == 3
    assert all(len(value or b"") <= 4_000_000 for record in partition.history if record for value in record)
    assert sum(len(blocks) for _, blocks in partition.archive) > 4 * len(text)


def test_what_is_remembered_of_requests_does_not_grow_for_ever() -> None:
    """A request is remembered until it expires, and not much longer, however long its workflow lives."""
    partition, owner = open_partition(Waiter)
    partition.start("entity", "Waiter", 10_000)
    for _ in range(20):
        for _ in range(100):
            soon = r.Request(f"s-{len(partition.inbox)}", partition.now_ms + 600_000, "client", 0)
            signal(partition, "entity", "hi", soon)
        owner.run()
        partition.now_ms += 300_000
    remembered = owner.shard.workflow("entity").remembered
    assert len(remembered.requests) <= 1000


def test_nobody_is_waited_for_whose_request_has_expired() -> None:
    partition, owner = open_partition(Sleeper)
    partition.start("s", "Sleeper", 10_000_000.0, request=r.Request("w", partition.now_ms + 600_000, "client", 0))
    owner.run()
    assert owner.shard.waiters
    owner.pass_time(700)
    assert not owner.shard.waiters


@workflow.defn
class Talkative:
    @workflow.run
    async def run(self) -> str:
        workflow.logger.warning("begins")
        await asyncio.sleep(1)
        workflow.logger.warning("goes on")
        await asyncio.sleep(1)
        return workflow.info().workflow_type


def test_logs_are_silent_on_replay(caplog: pytest.LogCaptureFixture) -> None:
    partition, owner = open_partition(Talkative)
    request = partition.start("t", "Talkative")
    owner.run()
    successor = Owner(partition)
    successor.run()
    successor.pass_time(1.5)
    third = Owner(partition)
    again = partition.request()
    partition.send("t", r.AwaitResult(again))
    third.run()
    third.pass_time(2)
    assert partition.result(again) == "Talkative"
    logged = [record.getMessage() for record in caplog.records if record.name == "odradek.workflow"]
    assert [message.partition(" (")[0] for message in logged] == ["begins", "goes on"]
    assert caplog.records[0].workflow_id == "t"  # type: ignore[attr-defined]
    assert request.id
