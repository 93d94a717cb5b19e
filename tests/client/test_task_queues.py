"""What ``describe_task_queue`` sees, on every log: lag less what is finished out of order, ages, rates, workers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from odradek.client import Client
from odradek.log import Committed, Membership
from odradek.log.backlog import Reading
from odradek.log.interface import Standing
from odradek.log.namespace import Namespace, create_namespace, ensure_queue
from odradek.log.progress import Progress, Run, encode_metadata
from odradek.schemas.records import HeldAttempt, WorkerLease, WorkersRecord
from odradek.service import RPCError, RPCStatusCode

NO_RATES = timedelta()


@pytest.fixture(params=["memory", "sqlite", pytest.param("kafka", marks=pytest.mark.kafka)])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "kafka":
        return f"kafka://{request.getfixturevalue('kafka_broker')}"
    return f"sqlite:///{tmp_path}/log.db" if request.param == "sqlite" else f"memory://{uuid4().hex}"


@asynccontextmanager
async def opened(address: str) -> AsyncIterator[tuple[Client, Namespace]]:
    """A client of a new namespace with the queue "pay" of two partitions."""
    name = f"shop-{uuid4().hex[:8]}"
    async with await Client.connect(address, namespace=name, lazy=True) as client:
        await asyncio.to_thread(create_namespace, client.connection.log, name, partitions=2)
        namespace = (await client.connection.lane(name)).namespace
        await asyncio.to_thread(ensure_queue, namespace, "pay")
        yield client, namespace


class Group:
    """The only member of a queue's group; commits what it is told to."""

    def __init__(self, namespace: Namespace, queue: str) -> None:
        topics = namespace.topics
        self.partitions: set[int] = set()
        self._membership: Membership = namespace.log.membership(topics.queue_group(queue), topics.tasks(queue), self)
        deadline = time.monotonic() + 20
        while self.partitions != {0, 1}:
            assert time.monotonic() < deadline
            self._membership.poll()
            time.sleep(0.01)

    def commit(self, progress: dict[int, Progress]) -> None:
        self._membership.commit({n: Committed(p.offset, encode_metadata(p)) for n, p in progress.items()})
        self._membership.flush_commits(10)

    def close(self) -> None:
        self._membership.close()

    def assigned(self, partitions: Sequence[int]) -> None:
        self.partitions |= set(partitions)

    def revoked(self, partitions: Sequence[int]) -> None:
        self.partitions -= set(partitions)

    lost = revoked


def append(namespace: Namespace, topic: str, partition: int, *pairs: tuple[bytes | None, bytes | None]) -> None:
    appender = namespace.log.appender()
    failures: list[Exception] = []
    for key, value in pairs:
        appender.append(topic, partition, key, value, lambda _, error: failures.append(error) if error else None)
    appender.close(20)
    assert not failures


def add_tasks(namespace: Namespace, partition: int, count: int) -> None:
    append(namespace, namespace.topics.tasks("pay"), partition, *[(b"k", b"task")] * count)


async def lease(at: Namespace, worker: str, **said: Any) -> None:
    value = at.codec.encode(WorkersRecord(WorkerLease(worker, f"{worker}@host", "pay", 0, **said)))
    await asyncio.to_thread(append, at, at.topics.workers, 0, (b"w\0" + worker.encode(), value))


async def test_the_backlog_leaves_out_what_is_finished_out_of_order(address: str) -> None:
    """Offsets 0, 1, 3, 4 and 6 of ten are finished, and three tasks of the other partition wait: eight wait."""
    async with opened(address) as (client, namespace):
        await asyncio.to_thread(add_tasks, namespace, 0, 10)
        await asyncio.to_thread(add_tasks, namespace, 1, 3)
        untouched = await client.describe_task_queue("pay", window=NO_RATES)
        assert (untouched.backlog, untouched.partitions) == (13, 2)
        group = await asyncio.to_thread(Group, namespace, "pay")
        await asyncio.to_thread(group.commit, {0: Progress(2, (Run(3, 5), Run(6, 7)))})
        assert (await client.describe_task_queue("pay", window=NO_RATES)).backlog == 8
        await asyncio.to_thread(group.commit, {0: Progress(10), 1: Progress(3)})
        done = await client.describe_task_queue("pay", window=NO_RATES)
        assert (done.backlog, done.oldest_waiting) == (0, None)
        await asyncio.to_thread(group.close)


async def test_the_oldest_waiting_task_is_the_one_at_the_lowest_open_offset_of_all_partitions(address: str) -> None:
    async with opened(address) as (client, namespace):
        await asyncio.to_thread(add_tasks, namespace, 0, 1)
        await asyncio.sleep(0.05)
        await asyncio.to_thread(add_tasks, namespace, 1, 2)
        reader = namespace.log.reader()
        times: dict[int, int] = {}
        for partition in (0, 1):
            reader.assign(namespace.topics.tasks("pay"), partition, 0)
        while len(times) < 2:
            times |= {record.partition: record.time_ms for record in reader.poll(1) if record.offset == 0}
        reader.close()
        oldest = (await client.describe_task_queue("pay", window=NO_RATES)).oldest_waiting
        assert oldest is not None
        assert round(oldest.timestamp() * 1000) == times[0]
        group = await asyncio.to_thread(Group, namespace, "pay")
        await asyncio.to_thread(group.commit, {0: Progress(1)})
        oldest = (await client.describe_task_queue("pay", window=NO_RATES)).oldest_waiting
        assert oldest is not None
        assert round(oldest.timestamp() * 1000) == times[1]
        await asyncio.to_thread(group.close)


async def test_rates_are_of_what_comes_and_what_is_done_in_the_window(address: str) -> None:
    async with opened(address) as (client, namespace):
        await asyncio.to_thread(add_tasks, namespace, 0, 10)
        group = await asyncio.to_thread(Group, namespace, "pay")
        describing = asyncio.create_task(client.describe_task_queue("pay", window=timedelta(seconds=2)))
        await asyncio.sleep(0.5)
        await asyncio.to_thread(add_tasks, namespace, 1, 20)
        await asyncio.to_thread(group.commit, {0: Progress(3, (Run(4, 9),))})
        found = await describing
        assert found.added_per_second
        assert found.finished_per_second
        assert found.added_per_second / found.finished_per_second == pytest.approx(20 / 8)
        assert 0 < found.added_per_second <= 10
        await asyncio.to_thread(group.close)


def test_what_retention_took_counts_as_done_once() -> None:
    """A commit below the first offset that is left, and none at all, mean the same."""
    without = Reading(0.0, {0: Standing(5, 9, None), 1: Standing(0, 4, Committed(2, ""))})
    behind = Reading(10.0, {0: Standing(5, 9, Committed(3, "")), 1: Standing(0, 24, Committed(4, ""))})
    assert (without.waiting, behind.waiting) == (6, 24)
    assert without.rates(behind) == (2.0, 0.2)


async def test_workers_are_those_whose_latest_lease_is_fresh_and_theirs(address: str) -> None:
    """One that said goodbye, and one that serves a queue of that name in another namespace, do not count."""
    async with opened(address) as (client, namespace):
        held = HeldAttempt("order-1", "3", "charge", 2, 1_000, client.namespace)
        said = {"started_ms": 5_000, "build": "1.2", "running": 7, "concurrent_max": 9, "activity_types": ["charge"]}
        await lease(namespace, "a")
        await lease(namespace, "a", **said, longest=[held])
        await lease(namespace, "gone", ended=True)
        await lease(namespace, "foreign", namespace="elsewhere")
        (worker,) = (await client.describe_task_queue("pay", window=NO_RATES)).workers
        assert (worker.id, worker.identity, worker.build) == ("a", "a@host", "1.2")
        assert (worker.running, worker.concurrent_max, list(worker.activity_types)) == (7, 9, ["charge"])
        (longest,) = worker.longest_running
        assert (longest.workflow_id, longest.activity_type, longest.attempt) == ("order-1", "charge", 2)


async def test_a_pause_and_a_limit_are_kept_apart(address: str) -> None:
    """Each stays when the other is lifted, and a second pause keeps the moment of the first."""
    async with opened(address) as (client, _):
        await client.pause_task_queue("pay", reason="the bank is down")
        first = await client.describe_task_queue("pay", window=NO_RATES)
        assert first.pause is not None
        assert (first.pause.reason, first.pause.identity) == ("the bank is down", client.identity)
        await client.limit_task_queue("pay", 12.5)
        await client.pause_task_queue("pay", reason="still down")
        both = await client.describe_task_queue("pay", window=NO_RATES)
        assert both.pause is not None
        assert (both.pause.reason, both.pause.since, both.tasks_per_second_max) == (
            "still down",
            first.pause.since,
            12.5,
        )
        await client.resume_task_queue("pay")
        resumed = await client.describe_task_queue("pay", window=NO_RATES)
        assert (resumed.pause, resumed.tasks_per_second_max) == (None, 12.5)
        await client.limit_task_queue("pay", None)
        assert [(queue.name, queue.tasks_per_second_max) for queue in await client.list_task_queues()] == [
            ("pay", None)
        ]


async def test_a_limit_that_lets_nothing_through_is_refused(address: str) -> None:
    async with opened(address) as (client, _):
        for nothing in (0, -1, float("nan"), float("inf")):
            with pytest.raises(ValueError, match="more than 0"):
                await client.limit_task_queue("pay", nothing)


async def test_a_queue_that_does_not_exist_is_refused_by_name(address: str) -> None:
    async with opened(address) as (client, _):
        for asked in (client.describe_task_queue("pya", window=NO_RATES), client.pause_task_queue("pya")):
            with pytest.raises(RPCError, match=r'ODR-207: .* no task queue "pya" \(there are: pay\)') as refused:
                await asked
            assert refused.value.status is RPCStatusCode.NOT_FOUND


async def test_a_control_that_cannot_be_read_changes_nothing(address: str) -> None:
    async with opened(address) as (client, namespace):
        await client.pause_task_queue("pay", reason="the bank is down")
        await asyncio.to_thread(append, namespace, namespace.topics.workers, 0, (b"q\0pay", b"\xff\xff"))
        pause = (await client.describe_task_queue("pay", window=NO_RATES)).pause
        assert pause is not None
        assert pause.reason == "the bank is down"
