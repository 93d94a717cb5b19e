"""Task queues as operators see them: what waits, how fast it goes, who serves it, and what they have said of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from odradek.client.description import time_of
from odradek.log.backlog import Reading, oldest_waiting_ms, read_backlog
from odradek.log.controls import Controls
from odradek.log.errors import TopicMissing
from odradek.log.interface import Record
from odradek.log.namespace import Namespace, read_to_end
from odradek.schemas.errors import SchemaError
from odradek.schemas.records import HeldAttempt, QueueControl, TypeControl, WorkerLease, WorkersRecord
from odradek.schemas.topics import is_abroad
from odradek.service import RPCError, RPCStatusCode

SILENT_MS: Final = 10_000
"""Leases are repeated every two seconds; older ones are of processes that ended without a word."""
SKEW_MS_MAX: Final = 30_000
"""By how much this host's clock may be ahead of the log's."""


@dataclass(frozen=True)
class RunningActivity:
    """An attempt that runs in a worker."""

    namespace: str
    workflow_id: str
    activity_id: str
    activity_type: str
    attempt: int
    started: datetime

    @staticmethod
    def of(held: HeldAttempt) -> RunningActivity:
        return RunningActivity(
            held.namespace,
            held.workflow_id,
            held.activity_id,
            held.activity_type,
            held.attempt,
            time_of(held.started_ms),
        )


@dataclass(frozen=True)
class TaskQueueWorker:
    """A worker as its latest lease has it, which is at most a few seconds old."""

    id: str
    identity: str
    started: datetime | None
    last_seen: datetime
    build: str
    """The version of this library that it runs."""
    running: int
    """Attempts."""
    concurrent_max: int
    activity_types: Sequence[str]
    """``*``: all that are not named."""
    longest_running: Sequence[RunningActivity]
    """A few, the oldest first."""

    @staticmethod
    def of(lease: WorkerLease, seen_ms: int) -> TaskQueueWorker:
        return TaskQueueWorker(
            lease.worker,
            lease.identity,
            time_of(lease.started_ms) if lease.started_ms else None,
            time_of(seen_ms),
            lease.build,
            lease.running,
            lease.concurrent_max,
            tuple(lease.activity_types),
            tuple(RunningActivity.of(held) for held in lease.longest),
        )


@dataclass(frozen=True)
class Pause:
    """What an operator has paused: since when, why, and who."""

    since: datetime
    reason: str
    identity: str


@dataclass(frozen=True)
class TaskQueueDescription:
    """A task queue at one moment."""

    name: str
    partitions: int
    backlog: int
    """Tasks that wait for a worker, or that one began a moment ago; repeated and expired deliveries count."""
    oldest_waiting: datetime | None
    """When the log took the oldest of them."""
    added_per_second: float | None
    """None where it was not measured."""
    finished_per_second: float | None
    """Tasks finished, or handed over to the orchestrators' watch because they run for long."""
    workers: Sequence[TaskQueueWorker]
    pause: Pause | None
    tasks_per_second_max: float | None
    """What an operator allows, for all its workers together."""


@dataclass(frozen=True)
class PausedWorkflowType:
    name: str
    pause: Pause


def describe_queues(
    namespace: Namespace, names: Sequence[str] | None, window_seconds: float
) -> list[TaskQueueDescription]:
    """These queues, or all; measured for so long, 0: without rates. Blocks. Raises ``RPCError`` for a missing one."""
    log, topics = namespace.log, namespace.topics
    if names is None:
        names = sorted(name.removeprefix(topics.tasks_prefix) for name in log.topics(topics.tasks_prefix))
    first = [_read(namespace, name) for name in names]
    workers = _Workers(namespace)
    rates: list[tuple[float, float]] | list[tuple[None, None]] = [(None, None)] * len(first)
    last = first
    if window_seconds > 0:
        time.sleep(window_seconds)
        last = [_read(namespace, name) for name in names]
        rates = [before.rates(after) for before, after in zip(first, last, strict=True)]
    found = []
    for name, reading, (added, finished) in zip(names, last, rates, strict=True):
        oldest = oldest_waiting_ms(log, topics, name, reading) if reading.waiting else None
        control = workers.controls.queues.get(name)
        found.append(
            TaskQueueDescription(
                name,
                len(reading.partitions),
                reading.waiting,
                None if oldest is None else time_of(oldest),
                added,
                finished,
                workers.of(name),
                _pause(control),
                control.tasks_per_second if control else None,
            )
        )
    return found


def queue_control(namespace: Namespace, queue: str) -> QueueControl:
    """What operators have said of a queue, which must exist. Raises ``RPCError``."""
    if is_abroad(queue) or namespace.log.topic(namespace.topics.tasks(queue)) is None:
        raise _no_such_queue(namespace, queue)
    return _controls(namespace).queues.get(queue) or QueueControl(queue)


def paused_types(namespace: Namespace) -> list[PausedWorkflowType]:
    found = []
    for name, control in sorted(_controls(namespace).types.items()):
        pause = _pause(control)
        if pause is not None:
            found.append(PausedWorkflowType(name, pause))
    return found


class _Workers:
    """The workers topic at this moment."""

    def __init__(self, namespace: Namespace) -> None:
        records = read_to_end(namespace.log, namespace.topics.workers, 0)
        self.controls = Controls(namespace.codec)
        self.controls.fold(records)
        # The log's time, as far as one that only reads can know it.
        now_ms = max([int(time.time() * 1000) - SKEW_MS_MAX, *(record.time_ms for record in records)])
        self._namespace, self._since_ms = namespace, now_ms - SILENT_MS
        last = {record.key: record for record in records}
        self._leases = [found for record in last.values() if (found := self._lease(record)) is not None]

    def of(self, queue: str) -> list[TaskQueueWorker]:
        found = [(lease, seen_ms) for lease, seen_ms in self._leases if lease.task_queue == queue]
        return [TaskQueueWorker.of(*one) for one in sorted(found, key=lambda one: (one[0].started_ms, one[0].worker))]

    def _lease(self, record: Record) -> tuple[WorkerLease, int] | None:
        if record.value is None or record.time_ms < self._since_ms:
            return None
        try:
            body = self._namespace.codec.decode(WorkersRecord, record.value).body
        except SchemaError:
            return None
        ours = isinstance(body, WorkerLease) and not body.ended and not body.namespace
        return (body, record.time_ms) if ours and isinstance(body, WorkerLease) else None


def _controls(namespace: Namespace) -> Controls:
    controls = Controls(namespace.codec)
    controls.fold(read_to_end(namespace.log, namespace.topics.workers, 0))
    return controls


def _read(namespace: Namespace, queue: str) -> Reading:
    if is_abroad(queue):
        raise _no_such_queue(namespace, queue)
    try:
        return read_backlog(namespace.log, namespace.topics, queue)
    except TopicMissing:
        raise _no_such_queue(namespace, queue) from None


def _pause(control: QueueControl | TypeControl | None) -> Pause | None:
    if control is None or control.paused_ms is None:
        return None
    return Pause(time_of(control.paused_ms), control.reason, control.identity)


def _no_such_queue(namespace: Namespace, queue: str) -> RPCError:
    prefix = namespace.topics.tasks_prefix
    there = ", ".join(sorted(name.removeprefix(prefix) for name in namespace.log.topics(prefix))) or "none yet"
    where, name = namespace.topics.place(queue)
    advice = f'ask namespace "{where}" for "{name}"' if is_abroad(queue) else "correct the name"
    return RPCError(
        f'ODR-207: namespace "{namespace.topics.namespace}" has no task queue "{queue}" (there are: {there}): '
        f"{advice}; the first worker or task of a queue makes it",
        RPCStatusCode.NOT_FOUND,
    )
