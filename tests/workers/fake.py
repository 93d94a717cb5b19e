"""A stand-in for the orchestrator: puts tasks into a queue's topic, and reads what workers answer."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from odradek.converter import DataConverter
from odradek.log import open_log
from odradek.log.memory import MemoryLog
from odradek.log.namespace import Namespace, create_namespace, open_namespace, read_to_end
from odradek.log.progress import Progress, decode_metadata
from odradek.schemas.records import (
    ActivityHeartbeat,
    ActivityResult,
    ActivityStarted,
    ActivityTimeouts,
    AttemptRevoked,
    InboxRecord,
    ReplyRecord,
    TaskRecord,
    WorkerLease,
    WorkersRecord,
)
from odradek.workers import ActivityWorker, WorkerSettings

B = TypeVar("B")
QUEUE = "q"
QUICK = WorkerSettings(
    hand_over_seconds=30,
    sweep_seconds=0.01,
    lease_seconds=0.05,
    commit_seconds=0.01,
    poll_seconds=0.005,
    session_timeout_seconds=0.5,
    retry_seconds=0.01,
    heartbeat_seconds_min=0.02,
    hand_over_timeout_seconds=2,
    cancel_grace_seconds=2,
)
HOUR_MS = 3_600_000


class Orchestrator:
    """What a workflow's owner would do, by hand."""

    def __init__(
        self,
        partitions: int = 1,
        converter: DataConverter = DataConverter.default,
        address: str = "memory://",
        name: str = "ns",
    ) -> None:
        self.log = open_log(address)
        self.converter = converter
        create_namespace(self.log, name, partitions=partitions, queues=(QUEUE,))
        self.namespace: Namespace = open_namespace(self.log, name)
        self.topic = self.namespace.topics.tasks(QUEUE)
        self._appender = self.log.appender()
        self._numbers = itertools.count(1)

    def task(self, activity_type: str, *arguments: Any, **changes: Any) -> TaskRecord:
        number, now_ms = next(self._numbers), time.time_ns() // 1_000_000
        task = TaskRecord(
            namespace=self.namespace.topics.namespace,
            workflow_id=f"order-{number}",
            run_id=f"run-{number}",
            workflow_type="Order",
            inbox_partition=0,
            seq=1,
            attempt=1,
            activity_id="1",
            activity_type=activity_type,
            task_queue=QUEUE,
            scheduled_ms=now_ms,
            attempt_scheduled_ms=now_ms,
            expires_ms=now_ms + HOUR_MS,
            input=tuple(self.converter.payload_converter.to_payloads(arguments)),
            timeouts=ActivityTimeouts(start_to_close_ms=HOUR_MS),
        )
        return replace(task, **changes)

    def send(self, *tasks: TaskRecord, partition: int = 0) -> None:
        for task in tasks:
            self.send_bytes(self.namespace.codec.encode(task), partition)

    def send_bytes(self, value: bytes, partition: int = 0) -> None:
        self._appender.append(self.topic, partition, b"k", value)
        self._appender.poll()

    def start(self, activity_type: str, *arguments: Any, partition: int = 0, **changes: Any) -> TaskRecord:
        task = self.task(activity_type, *arguments, **changes)
        self.send(task, partition=partition)
        return task

    def revoke(self, task: TaskRecord, worker: ActivityWorker, reason: str) -> None:
        assert worker._parts is not None
        notice = AttemptRevoked(task.run_id, task.seq, task.attempt, reason)
        reply = ReplyRecord(worker.worker_id, "", notice)
        partition = worker._parts.sender._homes.own.reply_partition
        value = self.namespace.codec.encode(reply)
        self._appender.append(self.namespace.topics.replies, partition, worker.worker_id.encode(), value)
        self._appender.poll()

    def inbox(self) -> list[Any]:
        """All answers so far, in order."""
        return [
            self.namespace.codec.decode(InboxRecord, r.value).body
            for partition in range(self.namespace.partitions)
            for r in read_to_end(self.log, self.namespace.topics.inbox, partition)
            if r.value
        ]

    def answers(self, task: TaskRecord | None = None) -> list[ActivityResult]:
        return self._of(ActivityResult, task)

    def started(self, task: TaskRecord | None = None) -> list[ActivityStarted]:
        return self._of(ActivityStarted, task)

    def heartbeats(self, task: TaskRecord | None = None) -> list[ActivityHeartbeat]:
        return self._of(ActivityHeartbeat, task)

    def _of(self, kind: type[B], task: TaskRecord | None) -> list[B]:
        found = [body for body in self.inbox() if isinstance(body, kind)]
        return [b for b in found if task is None or (b.run_id, b.attempt) == (task.run_id, task.attempt)]  # type: ignore[attr-defined]

    async def result(self, task: TaskRecord) -> ActivityResult:
        await until(lambda: self.answers(task))
        return self.answers(task)[0]

    async def value(self, task: TaskRecord) -> Any:
        answer = await self.result(task)
        assert answer.failure is None, answer.failure
        assert answer.result is not None
        return self.converter.payload_converter.from_payload(answer.result)

    async def failure(self, task: TaskRecord) -> Any:
        answer = await self.result(task)
        assert answer.failure is not None
        return answer.failure

    def committed(self, partition: int = 0) -> Progress:
        """What the next holder of the partition would find."""
        assert isinstance(self.log, MemoryLog)
        group = self.namespace.topics.queue_group(QUEUE)
        found = self.log._store.commits.get((group, self.topic), {}).get(partition)
        return decode_metadata(found.offset, found.metadata) if found else Progress(0)

    def leases(self) -> list[WorkerLease | None]:
        records = read_to_end(self.log, self.namespace.topics.workers, 0)
        return [
            self.namespace.codec.decode(WorkersRecord, r.value).body if r.value else None  # type: ignore[misc]
            for r in records
            if r.key and r.key.startswith(b"w\0")
        ]

    def worker(
        self, *activities: Callable[..., Any], settings: WorkerSettings = QUICK, **options: Any
    ) -> ActivityWorker:
        options.setdefault("data_converter", self.converter)
        return ActivityWorker(self.namespace, QUEUE, activities, settings=settings, **options)


async def until(condition: Callable[[], Any], seconds: float = 5) -> None:
    """Wait for something that another thread does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.002)


async def holds(worker: ActivityWorker, partitions: int = 1) -> None:
    """Wait until the worker has these partitions: what is sent from now on comes after its assignment."""
    await until(lambda: worker._parts and len(worker._parts.fetcher._assignments) == partitions)


def kill(worker: ActivityWorker) -> None:
    """Stop a worker like a killed process: nothing is said, committed or sent any more."""
    parts = worker._parts
    assert parts is not None
    membership = parts.fetcher._membership
    parts.sender.abandon()
    parts.fetcher.abandon()
    parts.sender.join()
    parts.fetcher.join()
    parts.sender.submit = lambda out: None  # type: ignore[method-assign]
    parts.execution.stop_starting()
    for attempt in worker._running.snapshot():
        if attempt.asyncio_task is not None:
            attempt.asyncio_task.cancel()
    membership.fall_silent()  # type: ignore[union-attr]
