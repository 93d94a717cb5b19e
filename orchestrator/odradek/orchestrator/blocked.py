"""Tasks whose topic does not take them at the moment: so many wait here, the others in the histories of their runs."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple, Protocol

from odradek.common.labels import Names
from odradek.orchestrator import metrics
from odradek.orchestrator.core.effects import SendTask
from odradek.orchestrator.core.writer import HistoryWriter
from odradek.schemas import records as r

_log = logging.getLogger("odradek.orchestrator.outputs")

TASKS_MAX: Final = 10_000
BYTES_MAX: Final = 64 * 1024 * 1024
"""Of arguments, for all queues of a process together. One task may always wait."""


class Blocked(NamedTuple):
    effect: SendTask
    writer: HistoryWriter
    home: int
    held_bytes: int


class Owner(Protocol):
    def put_off(self, task: r.TaskRecord, writer: HistoryWriter) -> None:
        """Have the history of its run say that this task is to be sent later."""


class BlockedTasks:
    """``owners``: by partition, who is told of what cannot wait here."""

    def __init__(self, namespace: str, owners: Mapping[int, Owner]) -> None:
        self._namespace = namespace
        self._owners = owners
        self._labels = Names()
        self._queues: dict[str, dict[tuple[str, int], Blocked]] = {}
        self._count = self._bytes = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, queue: str) -> bool:
        return queue in self._queues

    def block(self, queue: str, error: Exception) -> None:
        """Until ``take``, tasks for this queue are not sent."""
        if queue not in self._queues:
            self._queues[queue] = {}
            _log.error(
                'ODR-074: tasks for queue "%s" wait, since its topic cannot be made or written to: %s. Create it with '
                '"odradek topics create --queue %s", or correct the name', queue, error, queue,
            )  # fmt: skip

    def hold(self, queue: str, effect: SendTask, writer: HistoryWriter, home: int) -> None:
        """Let a task wait for its queue: here, or where there is more room."""
        task = effect.task
        assert task is not None
        waiting = self._queues[queue]
        key = (task.run_id, task.seq)
        self._release(waiting.pop(key, None))
        size = sum(len(payload.data) for payload in task.input)
        if self._count and (self._count >= TASKS_MAX or self._bytes + size > BYTES_MAX):
            metrics.TASKS_PUT_OFF.labels(self._namespace, self._labels.shown(queue)).inc()
            if home in self._owners and not writer.fenced:
                self._owners[home].put_off(task, writer)
            _emitted(effect, writer)
            return
        waiting[key] = Blocked(effect, writer, home, size)
        self._count += 1
        self._bytes += size

    def take(self) -> Iterator[Blocked]:
        """Everything that waits, queue by queue; none is blocked any more, until it is said again."""
        queues, self._queues = self._queues, {}
        self._count = self._bytes = 0
        for waiting in queues.values():
            yield from (blocked for blocked in waiting.values() if not blocked.writer.fenced)

    def clear(self) -> None:
        self._queues.clear()
        self._count = self._bytes = 0

    def _release(self, older: Blocked | None) -> None:
        """The same task comes again: the newer one takes its place."""
        if older is not None:
            self._count -= 1
            self._bytes -= older.held_bytes
            _emitted(older.effect, older.writer)


def _emitted(effect: SendTask, writer: HistoryWriter) -> None:
    if effect.token is not None and not writer.fenced:
        writer.emitted(effect.token)
