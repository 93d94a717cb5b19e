"""When outputs leave, and what y says of them."""

from __future__ import annotations

import pytest

from odradek import workflow
from odradek.orchestrator.core import keys
from odradek.orchestrator.core.effects import Effect, InboxDone, Output, Reply, SendMessage, SendTask, Show
from odradek.orchestrator.core.shard import Shard
from odradek.orchestrator.core.store import MemoryStore
from odradek.orchestrator.core.writer import HistoryWriter
from odradek.schemas import records as r
from odradek.schemas.codec import Codec
from tests.orchestrator.partition import Owner, Partition


def writer() -> HistoryWriter:
    made = HistoryWriter(0, -1, -1, -1, Codec(), lambda entry: None, lambda late: None)
    made.settled = made.caught_up = True
    return made


def test_y_waits_for_an_output_that_rides_on_a_later_append() -> None:
    """A retry's task leaves behind the last append of its turn: who takes over in between must still send it."""
    history = writer()
    own = history.append(b"k\0r\0p1\x000", r.Progress(1, 2, 0))
    another = history.append(b"l\0r\0p1\x000", r.Progress(1, 2, 0))
    task = SendTask()
    history.after_in_flight([task])
    history.acked(own, 1)
    assert history.y == 0
    history.acked(another, 2)
    assert history.outbox == [task]
    assert history.y == 0
    assert task.token is not None
    history.emitted(task.token)
    assert history.y == 2


def test_y_waits_for_what_is_decided_while_an_append_is_checked() -> None:
    """An output of the append that is being checked holds y below it, whatever began to wait before."""
    history = writer()
    effects: list[Effect] = [InboxDone(1), SendTask()]
    first = history.append(b"k\0r\0p1\x000", r.Progress(1, 2, 0))
    later = SendTask()

    def checked(offset: int) -> None:
        history.append(b"l\0r\0p1\x000", r.Progress(1, 2, 0))
        history.after_in_flight([later])
        history.begin_emitting(offset).outstanding += 1

    first.then = checked
    first.effects = effects
    history.acked(first, 1)
    assert history.y == 0


@workflow.defn
class Teller:
    @workflow.run
    async def run(self, target: str) -> str:
        await workflow.get_external_workflow_handle(target).signal("hear", "news")
        return "told"


@workflow.defn
class Listener:
    def __init__(self) -> None:
        self.heard: list[str] = []

    @workflow.signal
    def hear(self, text: str) -> None:
        self.heard.append(text)

    @workflow.query
    def all(self) -> list[str]:
        return self.heard

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)


@pytest.mark.parametrize("is_taken_over", [True, False])
def test_answer_to_a_message_that_is_lost_is_asked_for_again(*, is_taken_over: bool) -> None:
    """An owner may die between the record of a message and the answer to its sender; it counts once all the same."""
    partition = Partition([Teller, Listener])
    owner = Owner(partition)
    partition.start("listener", "Listener")
    told = partition.start("teller", "Teller", "listener")
    while not partition.bodies(r.MessageAnswer):
        assert owner.step()
    partition.inbox.pop()
    assert not partition.bodies(r.MessageAnswer)
    if is_taken_over:
        owner = Owner(partition)
    owner.run()
    assert partition.replies(told)[-1:] == [r.Accepted(partition.replies(told)[0].run_id)]
    partition.now_ms += 31_000
    owner.shard.tick(partition.now_ms)
    owner.run()
    result = partition.request()
    partition.send("teller", r.AwaitResult(result))
    heard = partition.request()
    partition.send("listener", r.QueryWorkflow(heard, "all"))
    owner.run()
    assert partition.result(result) == "told"
    assert partition.replies(heard)[0].result.data == b'["news"]'


def test_run_that_is_ahead_of_the_inbox_does_not_pull_x_along() -> None:
    """After a takeover a run may have taken in more than has been read again; its transition in parts holds x back."""
    shard = Shard(Partition().config(), MemoryStore())
    shard.taken = 9
    hold = shard.hold_x(22)
    assert shard.decided_x() == 9
    shard.taken = 30
    assert shard.decided_x() == 21
    shard.release_x(hold)
    assert shard.decided_x() == 30


@workflow.defn
class Idle:
    @workflow.run
    async def run(self) -> None:
        await workflow.sleep(1000)


@workflow.defn
class Brief:
    """Child of one, parent of another, and soon over."""

    @workflow.run
    async def run(self) -> None:
        await workflow.start_child_workflow(Idle.run, id="idle")
        await workflow.wait_condition(lambda: False)


@workflow.defn
class Top:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_child_workflow(Brief.run, id="brief")


def summaries(partition: Partition) -> list[str]:
    """Of which workflows history holds a summary."""
    parsed = [keys.parse(record[0]) for record in partition.history if record and record[1]]
    return [key.workflow_id for key in parsed if key and key.kind == "s"]


@pytest.mark.parametrize("withheld", range(4))
def test_summary_waits_for_every_output_of_the_end(withheld: int) -> None:
    """Result, word to the child, listing and archive: while one of them is not out, a new owner sends all of them."""
    partition = Partition([Top, Brief, Idle])
    owner = Owner(partition)
    partition.start("top", "Top")
    owner.run()
    partition.send("brief", r.TerminateWorkflow(partition.request(), "enough"))
    owner.read()
    owner.land_all()
    outputs = [e for e in owner.shard.writer.outbox if isinstance(e, Output) and not isinstance(e, Reply)]
    assert [type(e).__name__ for e in outputs] == ["SendMessage", "SendMessage", "Show", "Archive"]
    owner.shard.writer.outbox.remove(outputs[withheld])
    for _ in range(3):
        owner.emit_all()
        owner.land_all()
    assert "brief" not in summaries(partition)
    before = len(partition.emitted)
    heir = Owner(partition)
    heir.run()
    assert summaries(partition).count("brief") == 1
    said = [e for e in partition.emitted[before:] if isinstance(e, SendMessage) and e.record]
    kinds = [type(e.record.body) for e in said if e.record]
    assert {r.ChildResult, r.TerminateWorkflow} <= set(kinds)
    shown = [e.record.status for e in partition.emitted[before:] if isinstance(e, Show) and e.record]
    assert "terminated" in shown
    assert heir.shard.writer.y == heir.shard.writer.last
