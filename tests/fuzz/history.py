"""A partition's history with damage in it: its next owner serves it, and the workflows beside the damage complete."""

from __future__ import annotations

import dataclasses
from typing import Any

from odradek.orchestrator.core import keys
from odradek.schemas import records as r
from odradek.schemas.errors import UnreadableRecord
from tests.fuzz.inbox import CODEC, FuzzedOwner, World
from tests.fuzz.records import TEXTS, damaged

DAMAGES_MANY = 4


class DamagedWorld(World):
    """As ``World``; the damage is to what its first owner has written."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        for name in self.chance.sample(("victim-0", "victim-1"), self.chance.choice((0, 1, 2))):
            self.partition.send(name, r.SignalWorkflow("note", [self.partition.payload(1)]))
        if self.chance.random() < 0.5:
            self.owner.pass_time(1)
        self.owner.shard.checkpoint(self.partition.now_ms)
        self.owner.run()

    def run(self) -> None:
        for _ in range(self.chance.randrange(1, DAMAGES_MANY + 1)):
            self.damage()

    def damage(self) -> None:
        chance, history = self.chance, self.partition.history
        at = chance.choice(
            [at for at, record in enumerate(history) if record is not None and self.may_suffer(record[0])]
        )
        record = history[at]
        assert record is not None
        key, value = record
        match chance.randrange(7):
            case 0 if value is not None:
                history[at] = (key, damaged(chance, value))
            case 1 | 2 if value is not None:
                history[at] = (key, self.mutated(value))
            case 3:
                history.append((self.other_key(key), value))
            case 4:
                history.append((key, value))
            case 5:
                history.append((chance.choice(TEXTS).encode(), chance.choice((None, b"", b"hello", value))))
            case _:
                history[at] = None

    def mutated(self, value: bytes) -> bytes:
        """A history record that can be read, and says something else."""
        try:
            record = CODEC.decode(r.HistoryRecord, value)
        except UnreadableRecord:
            return value
        chance = self.chance
        if isinstance(record.body, r.Chunk) and record.body.events and chance.random() < 0.8:
            return CODEC.encode(dataclasses.replace(record, body=self.other_events(record.body)))
        return CODEC.encode(self.values.mutated(record))

    def other_events(self, chunk: r.Chunk) -> r.Chunk:
        chance, events = self.chance, list(chunk.events)
        at = chance.randrange(len(events))
        match chance.randrange(5):
            case 0:
                del events[at]
            case 1:
                events.insert(at, events[chance.randrange(len(events))])
            case 2:
                chance.shuffle(events)
            case 3:
                events[at] = self.values.mutated(events[at])
            case _:
                events.insert(at, r.Event(events[at].n, events[at].time_ms, self.values.of(r.EventBody)))
        return dataclasses.replace(chunk, events=tuple(events))

    def other_key(self, key: bytes) -> bytes:
        parts = key.split(b"\0")
        at = self.chance.randrange(len(parts))
        parts[at] = self.chance.choice((b"", b"\xff", b"c", b"c-1", b"p99999999999999999999", b"s", b"0", b"-1", b"x0"))
        return b"\0".join(parts)

    @staticmethod
    def may_suffer(key: bytes) -> bool:
        """Claims decide who owns the partition, and the healthy must stay so."""
        return not key.startswith((keys.CLAIM, b"healthy"))

    def check(self) -> None:
        self.take_over()
        assert [self.completed(name) for name in self.healthy] == [[name, "go"] for name in self.healthy]
        self.partition.start("fresh", "Healthy", "fresh")
        self.owner.run()
        assert self.completed("fresh") == ["fresh", "go"]
        for name in ("victim-0", "victim-1"):
            self.ask(name)
        self.take_over()
        self.owner.pass_time(3601)
        assert self.owner.alive, self.owner.fenced

    def take_over(self) -> None:
        self.owner = FuzzedOwner(self.partition)
        self.owner.run()

    def ask(self, name: str) -> None:
        """Whatever became of it: it is answered, and with a code where it cannot do what it is asked."""
        partition, asked = self.partition, {}
        bodies: list[Any] = [
            r.DescribeWorkflow(partition.request()), r.FetchHistory(partition.request()),
            r.QueryWorkflow(partition.request(), "noted"),
            r.SignalWorkflow("note", [partition.payload(1)], request=partition.request()),
            r.TerminateWorkflow(partition.request()),
        ]  # fmt: skip
        for body in bodies:
            asked[type(body).__name__] = body.request
            partition.send(name, body)
        self.owner.run()
        self.owner.pass_time(1)
        for what, request in asked.items():
            answers = partition.replies(request)
            assert answers, f"{what} of {name} got no answer"
            assert not isinstance(answers[0], r.Refused) or answers[0].code.startswith("ODR-"), answers


def check_seed(seed: int) -> None:
    world = DamagedWorld(seed)
    world.run()
    world.check()
