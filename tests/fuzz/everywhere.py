"""Garbage in every topic that a namespace has, while workflows go on beside it, with every process in this one."""

from __future__ import annotations

import asyncio
import time
import uuid
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Final

from odradek import activity, workflow
from odradek.client import Client, RequestPolicy
from odradek.log.namespace import FACTS_KEY, Namespace, read_to_end
from odradek.orchestrator.settings import OrchestratorSettings
from odradek.schemas import records as r
from odradek.schemas.errors import SchemaError
from odradek.worker import Worker
from tests.fuzz.records import TEXTS, Values, damaged
from tests.fuzz.workflows import WORKFLOWS

QUEUE: Final = "fuzzed"
SETTINGS: Final = OrchestratorSettings(checkpoint_seconds=0.1, claim_again_seconds=0.05, session_timeout_seconds=6)
POLICY: Final = RequestPolicy(retry_seconds=1, retry_seconds_max=2)
VICTIM: Final = "victim"


@activity.defn
async def echo(name: str) -> str:
    return name


@activity.defn
async def work(number: int) -> int:
    return number


@workflow.defn
class Steady:
    """Activities, timers and a child, one after the other."""

    @workflow.run
    async def run(self, name: str, turns: int) -> list[str]:
        told = []
        for turn in range(turns):
            told.append(
                await workflow.execute_activity(echo, f"{name}-{turn}", start_to_close_timeout=timedelta(seconds=60))
            )
            await workflow.sleep(timedelta(milliseconds=20))
        return told


@dataclass
class Garbage:
    """Appends what nobody should have. Of what is aimed at a victim anything goes; of others nothing that reads."""

    namespace: Namespace
    chance: Random
    sent: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.appender = self.namespace.log.appender()
        self.values = Values(self.chance, {"workflow_id": [VICTIM], "task_queue": [QUEUE], "namespace": [""]})
        topics = self.namespace.topics
        self.kinds: dict[str, type] = {
            topics.inbox: r.InboxRecord, topics.history: r.HistoryRecord, topics.archive: r.ArchiveRecord,
            topics.replies: r.ReplyRecord, topics.visibility: r.VisibilityRecord, topics.workers: r.WorkersRecord,
            topics.dead_letter: r.DeadLetterRecord, topics.tasks(QUEUE): r.TaskRecord,
        }  # fmt: skip

    def throw(self) -> None:
        """One record into each topic."""
        for topic in self.kinds:
            info = self.namespace.log.topic(topic)
            if info is not None:
                partition = self.chance.randrange(info.partitions)
                self.appender.append(topic, partition, *self.record(topic, partition))
                self.sent[topic] = self.sent.get(topic, 0) + 1
        self.appender.poll(0)

    def record(self, topic: str, partition: int) -> tuple[bytes | None, bytes | None]:
        chance, codec = self.chance, self.namespace.codec
        known = self.known(topic, partition)
        key = chance.choice([None, b"", b"\0", chance.choice(TEXTS).encode(), VICTIM.encode(), *known[0]])
        match chance.randrange(4):
            case 0:
                return key, chance.choice((None, b"", b"garbage", chance.randbytes(50)))
            case 1:
                return key, self.unreadable(topic, damaged(chance, chance.choice([b"", *known[1]])))
            case _ if topic == self.namespace.topics.workers:
                bodies = (r.WorkerLease, r.Beacon, r.TypeControl)
                body = self.values.of(chance.choice(bodies))
                return chance.choice((b"w\0forged", b"o\0forged", b"t\0Forged")), codec.encode(r.WorkersRecord(body))
            case _:
                return self.aimed(topic), codec.encode(self.values.of(self.kinds[topic]))

    def aimed(self, topic: str) -> bytes:
        """A key under which it concerns the victim, if anybody."""
        if topic == self.namespace.topics.history:
            number = self.chance.randrange(3)
            return f"{VICTIM}\0a run\0{self.chance.choice('cps')}{number}\0{number}".encode()
        return self.chance.choice((VICTIM.encode(), b"*"))

    def unreadable(self, topic: str, value: bytes) -> bytes:
        """What is damaged and can be read all the same would be forged, for somebody who is no victim."""
        try:
            self.namespace.codec.decode(self.kinds[topic], value)
        except SchemaError:
            return value
        return b"\0" + value

    def known(self, topic: str, partition: int) -> tuple[list[bytes], list[bytes]]:
        """Keys and values that stand there, but for keys that decide for everybody."""
        records = read_to_end(self.namespace.log, topic, partition)[-20:]
        found = [record.key for record in records if record.key and not record.key.startswith((b"\0", b"q\0"))]
        if topic in (self.namespace.topics.history, self.namespace.topics.visibility):
            found = []  # what takes the place of a workflow's record is damage to that workflow
        return [key for key in found if key != FACTS_KEY], [record.value for record in records if record.value]


async def check(address: str, name: str, seed: int, *, workflows: int = 4, turns: int = 3, throws: int = 12) -> Garbage:
    """Run a load beside the garbage; everything that is no victim completes, and everybody can be asked."""
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(await Client.connect(address, namespace=name, request_policy=POLICY))
        namespace = (await client.connection.lane(name)).namespace
        await stack.enter_async_context(
            Worker(
                client,
                task_queue=QUEUE,
                workflows=[Steady, *WORKFLOWS],
                activities=[echo, work],
                orchestrator_settings=SETTINGS,
            )
        )
        await client.start_workflow("Victim", "victim", id=VICTIM, task_queue=QUEUE)
        garbage = Garbage(namespace, Random(seed))
        runs = [
            asyncio.create_task(
                client.execute_workflow(Steady.run, args=[f"steady-{n}", turns], id=f"steady-{n}", task_queue=QUEUE)
            )
            for n in range(workflows)
        ]
        for _ in range(throws):
            await asyncio.to_thread(garbage.throw)
            await asyncio.sleep(0.01)
        told = await asyncio.wait_for(asyncio.gather(*runs), 60)
        assert told == [[f"steady-{n}-{turn}" for turn in range(turns)] for n in range(workflows)]
        after = await client.execute_workflow(Steady.run, args=["after", 1], id="after", task_queue=QUEUE)
        assert after == ["after-0"]
        await _listed(client, {"after", *(f"steady-{n}" for n in range(workflows))})
        await asyncio.to_thread(garbage.appender.close)
    return garbage


async def _listed(client: Client, wanted: set[str]) -> None:
    """The list follows what has happened a moment later."""
    deadline = time.monotonic() + 20
    while missing := wanted - {run.id async for run in client.list_workflows()}:
        assert time.monotonic() < deadline, missing
        await asyncio.sleep(0.1)


def check_seed(seed: int) -> None:
    asyncio.run(check(f"memory://{uuid.uuid4().hex}", "fuzz", seed))
