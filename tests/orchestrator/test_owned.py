"""One claim on one partition of a real log, turned by hand: taking over, serving, trouble, the end."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from odradek import workflow
from odradek.converter import DataConverter
from odradek.log import Committed, Log, LogError, RecordTooLarge
from odradek.log.controls import Controls
from odradek.log.memory import MemoryLog
from odradek.log.namespace import create_namespace, open_namespace
from odradek.orchestrator.admission import Culprits
from odradek.orchestrator.copies import CopiedStore, Copies
from odradek.orchestrator.core import effects as fx
from odradek.orchestrator.core import keys
from odradek.orchestrator.core.careful import Careful
from odradek.orchestrator.core.state import ShardConfig
from odradek.orchestrator.core.store import MemoryStore
from odradek.orchestrator.outputs import Outputs
from odradek.orchestrator.owned import OwnedPartition, Phase
from odradek.orchestrator.settings import OrchestratorSettings
from odradek.orchestrator.steps import StepRunner
from odradek.schemas import records as r
from odradek.schemas.codec import Codec
from odradek.workflow.definition import Definition
from tests.orchestrator.listening import Listening
from tests.orchestrator.test_host import eventually

HISTORY, INBOX = "owned.history", "owned.inbox"


@workflow.defn
class Napping:
    @workflow.run
    async def run(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Process:
    """What a partition shares with others: a clock, a reader and appenders on the log; it notes what it is told."""

    def __init__(self, log: Log, store: Path | None = None, now_ms: int = 1_800_000_000_000) -> None:
        self.log = log
        self.namespace = open_namespace(log, "owned")
        self.settings = OrchestratorSettings(store=store)
        self.reader = log.reader()
        self.history = log.appender()
        self.outputs = Outputs(self.namespace, self.history_failed, {})
        self.now_ms = now_ms
        self.clock_ms: Callable[[], int] = lambda: self.now_ms
        self.converter = DataConverter.default
        self.steps = StepRunner("owned", self.converter, lambda name: None, clock_ms=self.clock_ms)
        self.controls = Controls(self.namespace.codec)
        self.copies: Copies[OwnedPartition] | None = None
        self.acked: dict[int, OwnedPartition] = {}
        self.commits: list[Committed] = []
        self.trouble: list[Exception] = []
        self.failed: list[Exception] = []
        self.noted = 0
        self.known_culprits = Culprits()
        self.records_per_poll = 1000
        self.owned = OwnedPartition(self, 0)

    def shard_config(self, partition: int) -> ShardConfig:
        hosted = {Definition.of(cls).name: Definition.of(cls) for cls in (Listening, Napping)}
        return ShardConfig(
            "owned", "topic", partition, self.namespace.codec, self.converter.payload_converter,
            self.converter.failure_converter, lambda queue, name, version: hosted.get(name), list,
            record_bytes_max=1_000_000, payload_bytes_max=500,
        )  # fmt: skip

    def culprits(self, partition: int) -> Culprits:
        return self.known_culprits

    def commit(self, partition: int, position: Committed) -> None:
        self.commits.append(position)

    def worker_partition(self, worker: str) -> int | None:
        return 3

    def unserved_ms(self, queue: str) -> int | None:
        return 7

    def dispatch_expiry_ms(self, queue: str) -> int:
        return 11

    def read_archive(self, owned: OwnedPartition, effect: fx.ReadArchive) -> None:
        raise AssertionError("nobody asks")

    def history_failed(self, error: Exception) -> None:
        self.trouble.append(error)

    def partition_failed(self, owned: OwnedPartition, error: Exception) -> None:
        self.failed.append(error)

    def note_readiness(self) -> None:
        self.noted += 1

    def turn(self) -> None:
        self.history.poll()
        self.outputs.send_held()
        self.outputs.appender.poll()
        for owned in self.acked.values():
            owned.flush()
        self.acked = {}
        self.owned.load()
        self.owned.drain()
        records = self.reader.poll(0, self.records_per_poll)
        for topic, take in ((HISTORY, self.owned.take_history), (INBOX, self.owned.take_inbox)):
            if batch := [record for record in records if record.topic == topic]:
                take(batch)
                self.owned.drain()
        self.owned.drain()

    def turns(self, count: int = 12) -> None:
        for _ in range(count):
            self.turn()

    def pass_seconds(self, seconds: float) -> None:
        self.now_ms += int(seconds * 1000)
        self.owned.tick(self.now_ms, 200)
        self.turns()

    # ------------------------------------------------------------------------------------------ the log's side

    def land(self, key: bytes, value: bytes | None) -> None:
        appender = self.log.appender()
        appender.append(HISTORY, 0, key, value)
        appender.close()

    def send(self, workflow_id: str, body: Any) -> None:
        appender = self.log.appender()
        value = self.namespace.codec.encode(r.InboxRecord(self.now_ms, body))
        appender.append(INBOX, 0, workflow_id.encode(), value)
        appender.close()

    def start(self, workflow_id: str, workflow_type: str, argument: Any) -> None:
        request = r.Request(uuid.uuid4().hex, 4_000_000_000_000, "client", 0)
        input = [self.converter.payload_converter.to_payload(argument)]
        self.send(workflow_id, r.StartWorkflow(request, workflow_type, "queue", input))

    def say(self, workflow_id: str) -> None:
        request = r.Request(uuid.uuid4().hex, 4_000_000_000_000, "client", 0)
        word = [self.converter.payload_converter.to_payload("word")]
        self.send(workflow_id, r.SignalWorkflow("say", word, request=request))

    def end_of(self, topic: str) -> int:
        return self.log.offsets(topic, 0).end

    def records(self, topic: str) -> list[tuple[int, bytes | None, bytes | None]]:
        reader = self.log.reader()
        reader.assign(topic, 0, self.log.offsets(topic, 0).begin)
        return [(record.offset, record.key, record.value) for record in reader.poll(0, 100_000)]

    def said(self, topic: str, kind: type) -> list[Any]:
        codec = {"owned.replies": r.ReplyRecord, "owned.visibility": r.VisibilityRecord}.get(topic, r.DeadLetterRecord)
        found: list[Any] = [Codec().decode(codec, value) for _, _, value in self.records(topic) if value]
        return [getattr(one, "body", one) for one in found if isinstance(getattr(one, "body", one), kind)]


@pytest.fixture
def log() -> Iterator[Log]:
    log = MemoryLog(uuid.uuid4().hex)
    create_namespace(log, "owned", partitions=1, queues=("queue",))
    yield log
    log.close()


def live(log: Log, **options: Any) -> Process:
    process = Process(log, **options)
    process.turns()
    assert process.owned.phase is Phase.LIVE
    return process


# ---------------------------------------------------------------------------------------------------- taking over


def test_a_claim_is_restored_caught_up_and_live_in_this_order(log: Log) -> None:
    process = Process(log)
    process.start("w", "Listening", 1)
    assert process.owned.phase is Phase.CLAIMING
    process.history.poll()
    assert process.owned.phase is Phase.RESTORING
    inbox = log.reader()
    inbox.assign(INBOX, 0, 0)
    process.owned.take_inbox(inbox.poll(0))
    process.owned.take_steps([])
    process.owned.tick(process.now_ms + 10_000, 200)
    process.owned.flush()
    process.owned.drain()
    assert process.owned.settled
    assert process.owned.phase is Phase.RESTORING
    process.owned.take_history(process.reader.poll(0))
    assert process.owned.phase is Phase.LOADING
    process.owned.take_inbox(inbox.poll(0))
    process.owned.tick(process.now_ms + 10_000, 200)
    process.owned.load()
    process.owned.load()
    assert process.owned.phase is Phase.CATCHING_UP
    process.owned.tick(process.now_ms + 10_000, 200)
    assert process.noted == 0
    process.owned.take_inbox(process.reader.poll(0))
    assert process.owned.phase is Phase.LIVE
    process.turns()
    process.start("v", "Listening", 1)
    process.turns()
    assert process.noted == 1
    assert process.said("owned.replies", r.PartitionTaken) == [r.PartitionTaken(0)]
    assert [type(answer) for answer in process.said("owned.replies", r.Accepted)] == [r.Accepted, r.Accepted]


def test_an_empty_inbox_is_caught_up_with_at_once(log: Log) -> None:
    process = Process(log)
    process.turn()
    process.turn()
    assert process.owned.phase is Phase.LIVE


def test_what_lies_behind_the_claim_is_not_restored(log: Log) -> None:
    """A zombie's record that lands behind it is found in a gap, and answered there."""
    first = live(log)
    first.start("w", "Listening", 2)
    first.turns()
    ((_, key, value),) = [record for record in first.records(HISTORY) if record[1] and record[1].startswith(b"w\0")]
    heir = Process(log)
    heir.land(key or b"", value)
    heir.turns()
    assert heir.owned.phase is Phase.LIVE
    assert heir.owned.shard is not None
    assert heir.owned.shard.position < heir.end_of(HISTORY)
    heir.pass_seconds(2)
    heir.pass_seconds(2)
    assert heir.records(HISTORY)[-1][0] == heir.owned.shard.writer.last
    tombstones = [offset for offset, at, gone in heir.records(HISTORY) if at == key and gone is None]
    assert len(tombstones) >= 1
    assert heir.owned.phase is Phase.LIVE


def test_a_takeover_that_takes_too_long_is_given_up(log: Log) -> None:
    process = Process(log)
    process.history.poll()
    process.now_ms += 1_200_001
    process.turn()
    assert process.owned.phase is Phase.VOID
    assert "so long that compaction" in process.owned.void_reason
    other = Process(log)
    other.history.poll()
    other.now_ms += 1_200_000
    other.turns()
    assert other.owned.phase is Phase.LIVE


def test_an_inbox_that_has_lost_records_ends_the_claim_and_says_so(log: Log) -> None:
    first = live(log)
    for name in "abc":
        first.start(name, "Listening", 1)
    first.turns()
    first.pass_seconds(2)
    first.pass_seconds(2)
    first.start("d", "Listening", 1)
    first.start("e", "Listening", 1)
    log.delete_records(INBOX, {0: 3})
    assert live(log).owned.phase is Phase.LIVE
    log.delete_records(INBOX, {0: 5})
    for name in "fg":
        first.start(name, "Listening", 1)
    log.delete_records(INBOX, {0: 6})
    void = Process(log)
    void.turns()
    assert void.owned.phase is Phase.VOID
    assert void.owned.void_reason.startswith("ODR-076: inbox partition 0 begins at offset 6")


def test_a_new_namespace_may_begin_anywhere_in_its_inbox(log: Log) -> None:
    process = Process(log)
    for name in "abc":
        process.start(name, "Listening", 0)
    log.delete_records(INBOX, {0: 2})
    process.turns()
    assert process.owned.phase is Phase.LIVE
    assert len(process.said("owned.replies", r.Accepted)) == 1


@pytest.mark.parametrize(
    ("offset", "error", "told"),
    [(None, LogError("no"), "no"), (None, None, "offset is unknown"), (5, LogError("odd"), "odd")],
)
def test_a_claim_of_which_nothing_is_known_is_trouble(
    log: Log, offset: int | None, error: Exception | None, told: str
) -> None:
    process = Process(log)
    process.owned._claimed(offset, error)
    assert [told in str(one) for one in process.trouble] == [True]
    assert process.owned.phase is Phase.CLAIMING
    assert process.failed == []


def test_a_claim_that_arrives_after_the_end_begins_nothing(log: Log) -> None:
    process = Process(log)
    process.owned.end("over")
    process.turns()
    assert (process.owned.phase, process.trouble, process.failed) == (Phase.VOID, [], [])
    assert process.owned.shard is None


def test_a_defect_while_it_takes_over_is_told(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(log)
    monkeypatch.setattr(process, "shard_config", lambda partition: 1 / 0)
    process.turn()
    assert [type(error) for error in process.failed] == [ZeroDivisionError]


# -------------------------------------------------------------------------------------------------------- service


def test_a_shard_knows_what_its_process_knows(log: Log) -> None:
    process = live(log)
    shard = process.owned.shard
    assert shard is not None
    assert (shard.worker_partition("w"), shard.unserved_ms("q"), shard.dispatch_expiry_ms("q")) == (3, 7, 11)
    assert shard.paused_types is process.controls.types
    assert shard.paused_queues is process.controls.queues
    assert process.owned.payload_bytes_max == 500
    process.owned.close()
    assert process.owned.payload_bytes_max == 0


def test_a_shard_knows_where_its_inbox_ended_at_the_claim(log: Log) -> None:
    first = live(log)
    first.start("w", "Listening", 1)
    first.turns()
    heir = live(log)
    assert heir.owned.shard is not None
    assert heir.owned.shard.inbox_end == heir.end_of(INBOX) == 1


def test_outputs_are_idle_when_none_is_on_its_way(log: Log) -> None:
    outputs = live(log).outputs
    assert outputs.idle
    outputs.appender.append("owned.replies", 0, b"client", b"", lambda offset, error: None)
    assert not outputs.idle
    outputs.appender.poll()
    assert outputs.idle


def test_a_culprit_is_forgotten_once_the_inbox_is_taken_in_beyond_it(log: Log) -> None:
    process = live(log)
    process.known_culprits.offsets = {0: "an error", 7: "another"}
    process.start("w", "Listening", 1)
    process.turns()
    process.pass_seconds(2)
    assert process.known_culprits.offsets == {7: "another"}


def test_a_record_that_the_log_finds_too_large_is_its_workflows_fault(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = live(log)
    append = process.history.append

    def refusing(topic: str, partition: int, key: bytes | None, *more: Any) -> None:
        if key is not None and key.startswith(b"w\0"):
            raise RecordTooLarge(topic, partition, 9999, 9000)
        append(topic, partition, key, *more)

    monkeypatch.setattr(process.history, "append", refusing)
    process.start("w", "Listening", 1)
    with pytest.raises(RecordTooLarge):
        process.turns()
    assert process.owned.shard is not None
    assert process.owned.shard.at == ("w", -1)


def test_a_record_that_cannot_be_read_goes_to_the_dead_letters(log: Log) -> None:
    process = live(log)
    appender = log.appender()
    good = process.namespace.codec.encode(r.InboxRecord(0, r.DescribeWorkflow(r.Request("q", 1 << 50, "client", 0))))
    bad: list[tuple[bytes | None, bytes | None]] = [
        (None, good), (b"", good), (b"w", None), (b"w", b""), (b"a\0b", good), (b"\xff\xfe", good), (b"w", b"garbage"),
    ]  # fmt: skip
    for key, value in bad:
        appender.append(INBOX, 0, key, value)
    appender.append(INBOX, 0, b"w", good)
    appender.close()
    process.turns()
    dead = process.said("owned.dead-letter", r.DeadLetterRecord)
    assert [(letter.code, letter.topic, letter.offset) for letter in dead] == [
        ("ODR-002", INBOX, offset) for offset in range(len(bad))
    ]
    assert [(letter.key, letter.value) for letter in dead] == bad
    process.turns()
    assert process.owned.shard is not None
    assert process.owned.shard.taken == len(bad)
    assert process.owned.shard.writer.x == len(bad)


def test_a_damaged_history_record_is_copied_to_the_dead_letters_once(log: Log) -> None:
    first = live(log)
    first.start("w", "Listening", 1)
    first.turns()
    first.owned.close()
    (key,) = [key for _, key, _ in first.records(HISTORY) if key and key.startswith(b"w\0")]
    first.land(key, b"garbage")
    heir = live(log)
    for _ in range(3):
        heir.start("other", "Listening", 0)
        heir.turns()
        heir.pass_seconds(2)
    (dead,) = heir.said("owned.dead-letter", r.DeadLetterRecord)
    assert (dead.topic, dead.key, dead.value, dead.code) == (HISTORY, key, b"garbage", "ODR-002")


def test_an_inbox_whose_first_record_was_taken_in_is_missed_like_any_other(log: Log) -> None:
    first = live(log)
    first.start("a", "Listening", 1)
    first.turns()
    first.pass_seconds(2)
    first.pass_seconds(2)
    for name in "bcd":
        first.start(name, "Listening", 1)
    log.delete_records(INBOX, {0: 2})
    heir = Process(log)
    heir.turns()
    assert heir.owned.phase is Phase.VOID


def test_what_was_taken_in_is_not_read_again(log: Log) -> None:
    first = live(log)
    for name in "abc":
        first.start(name, "Listening", 1)
    first.turns()
    first.pass_seconds(2)
    first.pass_seconds(2)
    heir = Process(log)
    heir.history.poll()
    heir.owned.take_history(heir.reader.poll(0))
    heir.owned.load()
    assert heir.reader.position(INBOX, 0) == 3


def test_timers_fire_when_it_ticks_and_only_while_it_is_live(log: Log) -> None:
    process = Process(log)
    process.start("w", "Napping", 5.0)
    process.owned.tick(process.now_ms, 200)
    process.turns()
    process.pass_seconds(4)
    assert [record.status for record in process.said("owned.visibility", r.VisibilityRecord)][-1] == "running"
    process.pass_seconds(1)
    process.turns()
    assert [record.status for record in process.said("owned.visibility", r.VisibilityRecord)][-1] == "completed"


def checkpoints(process: Process) -> int:
    return sum(1 for _, key, value in process.records(HISTORY) if key and key.startswith(keys.CHECKPOINT) and value)


def test_a_checkpoint_is_written_every_second_in_which_something_has_moved(log: Log) -> None:
    process = live(log)
    process.pass_seconds(1)
    before = checkpoints(process)
    process.start("w", "Listening", 1)
    process.turns()
    process.pass_seconds(0.4)
    process.pass_seconds(0.4)
    assert checkpoints(process) == before
    process.pass_seconds(0.4)
    assert checkpoints(process) == before + 1
    for _ in range(30):
        process.pass_seconds(1)
    quiet = checkpoints(process)
    for _ in range(60):
        process.pass_seconds(1)
    assert checkpoints(process) == quiet <= before + 4


def test_the_last_checkpoint_says_that_everything_has_been_emitted(log: Log) -> None:
    """Else the next owner would send it again."""
    process = live(log)
    process.start("w", "Listening", 1)
    for _ in range(20):
        process.pass_seconds(1)
    offset, value = [(at, value) for at, key, value in process.records(HISTORY) if key and key[:1] == b"\0" and value][
        -1
    ]
    _, v, x, y = Codec().watermarks(value or b"")
    (written,) = [at for at, key, _ in process.records(HISTORY) if key and key.startswith(b"w\0")]
    assert x == 0
    assert written <= y < offset
    assert written <= v < offset


def test_the_inbox_is_done_with_up_to_what_a_checkpoint_says(log: Log) -> None:
    process = live(log)
    process.start("a", "Listening", 1)
    process.start("b", "Listening", 1)
    process.turns()
    assert process.owned.done_x == -1
    process.pass_seconds(1)
    process.pass_seconds(1)
    assert process.owned.done_x == 1
    assert process.commits[-1] == Committed(2, "")


def test_everything_is_settled_when_nothing_is_on_its_way(log: Log) -> None:
    process = Process(log)
    assert process.owned.settled
    process.turns()
    assert process.owned.settled
    process.start("a", "Listening", 1)
    process.owned.take_inbox(process.reader.poll(0))
    assert not process.owned.settled
    process.owned.drain()
    assert not process.owned.settled
    process.turns()
    assert process.owned.settled


# -------------------------------------------------------------------------------------------------------- trouble


def test_another_claim_ends_this_one_as_soon_as_it_writes(log: Log) -> None:
    zombie = live(log)
    zombie.start("w", "Listening", 2)
    zombie.turns()
    heir = live(log)
    zombie.say("w")
    zombie.turns()
    zombie.turns()
    assert zombie.owned.phase is Phase.VOID
    assert "another owner claimed the partition" in zombie.owned.void_reason
    assert heir.owned.phase is Phase.LIVE
    heir.turns()
    assert heir.owned.phase is Phase.LIVE
    assert heir.owned.shard is not None
    wf = heir.owned.shard.workflow("w")
    assert wf.live is not None
    assert wf.live.run.n == 2


def test_foreign_bytes_in_history_stop_nobody(log: Log) -> None:
    process = live(log)
    process.start("w", "Listening", 2)
    process.turns()
    process.land(b"foreign", b"bytes")
    process.land(keys.mark(0), b"a mark of this claim, again")
    process.say("w")
    process.turns()
    process.pass_seconds(2)
    assert process.owned.phase is Phase.LIVE
    assert process.owned.shard is not None
    assert process.owned.shard.writer.last == process.end_of(HISTORY) - 1
    assert len(process.said("owned.replies", r.Accepted)) == 2


def test_a_gap_is_read_to_its_end_and_no_further(log: Log) -> None:
    """However few records come at a time; the last of it is a claim."""
    process = live(log)
    process.records_per_poll = 1
    for number in range(3):
        process.land(keys.mark(0), b"%d" % number)
    process.start("v", "Listening", 1)
    process.turns(20)
    assert process.owned.phase is Phase.LIVE
    assert process.owned.shard is not None
    assert process.owned.shard.writer.last == process.end_of(HISTORY) - 1
    process.land(keys.mark(0), b"again")
    process.land(keys.claim("another"), b"")
    process.start("w", "Listening", 1)
    process.turns(20)
    assert process.owned.phase is Phase.VOID
    assert len(process.said("owned.replies", r.Accepted)) == 1


def test_a_note_of_an_older_claim_is_taken_away(log: Log) -> None:
    first = live(log)
    first.start("w", "Listening", 2)
    first.turns()
    heir = live(log)
    late = keys.mark(first.owned.shard.writer.claim)  # type: ignore[union-attr]
    heir.land(late, Codec().encode_history(0, -1, -1, -1, r.Mark(1)))
    heir.say("w")
    heir.turns()
    assert (late, None) in [(key, value) for _, key, value in heir.records(HISTORY)]
    assert heir.owned.phase is Phase.LIVE


@pytest.mark.parametrize(("offset", "error"), [(None, None), (None, LogError("no")), (9, LogError("no"))])
def test_an_append_of_which_nothing_is_known_is_trouble(
    log: Log, monkeypatch: pytest.MonkeyPatch, offset: int | None, error: Exception | None
) -> None:
    process = live(log)
    told: list[Any] = []
    monkeypatch.setattr(process.history, "append", lambda *arguments: told.append(arguments[-1]))
    process.start("w", "Listening", 1)
    process.turns(2)
    (appended,) = told
    appended(offset, error)
    (trouble,) = process.trouble
    assert trouble is error if error is not None else "unknown" in str(trouble)
    assert process.failed == []
    assert process.said("owned.replies", r.Accepted) == []


def test_a_defect_in_an_acknowledgement_is_told(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    process = live(log)
    process.start("w", "Listening", 1)
    process.owned.take_inbox(process.reader.poll(0))
    process.owned.drain()
    assert process.owned.shard is not None
    monkeypatch.setattr(process.owned.shard, "acked", lambda entry, offset: 1 / 0)
    process.turn()
    assert [type(error) for error in process.failed] == [ZeroDivisionError]


# -------------------------------------------------------------------------------------------------------- the end


def test_nothing_happens_after_the_end(log: Log) -> None:
    process = live(log)
    process.start("w", "Listening", 1)
    process.owned.take_inbox(process.reader.poll(0))
    process.owned.drain()
    shard = process.owned.shard
    process.owned.end("over")
    process.owned.end("over again")
    process.owned.close()
    assert (process.owned.phase, process.owned.void_reason) == (Phase.VOID, "over")
    assert (process.owned.shard, process.owned.store) == (None, None)
    assert shard is not None
    assert shard.writer.fenced
    assert shard.instances == {}
    process.start("v", "Listening", 1)
    process.turns()
    process.owned.take_inbox([])
    process.owned.take_steps([])
    process.owned.tick(process.now_ms + 10_000, 200)
    process.owned.flush()
    assert process.owned.settled
    assert process.said("owned.replies", r.Accepted) == []
    assert (process.trouble, process.failed) == ([], [])


def test_a_partition_that_is_let_go_is_read_no_more(log: Log) -> None:
    process = live(log)
    process.owned.close()
    assert process.owned.void_reason == ""
    process.start("w", "Listening", 1)
    process.land(keys.claim("x"), b"")
    assert process.reader.poll(0) == []


def test_a_store_on_disk_is_resumed_from(log: Log, tmp_path: Path) -> None:
    process = live(log, store=tmp_path)
    for number in range(20):
        process.start(f"w{number}", "Listening", 1)
    process.turns(30)
    process.pass_seconds(2)
    process.pass_seconds(2)
    process.owned.close()
    heir = Process(log, store=tmp_path, now_ms=process.now_ms)
    heir.turn()
    assert heir.owned.shard is not None
    assert heir.owned.shard.restore_from > 20
    heir.turns(20)
    heir.say("w7")
    heir.turns()
    shown = heir.said("owned.visibility", r.VisibilityRecord)
    assert [(record.workflow_id, record.status) for record in shown if record.status != "running"] == [
        ("w7", "completed")
    ]


def test_a_killed_process_resumes_from_its_last_flush(log: Log, tmp_path: Path) -> None:
    """The first checkpoint brings the store onto the disk, and then one every 20 s."""
    process = live(log, store=tmp_path)
    flushed: list[int] = []
    store: Any = process.owned.store
    flush = store.flush
    store.flush = lambda **how: (flushed.append(process.now_ms), flush(**how))
    began = process.now_ms
    for second in range(45):
        process.start(f"w{second}", "Listening", 1)
        process.turns(3)
        process.pass_seconds(1)
    assert [(at - began) // 1000 for at in flushed] == [1, 21, 41]
    assert store.get(b"i") is not None
    process.owned.close()


def test_a_copy_is_sent_on_while_its_partition_is_served(
    log: Log, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("odradek.orchestrator.copies.PAIRS", 3)
    before = live(log)
    for number in range(20):
        before.start(f"w{number}", "Listening", 1)
    before.turns()
    process = Process(log, now_ms=before.now_ms)
    copies = process.copies = Copies(redis_url, uuid.uuid4().hex, lambda: None)
    process.turn()
    eventually(lambda: bool(copies.done), "its store is there")
    owned, store = copies.done.popleft()
    assert isinstance(store, CopiedStore), store
    owned.restore(store)
    process.turns()
    process.pass_seconds(2)
    assert store.is_behind

    def is_whole() -> bool:
        owned.tick(process.now_ms, 200)
        return not store.is_behind and not store.waiting_bytes

    eventually(is_whole, "the copy is as its store")
    owned.close()
    copies.close()


@pytest.mark.parametrize(("seconds", "is_kept"), [(1780, True), (1810, False)])
def test_a_store_that_is_too_old_is_read_anew(log: Log, tmp_path: Path, seconds: int, *, is_kept: bool) -> None:
    process = live(log, store=tmp_path)
    process.start("w", "Listening", 1)
    for _ in range(3):
        process.turns()
        process.pass_seconds(2)
    process.owned.close()
    heir = Process(log, store=tmp_path, now_ms=process.now_ms + seconds * 1000)
    heir.history.poll()
    assert heir.owned.shard is not None
    assert (heir.owned.shard.restore_from > 1) is is_kept
    assert heir.reader.position(HISTORY, 0) == heir.owned.shard.restore_from
    heir.owned.close()


@pytest.mark.parametrize(("ahead", "is_kept"), [(0, True), (1, False)])
def test_a_store_that_reflects_more_than_the_log_holds_is_read_anew(
    log: Log, tmp_path: Path, ahead: int, *, is_kept: bool
) -> None:
    """The log was made anew with the same name, or has lost its end."""
    process = live(log, store=tmp_path)
    process.start("w", "Listening", 1)
    for _ in range(3):
        process.turns()
        process.pass_seconds(2)
    assert process.owned.store is not None
    position = int((process.owned.store.get(b"m") or b"").split()[0])
    process.owned.close()
    heir = Process(log, store=tmp_path, now_ms=process.now_ms)
    heir.owned._begin_restore(position - ahead)
    assert heir.owned.shard is not None
    assert (heir.owned.shard.restore_from > 1) is is_kept
    heir.owned.close()


# ------------------------------------------------------------------------------------------------- reading ahead


def test_reading_stops_above_what_is_free_and_goes_on_at_half_of_it(log: Log) -> None:
    process = live(log)
    process.settings = replace(process.settings, records_per_poll=1, inbox_ahead_bytes_max=64)
    owned, shard = process.owned, process.owned.shard
    assert shard is not None
    holds = [shard.hold_x(1000, 10) for _ in range(10)]
    process.say("w")

    def reads(free_records: int, free_bytes: int) -> bool:
        owned.pace(free_records, free_bytes)
        read = bool(process.reader.poll(0))
        process.reader.assign(INBOX, 0, 0)
        if not read:
            process.reader.pause(INBOX, 0)
        return read

    assert owned.ahead == (10, 100)
    assert reads(10, 100)
    assert not reads(9, 1000)
    assert not reads(19, 1000)
    assert reads(20, 1000)
    assert not reads(1000, 99)
    assert not reads(1000, 199)
    assert reads(1000, 200)
    for hold in holds:
        shard.release_x(hold)
    assert owned.ahead == (0, 0)


def test_a_little_may_always_be_read_ahead(log: Log) -> None:
    """Whatever other partitions hold."""
    process = live(log)
    process.settings = replace(process.settings, records_per_poll=3, inbox_ahead_bytes_max=6400)
    shard = process.owned.shard
    assert shard is not None
    process.say("w")
    for held_bytes in (0, 50, 50):
        shard.hold_x(1000, held_bytes)
    process.owned.pace(-9, -9)
    assert process.reader.poll(0)
    process.say("w")
    hold = shard.hold_x(1000)
    process.owned.pace(-9, -9)
    assert not process.reader.poll(0)
    shard.release_x(hold)
    process.owned.pace(6, 200)
    assert process.reader.poll(0)
    process.say("w")
    shard.release_x(1)
    shard.hold_x(1000, 1)
    process.owned.pace(-9, -9)
    assert not process.reader.poll(0)


def test_nobody_paces_what_is_not_read_yet(log: Log) -> None:
    process = Process(log)
    process.history.poll()
    process.owned.take_history(process.reader.poll(0))
    assert process.owned.phase is Phase.LOADING
    assert process.owned.shard is not None
    for _ in range(3):
        process.owned.shard.hold_x(1000, 1 << 40)
    process.owned.pace(0, 0)
    process.start("w", "Listening", 1)
    process.turns()
    assert len(process.said("owned.replies", r.Accepted)) == 1


def test_a_partition_without_a_claim_holds_nothing(log: Log) -> None:
    process = live(log)
    process.start("w", "Listening", 1)
    process.owned.take_inbox(process.reader.poll(0))
    process.owned.drain()
    assert process.owned.bytes_in_flight > 0
    process.owned.close()
    assert (process.owned.ahead, process.owned.bytes_in_flight, process.owned.has_backlog) == ((0, 0), 0, False)


def test_inputs_that_wait_for_their_turn_go_on_in_the_next(log: Log) -> None:
    process = live(log)
    process.start("w", "Listening", 1000)
    process.turns()
    shard = process.owned.shard
    assert shard is not None
    shard.config = replace(shard.config, inputs_per_turn=3)
    assert not process.owned.has_backlog
    for _ in range(5):
        process.say("w")
    process.turns()
    assert process.owned.has_backlog
    before = process.end_of(HISTORY)
    process.owned.go_on(process.now_ms + 5)
    process.owned.drain()
    assert not process.owned.has_backlog
    assert process.end_of(HISTORY) == before + 1
    process.turns()
    assert len(process.said("owned.replies", r.Accepted)) == 6


def test_an_answer_that_waits_for_the_log_leaves_with_the_acknowledgement(log: Log) -> None:
    """Nothing else needs to happen on the partition: a mark is written."""
    process = live(log)
    process.start("w", "Listening", 1)
    process.say("unknown")
    process.turns()
    assert len(process.said("owned.replies", r.Refused)) == 1


# ---------------------------------------------------------------------------------------------------- checkpoints


def flushes(process: Process) -> list[int]:
    """When the store was brought up, in seconds from now on."""
    flushed: list[int] = []
    began, store = process.now_ms, process.owned.store
    assert store is not None
    store.flush = lambda: flushed.append((process.now_ms - began) // 1000)  # type: ignore[method-assign]
    return flushed


def test_a_store_is_brought_up_when_there_is_something_new_and_when_it_grows_old(log: Log) -> None:
    """Every 20 s in which anything has moved, else every third of the age up to which it is read."""
    process = live(log)
    flushed = flushes(process)
    process.pass_seconds(1)
    process.start("w", "Listening", 1)
    process.turns()
    for _ in range(640):
        process.pass_seconds(1)
    assert flushed == [1, 21, 621]


def test_the_last_checkpoint_brings_the_store_up_at_once(log: Log) -> None:
    process = live(log)
    flushed = flushes(process)
    process.pass_seconds(1)
    process.start("w", "Listening", 1)
    process.turns()
    process.owned.checkpoint(process.now_ms, last=True)
    process.turns()
    assert flushed == [1, 1]


def test_a_checkpoint_waits_for_outputs_that_are_stuck_and_follows_them(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = live(log)
    process.pass_seconds(1)
    told: list[Any] = []
    monkeypatch.setattr(process.outputs.appender, "append", lambda *arguments: told.append(arguments[-1]))
    process.start("w", "Listening", 1)
    for _ in range(4):
        process.pass_seconds(1)
    stuck = checkpoints(process)
    for _ in range(10):
        process.pass_seconds(1)
    assert checkpoints(process) == stuck
    for number, appended in enumerate(told):
        appended(number, None)
    process.pass_seconds(1)
    assert checkpoints(process) == stuck + 1


# ------------------------------------------------------------------------------------------- loading, gaps, the end


def test_everything_that_was_restored_is_loaded_before_the_inbox_is_read(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("odradek.orchestrator.owned.LOADED_AT_ONCE", 2)
    first = live(log)
    for name in "abcde":
        first.start(name, "Listening", 1)
    first.turns()
    heir = Process(log)
    heir.history.poll()
    heir.owned.take_history(heir.reader.poll(0))
    for _ in range(2):
        heir.owned.load()
        assert heir.owned.phase is Phase.LOADING
    heir.owned.load()
    assert heir.owned.phase is Phase.CATCHING_UP
    assert heir.owned.shard is not None
    assert heir.owned.shard.to_load is None


def test_a_store_that_comes_after_the_end_is_closed_again(log: Log) -> None:
    process = Process(log)
    process.owned.end("over")
    store = MemoryStore()
    closed: list[bool] = []
    store.close = lambda: closed.append(True)  # type: ignore[method-assign]
    process.owned.restore(store)
    assert closed == [True]
    assert (process.owned.phase, process.owned.shard, process.owned.store) == (Phase.VOID, None, None)


def test_an_acknowledgement_that_comes_after_the_end_is_no_trouble(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    process = live(log)
    told: list[Any] = []
    monkeypatch.setattr(process.history, "append", lambda *arguments: told.append(arguments[-1]))
    process.start("w", "Listening", 1)
    process.turns(2)
    process.owned.close()
    told[0](None, LogError("no"))
    told[0](5, None)
    assert (process.trouble, process.failed, process.acked) == ([], [], {})


def test_the_history_is_read_for_a_takeover_and_a_gap_and_no_longer(log: Log) -> None:
    process = live(log)
    process.land(keys.mark(0), b"1")
    assert process.reader.poll(0) == []
    process.start("w", "Listening", 1)
    process.turns()
    process.land(keys.mark(0), b"2")
    assert process.reader.poll(0) == []
    restoring = Process(log)
    restoring.history.poll()
    assert restoring.owned.phase is Phase.RESTORING
    restoring.owned.close()
    assert restoring.reader.poll(0) == []


def test_a_gap_from_which_compaction_has_taken_something_ends_the_claim(log: Log) -> None:
    """It may have been a claim; our own record behind the gap does not make up for it."""
    process = live(log)
    process.land(keys.mark(0), b"1")
    process.land(keys.mark(0), b"2")
    process.start("w", "Listening", 1)
    process.owned.take_inbox(process.reader.poll(0))
    process.owned.drain()
    process.history.poll()
    process.owned.drain()
    found = process.reader.poll(0)
    assert len(found) == 3
    process.owned.take_history(found[1:])
    assert process.owned.phase is Phase.VOID
    assert "compaction has taken" in process.owned.void_reason


def test_a_store_of_another_topic_is_read_anew(log: Log, tmp_path: Path) -> None:
    process = live(log, store=tmp_path)
    process.start("w", "Listening", 1)
    for _ in range(3):
        process.turns()
        process.pass_seconds(2)
    process.owned.close()
    other = MemoryLog(uuid.uuid4().hex)
    create_namespace(other, "owned", partitions=1, queues=("queue",))
    heir = Process(other, store=tmp_path, now_ms=process.now_ms)
    heir.owned._begin_restore(process.end_of(HISTORY) + 10)
    assert heir.owned.shard is not None
    assert heir.owned.shard.restore_from == 0
    heir.owned.close()
    other.close()


def test_a_partition_that_is_let_go_gives_its_turn_to_another(log: Log) -> None:
    """Of those that run suspects: one of them runs at a time in a process."""
    process = live(log)
    shard = process.owned.shard
    assert shard is not None
    shard.careful, other = Careful(shard), Careful(shard)
    ran: list[str] = []
    shard.config.turns.take(shard.careful, lambda: ran.append("first"))
    shard.config.turns.take(other, lambda: ran.append("second"))
    assert ran == ["first"]
    process.owned.close()
    assert ran == ["first", "second"]


def test_an_archive_is_read_by_the_process(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    process = live(log)
    asked: list[Any] = []
    monkeypatch.setattr(process, "read_archive", lambda owned, effect: asked.append((owned, effect)))
    assert process.owned.shard is not None
    effect = fx.ReadArchive("w", "run", [], lambda events: None)
    process.owned.shard.writer.outbox.append(effect)
    process.owned.drain()
    assert asked == [(process.owned, effect)]
