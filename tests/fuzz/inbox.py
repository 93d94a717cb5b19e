"""The orchestrator's inbox, as a shard takes it in: whatever it says, the workflows beside it complete."""

from __future__ import annotations

from random import Random
from typing import Any

from odradek.log import Record
from odradek.log.memory import MemoryLog
from odradek.log.namespace import Namespace
from odradek.orchestrator.admission import Admission, Culprits
from odradek.orchestrator.core import effects as fx
from odradek.orchestrator.core.state import InboxItem
from odradek.schemas import records as r
from odradek.schemas.codec import Codec
from odradek.schemas.records import SCHEMA_VERSION
from odradek.schemas.topics import RECORD_BYTES_MAX, Topics
from tests.fuzz.records import NOW_MS, TEXTS, Values, damaged
from tests.fuzz.workflows import WORKFLOWS
from tests.orchestrator.partition import Owner, Partition

CODEC = Codec(raised_to=lambda: SCHEMA_VERSION)
NAMESPACE = Namespace(MemoryLog(), Topics("test"), 1, 1, RECORD_BYTES_MAX, CODEC)
ADMISSION = Admission(NAMESPACE, 0, Culprits())
RECORDS_MANY = 40
VICTIMS = ("victim-0", "victim-1")


class FuzzedOwner(Owner):
    """Emits as the host does, which is to encode; works for the healthy ones only."""

    def __init__(self, partition: Partition) -> None:
        super().__init__(partition)
        self.shard.worker_partition = lambda worker: 0
        self.activities = {"echo": lambda name: name}

    def work(self, task: r.TaskRecord) -> None:
        if task.activity_type == "echo":
            super().work(task)

    def emit(self, effect: fx.Effect) -> None:
        match effect:
            case fx.SendTask(task=record) | fx.SendMessage(record=record) | fx.Show(record=record):
                CODEC.encode(record)
            case fx.Reply(recipient=recipient, request_id=request_id, body=body):
                CODEC.encode(r.ReplyRecord(recipient, request_id, body))
            case fx.Archive(record=archived, blocks=blocks):
                CODEC.encode_with_events(archived, blocks)
            case fx.DeadLetter(record=letter):
                assert letter is not None
                assert letter.reason.startswith(letter.code)
                CODEC.encode(letter)
        super().emit(effect)


class World:
    """One partition with two victims and two healthy workflows; ``known`` learns what goes on there."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.foreign: set[int] = set()
        """Offsets of the history where others wrote."""
        self.partition = Partition(WORKFLOWS, history_events_max=2000, replays_each_activation=False)
        self.partition.codec = CODEC
        self.owner = FuzzedOwner(self.partition)
        for name in VICTIMS:
            self.partition.start(name, "Victim", name)
        self.healthy = ("healthy-0", "healthy-1")
        for name in self.healthy:
            self.partition.start(name, "Healthy", name)
        self.owner.run()
        self.values = Values(self.chance, self.known())

    def known(self) -> dict[str, list[Any]]:
        emitted = self.partition.emitted
        payload = self.partition.payload
        return {
            "run_id": [*{effect.task.run_id for effect in emitted if isinstance(effect, fx.SendTask) and effect.task}]
            or ["none"],
            "workflow_id": [*VICTIMS, "new-0", "new-1"],
            "workflow_type": ["Victim", "Kid", "Unknown"],
            "task_queue": ["queue", "other:queue", "elsewhere"],
            "namespace": ["test", "", "other"],
            "seq": [0, 1, 2, 3, 4, 5],
            "number": [0, 1, 2, 3, 4, 5],
            "attempt": [0, 1, 1, 2],
            "activity_id": ["0", "1", "2", ""],
            "activity_type": ["work", ""],
            "name": ["note", "rename", "noted", "__temporal_workflow_metadata", "unknown"],
            "id": [f"id-{n}" for n in range(6)],
            "update_id": ["update-0", "update-1"],
            "expires_ms": [NOW_MS + 10**9, NOW_MS + 10**9, NOW_MS - 1],
            "started_ms": [NOW_MS],
            "sent_ms": [NOW_MS],
            "worker": ["worker", "worker-2"],
            "recipient": ["client"],
            "reply_partition": [0, 0, -1],
            "kind": ["heartbeat", "completed", "failed", "cancelled", *r.FailureKind],
            "action": ["pause", "unpause", "reset", "change"],
            "status": list(r.RunStatus),
            "id_reuse_policy": ["allow-duplicate", "allow-duplicate-failed-only", "reject-duplicate"],
            "id_conflict_policy": ["fail", "use-existing", "terminate-existing"],
            "encoding": ["json/plain"],
            "data": [payload(1).data, payload("a").data, payload([]).data, payload(None).data],
            "changed": [
                "timeouts.heartbeat_ms",
                "task_queue",
                "retry_policy",
                "priority",
                "timeouts.start_to_close_ms",
            ],
            "cron_schedule": ["", "", "* * * * *"],
        }

    def item(self) -> InboxItem | None:
        """The next thing that somebody appends, as the owner reads it; None: the bytes went to the dead letters."""
        chance = self.chance
        value = CODEC.encode(r.InboxRecord(NOW_MS, self.values.of(r.InboxBody)))
        if chance.random() < 0.15:
            value = damaged(chance, value)
        workflow_id = chance.choice([*VICTIMS, *VICTIMS, "new-0", "new-1", chance.choice(TEXTS)])
        time_ms = self.partition.now_ms + chance.choice((0, 0, 0, -(10**6), 10**6))
        record = Record("test.inbox", 0, len(self.partition.inbox), time_ms, workflow_id.encode(), value)
        (admitted,) = ADMISSION.take([record], self.partition.now_ms)
        if isinstance(admitted, InboxItem):
            return admitted
        letter = admitted[1].record
        assert letter is not None
        assert letter.reason.startswith(letter.code)
        return None

    def run(self) -> None:
        for _ in range(RECORDS_MANY):
            item = self.item()
            if item is not None:
                self.partition.inbox.append(item)
            if self.chance.random() < 0.05:
                self.foreign.add(self.partition.land(*self.foreign_history()))
            if self.chance.random() < 0.3:
                self.go_on()
                self.values.known = self.known()
            if self.chance.random() < 0.1:
                self.owner.pass_time(self.chance.choice((1, 61, 3601)))
        self.go_on()

    def go_on(self) -> None:
        """As the host does: who meets something that looks like a claim claims again."""
        self.owner.run()
        while not self.owner.alive:
            self.owner = FuzzedOwner(self.partition)
            self.owner.run()

    def foreign_history(self) -> tuple[bytes, bytes]:
        """What somebody writes between the owner's own records."""
        chance = self.chance
        name, number = chance.choice((*VICTIMS, "new-0")), chance.choice((b"0", b"1", b"5", b"x", b"99999999999"))
        run_id = chance.choice(self.values.known["run_id"]).encode()
        key = chance.choice(
            (
                b"\0claim\0x", b"\0claim\0\xff", b"\0mark\0" + number, b"\0checkpoint\0" + number, b"garbage", b"\0",
                b"\0".join((name.encode(), run_id, chance.choice((b"c1", b"p1", b"s0", b"x0", b"c")), number)),
            )
        )  # fmt: skip
        value = CODEC.encode(self.values.of(r.HistoryRecord))
        return key, damaged(chance, value) if chance.random() < 0.5 else value

    def check(self) -> None:
        """The healthy ones complete: one with this owner, the other with the next, which reads the history."""
        first, second = self.healthy
        assert self.completed(first) == [first, "go"]
        while self.owner.shard.parked and self.chance.random() < 0.5:
            self.owner.pass_time(61)
        self.owner = FuzzedOwner(self.partition)
        self.owner.run()
        suspicious = {*VICTIMS, "new-0"} if self.foreign else set()
        lost = [
            record
            for record in self.owner.shard.lost_records
            if record.offset not in self.foreign and record.workflow_id not in suspicious
        ]
        assert not lost, lost
        assert self.completed(second) == [second, "go"]

    def completed(self, name: str) -> Any:
        self.partition.send(
            name, r.SignalWorkflow("tell", [self.partition.payload("go")], request=self.partition.request())
        )
        self.go_on()
        self.owner.pass_time(2)
        self.go_on()
        waits = self.partition.request()
        self.partition.send(name, r.AwaitResult(waits))
        self.owner.run()
        return self.partition.result(waits)


def check_seed(seed: int) -> None:
    world = World(seed)
    world.run()
    world.check()
