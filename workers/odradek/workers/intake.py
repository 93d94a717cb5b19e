"""From records of a task queue to attempts: drops what is finished or repeated, sets aside what cannot be read.

Belongs to the fetcher's thread. Does no I/O: what is to be appended goes to ``submit``.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable

from odradek.log.interface import Record
from odradek.schemas.codec import Codec
from odradek.schemas.dead_letters import dead_letter
from odradek.schemas.errors import NewerSchema, UnreadableRecord
from odradek.schemas.limits import problem
from odradek.schemas.records import TaskRecord
from odradek.schemas.topics import RECORD_BYTES_MAX
from odradek.workers.attempts import Assignment, Attempt, AttemptKey, Place
from odradek.workers.metrics import QueueStats
from odradek.workers.outgoing import DeadLetter, Settled

_logger = logging.getLogger(__name__)


class Intake:
    def __init__(
        self,
        codec: Codec,
        stats: QueueStats,
        submit: Callable[[DeadLetter], None],
        *,
        repeats_remembered: int,
        record_bytes_max: int = RECORD_BYTES_MAX,
    ) -> None:
        self._codec, self._stats, self._submit = codec, stats, submit
        self._record_bytes_max = record_bytes_max
        self._repeats_remembered = repeats_remembered
        self.open: dict[AttemptKey, Attempt] = {}
        """Queued, running, or with an answer on its way."""
        self._done: OrderedDict[AttemptKey, None] = OrderedDict()

    def take(self, assignment: Assignment, record: Record) -> Attempt | None:
        """The attempt that the record asks for; None when there is nothing to run."""
        offset, value = record.offset, record.value
        if assignment.is_stopped or not assignment.tracker.take(offset):
            return None
        if value is None:
            assignment.tracker.finish(offset)
            return None
        try:
            task = self._codec.decode(TaskRecord, value)
        except NewerSchema as error:
            self._stop(assignment, record, error)
            return None
        except UnreadableRecord as error:
            self._set_aside(assignment, record, error.code, str(error))
            return None
        wrong = problem(task)
        if wrong is not None:
            self._set_aside(assignment, record, "ODR-164", f"ODR-164: no TaskRecord can be so: {wrong}")
            return None
        attempt = Attempt(task, Place(assignment, offset), len(value))
        key = attempt.key
        if self._is_repeated(attempt, key):
            return None
        self.open[key] = attempt
        return attempt

    def settle(self, settled: Settled) -> None:
        """Its offsets are finished, if it is durable; and nothing more comes of it, if it is closed."""
        if isinstance(settled, Attempt):
            if settled.closed:
                self._close(settled)
            if not settled.durable:
                return
        for assignment, offset in settled.places:
            assignment.tracker.finish(offset)
        settled.places.clear()

    def _close(self, attempt: Attempt) -> None:
        key = attempt.key
        if self.open.get(key) is attempt:
            del self.open[key]
        if not attempt.refused:
            self._done[key] = None
            if len(self._done) > self._repeats_remembered:
                self._done.popitem(last=False)

    def _is_repeated(self, attempt: Attempt, key: AttemptKey) -> bool:
        place, earlier = attempt.places[0], self.open.get(key)
        if earlier is None and key not in self._done:
            return False
        if earlier is not None and not earlier.began and not earlier.places[0].assignment.is_open:
            return False  # that one waited here when its partition went, and will be dropped
        self._stats.duplicates += 1
        if earlier is None or earlier.durable:
            place.assignment.tracker.finish(place.offset)
        else:
            earlier.places.append(place)
        return True

    def _stop(self, assignment: Assignment, record: Record, error: NewerSchema) -> None:
        assignment.tracker.put_back(record.offset)
        assignment.is_stopped = True
        self._stats.stopped += 1
        where = f'partition {record.partition} of "{record.topic}" stops at offset {record.offset}'
        _logger.error("%s: %s", where, error, extra={"topic": record.topic, "partition": record.partition})

    def _set_aside(self, assignment: Assignment, record: Record, code: str, reason: str) -> None:
        self._stats.dead_letters += 1
        _logger.error(
            "a task record cannot be taken in and goes to the dead letters: %s",
            reason,
            extra={"topic": record.topic, "partition": record.partition, "offset": record.offset},
        )
        letter = dead_letter(
            self._record_bytes_max,
            code,
            reason,
            record.topic,
            record.partition,
            record.offset,
            record.time_ms,
            record.key,
            record.value,
        )
        self._submit(DeadLetter(letter, Place(assignment, record.offset)))
