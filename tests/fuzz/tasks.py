"""A task queue's topic, and what stands beside its group's commits: valid tasks run, and no offset stays open."""

from __future__ import annotations

import asyncio
from random import Random

from odradek import activity
from odradek.log import Committed
from odradek.log.memory import MemoryLog
from odradek.log.namespace import read_to_end
from odradek.schemas import records as r
from tests.fuzz.records import TEXTS, Values, damaged
from tests.workers.fake import QUEUE, QUICK, Orchestrator, until

RECORDS_MANY = 30


@activity.defn
async def echo(name: str) -> str:
    return name


def known(namespace: str) -> dict[str, list[object]]:
    now_ms = 4_000_000_000_000
    return {
        "namespace": [namespace], "inbox_partition": [0, 0, 0, 1, 2, 99], "activity_type": ["echo", "unknown"],
        "expires_ms": [now_ms, now_ms, 0], "scheduled_ms": [0], "attempt_scheduled_ms": [0], "attempt": [1, 2],
        "run_id": [f"run-{n}" for n in range(4)], "task_queue": [QUEUE], "workflow_id": ["order-1", "order-x"],
        "encoding": ["json/plain"], "data": [b'"a"', b"{}"], "start_to_close_ms": [1000, 0, None],
    }  # fmt: skip


def foreign_metadata(chance: Random) -> str:
    return chance.choice(
        (*TEXTS, "1-", "1c", "1-AAAA", "1c" + "/" * 4000, "1-AP////////////////8D", "1-AH8=", "1-AAE")
    )[:4096]


def garbage(chance: Random, orchestrator: Orchestrator, values: Values) -> tuple[bytes | None, bytes | None]:
    """Key and value of something that nobody should have put there."""
    codec = orchestrator.namespace.codec
    match chance.randrange(4):
        case 0:
            value: bytes | None = codec.encode(values.mutated(orchestrator.task("echo", "victim")))
        case 1:
            value = codec.encode(values.of(r.TaskRecord))
        case 2:
            value = damaged(chance, codec.encode(orchestrator.task("echo", "victim")))
        case _:
            value = chance.choice((None, b"", codec.encode(r.InboxRecord(0, r.CancelWorkflow())), chance.randbytes(30)))
    return chance.choice((None, b"", b"k", b"\xff\0")), value


async def _check(seed: int) -> None:
    chance = Random(seed)
    orchestrator = Orchestrator(partitions=2)
    log, topic = orchestrator.log, orchestrator.topic
    assert isinstance(log, MemoryLog)
    group = orchestrator.namespace.topics.queue_group(QUEUE)
    committed = Committed(chance.choice((0, 0, 0, 1, 10**6, 2**62)), foreign_metadata(chance))
    values = Values(chance, known("ns"), wild=0.05)
    appender = log.appender()
    for _ in range(RECORDS_MANY):
        appender.append(topic, chance.randrange(2), *garbage(chance, orchestrator, values))
    if chance.random() < 0.5:
        log._store.commits.setdefault((group, topic), {})[0] = committed
    async with orchestrator.worker(echo, settings=QUICK):
        tasks = []
        for number in range(4):
            tasks.append(orchestrator.start("echo", f"valid-{number}", partition=number % 2))
            appender.append(topic, chance.randrange(2), *garbage(chance, orchestrator, values))
        for number, task in enumerate(tasks):
            assert await orchestrator.value(task) == f"valid-{number}"
        ends = [log.offsets(topic, partition).end for partition in range(2)]
        await until(lambda: all(orchestrator.committed(p).offset >= ends[p] for p in range(2)))
    for partition in range(2):
        for record in read_to_end(log, orchestrator.namespace.topics.dead_letter, partition):
            letter = orchestrator.namespace.codec.decode(r.DeadLetterRecord, record.value or b"")
            assert letter.reason.startswith(letter.code)
            assert letter.code.startswith("ODR-")


def check_seed(seed: int) -> None:
    asyncio.run(_check(seed))
