"""Runs that follow one another under one workflow ID: continue-as-new, retries, cron."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from odradek import workflow
from odradek.common import RetryPolicy
from odradek.exceptions import ApplicationError
from odradek.orchestrator.core import effects as fx
from odradek.orchestrator.core.store import MemoryStore
from odradek.schemas import records as r
from tests.orchestrator.partition import Owner, Partition

SOON = {"start_to_close_timeout": timedelta(seconds=10)}


@workflow.defn
class Tally:
    """An entity: counts signals for ever, in runs of at most ``per_run``."""

    @workflow.init
    def __init__(self, total: int, per_run: int, until: int) -> None:
        self.total = total
        self.here = 0

    @workflow.signal
    def add(self, amount: int) -> None:
        self.total += amount
        self.here += 1

    @workflow.query
    def value(self) -> int:
        return self.total

    @workflow.run
    async def run(self, total: int, per_run: int, until: int) -> int:
        await workflow.wait_condition(lambda: self.here >= per_run or self.total >= until)
        if self.total < until:
            workflow.continue_as_new(args=[self.total, per_run, until])
        return self.total


@workflow.defn
class Inherits:
    """Continues until told not to; says what it sees of the chain."""

    @workflow.run
    async def run(self, left: int) -> list[Any]:
        if left:
            workflow.continue_as_new(left - 1, memo={"left": left - 1})
        info = workflow.info()
        return [workflow.memo().get("left"), info.attempt, info.first_execution_run_id, info.run_id]


@workflow.defn
class Hears:
    @workflow.run
    async def run(self, again: bool) -> list[str]:
        await workflow.sleep(5)
        if again:
            workflow.continue_as_new(False)
        return []


@workflow.defn
class HearsLater:
    """Only its second form has a handler."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    @workflow.signal
    def say(self, word: str) -> None:
        self.heard.append(word)

    @workflow.run
    async def run(self, again: bool) -> list[str]:
        return self.heard


@workflow.defn
class Changes:
    @workflow.run
    async def run(self) -> list[str]:
        await workflow.sleep(5)
        workflow.continue_as_new(False, workflow=HearsLater.run)


@workflow.defn
class Fails:
    @workflow.run
    async def run(self, until: int, kind: str) -> int:
        attempt = workflow.info().attempt
        await workflow.execute_activity("do", attempt, **SOON)
        if attempt < until:
            raise ApplicationError(f"attempt {attempt}", type=kind)
        return attempt


@workflow.defn
class Turns:
    @workflow.run
    async def run(self) -> int:
        await workflow.sleep(1)
        if workflow.now().minute == 20:
            raise ApplicationError("not at twenty past")
        return workflow.now().minute


WORKFLOWS = (Tally, Inherits, Hears, HearsLater, Changes, Fails, Turns)


def open_partition(**limits: Any) -> tuple[Partition, Owner]:
    partition = Partition(WORKFLOWS, **limits)
    return partition, Owner(partition)


def signal(partition: Partition, workflow_id: str, name: str, *args: Any) -> r.Request:
    request = partition.request()
    partition.send(workflow_id, r.SignalWorkflow(name, [partition.payload(a) for a in args], request=request))
    return request


def outcome(partition: Partition, request: r.Request) -> r.RunOutcome:
    return next(body for body in partition.replies(request) if isinstance(body, r.RunOutcome))


def result_of(partition: Partition, owner: Owner, workflow_id: str, run_id: str | None = None) -> Any:
    """Follow the chain to its last run, as a client does."""
    while True:
        request = partition.request()
        partition.send(workflow_id, r.AwaitResult(request, run_id))
        owner.run()
        found = outcome(partition, request)
        if found.next_run_id is None:
            assert found.status == "completed", found
            assert found.result is not None
            return partition.converter.payload_converter.from_payload(found.result)
        run_id = found.next_run_id


def test_an_entity_counts_across_runs() -> None:
    partition, owner = open_partition()
    started = partition.start("entity", "Tally", 0, 7, 100)
    for _ in range(100):
        signal(partition, "entity", "add", 1)
    owner.run()
    first = outcome(partition, started)
    assert first.status == "continued-as-new"
    assert first.next_run_id is not None
    assert result_of(partition, owner, "entity", first.run_id) == 100
    assert len({record.run_id for record, _ in partition.archive}) == 15


def test_signals_between_two_runs_wait_for_the_second() -> None:
    """A signal that arrives while the closing record is on its way is taken in by the run that follows."""
    partition, owner = open_partition()
    partition.start("entity", "Tally", 0, 1, 3)
    owner.run()
    requests = [signal(partition, "entity", "add", 1) for _ in range(3)]
    owner.read()  # all three at once: the first one ends the run
    owner.run()
    runs = [body.run_id for request in requests for body in partition.replies(request)]
    assert len(runs) == len(set(runs)) == 3
    assert result_of(partition, owner, "entity") == 3


@pytest.mark.parametrize("seed", range(60))
def test_no_signal_is_lost_or_counted_twice_whoever_owns(seed: int) -> None:
    """Owners die at any point between reading, landing, acknowledging and emitting; signals are sent twice."""
    chance = random.Random(seed)
    partition = Partition(WORKFLOWS, summary_retention_ms=10**9)
    owner = Owner(partition)
    partition.start("entity", "Tally", 0, chance.randrange(1, 6), 40)
    sent = 0
    while sent < 40 or owner.step():
        if sent < 40 and chance.random() < 0.5:
            request = signal(partition, "entity", "add", 1)
            if chance.random() < 0.3:
                partition.send("entity", r.SignalWorkflow("add", [partition.payload(1)], request=request))
            sent += 1
        action = chance.choice(["read", "land", "emit", "die", "checkpoint", "step", "step"])
        match action:
            case "read":
                owner.read(chance.randrange(1, 4))
            case "land":
                owner.land_all()
            case "emit":
                owner.emit_all()
            case "checkpoint":
                owner.shard.checkpoint(partition.now_ms)
            case "die":
                partition.now_ms += 10
                owner = Owner(partition, owner.store if chance.random() < 0.5 else MemoryStore())
            case _:
                owner.step()
        partition.now_ms += chance.randrange(3)
    owner.run()
    assert result_of(partition, owner, "entity") == 40


def test_a_run_whose_predecessor_did_not_close_is_void() -> None:
    """A zombie continued as new under an older claim; the new owner's history says that the run goes on."""
    partition, owner = open_partition()
    partition.start("entity", "Tally", 0, 1, 10)
    owner.run()
    zombie = owner
    request = signal(partition, "entity", "add", 1)
    zombie.read()
    late = list(zombie.shard.writer.to_send)
    successor_of = Owner(partition)
    successor_of.run()
    value = partition.request()
    partition.send("entity", r.QueryWorkflow(value, "value"))
    successor_of.run()
    for entry in late:
        partition.land(entry.key, entry.value)
    final = Owner(partition)
    final.run()
    assert [body.run_id for body in partition.replies(request)]
    signal(partition, "entity", "add", 9)
    final.run()
    assert result_of(partition, final, "entity") == 10


def test_what_a_run_hands_on() -> None:
    partition, owner = open_partition()
    partition.start("i", "Inherits", 3)
    owner.run()
    left, attempt, first, own = result_of(partition, owner, "i")
    assert (left, attempt) == (0, 1)
    assert first != own
    shown = {e.record.run_id: e.record for e in partition.emitted if isinstance(e, fx.Show) and e.record}
    assert Counter(record.status for record in shown.values()) == {"continued-as-new": 3, "completed": 1}
    assert {record.first_run_id for record in shown.values()} == {first}


def test_signals_without_a_handler_go_along() -> None:
    partition, owner = open_partition()
    partition.start("c", "Changes")
    signal(partition, "c", "say", "one")
    signal(partition, "c", "say", "two")
    owner.run()
    owner.pass_time(6)
    owner.run()
    assert result_of(partition, owner, "c") == ["one", "two"]


def test_remembered_requests_outlive_their_run_once() -> None:
    """A request is answered as before by whichever run follows, and stands in one summary only."""
    partition, owner = open_partition()
    partition.start("entity", "Tally", 0, 2, 10)
    request = signal(partition, "entity", "add", 1)
    for _ in range(4):
        signal(partition, "entity", "add", 1)
    owner.run()
    again = r.SignalWorkflow("add", [partition.payload(1)], request=request)
    partition.send("entity", again)
    owner.run()
    after = Owner(partition)
    after.run()
    partition.send("entity", again)
    after.run()
    runs = {body.run_id for body in partition.replies(request)}
    assert len(runs) == 1
    summaries = after.shard.workflow("entity").closed.values()
    assert sum(seen.id == request.id for summary in summaries for seen in summary.requests) == 1
    value = partition.request()
    partition.send("entity", r.QueryWorkflow(value, "value"))
    after.run()
    assert partition.converter.payload_converter.from_payload(partition.replies(value)[0].result) == 5


def test_a_failed_run_is_tried_again_after_its_backoff() -> None:
    partition, owner = open_partition()
    policy = RetryPolicy(initial_interval=timedelta(seconds=10), backoff_coefficient=2, maximum_attempts=5)
    started = partition.start("f", "Fails", 4, "Odd", retry_policy=policy.to_record())
    owner.activities = {"do": lambda attempt: attempt}
    waited = 0
    while not partition.replies(started) or len(partition.archive) < 4:
        owner.run()
        partition.now_ms += 1_000
        waited += 1
        owner.shard.tick(partition.now_ms)
        assert waited < 200
    assert result_of(partition, owner, "f", outcome(partition, started).run_id) == 4
    assert 70 <= waited <= 75  # 10 + 20 + 40 s
    assert outcome(partition, started).status == "failed"


@pytest.mark.parametrize(
    ("policy", "runs"),
    [
        (RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=2), 2),
        (RetryPolicy(initial_interval=timedelta(seconds=1), non_retryable_error_types=["Odd"]), 1),
        (None, 1),
    ],
)
def test_retries_end(policy: RetryPolicy | None, runs: int) -> None:
    partition, owner = open_partition()
    owner.activities = {"do": lambda attempt: attempt}
    partition.start("f", "Fails", 9, "Odd", retry_policy=policy.to_record() if policy else None)
    for _ in range(60):
        owner.run()
        owner.pass_time(1)
    assert len({record.run_id for record, _ in partition.archive}) == runs


def test_no_retry_beyond_the_execution_timeout() -> None:
    partition, owner = open_partition()
    owner.activities = {"do": lambda attempt: attempt}
    policy = RetryPolicy(initial_interval=timedelta(seconds=10), backoff_coefficient=1)
    partition.start("f", "Fails", 99, "Odd", retry_policy=policy.to_record(), execution_timeout_ms=35_000)
    for _ in range(100):
        owner.run()
        owner.pass_time(1)
    assert len({record.run_id for record, _ in partition.archive}) == 4


def test_cron_runs_again_and_again_until_terminated() -> None:
    partition = Partition(WORKFLOWS)
    partition.now_ms = int(datetime(2026, 11, 21, 12, 3, tzinfo=UTC).timestamp() * 1000)
    owner = Owner(partition)
    partition.start("t", "Turns", cron_schedule="*/10 * * * *")
    for _ in range(70):
        owner.run()
        owner.pass_time(30)
    runs = [e.record for e in partition.emitted if isinstance(e, fx.Show) and e.record and e.record.closed_ms]
    assert [(datetime.fromtimestamp((x.closed_ms or 0) / 1000, UTC).strftime("%H:%M"), x.status) for x in runs] == [
        ("12:10", "completed"),
        ("12:20", "failed"),
        ("12:30", "completed"),
    ]
    live = owner.shard.workflow("t").live
    assert live is not None
    assert live.run.started is not None
    assert live.run.started.lineage is not None
    assert live.run.started.lineage.last_result == partition.payload(30)
    assert live.run.started.lineage.last_failure is None
    partition.send("t", r.TerminateWorkflow(partition.request(), "enough"))
    owner.run()
    assert owner.shard.workflow("t").live is None


def test_a_cron_schedule_that_cannot_be_read_is_refused() -> None:
    partition, owner = open_partition()
    request = partition.start("t", "Turns", cron_schedule="every day")
    owner.run()
    (refused,) = partition.replies(request)
    assert refused.code == "ODR-111"
    assert '"every day"' in refused.message


def test_signal_with_start_begins_a_run_and_signals_an_open_one() -> None:
    partition, owner = open_partition()
    word = r.SignalWorkflow("add", [partition.payload(2)])
    for _ in range(3):
        partition.start("s", "Tally", 0, 100, 6, signal=word)
    owner.run()
    assert result_of(partition, owner, "s") == 6
    assert len({record.run_id for record, _ in partition.archive}) == 1


def test_signal_with_start_reaches_its_handler_before_the_main_method() -> None:
    partition, owner = open_partition()
    request = partition.start("s", "HearsLater", False, signal=r.SignalWorkflow("say", [partition.payload("first")]))
    owner.run()
    assert partition.result(request) == ["first"]


def test_a_history_without_end_is_ended() -> None:
    partition, owner = open_partition(history_events_max=50, history_events_warned=20)
    request = partition.start("entity", "Tally", 0, 1000, 1000)
    for _ in range(60):
        signal(partition, "entity", "add", 1)
    owner.run()
    ended = outcome(partition, request)
    assert ended.status == "terminated"
    assert ended.failure is not None
    assert "ODR-113" in ended.failure.message
    assert owner.shard.counts["history-long", "Tally"] == 1


@workflow.defn
class YearsOld:
    """An entity that continues as new when that is suggested."""

    @workflow.init
    def __init__(self, total: int, until: int) -> None:
        self.total = total

    @workflow.signal
    def add(self, amount: int) -> None:
        self.total += amount

    @workflow.run
    async def run(self, total: int, until: int) -> int:
        info = workflow.info()
        await workflow.wait_condition(lambda: info.is_continue_as_new_suggested() or self.total >= until)
        if self.total < until:
            workflow.continue_as_new(args=[self.total, until])
        return self.total


def test_an_entity_takes_a_hundred_thousand_signals_and_stays_small() -> None:
    """None lost, none twice; what is remembered of requests goes as they expire."""
    partition = Partition((YearsOld,), summary_retention_ms=3_600_000, replays_each_activation=False)
    owner = Owner(partition)
    partition.start("entity", "YearsOld", 0, 100_000)
    largest = 0
    for batch in range(200):
        for number in range(500):
            request = r.Request(f"{batch}-{number}", partition.now_ms + 600_000, "client", -1)
            partition.send("entity", r.SignalWorkflow("add", [partition.payload(1)], request=request))
        owner.run()
        owner.pass_time(60)
        owner.shard.checkpoint(partition.now_ms)
        partition.emitted.clear()
        partition.archive.clear()
        entity = owner.shard.workflow("entity")
        largest = max(largest, len(entity.remembered.requests) + len(entity.closed))
    assert result_of(partition, owner, "entity") == 100_000
    assert largest < 12_000  # of ten minutes, at 500 a minute, and twice that before it is tidied


@pytest.mark.parametrize("landed", range(6))
def test_late_beginning_of_a_run_that_waits_for_its_predecessor_leaves_no_empty_history(landed: int) -> None:
    """An owner that has not begun it yet has nothing to say of it, and may die after each of its next records."""
    partition = Partition([Tally])
    partition.start("w", "Tally", 0, 1, 9)
    zombie = Owner(partition)
    zombie.run()
    partition.send("w", r.SignalWorkflow("add", [partition.payload(1)]))
    zombie.read()
    zombie.land_all()
    zombie.send()
    begun = next(entry for entry in zombie.in_flight if b"\0c1\0" in entry.key)
    owner = Owner(partition)
    owner.read()
    partition.land(begun.key, begun.value)
    owner.land_all()
    owner.emit_all()
    owner.send()
    for entry in owner.in_flight[:landed]:
        partition.land(entry.key, entry.value)
    heir = Owner(partition)
    heir.run()
    wf = heir.shard.workflow("w")
    assert wf.damaged == {}
    assert wf.live is not None
    assert wf.live.run.started is not None
    assert heir.shard.lost_records == []
