"""Which workers live.

Silence is measured in the log's append times, against this orchestrator's own beacon beside the leases.

So a pause of this process or an outage of the log loses nobody: what lies between two beacons counts two intervals at
most.
"""

from __future__ import annotations

from dataclasses import dataclass

from odradek.schemas import records as r
from odradek.schemas.topics import is_abroad


@dataclass(slots=True)
class _Worker:
    reply_partition: int
    queue: str | None
    """None: of another namespace."""
    silent_ms: int = 0


class Leases:
    """Fold of the workers topic."""

    def __init__(self, orchestrator: str, beacon_ms: int, lost_after_ms: int) -> None:
        self._orchestrator = orchestrator
        self._beacon_ms = beacon_ms
        self._lost_after_ms = lost_after_ms
        self._workers: dict[str, _Worker] = {}
        self._last_beacon_ms: int | None = None
        self._measured_ms = 0
        self._served: dict[str, int] = {}
        """When a queue was last seen to have a worker, on the clock of ``_measured_ms``."""

    def reply_partition(self, worker: str) -> int | None:
        found = self._workers.get(worker)
        return found.reply_partition if found else None

    def fold(self, time_ms: int, body: object) -> bool:
        """Take in one record; True if it was our own beacon, so that silence has been measured anew."""
        if isinstance(body, r.WorkerLease):
            if body.ended:
                self._workers.pop(body.worker, None)
            else:
                queue = None if body.namespace else body.task_queue
                self._workers[body.worker] = _Worker(body.reply_partition, queue)
                if queue is not None:
                    self._served[queue] = self._measured_ms
        elif isinstance(body, r.Beacon) and body.orchestrator == self._orchestrator:
            passed = time_ms - self._last_beacon_ms if self._last_beacon_ms is not None else 0
            self._last_beacon_ms = time_ms
            counted = min(max(passed, 0), 2 * self._beacon_ms)
            self._measured_ms += counted
            for worker in self._workers.values():
                worker.silent_ms += counted
                if worker.queue is not None and worker.silent_ms < self._lost_after_ms:
                    self._served[worker.queue] = self._measured_ms
            return True
        return False

    def is_lost(self, worker: str) -> bool:
        """Whether a worker that holds an activity has been silent for too long.

        One that was never heard of is not known to be.
        """
        found = self._workers.get(worker)
        return found is not None and found.silent_ms >= self._lost_after_ms

    def unserved_ms(self, queue: str) -> int | None:
        """For how long no worker has served a queue of this namespace, as far back as this orchestrator has looked.

        None while one does, or one may just be away for a moment; and for queues of other namespaces.
        """
        if is_abroad(queue):
            return None
        silent_ms = self._measured_ms - self._served.get(queue, 0)
        return silent_ms if silent_ms >= self._lost_after_ms else None
