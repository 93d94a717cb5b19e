"""What waits in a task queue: read from positions alone, whoever its workers are, and without a part in their group."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from odradek.log.errors import OffsetOutOfRange
from odradek.log.interface import Log, Standing
from odradek.log.progress import Progress, decode_metadata
from odradek.schemas.topics import Topics

_READ_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Reading:
    """Where a queue stood at one moment."""

    at: float
    """Monotonic seconds."""
    partitions: Mapping[int, Standing]

    @property
    def added(self) -> int:
        """Tasks that the queue has ever taken."""
        return sum(standing.end for standing in self.partitions.values())

    @property
    def done(self) -> int:
        """Of them, those that are finished or handed over to the orchestrators' watch, in any order; or were lost."""
        return sum(_done(standing) for standing in self.partitions.values())

    @property
    def waiting(self) -> int:
        """Tasks that wait for a worker, or that one has begun a moment ago."""
        return sum(max(0, standing.end - _done(standing)) for standing in self.partitions.values())

    def rates(self, later: Reading) -> tuple[float, float]:
        """Tasks per second that came, and that were done, between this reading and a later one."""
        seconds = max(later.at - self.at, 1e-3)
        return max(0, later.added - self.added) / seconds, max(0, later.done - self.done) / seconds


def read_backlog(log: Log, topics: Topics, queue: str) -> Reading:
    """Raises ``TopicMissing`` for a queue that does not exist."""
    return Reading(time.monotonic(), log.standing(topics.queue_group(queue), topics.tasks(queue)))


def oldest_waiting_ms(log: Log, topics: Topics, queue: str, reading: Reading) -> int | None:
    """When the log took the oldest task that waits: one record of each partition is read. None: nothing waits."""
    waiting = {n: standing.position for n, standing in reading.partitions.items() if standing.end > _done(standing)}
    return oldest_ms(log, topics.tasks(queue), waiting)


def oldest_ms(log: Log, topic: str, positions: Mapping[int, int]) -> int | None:
    """When the log took the oldest of the records at these positions, by partition. None: there is none."""
    wanted = dict(positions)
    if not wanted:
        return None
    reader = log.reader()
    oldest: int | None = None
    try:
        for number, offset in wanted.items():
            reader.assign(topic, number, offset)
        deadline = time.monotonic() + _READ_SECONDS
        while wanted and time.monotonic() < deadline:
            try:
                records = reader.poll(0.2, len(wanted))
            except OffsetOutOfRange as error:
                wanted.pop(error.partition, None)  # retention was quicker
                continue
            for record in records:
                if wanted.pop(record.partition, None) is not None:
                    reader.unassign(topic, record.partition)
                    oldest = record.time_ms if oldest is None else min(oldest, record.time_ms)
    finally:
        reader.close()
    return oldest


def _done(standing: Standing) -> int:
    committed = standing.committed
    progress = decode_metadata(*committed) if committed else Progress(0)
    return progress.done(standing.begin)
