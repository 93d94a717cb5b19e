"""What is carried over of a workflow, and what is not; and when a namespace cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from odradek import workflow
from odradek.log import Log, LogUnavailable, open_log
from odradek.log.namespace import append_all, create_namespace, open_namespace, read_to_end
from odradek.orchestrator.core import keys
from odradek.orchestrator.core.run import Activity, Child, Remembered, Run
from odradek.orchestrator.core.workflow import Workflow
from odradek.orchestrator.image import SeenWorkflow
from odradek.orchestrator.transfer import copying
from odradek.orchestrator.transfer.backup_file import BackupFile, write_backup
from odradek.orchestrator.transfer.copying import check_sealed, copy
from odradek.orchestrator.transfer.cut import Cut
from odradek.orchestrator.transfer.entries import Entry
from odradek.orchestrator.transfer.errors import CopyDiffers, CopyUnfinished, NamespaceServed, RunsDamaged
from odradek.orchestrator.transfer.translation import (
    RENEWED_MS,
    Digest,
    _progress,
    is_tied,
    message_of,
    records_of,
    renamed,
)
from odradek.schemas import records as r
from odradek.schemas.codec import Codec
from odradek.schemas.topics import DAY_MS, Topics
from tests.cli.conftest import run_command
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


def test_an_update_that_comes_with_a_start_is_asked_anew_with_it() -> None:
    """Its answer must not go to whoever has that reply partition now."""
    request = r.Request("request", AN_HOUR_AGO_MS + 1000, "client", 3)
    update = r.UpdateWorkflow(request, "u", "hand")
    found = moved(r.InboxRecord(AN_HOUR_AGO_MS, r.StartWorkflow(request, "T", "q", update=update, wait_result=True)))
    assert found is not None
    assert isinstance(found.body, r.StartWorkflow)
    assert not found.body.wait_result
    assert found.body.update is not None
    assert (
        found.body.update.request
        == found.body.request
        == replace(request, expires_ms=NOW_MS + RENEWED_MS, reply_partition=-1)
    )


def test_a_start_that_is_to_come_again_is_not_taken_for_taken_in() -> None:
    """It has ended the run in its way; when it has begun its own, or been refused, two runs speak of it."""
    body = r.StartWorkflow(r.Request("r", NOW_MS, "client", 3), "T", "q")
    start = r.InboxRecord(0, body)
    replacing = r.InboxRecord(0, replace(body, id_conflict_policy="terminate-existing"))
    held = Workflow("wf")
    held.closed["run"] = ended = r.Summary("terminated", "T", "q", "run", 0, 1, 2, 5, 3, NOW_MS)
    assert moved(replacing, held) is not None
    assert moved(start, held) is None
    held.closed["next"] = replace(ended, status="refused")
    assert moved(replacing, held) is None
    held.closed["next"] = replace(ended, status="completed", inbox_offset=6)
    assert moved(replacing, held) is None


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


def test_of_runs_that_closed_at_one_moment_the_last_stays_the_last() -> None:
    """Though neither can name its place in the inbox any more."""
    held = Workflow("wf")
    first = r.Summary("completed", "T", "q", "first", 0, 1, 2, 9, 3, NOW_MS)
    held.closed = {"first": first, "last": replace(first, inbox_offset=12)}
    carried = [body for _, body in records_of(SeenWorkflow(held), 4, NAMES, lambda part: part)]
    assert all(summary.inbox_offset < 0 for summary in carried)
    latest = Workflow("wf", closed=dict(zip(held.closed, carried, strict=True))).latest_closed()
    assert latest is not None
    assert latest[0] == "last"


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


def test_runs_that_depend_on_the_old_name_are_named() -> None:
    """Tasks go on going to a queue that is named with it, and children elsewhere go on answering to it."""
    free, queue, abroad = (Run("wf", "run", Remembered()) for _ in range(3))
    for run in (free, queue, abroad):
        for seq, name in enumerate(("q", "other:q")):
            run.activities[seq] = Activity(r.ActivityScheduled(seq, "1", "t", name), 0, r.Progress(0, 1, 0))
        run.children[3] = Child(r.ChildScheduled(3, "c", "T", "q", NOW_MS))
    queue.activities[4] = Activity(r.ActivityScheduled(4, "1", "t", "old:q"), 0, r.Progress(0, 1, 0))
    abroad.children[4] = Child(r.ChildScheduled(4, "c", "T", "q", NOW_MS, "other"))
    assert [is_tied(run, "old") for run in (free, queue, abroad)] == [False, True, True]


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
    listed = {f"run\0{claim}".encode(): listing(workflow_id) for claim, workflow_id in enumerate(("broken", "wf"))}
    append_all(log, "old.visibility", 0, listed)
    done = copy(cut(log), log, "newer", skip_damaged=True)
    assert (done.damaged, done.digest.open_runs) == ([("broken", "run")], 1)
    shown = [
        Codec().decode(r.VisibilityRecord, record.value or b"") for record in read_to_end(log, "newer.visibility", 0)
    ]
    assert [record.workflow_id for record in shown] == ["wf"]


def listing(workflow_id: str, **said: Any) -> bytes:
    return Codec().encode(r.VisibilityRecord(workflow_id, "run", 1, 2, "T", "q", "running", NOW_MS, **said))


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
    with pytest.raises(CopyUnfinished, match=r'ODR-251.*"new"'):
        check_sealed(open_namespace(log, "new"))


def test_a_copy_that_broke_off_cannot_be_promoted(tmp_path: Path) -> None:
    class BreaksOff(Cut):
        def entries(self) -> Iterator[Entry]:
            yield from islice(super().entries(), 2)
            raise LogUnavailable("nowhere", "it went away")

    address = f"sqlite:///{tmp_path}/log.db"
    with closing(open_log(address)) as log:
        create_namespace(log, "old", partitions=1)
        put_open_run(log)
        with pytest.raises(LogUnavailable):
            copy(BreaksOff(open_namespace(log, "old"), watch_seconds=0), log, "new")
        copy(cut(log), log, "whole", partitions=2)
    for name, expected in (("new", 1), ("whole", 0)):
        promoted = run_command("--log", address, "--namespace", name, "namespace", "promote", "--yes")
        assert promoted.exit_code == expected, promoted.output
        assert ("ODR-251" in promoted.stderr) == (name == "new")


def test_for_how_long_topics_keep_their_records_is_carried_over(log: Log) -> None:
    log.create_topics([Topics("old").tasks_spec("mail", 2)])
    log.set_retention("old.archive", 30 * DAY_MS)
    log.set_retention("old.tasks.mail", None)
    copy(cut(log), log, "new")
    found = {name: log.topic(f"new.{name}") for name in ("archive", "tasks.mail", "dead-letter", "history")}
    kept = {name: info.config["retention.ms"] for name, info in found.items() if info}
    assert kept == {"archive": f"{30 * DAY_MS}", "tasks.mail": "-1", "dead-letter": f"{28 * DAY_MS}", "history": "-1"}


def test_what_was_erased_or_said_anew_is_in_no_backup(log: Log, tmp_path: Path) -> None:
    """Nor in what is made of it, however long the cleaner takes."""
    keys_of_summaries = [keys.summary("wf", f"run-{number}", 0) for number in range(2)]
    secret = {"note": r.Payload("json/plain", b"a secret")}
    told = r.Summary("completed", "T", "q", "run", 0, 1, 2, 5, 3, NOW_MS, memo=secret)
    log.create_topics([Topics("old").keys_spec()])
    for summary in (told, replace(told, memo={})):
        said = Codec().encode(r.HistoryRecord(0, -1, -1, -1, summary))
        append_all(log, "old.history", 0, dict.fromkeys(keys_of_summaries, said))
    append_all(log, "old.history", 0, {keys_of_summaries[0]: None})
    for value in (listing("wf", memo=secret), None):
        append_all(log, "old.visibility", 0, {b"run\0" + b"1": value})
    key = Codec().encode(r.DataKeyRecord("wf", "id", "master", b"a secret", NOW_MS))
    for value in (key, None):
        append_all(log, "old.keys", 0, {b"wf\0id": value})
    write_backup(tmp_path / "backup", cut(log))
    entries = list(BackupFile(tmp_path / "backup").entries())
    assert [(entry.part, entry.key) for entry in entries] == [("history", keys_of_summaries[1]), ("end", None)]
    assert not any(b"a secret" in (entry.value or b"") for entry in entries)
    copy(BackupFile(tmp_path / "backup"), log, "new")
    assert read_to_end(log, "new.visibility", 0) == []


def test_listings_that_a_backup_of_before_says_were_taken_out_stay_out(log: Log) -> None:
    """Backups that were made with every record that stood there have them in them, and the tombstones too."""

    class Whole(Cut):
        def _last_of_each(self, part: str, topic: str, partition: int) -> Iterator[Entry]:
            return self._all(part, topic, partition)

    for value in (listing("wf"), None):
        append_all(log, "old.visibility", 0, {b"run\0" + b"1": value})
    copy(Whole(open_namespace(log, "old"), watch_seconds=0), log, "new")
    assert read_to_end(log, "new.visibility", 0) == []


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
