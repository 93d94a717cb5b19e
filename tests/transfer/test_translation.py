"""What is carried over of a workflow, and what is not; and when a namespace cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from odradek import workflow
from odradek.log import Log, open_log
from odradek.log.namespace import append_all, create_namespace, open_namespace
from odradek.orchestrator.core import keys
from odradek.orchestrator.core.run import Activity, Remembered
from odradek.orchestrator.core.workflow import Workflow
from odradek.orchestrator.transfer import copying
from odradek.orchestrator.transfer.copying import copy
from odradek.orchestrator.transfer.cut import Cut
from odradek.orchestrator.transfer.errors import CopyDiffers, NamespaceServed, RunsDamaged
from odradek.orchestrator.transfer.translation import RENEWED_MS, Digest, _progress, message_of, records_of, renamed
from odradek.schemas import records as r
from odradek.schemas.codec import Codec
from tests.orchestrator.partition import Owner, Partition

NOW_MS = 1_900_000_000_000
AN_HOUR_AGO_MS = NOW_MS - 3_600_000
NAMES = ("old", "new")


@pytest.fixture
def log() -> Iterator[Log]:
    with closing(open_log("memory://")) as opened:
        create_namespace(opened, "old", partitions=1)
        yield opened


def cut(log: Log) -> Cut:
    return Cut(open_namespace(log, "old"), watch_seconds=0)


# ---------------------------------------------------------------------------------------------------- the inbox


def signal(expires_ms: int, request_id: str = "request") -> r.InboxRecord:
    request = r.Request(request_id, expires_ms, "client", 3)
    return r.InboxRecord(AN_HOUR_AGO_MS, r.SignalWorkflow("note", request=request))


def moved(record: r.InboxRecord, workflow: Workflow | None = None) -> r.InboxRecord | None:
    return message_of(workflow, 5, AN_HOUR_AGO_MS, record, NOW_MS, NAMES)


def test_what_came_in_time_is_not_late_because_of_the_move() -> None:
    """And what was late is late."""
    in_time, late = moved(signal(AN_HOUR_AGO_MS + 1000)), moved(signal(AN_HOUR_AGO_MS - 1))
    far = moved(signal(NOW_MS + 10 * RENEWED_MS))
    requests = [
        found.body.request for found in (in_time, late, far) if found and isinstance(found.body, r.SignalWorkflow)
    ]
    assert [request and request.expires_ms for request in requests] == [
        NOW_MS + RENEWED_MS,
        AN_HOUR_AGO_MS - 1,
        NOW_MS + 10 * RENEWED_MS,
    ]
    assert {request and request.reply_partition for request in requests} == {-1}


def test_what_was_taken_in_is_left_behind() -> None:
    """By its place, by its request, by its sender and number."""
    remembered = Remembered()
    remembered.request(r.RequestSeen("seen", NOW_MS), "run")
    remembered.message(r.MessageOrigin("old", "parent", "parent-run", 7, NOW_MS), "run")
    held = Workflow("wf", remembered)
    assert moved(signal(NOW_MS, "seen"), held) is None
    assert moved(signal(NOW_MS, "new"), held) is not None
    known, other = (
        r.InboxRecord(0, r.SignalWorkflow("note", origin=r.MessageOrigin("old", "parent", "parent-run", n, NOW_MS)))
        for n in (7, 8)
    )
    assert moved(known, held) is None
    found = moved(other, held)
    assert found is not None
    assert isinstance(found.body, r.SignalWorkflow)
    assert found.body.origin is not None
    assert found.body.origin.namespace == "new"
    summary = r.Summary("completed", "T", "q", "run", 0, 1, 2, 5, 3, NOW_MS)
    held.closed["run"] = summary
    assert moved(signal(NOW_MS, "new"), held) is None
    held.closed["run"] = replace(summary, inbox_offset=4)
    assert moved(signal(NOW_MS, "new"), held) is not None


def test_workers_and_questions_of_before_are_left_behind_and_results_are_not() -> None:
    request = r.Request("request", NOW_MS, "client", 3)
    for gone in (
        r.ActivityStarted("run", 1, 1, "w", 0),
        r.ActivityHeartbeat("run", 1, 1, "w", 0),
        r.DescribeWorkflow(request),
        r.AwaitResult(request),
        r.QueryWorkflow(request, "q"),
    ):
        assert moved(r.InboxRecord(0, gone)) is None
    for kept in (r.ActivityStarted("run", 1, 1, "w", 0, detached=True), r.ActivityResult("run", 1, 1, "w", 0)):
        assert moved(r.InboxRecord(0, kept)) == r.InboxRecord(0, kept)


# ---------------------------------------------------------------------------------------------------- workflows


def test_attempts_of_workers_are_issued_again_and_those_without_one_are_not() -> None:
    """The attempt keeps its number; what somebody outside will report is awaited."""
    held = r.Progress(4, 3, 0, dispatched_ms=5, holders=[r.Holder("w", 1), r.Holder("", 2)])
    activity = Activity(r.ActivityScheduled(1, "1", "t", "q"), 0, held)
    carried = _progress(activity)
    assert (carried.attempt, carried.dispatched_ms, carried.holders) == (3, 5, [r.Holder("", 2)])


def test_a_namespace_is_renamed_wherever_a_run_is_named_with_it() -> None:
    """Another namespace is not, and neither is what values hold."""
    parent = r.ParentLink("old", "p", "run", 1, "root", "root-run")
    started = r.RunStarted("T", "q", "run", input=[r.Payload("json/plain", b'"old"')], lineage=r.Lineage(parent=parent))
    abroad = r.CancelRequested(origin=r.MessageOrigin("elsewhere", "w", "run", 1, 0))
    events = [r.Event(1, 0, started), r.Event(2, 0, abroad)]
    first, second = renamed(events, "old", "new")
    assert first.body == replace(started, lineage=r.Lineage(parent=replace(parent, namespace="new")))
    assert second is events[1]
    assert renamed(events, "old", "old") is events


@workflow.defn
class Waiting:
    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)


def put_open_run(log: Log, workflow_id: str = "wf") -> list[tuple[bytes, bytes]]:
    partition = Partition([Waiting])
    owner = Owner(partition)
    partition.start(workflow_id, "Waiting")
    owner.run()
    records = [(key, value) for record in partition.history if record for key, value in [record] if value]
    append_all(log, "old.history", 0, dict(records))
    return records


def test_a_run_that_cannot_be_read_stops_a_move_or_is_named(log: Log) -> None:
    put_open_run(log)
    append_all(log, "old.history", 0, {keys.chunk("broken", "run", 1, 0): b"\2garbage"})
    with pytest.raises(RunsDamaged, match=r'ODR-249: 1 runs.*"broken" \(run run\)'):
        copy(cut(log), log, "new")
    done = copy(cut(log), log, "newer", skip_damaged=True)
    assert (done.damaged, done.digest.open_runs) == ([("broken", "run")], 1)


def test_a_namespace_that_is_served_again_meanwhile_is_noticed(log: Log) -> None:
    records = put_open_run(log)
    source = cut(log)
    entries = source.entries()
    next(entries)
    append_all(log, "old.history", 0, dict(records[:1]))
    with pytest.raises(NamespaceServed, match="ODR-246"):
        list(entries)


def test_a_sign_of_life_is_noticed(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    def beat(_: float) -> None:
        append_all(log, "old.workers", 0, {b"b": Codec().encode(r.WorkersRecord(r.Beacon("o-1")))})

    append_all(log, "old.workers", 0, {b"b": Codec().encode(r.WorkersRecord(r.Beacon("long ago")))})
    list(cut(log).entries())
    monkeypatch.setattr("time.sleep", beat)
    with pytest.raises(NamespaceServed, match="orchestrator o-1"):
        list(cut(log).entries())


def test_a_copy_that_differs_is_noticed(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    put_open_run(log)
    monkeypatch.setattr(copying, "records_of", lambda *arguments: list(records_of(*arguments))[:-1])
    with pytest.raises(CopyDiffers, match=r"ODR-250.*0 open.*should be 1 open"):
        copy(cut(log), log, "new")


def test_digests_tell_states_apart(log: Log) -> None:
    put_open_run(log, "one")
    first = copy(cut(log), log, "first").digest
    again = copy(cut(log), log, "again", partitions=3).digest
    put_open_run(log, "two")
    other = copy(cut(log), log, "other").digest
    assert first == again
    assert (first.open_runs, other.open_runs) == (1, 2)
    assert first.state != other.state
    assert Digest() != first
