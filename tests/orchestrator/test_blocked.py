"""What no topic takes: so much waits in memory, and the rest is sent again by the histories that it stands in."""

from __future__ import annotations

import asyncio
import logging
import uuid
from datetime import timedelta
from typing import Any

import pytest

from odradek import workflow
from odradek.log import LogError, TopicInfo, TopicMissing
from odradek.log.memory import MemoryLog
from odradek.log.namespace import Namespace, create_namespace, open_namespace
from odradek.orchestrator import abroad, blocked
from odradek.orchestrator import outputs as outputs_module
from odradek.orchestrator.blocked import BlockedTasks
from odradek.orchestrator.core import effects as fx
from odradek.orchestrator.core.attempts import PUT_OFF_MS
from odradek.orchestrator.core.writer import HistoryWriter
from odradek.orchestrator.outputs import Outputs
from odradek.schemas import records as r
from tests.orchestrator.partition import Owner, Partition
from tests.orchestrator.test_abroad import Sending, signal


@pytest.fixture
def namespace() -> Namespace:
    log = MemoryLog(uuid.uuid4().hex)
    create_namespace(log, "ns", partitions=1)
    return open_namespace(log, "ns")


@workflow.defn
class Many:
    """Starts so many activities, and waits for all of them."""

    @workflow.run
    async def run(self, count: int, to_start_seconds: float) -> int:
        limit = timedelta(seconds=to_start_seconds) if to_start_seconds else None
        handles = [
            workflow.start_activity(
                "work", number, schedule_to_start_timeout=limit, start_to_close_timeout=timedelta(seconds=9)
            )
            for number in range(count)
        ]
        ended = await asyncio.gather(*handles, return_exceptions=True)
        failed = [error for error in ended if isinstance(error, BaseException)]
        if failed:
            raise failed[-1]
        return sum(number for number in ended if isinstance(number, int))


class Blocking(Owner):
    """Its tasks go to the real ``Outputs``, whose topic cannot be made for a while."""

    def connect(self, namespace: Namespace, monkeypatch: pytest.MonkeyPatch) -> Outputs:
        self.asked = 0
        self.there = False

        def ensure(of: Namespace, queue: str) -> Any:
            self.asked += 1
            if not self.there:
                raise TopicMissing(f"ns.tasks.{queue}", 0)
            return TopicInfo(f"ns.tasks.{queue}", "id", 1, 1_000_000, {})

        def failed(error: Exception) -> None:
            raise error

        monkeypatch.setattr(outputs_module, "ensure_queue", ensure)
        self.outputs = Outputs(namespace, failed, {0: self})
        monkeypatch.setattr(self.outputs, "_append_or_raise", self._sent)
        return self.outputs

    def put_off(self, task: r.TaskRecord, writer: HistoryWriter) -> None:
        assert writer is self.shard.writer
        self.shard.put_off(task.workflow_id, task.run_id, task.seq, task.attempt)

    def emit(self, effect: fx.Effect) -> None:
        if isinstance(effect, fx.SendTask):
            self.outputs.carry_out(effect, self.shard.writer, 0)
        else:
            super().emit(effect)

    def _sent(self, effect: fx.SendTask, *_: Any) -> None:
        super().emit(effect)


def test_tasks_beyond_the_limit_are_put_off_and_done_when_their_topic_is_there(
    namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocked, "TASKS_MAX", 3)
    partition = Partition([Many], replays_each_activation=False)
    started = partition.start("w", "Many", 10, 0)
    owner = Blocking(partition)
    outputs = owner.connect(namespace, monkeypatch)
    assert owner.activities is not None
    owner.activities["work"] = lambda number: number
    owner.run()
    assert len(outputs._blocked) == 3
    assert owner.asked == 1, "a topic that is not there is not asked for again for each task"
    live = owner.shard.workflow("w").live
    assert live is not None
    waits = [activity.progress.retry_at_ms for activity in live.run.activities.values()]
    put_off = [at - partition.now_ms for at in waits if at is not None]
    assert len(put_off) == 7
    assert all(PUT_OFF_MS <= wait < 2 * PUT_OFF_MS for wait in put_off)
    assert len(set(put_off)) > 3, "not all at once"
    owner.there = True
    outputs.retry_blocked()
    owner.run()
    assert sum(isinstance(effect, fx.SendTask) for effect in partition.emitted) == 3
    for _ in range(2):
        owner.pass_time(PUT_OFF_MS / 1000)
    assert partition.result(started) == sum(range(10))
    assert owner.shard.writer.y == owner.shard.writer.last


def test_next_owner_knows_of_tasks_that_were_put_off(namespace: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """They have left nothing behind but their histories: y is past them."""
    monkeypatch.setattr(blocked, "TASKS_MAX", 1)
    partition = Partition([Many], replays_each_activation=False)
    partition.start("w", "Many", 5, 0)
    owner = Blocking(partition)
    owner.connect(namespace, monkeypatch)
    owner.run()
    heir = Owner(partition)
    assert heir.activities is not None
    heir.activities["work"] = lambda number: number
    heir.run()
    for _ in range(2):
        heir.pass_time(PUT_OFF_MS / 1000)
    assert [summary.status for summary in heir.shard.workflow("w").closed.values()] == ["completed"]


def test_limit_until_the_start_counts_on_while_a_task_is_put_off(
    namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocked, "TASKS_MAX", 1)
    partition = Partition([Many], replays_each_activation=False)
    started = partition.start("w", "Many", 2, 3 * PUT_OFF_MS / 1000)
    owner = Blocking(partition)
    owner.connect(namespace, monkeypatch)
    owner.run()
    for _ in range(4):
        owner.pass_time(0.8 * PUT_OFF_MS / 1000)
    (outcome,) = [body for body in partition.replies(started) if isinstance(body, r.RunOutcome)]
    assert outcome.status == "failed"
    assert "schedule-to-start" in str(outcome.failure)


def task(run_id: str, seq: int, input_bytes: int = 0) -> r.TaskRecord:
    payload = r.Payload("binary/plain", b"x" * input_bytes)
    return r.TaskRecord("ns", "w", run_id, "T", 0, seq, 1, "a", "work", "q", 1, 1, 2, (payload,))


class Told:
    def __init__(self) -> None:
        self.put_off_: list[tuple[str, int]] = []

    def put_off(self, task: r.TaskRecord, writer: HistoryWriter) -> None:
        self.put_off_.append((task.run_id, task.seq))


def writer_of(namespace: Namespace) -> HistoryWriter:
    writer = HistoryWriter(5, 5, -1, 5, namespace.codec, lambda entry: None, lambda late: None)
    writer.settled = writer.caught_up = True
    return writer


def test_bytes_are_limited_and_one_task_may_always_wait(namespace: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocked, "BYTES_MAX", 1000)
    told, writer = Told(), writer_of(namespace)
    waiting = BlockedTasks("ns", {0: told})
    waiting.block("q", LogError("no"))
    for seq, size in enumerate((5000, 10, 2000)):
        waiting.hold("q", fx.SendTask(task=task("run", seq, size)), writer, 0)
    assert told.put_off_ == [("run", 1), ("run", 2)]
    assert [held.effect.task.seq for held in waiting.take() if held.effect.task] == [0]
    waiting.block("q", LogError("no"))
    waiting.hold("q", fx.SendTask(task=task("run", 3, 900)), writer, 0)
    waiting.hold("q", fx.SendTask(task=task("run", 3, 999)), writer, 0)
    assert told.put_off_[2:] == [], "the same one again takes the place of the first"
    assert len(waiting) == 1


def test_a_blocked_queue_is_told_of_once_for_all_of_its_tasks(
    namespace: Namespace, caplog: pytest.LogCaptureFixture
) -> None:
    waiting, writer = BlockedTasks("ns", {}), writer_of(namespace)
    with caplog.at_level(logging.ERROR):
        for seq in range(100):
            waiting.block("q", LogError("no"))
            waiting.hold("q", fx.SendTask(task=task("run", seq)), writer, 0)
    assert [record.message[:7] for record in caplog.records] == ["ODR-074"]


def test_messages_beyond_the_limit_are_left_to_their_senders(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """They are sent again until they are answered. A result is not, and waits."""
    monkeypatch.setattr(abroad, "MESSAGES_MAX", 2)
    sending = Sending()
    monkeypatch.setattr(abroad._Neighbour, "open", lambda there: None)
    with caplog.at_level(logging.ERROR):
        for number in range(1, 6):
            sending.send(signal(number), "there")
    result = r.ChildResult("parent-run", 3, "child-run", "completed", None)
    sending.send(result, "there")
    there = sending.outputs._abroad._neighbours["there"]
    assert len(there.waiting) == 3
    assert [record.message[:7] for record in caplog.records] == ["ODR-129"]
    there.namespace = sending.namespaces["there"]
    sending.settle(lambda: sending.writer.y == 10)
    numbers = [getattr(body, "origin", None) and body.origin.number for _, body in sending.inbox("there")]
    assert numbers == [1, 2, None]
    sending.send(signal(3), "there")
    sending.settle(lambda: len(sending.inbox("there")) == 4)


def test_messages_are_limited_in_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(abroad, "BYTES_MAX", 3000)
    monkeypatch.setattr(abroad._Neighbour, "open", lambda there: None)
    sending = Sending()
    for number in range(1, 9):
        sending.send(signal(number, "x" * 1000), "there")
    there = sending.outputs._abroad._neighbours["there"]
    assert len(there.waiting) == 3
    for number in (1, 2, 3):
        sending.send(signal(number, "x" * 1000), "there")
    assert len(there.waiting) == 3
    there.empty()
    sending.send(signal(8), "there")
    assert len(there.waiting) == 1
