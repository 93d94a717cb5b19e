"""One partition in memory, driven by hand: the real shard, a history that is a list, an inbox that is a list."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

from odradek.converter import DataConverter
from odradek.orchestrator.core import effects as fx
from odradek.orchestrator.core import keys
from odradek.orchestrator.core.shard import Shard
from odradek.orchestrator.core.state import InboxItem, Room, ShardConfig
from odradek.orchestrator.core.store import MemoryStore, Store
from odradek.orchestrator.core.writer import Entry
from odradek.schemas import records as r
from odradek.schemas.codec import Codec
from odradek.workflow.definition import Definition

NEVER_MS = 4_000_000_000_000


class Partition:
    """The log's side: history and inbox as lists (index = offset), and everything that shards have emitted."""

    def __init__(self, workflows: Sequence[type] = (), **limits: Any) -> None:
        self.history: list[tuple[bytes, bytes | None] | None] = []
        self.inbox: list[InboxItem] = []
        self.emitted: list[fx.Effect] = []
        self.archive: list[tuple[r.ArchiveRecord, bytes]] = []
        self.now_ms = 1_800_000_000_000
        self.hosted = {Definition.of(cls).name: Definition.of(cls) for cls in workflows}
        self.converter = DataConverter.default
        self.limits = {"record_bytes_max": 4_000_000, "replays_each_activation": True, "room": Room(), **limits}
        self.codec = Codec()
        self._ids = itertools.count()
        self.tokens = itertools.count()

    def config(self) -> ShardConfig:
        return ShardConfig(
            "test",
            "topic",
            0,
            self.codec,
            self.converter.payload_converter,
            self.converter.failure_converter,
            self.definition,
            lambda: [name for name in self.hosted if name],
            **self.limits,
        )

    def definition(self, queue: str, name: str, version: str | None) -> Definition | None:
        found = self.hosted.get(name)
        return found if found is not None and version in (None, found.version) else None

    def land(self, key: bytes, value: bytes | None) -> int:
        self.history.append((key, value))
        return len(self.history) - 1

    def send(self, workflow_id: str, body: Any) -> InboxItem:
        item = InboxItem(len(self.inbox), self.now_ms, workflow_id, r.InboxRecord(self.now_ms, body))
        self.inbox.append(item)
        return item

    def bodies(self, kind: type) -> list[Any]:
        """What of this kind has been sent to workflows."""
        bodies = (item.record.body for item in self.inbox if isinstance(item.record, r.InboxRecord))
        return [body for body in bodies if isinstance(body, kind)]

    def request(self, request_id: str | None = None) -> r.Request:
        return r.Request(request_id or f"request-{next(self._ids)}", NEVER_MS, "client", 0)

    def payload(self, value: Any) -> r.Payload:
        return self.converter.payload_converter.to_payload(value)

    def start(self, workflow_id: str, workflow_type: str, *args: Any, **options: Any) -> r.Request:
        request = options.pop("request", None) or self.request()
        input = [self.payload(arg) for arg in args]
        self.send(workflow_id, r.StartWorkflow(request, workflow_type, "queue", input, wait_result=True, **options))
        return request

    def replies(self, request: r.Request) -> list[Any]:
        return [e.body for e in self.emitted if isinstance(e, fx.Reply) and e.request_id == request.id]

    def result(self, request: r.Request) -> Any:
        outcome = next(body for body in self.replies(request) if isinstance(body, r.RunOutcome))
        assert outcome.status == "completed", outcome
        return self.converter.payload_converter.from_payload(outcome.result) if outcome.result else None

    def gap(self, first: int, end: int) -> Iterator[tuple[int, bytes, int | None]]:
        """What a writer is told of the records from ``first`` up to ``end`` that compaction has left."""
        for offset in range(first, end):
            record = self.history[offset]
            if record is not None:
                yield offset, record[0], keys.claim_of(record[0])

    def compact(self) -> None:
        """What the cleaner does: only the last record of a key stays; older tombstones go."""
        last = {record[0]: offset for offset, record in enumerate(self.history) if record}
        self.history = [
            record if record and last[record[0]] == offset else None for offset, record in enumerate(self.history)
        ]


def _at_once(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine returns that never really waits."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits")


class Owner:
    """One incarnation of the partition's owner."""

    def __init__(self, partition: Partition, store: Store | None = None, *, activities: bool = True) -> None:
        self.partition = partition
        self.store = store or MemoryStore()
        self.shard = Shard(partition.config(), self.store)
        self.shard.inbox_end = len(partition.inbox)
        self.inbox_at = 0
        self.in_flight: list[Entry] = []
        self.unsent: list[fx.Effect] = []
        self.activities: dict[str, Callable[..., Any]] | None = {} if activities else None
        self.hold_steps = False
        self.held_steps: list[fx.RunStep] = []
        self.cancelled_steps: list[fx.RunStep] = []
        self.alive = True
        self.fenced: str | None = None
        self._claim()

    def _claim(self) -> None:
        partition = self.partition
        token = f"owner-{next(partition.tokens)}"
        claim = r.HistoryRecord(0, -1, -1, -1, r.Claim(token, partition.now_ms))
        offset = partition.land(keys.claim(token), Codec().encode(claim))
        for at in range(self.shard.restore_from, offset + 1):
            record = partition.history[at]
            if record is not None:
                self.shard.restore(at, *record)
        self.shard.begin(offset, partition.now_ms)
        while not self.shard.load(3):
            pass
        self.inbox_at = self.shard.x0 + 1
        self.inbox_end = len(partition.inbox)
        self.live = False

    def step(self) -> bool:
        """Read, land, acknowledge and emit everything that is there; False if nothing was."""
        return any([self.read(), self.go_on(), self.land_all(), self.emit_all()])

    def run(self) -> None:
        while self.alive and self.step():
            pass

    def read(self, count: int = 1000) -> bool:
        items = self.partition.inbox[self.inbox_at : self.inbox_at + count]
        self.inbox_at += len(items)
        if items:
            self.shard.take(items, self.partition.now_ms)
        if not self.live and self.inbox_at >= self.inbox_end:
            self.live = True
            self.shard.go_live(self.partition.now_ms)
            return True
        return bool(items)

    def go_on(self) -> bool:
        """Give those that wait for their turn one."""
        waits = bool(self.shard.intake.backlog)
        self.shard.go_on(self.partition.now_ms)
        return waits

    def send(self) -> None:
        """Hand the shard's appends to the producer, which has not landed them yet."""
        self.in_flight += self.shard.writer.to_send
        self.shard.writer.to_send = []

    def land_all(self) -> bool:
        self.send()
        entries, self.in_flight = self.in_flight, []
        for entry in entries:
            self.shard.acked(entry, self.partition.land(entry.key, entry.value))
        self.shard.flush()
        return bool(entries)

    def emit_all(self) -> bool:
        outbox, self.shard.writer.outbox = self.shard.writer.outbox, []
        for effect in outbox:
            self.emit(effect)
        return bool(outbox)

    def emit(self, effect: fx.Effect) -> None:
        partition = self.partition
        match effect:
            case fx.Fenced(reason=reason):
                self.alive, self.fenced = False, reason
                return
            case fx.ReadGap(first=first, end=end):
                self.shard.writer.gap_read(list(partition.gap(first, end)))
                self.shard.flush()
                return
            case fx.InboxDone():
                return
            case fx.RunStep():
                self.begin_step(effect)
                return
            case fx.ReadArchive(parts=parts, on_read=on_read):
                blocks = b"".join(partition.archive[part.offset][1] for part in parts)
                on_read(list(Codec().decode_events(blocks)))
                return
            case fx.CancelStep(step=step):
                self.cancelled_steps.append(step)
                return
            case fx.Archive() | fx.DeadLetter():
                self.keep(effect)
            case fx.SendMessage(workflow_id=workflow_id, record=record):
                assert record is not None
                partition.send(workflow_id, record.body)
            case fx.SendTask(task=task):
                assert task is not None
                if self.activities is not None:
                    self.work(task)
        partition.emitted.append(effect)
        if effect.token is not None:
            self.shard.writer.emitted(effect.token)

    def keep(self, effect: fx.Archive | fx.DeadLetter) -> None:
        archive = self.partition.archive
        if isinstance(effect, fx.Archive):
            assert effect.record is not None
            archive.append((effect.record, effect.blocks))
        if effect.on_stored is not None:
            effect.on_stored(0, len(archive) - 1)

    def work(self, task: r.TaskRecord) -> None:
        """Do the activity at once, as a worker would."""
        assert self.activities is not None
        partition = self.partition
        convert = partition.converter
        try:
            value = self.activities[task.activity_type](*convert.payload_converter.from_payloads(task.input, None))
            result, failure = partition.payload(value), None
        except Exception as error:
            result, failure = None, convert.failure_converter.to_failure(error, convert.payload_converter)
        answer = r.ActivityResult(task.run_id, task.seq, task.attempt, "worker", partition.now_ms, result, failure)
        partition.send(task.workflow_id, answer)

    def begin_step(self, step: fx.RunStep) -> None:
        """Run it at once, as the host would; with ``hold_steps`` it waits for ``end_step``."""
        step.attempt += 1
        if self.hold_steps:
            self.held_steps.append(step)
        else:
            self.end_step(step)

    def end_step(self, step: fx.RunStep) -> None:
        partition, call = self.partition, step.call
        convert, result, failure = partition.converter, None, None
        assert call.function is not None
        try:
            value = call.function(*call.args)
            if asyncio.iscoroutine(value):
                value = _at_once(value)
            result = None if value is None else partition.payload(value)
        except Exception as error:
            cause = convert.failure_converter.to_failure(error, convert.payload_converter)
            facts = {
                "activity_type": call.activity,
                "activity_id": str(step.seq),
                "identity": "",
                "retry_state": "timeout",
            }
            failure = r.Failure(r.FailureKind.ACTIVITY, "Activity task failed", attributes=facts, cause=cause)
        ended = r.StepEnded(step.seq, call.activity, result, step.attempt, partition.now_ms, failure)
        self.shard.steps_ended([(step, ended)], partition.now_ms)

    def pass_time(self, seconds: float) -> None:
        self.partition.now_ms += int(seconds * 1000)
        self.shard.tick(self.partition.now_ms)
        self.run()
