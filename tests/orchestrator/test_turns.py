"""Workflows take turns: one that has much to take in, or to fire, holds nobody else up, and loses nothing by it."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from odradek import workflow
from odradek.client import Client
from odradek.log.sqlite_appender import SqliteAppender
from odradek.log.sqlite_reader import SqliteReader
from odradek.orchestrator.core import effects as fx
from odradek.orchestrator.host import Orchestrator
from odradek.orchestrator.settings import OrchestratorSettings
from odradek.schemas import records as r
from odradek.schemas.codec import Codec
from odradek.testing import WorkflowEnvironment
from odradek.worker import Worker
from tests.orchestrator.partition import Owner, Partition

TURN = 10


@workflow.defn
class Customer:
    """Takes so many signals, and returns them in the order in which it saw them."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    @workflow.run
    async def run(self, enough: int) -> list[int]:
        await workflow.wait_condition(lambda: len(self.seen) >= enough)
        return self.seen

    @workflow.signal
    def order(self, number: int) -> None:
        self.seen.append(number)


@workflow.defn
class Alarms:
    """Sleeps in so many ways at once."""

    @workflow.run
    async def run(self, count: int) -> int:
        await asyncio.gather(*(asyncio.sleep(60) for _ in range(count)))
        return count


@workflow.defn
class Letter:
    @workflow.run
    async def run(self, text: str) -> int:
        return len(text)


def partition(**limits: Any) -> Partition:
    return Partition([Customer, Alarms], replays_each_activation=False, inputs_per_turn=TURN, **limits)


def signal(at: Partition, workflow_id: str, number: int) -> r.Request:
    request = at.request()
    at.send(workflow_id, r.SignalWorkflow("order", [at.payload(number)], request=request))
    return request


def seen(owner: Owner, workflow_id: str) -> int:
    live = owner.shard.workflow(workflow_id).live
    assert live is not None
    assert live.instance is not None
    return len(live.instance.instance.seen)


def test_a_signal_behind_a_thousand_of_another_workflow_waits_for_one_turn_of_it() -> None:
    """The bound: what was read before it, and one turn of each workflow that has much to do."""
    at = partition()
    greedy = at.start("greedy", "Customer", 1000)
    at.start("innocent", "Customer", 2)
    owner = Owner(at)
    owner.run()
    for number in range(1000):
        signal(at, "greedy", number)
    asked = signal(at, "innocent", 0)
    owner.read(2000)
    assert (seen(owner, "greedy"), seen(owner, "innocent")) == (TURN, 1)
    owner.land_all()
    owner.emit_all()
    assert [type(body) for body in at.replies(asked)] == [r.Accepted]
    owner.run()
    assert at.result(greedy) == list(range(1000)), "in order, and each once"
    assert owner.shard.ahead == 0
    assert owner.shard.intake.holds.bytes == 0


def test_workflows_that_have_much_to_take_in_share_the_time() -> None:
    at = partition(inputs_per_flush=2 * TURN)
    names = [f"greedy-{n}" for n in range(6)]
    for name in names:
        at.start(name, "Customer", 1000)
    owner = Owner(at)
    owner.run()
    for number in range(60):
        for name in names:
            signal(at, name, number)
    owner.read(2000)
    for _ in range(3):  # two workflows in each
        owner.go_on()
        owner.land_all()
    counts = [seen(owner, name) for name in names]
    assert max(counts) - min(counts) <= 2 * TURN, counts
    owner.run()
    assert {seen(owner, name) for name in names} == {60}


def test_what_waits_for_its_turn_keeps_the_inbox_from_being_deleted_and_survives_its_owner() -> None:
    at = partition()
    at.start("greedy", "Customer", 300)
    owner = Owner(at)
    owner.run()
    first = len(at.inbox)
    for number in range(300):
        signal(at, "greedy", number)
    owner.read(2000)
    for _ in range(5):
        owner.land_all()
        owner.go_on()
    taken = seen(owner, "greedy")
    assert TURN < taken < 300
    owner.land_all()
    assert owner.shard.writer.x <= first + taken - 1
    again = at.request()  # who waits for a result asks the new owner
    at.send("greedy", r.AwaitResult(again))
    Owner(at).run()
    assert at.result(again) == list(range(300))


def test_careful_owner_keeps_the_order_of_what_waits_behind_a_barrier() -> None:
    """Code runs only when that is noted: meanwhile a later input must not pass those behind a transition in parts."""
    at = partition(crashes_max=3, chunk_bytes=200, record_bytes_max=1350)
    greedy = at.start("greedy", "Customer", 60)
    Owner(at).run()  # and is gone without a word
    for number in range(60):
        signal(at, "greedy", number)
    owner = Owner(at)
    assert owner.shard.careful is not None
    while owner.shard.writer.x < len(at.inbox) - 1:
        owner.read(3)
        owner.go_on()
        owner.send()
        if owner.in_flight:  # one acknowledgement at a time
            entry = owner.in_flight.pop(0)
            owner.shard.acked(entry, at.land(entry.key, entry.value))
            owner.shard.flush()
        else:
            owner.shard.checkpoint(at.now_ms)
        owner.emit_all()
    owner.run()
    assert at.result(greedy) == list(range(60))


def test_a_record_that_cannot_be_read_goes_to_the_dead_letters_when_its_turn_comes() -> None:
    at = partition()
    greedy = at.start("greedy", "Customer", 30)
    owner = Owner(at)
    owner.run()
    codec = Codec()
    for number in range(15):
        signal(at, "greedy", number)
    at.inbox.append(at.inbox[-1]._replace(offset=len(at.inbox), record=b"\x00\x00\xff not Avro"))
    for number in range(15, 30):
        signal(at, "greedy", number)
    at.inbox[:] = [  # as the log has them
        item._replace(record=codec.encode(item.record)) if isinstance(item.record, r.InboxRecord) else item
        for item in at.inbox
    ]
    owner.run()
    assert at.result(greedy) == list(range(30))
    letters = [effect for effect in at.emitted if isinstance(effect, fx.DeadLetter)]
    assert [letter.record.code for letter in letters if letter.record] == ["ODR-002"]


def test_due_timers_of_many_workflows_fire_some_at_a_time_and_new_work_goes_on_beside_them() -> None:
    at, due_max = partition(), 7
    ends = [at.start(f"alarm-{n}", "Alarms", 1) for n in range(100)]
    innocent = at.start("innocent", "Customer", 6)
    owner = Owner(at)
    owner.run()
    at.now_ms += 120_000
    for number in range(5):
        signal(at, "innocent", number)
        owner.read()
        assert seen(owner, "innocent") == number + 1
        owner.shard.tick(at.now_ms, due_max)
        owner.land_all()
        owner.emit_all()
        assert sum(bool(at.replies(end)[1:]) for end in ends) <= due_max * (number + 1)
        assert owner.shard.next_tick_ms() <= at.now_ms, "the rest is due now"
    signal(at, "innocent", 5)
    while owner.shard.next_tick_ms() <= at.now_ms:
        owner.shard.tick(at.now_ms, due_max)
        owner.run()
    assert [at.result(end) for end in ends] == [1] * 100
    assert at.result(innocent) == list(range(6))


def test_a_workflow_with_many_due_timers_fires_one_turn_of_them_at_a_time() -> None:
    at = partition()
    end = at.start("alarms", "Alarms", 95)
    owner = Owner(at)
    owner.run()
    at.now_ms += 120_000
    owner.shard.tick(at.now_ms)
    live = owner.shard.workflow("alarms").live
    assert live is not None
    assert len(live.run.timers) == 95 - TURN
    while owner.shard.next_tick_ms() <= at.now_ms:
        owner.run()
        owner.shard.tick(at.now_ms)
    owner.run()
    assert at.result(end) == 95


# ------------------------------------------------------------------------------------------ the process around it


async def test_an_inbox_is_read_ahead_within_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many signals one workflow gets: so many wait in memory, and the others in the log."""
    limit, poll, signals = 60, 20, 600
    most = pauses = 0
    take_turns, pause = Orchestrator._take_turns, SqliteReader.pause

    def watched(self: Orchestrator, now_ms: int, congested: bool) -> None:
        nonlocal most
        most = max(most, sum(owned.ahead[0] for owned in self.owned.values()))
        take_turns(self, now_ms, congested)

    def counted(self: SqliteReader, topic: str, number: int) -> None:
        nonlocal pauses
        pauses += 1
        pause(self, topic, number)

    monkeypatch.setattr(Orchestrator, "_take_turns", watched)
    monkeypatch.setattr(SqliteReader, "pause", counted)
    settings = OrchestratorSettings(inbox_ahead_records_max=limit, records_per_poll=poll, inputs_per_turn=1)
    async with await WorkflowEnvironment.start_local() as env:
        client: Client = env.client
        async with Worker(client, task_queue="q", workflows=[Customer], orchestrator_settings=settings):
            greedy = await client.start_workflow(Customer.run, signals, id="greedy", task_queue="q")
            innocent = await client.start_workflow(Customer.run, 1, id="innocent", task_queue="q")
            await asyncio.gather(*(greedy.signal(Customer.order, number) for number in range(signals)))
            await innocent.signal(Customer.order, 7)
            assert await innocent.result() == [7]
            assert sorted(await greedy.result()) == list(range(signals))
    assert poll < most <= limit + poll
    assert pauses


async def test_no_more_is_read_while_too_many_bytes_wait_for_acknowledgements(monkeypatch: pytest.MonkeyPatch) -> None:
    """An outage of the history fills no memory, and everything goes on after it."""
    limit, poll, orders = 100_000, 10, 300
    withheld, turns, most = threading.Event(), 0, 0
    reached = asyncio.Event()
    loop = asyncio.get_running_loop()
    poll_appender, take_turns = SqliteAppender.poll, Orchestrator._take_turns

    thread: threading.Thread | None = None

    def silent(self: SqliteAppender, timeout_seconds: float = 0) -> int:
        ours = threading.current_thread() is thread
        return 0 if ours and withheld.is_set() else poll_appender(self, timeout_seconds)

    def watched(self: Orchestrator, now_ms: int, congested: bool) -> None:
        nonlocal turns, most, thread
        thread = threading.current_thread()
        most = max(most, sum(owned.bytes_in_flight for owned in self.owned.values()))
        turns += congested
        if turns == 50:
            loop.call_soon_threadsafe(reached.set)
        take_turns(self, now_ms, congested)

    monkeypatch.setattr(SqliteAppender, "poll", silent)
    monkeypatch.setattr(Orchestrator, "_take_turns", watched)
    settings = OrchestratorSettings(in_flight_bytes_max=limit, records_per_poll=poll)
    async with (
        await WorkflowEnvironment.start_local() as env,
        Worker(env.client, task_queue="q", workflows=[Letter], orchestrator_settings=settings),
    ):
        assert await env.client.execute_workflow(Letter.run, "", id="first", task_queue="q") == 0
        withheld.set()
        text = "x" * 2000
        for number in range(orders):
            await env.client.start_workflow(Letter.run, text, id=f"letter-{number}", task_queue="q", wait=False)
        await reached.wait()
        withheld.clear()
        for number in range(orders):
            assert await env.client.get_workflow_handle_for(Letter.run, f"letter-{number}").result() == 2000
    assert limit < most <= limit + poll * 5000
