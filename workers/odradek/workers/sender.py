"""The thread that appends: answers, notices of hand-over, leases, dead letters.

It goes on while user code blocks the event loop. An append that fails, or whose fate is unknown, is made again: whoever
takes an answer in knows it by its run, activity and attempt.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

from odradek.log import AppendFailed, AppendQueueFull, LogError, RecordTooLarge
from odradek.log.clock import WALL
from odradek.log.interface import Appender
from odradek.schemas.dead_letters import dead_letter
from odradek.schemas.records import (
    ActivityHeartbeat,
    ActivityResult,
    ActivityStarted,
    InboxRecord,
    WorkerLease,
    WorkersRecord,
)
from odradek.workers.attempts import Attempt, Running, StopReason
from odradek.workers.homes import Home, Homes, HomeUnknown
from odradek.workers.metrics import QueueStats
from odradek.workers.outgoing import Answer, DeadLetter, Outgoing, Settled
from odradek.workers.settings import WorkerSettings

_logger = logging.getLogger(__name__)

LEASE_KEY: Final = b"w\0"
_ACK_WAIT_SECONDS: Final = 0.001
_FULL_WAIT_SECONDS: Final = 0.01
_STEP_MAX: Final = 1000
_RECORD_OVERHEAD_BYTES: Final = 1024


class Sender(threading.Thread):
    """``settled`` gets what an acknowledgement finishes; ``too_large`` replaces a result that does not fit."""

    def __init__(
        self,
        homes: Homes,
        worker: str,
        lease: Callable[[Home, bool], WorkerLease],
        settings: WorkerSettings,
        running: Running,
        settled: deque[Settled],
        stats: QueueStats,
        too_large: Callable[[ActivityResult, int, int], ActivityResult],
        now_ms: Callable[[], int] = WALL.now_ms,
        *,
        topic: str = "",
    ) -> None:
        super().__init__(name="odradek-activity-sender", daemon=True)
        self._homes, self._worker, self._lease, self._settings = homes, worker, lease, settings
        self._running, self._settled, self._stats, self._too_large = running, settled, stats, too_large
        self._now_ms = now_ms
        self._topic = topic
        """Where the tasks come from."""
        self._queue: queue.SimpleQueue[Outgoing | None] = queue.SimpleQueue()
        self._later: deque[tuple[float, Outgoing]] = deque()
        self._outstanding: set[Outgoing] = set()
        self._outstanding_bytes = 0
        self._appender: Appender
        self._broken = False
        self._closing = False
        self._abandoned = False
        self._sweep_at = self._lease_at = 0.0
        self._dead_letter_partitions = 0
        self.on_overdue: Callable[[Attempt, StopReason], None] = lambda attempt, reason: None
        self.on_failed: Callable[[BaseException], None] = lambda error: None

    # ------------------------------------------------------------------------------------------ from other threads

    def submit(self, out: Outgoing) -> None:
        self._queue.put(out)

    def announce(self, attempt: Attempt) -> None:
        """Hand the attempt over to the orchestrator's watch."""
        attempt.announced = True
        self._stats.handed_over += 1
        task = attempt.task
        body = ActivityStarted(task.run_id, task.seq, task.attempt, self._worker, attempt.started_ms)
        self.submit(Answer(attempt, body))

    @property
    def unacknowledged(self) -> int:
        return self._queue.qsize() + len(self._outstanding) + len(self._later)

    @property
    def is_congested(self) -> bool:
        """More is on its way to the log than may be: nothing that makes more is fetched."""
        settings = self._settings
        return (
            self.unacknowledged >= settings.unacknowledged_max
            or self._outstanding_bytes >= settings.unacknowledged_bytes_max
        )

    def finish(self) -> None:
        """Say goodbye and end once everything is acknowledged, or after ``hand_over_timeout_seconds``."""
        self._closing = True
        self._queue.put(None)

    def abandon(self) -> None:
        """End like a killed process."""
        self._abandoned = True
        self._queue.put(None)

    # ----------------------------------------------------------------------------------------------------- thread

    def run(self) -> None:
        try:
            # An appender belongs to the thread that uses it.
            self._appender = self._homes.own.namespace.log.appender()
            while not self._closing and not self._abandoned:
                self._step()
            if self._abandoned:
                self._appender.discard()
            else:
                self._say_goodbye()
        except BaseException as error:
            _logger.exception("the sender of an activity worker stopped")
            self.on_failed(error)

    def _step(self) -> None:
        self._send_some(self._wait_seconds())
        if self._appender.in_flight:
            self._appender.poll(0)
        if self._broken:
            self._renew_appender()
        now = time.monotonic()
        while self._later and self._later[0][0] <= now:
            self._append(self._later.popleft()[1])
        if now >= self._sweep_at:
            self._sweep_at = now + self._settings.sweep_seconds
            self._sweep(now)

    def _wait_seconds(self) -> float:
        if self._appender.in_flight:
            return _ACK_WAIT_SECONDS
        due = min(self._sweep_at, self._later[0][0]) if self._later else self._sweep_at
        return max(0.0, due - time.monotonic())

    def _send_some(self, timeout_seconds: float) -> None:
        try:
            out = self._queue.get(timeout=timeout_seconds)
            for _ in range(_STEP_MAX):
                if out is not None:
                    self._append(out)
                if self._queue.empty():
                    return
                out = self._queue.get_nowait()
            if out is not None:
                self._append(out)
        except queue.Empty:
            return

    def _sweep(self, now: float) -> None:
        for attempt in self._running.snapshot():
            if not attempt.announced and now - attempt.started_at >= self._settings.hand_over_seconds:
                self.announce(attempt)
            context = attempt.context
            if context is not None:
                context.flush_due_heartbeat(now)
            if attempt.deadline is not None and now >= attempt.deadline:
                attempt.deadline = None
                self.on_overdue(attempt, StopReason.START_TO_CLOSE)
        if now >= self._lease_at:
            self._lease_at = now + self._settings.lease_seconds
            self._send_leases(ended=False)

    # -------------------------------------------------------------------------------------------------- appending

    def _append(self, out: Outgoing) -> None:
        try:
            if isinstance(out, Answer):
                self._append_answer(out)
            else:
                self._append_dead_letter(out)
            self._outstanding.add(out)
            self._outstanding_bytes += out.size
        except RecordTooLarge as error:
            self._shrink(out, error.record_bytes, error.record_bytes_max or 0)
        except AppendQueueFull:
            self._later.append((time.monotonic() + _FULL_WAIT_SECONDS, out))
            self._appender.poll(0)
        except HomeUnknown as error:
            self._set_aside(out, str(error))
        except LogError as error:
            self._retry(out, error)

    def _append_answer(self, answer: Answer) -> None:
        task = answer.attempt.task
        home = self._homes.get(task.namespace)
        namespace = home.namespace
        if not 0 <= task.inbox_partition < namespace.partitions:
            raise HomeUnknown(f"ODR-164: {home.inbox} has no partition {task.inbox_partition}, where it should go")
        value = namespace.codec.encode(InboxRecord(self._now_ms(), answer.body))
        if len(value) + _RECORD_OVERHEAD_BYTES > namespace.record_bytes_max:
            raise RecordTooLarge(home.inbox, task.inbox_partition, len(value), namespace.record_bytes_max)
        key = task.workflow_id.encode()
        answer.size = len(value)
        self._appender.append(home.inbox, task.inbox_partition, key, value, partial(self._appended, answer))

    def _set_aside(self, out: Outgoing, reason: str) -> None:
        """Nobody can get this answer; of a result, the task that asked for it goes to the dead letters."""
        _logger.error("an answer cannot be delivered: %s", reason)
        if isinstance(out, Answer) and isinstance(out.body, ActivityResult):
            namespace, task = self._homes.own.namespace, out.attempt.task
            code = reason[:7] if reason.startswith("ODR-") else "ODR-129"
            for place in [*out.attempt.places]:
                letter = dead_letter(
                    namespace.record_bytes_max, code, reason, self._topic, place.assignment.partition, place.offset,
                    task.attempt_scheduled_ms, f"{task.run_id}:{task.seq}".encode(), namespace.codec.encode(task),
                )  # fmt: skip
                self.submit(DeadLetter(letter, place))
        self._settle(out)

    def _append_dead_letter(self, letter: DeadLetter) -> None:
        namespace = self._homes.own.namespace
        topic = namespace.topics.dead_letter
        if not self._dead_letter_partitions:
            info = namespace.log.topic(topic)
            self._dead_letter_partitions = info.partitions if info else 1
        place = letter.record.partition % self._dead_letter_partitions
        value = namespace.codec.encode(letter.record)
        letter.size = len(value)
        self._appender.append(topic, place, None, value, partial(self._appended, letter))

    def _appended(self, out: Outgoing, offset: int | None, error: Exception | None) -> None:
        self._outstanding.discard(out)
        self._outstanding_bytes -= out.size
        if error is None:
            self._settle(out)
        elif isinstance(error, RecordTooLarge):
            self._shrink(out, error.record_bytes, error.record_bytes_max or 0)
        else:
            self._broken |= isinstance(error, AppendFailed) and error.fatal
            self._retry(out, error)

    def _settle(self, out: Outgoing) -> None:
        done = out.acknowledged()
        if done is not None:
            self._settled.append(done)

    def _retry(self, out: Outgoing, error: Exception) -> None:
        _logger.warning("an append failed and is tried again: %s", error)
        self._later.append((time.monotonic() + self._settings.retry_seconds, out))

    def _shrink(self, out: Outgoing, size_bytes: int, limit_bytes: int) -> None:
        if isinstance(out, DeadLetter) and out.record.value is not None:  # the topic takes less than the namespace's
            known_bytes = out.record.value_bytes or len(out.record.value)
            out.record = replace(out.record, value=None, value_bytes=known_bytes)
            self.submit(out)
        elif isinstance(out, Answer) and isinstance(out.body, ActivityResult):
            out.body = self._too_large(out.body, size_bytes, limit_bytes)
            self.submit(out)
        elif isinstance(out, Answer) and isinstance(out.body, ActivityHeartbeat) and out.body.details:
            _logger.warning(
                "heartbeat details of %d bytes are above the limit of %d and left out", size_bytes, limit_bytes
            )
            out.body = replace(out.body, details=())
            self.submit(out)
        else:
            _logger.error("a record of %d bytes is above the limit of %d and dropped", size_bytes, limit_bytes)
            self._settle(out)

    def _renew_appender(self) -> None:
        _logger.warning("the appender of an activity worker is replaced; %d records go again", len(self._outstanding))
        self._broken = False
        self._appender.discard()
        again, self._outstanding, self._outstanding_bytes = self._outstanding, set(), 0
        self._appender = self._homes.own.namespace.log.appender()
        for out in again:
            self._append(out)

    # ----------------------------------------------------------------------------------------------------- leases

    def _send_leases(self, *, ended: bool) -> None:
        for home in self._homes.all():
            topics, codec = home.namespace.topics, home.namespace.codec
            key = LEASE_KEY + self._worker.encode()
            try:
                self._appender.append(topics.workers, 0, key, codec.encode(WorkersRecord(self._lease(home, ended))))
                if ended:
                    self._appender.append(topics.workers, 0, key, None)
            except LogError as error:
                _logger.warning("a lease could not be appended: %s", error)

    def _say_goodbye(self) -> None:
        deadline = time.monotonic() + self._settings.hand_over_timeout_seconds
        while self.unacknowledged and time.monotonic() < deadline:
            self._step()
        if self.unacknowledged:
            _logger.warning("%d answers were not acknowledged before the end", self.unacknowledged)
        self._send_leases(ended=True)
        self._appender.close(max(1.0, deadline - time.monotonic()))
