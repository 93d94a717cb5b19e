"""Copies of a request that came in time are known for copies, however late they are read."""

from __future__ import annotations

from odradek import workflow
from odradek.schemas import records as r
from tests.orchestrator.partition import Owner, Partition

OUTAGE_MS = 3_600_000


@workflow.defn
class Chain:
    """Ends with each signal, and goes on as a new run that has counted it."""

    def __init__(self) -> None:
        self.heard = 0

    @workflow.signal
    def count(self) -> None:
        self.heard += 1

    @workflow.query
    def total(self) -> int:
        return self.before + self.heard

    @workflow.run
    async def run(self, before: int) -> None:
        self.before = before
        await workflow.wait_condition(lambda: self.heard > 0)
        workflow.continue_as_new(before + self.heard)


@workflow.defn
class Once:
    @workflow.run
    async def run(self) -> str:
        return "done"


def test_copies_of_a_signal_that_are_read_after_its_expiry_count_once() -> None:
    """The run that took the first copy ends between the two, when the request has expired by the owner's clock."""
    partition = Partition([Chain])
    owner = Owner(partition)
    partition.start("w", "Chain", 0)
    owner.run()
    request = r.Request("request", partition.now_ms + 600_000, "client", 0)
    for _ in range(2):
        partition.send("w", r.SignalWorkflow("count", [], request=request))
    partition.now_ms += OUTAGE_MS
    Owner(partition).run()
    asked = partition.request()
    partition.send("w", r.QueryWorkflow(asked, "total", []))
    Owner(partition).run()
    (answer,) = partition.replies(asked)
    assert partition.converter.payload_converter.from_payload(answer.result) == 1


def test_copies_of_a_start_that_are_read_after_its_expiry_make_one_run() -> None:
    partition = Partition([Once])
    request = r.Request("request", partition.now_ms + 600_000, "client", 0)
    for _ in range(2):
        partition.start("w", "Once", request=request)
    partition.now_ms += OUTAGE_MS
    owner = Owner(partition)
    owner.run()
    assert len(owner.shard.workflow("w").closed) == 1


def test_a_message_after_its_lifetime_is_not_told_for_certain_that_a_closed_run_did_not_take_it_in() -> None:
    """It may have been taken in before the run closed, and forgotten since."""
    partition = Partition([Once])
    partition.start("w", "Once")
    owner = Owner(partition)
    owner.run()
    origin = r.MessageOrigin("test", "sender", "run", 1, partition.now_ms + 1000)
    partition.now_ms += 2000
    partition.send("w", r.SignalWorkflow("hear", [], origin=origin))
    owner.run()
    bodies = [item.record.body for item in partition.inbox if isinstance(item.record, r.InboxRecord)]
    (answer,) = [body for body in bodies if isinstance(body, r.MessageAnswer)]
    assert answer.failure is not None
    assert answer.failure.type == "ODR-110"


def refused_start(partition: Partition) -> r.Request:
    """A run that has ended, and a start of another one of its ID, which its policy forbids."""
    partition.start("w", "Once")
    request = r.Request("refused", partition.now_ms + 600_000, "client", 0)
    for _ in range(2):
        partition.start("w", "Once", request=request, id_reuse_policy="reject-duplicate")
    return request


def codes(partition: Partition, request: r.Request) -> list[str]:
    return [answer.code for answer in partition.replies(request) if isinstance(answer, r.Refused)]


def test_copy_of_a_refused_start_that_is_read_after_its_expiry_is_refused_again() -> None:
    """Also by an owner that follows one that let time pass and read nothing; the run before it is forgotten then."""
    partition = Partition([Once], summary_retention_ms=OUTAGE_MS // 2)
    request = refused_start(partition)
    first = Owner(partition)
    first.read(2)
    first.inbox_at = len(partition.inbox) + 1
    first.run()
    partition.now_ms += OUTAGE_MS
    second = Owner(partition)
    second.shard.tick(partition.now_ms)
    second.land_all()
    assert [summary.status for summary in second.shard.workflow("w").closed.values()] == ["refused"]
    Owner(partition).run()
    assert set(codes(partition, request)) == {"ODR-103"}
    assert not [answer for answer in partition.replies(request) if isinstance(answer, r.RunOutcome)]


def test_refused_starts_of_a_quiet_inbox_keep_nobody_busy_and_are_forgotten_when_it_is_not() -> None:
    partition = Partition([Once], summary_retention_ms=60_000)
    refused_start(partition)
    owner = Owner(partition)
    owner.run()
    wf = owner.shard.workflow("w")
    looked: set[int] = set()
    for _ in range(24 * 60):
        owner.pass_time(60)
        looked.add(wf.forget_again_ms)
        assert owner.shard.next_tick_ms() > partition.now_ms
    assert [summary.status for summary in wf.closed.values()] == ["refused"]
    assert 24 <= len(looked) < 35
    partition.send("another", r.SignalWorkflow("hear", [], request=partition.request()))
    owner.run()
    for _ in range(2):
        owner.pass_time(3600)
    assert wf.closed == {}


def test_refusals_of_a_run_that_goes_on_are_forgotten_one_day() -> None:
    partition = Partition([Chain])
    partition.start("w", "Chain", 0)
    owner = Owner(partition)
    for _ in range(2000):
        request = r.Request(partition.request().id, partition.now_ms + 600_000, "client", 0)
        partition.start("w", "Chain", 0, request=request)
        partition.now_ms += 10_000
        owner.run()
    assert len(owner.shard.workflow("w").remembered.refusals) < 600
