"""The thread that reads: tasks of the partitions that the group gives this worker, and notices to it. It commits, too.

It hands a batch to the event loop with one call. While too much waits there it reads no tasks; pausing partitions
instead would make the client throw away what it has fetched ahead.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from typing import Final

from odradek.log import AccessDenied, LogError, LogUnavailable, OffsetOutOfRange
from odradek.log.controls import Controls
from odradek.log.interface import Committed, Log, Membership, Reader
from odradek.log.namespace import read_to_end
from odradek.log.progress import Progress, decode_metadata, encode_metadata
from odradek.schemas.errors import SchemaError
from odradek.schemas.records import AttemptRevoked, QueueControl, ReplyRecord
from odradek.workers.attempts import Assignment, Attempt, AttemptKey, StopReason
from odradek.workers.execution import Execution
from odradek.workers.homes import Home, Homes
from odradek.workers.intake import Intake
from odradek.workers.metrics import Gauges, QueueStats
from odradek.workers.outgoing import Settled
from odradek.workers.sender import Sender
from odradek.workers.settings import WorkerSettings
from odradek.workers.shared import SharedState
from odradek.workers.tracker import OffsetTracker

_logger = logging.getLogger(__name__)

_BATCH_MAX: Final = 1000
_BUSY_WAIT_SECONDS: Final = 0.002
_LOG_WAIT_SECONDS: Final = 5.0


class Fetcher(threading.Thread):
    def __init__(
        self,
        homes: Homes,
        queue: str,
        worker: str,
        settings: WorkerSettings,
        execution: Execution,
        loop: asyncio.AbstractEventLoop,
        sender: Sender,
        intake: Intake,
        settled: deque[Settled],
        stats: QueueStats,
        close_running: Callable[[Sequence[Assignment]], None],
        *,
        prefetch_count_max: int,
        shared: SharedState | None = None,
        on_share: Callable[[float], None] = lambda share: None,
        on_control: Callable[[QueueControl], None] = lambda control: None,
    ) -> None:
        super().__init__(name=f"odradek-activity-fetcher-{worker}", daemon=True)
        topics = homes.own.namespace.topics
        self._homes, self._log, self._topic, self._group = (
            homes,
            _log(homes),
            topics.tasks(queue),
            topics.queue_group(queue),
        )
        self._me = worker.encode()
        self._settings, self._execution, self._loop, self._sender = settings, execution, loop, sender
        self._intake, self._settled, self._stats, self._close_running = intake, settled, stats, close_running
        self._shared, self._on_share, self._on_control = shared, on_share, on_control
        self._queue, self._workers_topic = queue, topics.workers
        self._controls = Controls(homes.own.namespace.codec)
        self._control = QueueControl(queue)
        self._partitions = 0
        self._look_ahead = max(prefetch_count_max, settings.look_ahead_count_max)
        self._count_max, self._bytes_max = prefetch_count_max, settings.prefetch_bytes_max
        self._assignments: dict[int, Assignment] = {}
        self._arriving: list[int] = []
        self._was_assigned = False
        self._gated: list[Attempt] = []
        self._sent_count = self._sent_bytes = 0
        self._mean_bytes = 1024.0
        self._commit_at = self._careful_until = 0.0
        self._fetching = True
        self._closing = False
        self._abandoned = False
        self._room = threading.Event()
        self._waits_for_room = False
        execution.on_room = self._on_room
        self._room_count = prefetch_count_max // 2
        self.on_failed: Callable[[BaseException], None] = lambda error: None
        self._reader: Reader
        self._wake: Callable[[], None] = lambda: None
        self._notices: Reader
        self._membership: Membership | None = None

    # ------------------------------------------------------------------------------------------ from other threads

    def stop_fetching(self) -> None:
        """No more tasks; partitions and commits are kept."""
        self._fetching = False

    def finish(self) -> None:
        """Give the partitions up in order and end."""
        self._closing = True
        self._hurry()

    def abandon(self) -> None:
        """End like a killed process."""
        self._abandoned = self._closing = True
        self._hurry()

    def _hurry(self) -> None:
        self._room.set()
        self._wake()

    # ----------------------------------------------------------------------------------------------------- thread

    def run(self) -> None:
        with ExitStack() as readers:  # one belongs to the thread that uses it
            try:
                membership = self._join(readers)
                while not self._closing:
                    self._guarded_round(membership)
                self._leave(membership)
            except BaseException as error:
                _logger.exception("the fetcher of an activity worker stopped")
                self.on_failed(error)

    def _join(self, readers: ExitStack) -> Membership:
        self._reader = readers.enter_context(closing(self._log.reader()))
        self._notices = readers.enter_context(closing(self._log.reader()))
        self._wake = self._reader.wake
        self._insist(self._listen_at_new_homes)
        self._insist(self._learn_controls)
        membership = self._membership = self._log.membership(
            self._group, self._topic, self, session_timeout_seconds=self._settings.session_timeout_seconds
        )
        self._stats.gauges[self.name] = lambda: Gauges(
            self._sent_count - self._execution.taken_count,
            self._sender.unacknowledged,
            self._execution.concurrent_max,
            len(self._assignments),
        )
        return membership

    def _insist(self, action: Callable[[], None]) -> None:
        """The log was there when the worker was made; it may be away for a moment now."""
        while not self._closing:
            try:
                action()
                return
            except LogUnavailable as error:
                _logger.warning("the log cannot be read and is tried again: %s", error)
                time.sleep(self._settings.retry_seconds)

    def _leave(self, membership: Membership) -> None:
        if not self._abandoned:
            self._settle()
            membership.close()
        del self._stats.gauges[self.name]

    def _guarded_round(self, membership: Membership) -> None:
        try:
            self._round(membership)
        except OffsetOutOfRange as error:
            self._start_over(error)
        except LogError as error:
            if isinstance(error, AccessDenied) and not self._was_assigned:
                raise
            _logger.warning("the log cannot be read and is tried again: %s", error)
            time.sleep(self._settings.retry_seconds)

    def _round(self, membership: Membership) -> None:
        membership.poll()
        if self._arriving:
            self._open_arriving(membership)
        self._settle()
        if self._gated:
            self._open_gates()
        elif time.monotonic() >= self._commit_at:
            self._commit(self._assignments.values())
        self._read_notices()
        count = self._room_for()
        if count > 0:
            # Attempts that wait for their gates wait for this thread, not for new tasks.
            gates = self._execution.waiting_gates > 0 or time.monotonic() < self._careful_until
            self._fetch(_BUSY_WAIT_SECONDS if gates else self._settings.poll_seconds, count)
        else:
            self._room.clear()
            self._waits_for_room = True
            self._room.wait(self._settings.poll_seconds)
            self._waits_for_room = False

    def _on_room(self) -> None:
        """Event loop: something has left the queue. Half of it is waited for, so that batches stay large."""
        if self._waits_for_room and self._sent_count - self._execution.taken_count <= self._room_count:
            self._waits_for_room = False
            self._room.set()

    # ------------------------------------------------------------------------------------------------------ tasks

    def _room_for(self) -> int:
        """How many tasks may be read now."""
        waiting = self._sent_count - self._execution.taken_count
        paused = self._control.paused_ms is not None
        if paused or not self._fetching or self._sender.is_congested:
            return 0
        free_bytes = self._bytes_max - (self._sent_bytes - self._execution.taken_bytes)
        count_max = self._look_ahead if self._execution.looks_ahead else self._count_max
        free = min(_BATCH_MAX, count_max - waiting)
        return 0 if free_bytes <= 0 else min(free, max(1, int(free_bytes / self._mean_bytes)))

    def _fetch(self, timeout_seconds: float, count: int) -> None:
        records = self._reader.poll(timeout_seconds, count)
        if not records:
            return
        batch: list[Attempt] = []
        size = 0
        for record in records:
            assignment = self._assignments.get(record.partition)
            if assignment is None or assignment.is_stopped:
                continue
            attempt = self._intake.take(assignment, record)
            if attempt is not None:
                batch.append(attempt)
                size += attempt.payload_bytes
        self._leave_stopped()
        if batch and self._shared is not None:
            batch = self._without_finished(self._shared, batch)
        if batch:
            self._sent_count += len(batch)
            self._sent_bytes += size
            self._mean_bytes += (size / len(batch) - self._mean_bytes) / 8
            self._call(self._execution.take, batch)
            if batch[-1].careful:
                self._careful_until = time.monotonic() + self._settings.poll_seconds

    def _without_finished(self, shared: SharedState, batch: list[Attempt]) -> list[Attempt]:
        """Those that no other worker has finished; the answers of the others are durable."""
        finished = shared.finished([attempt.key for attempt in batch])
        if not finished:
            return batch
        for attempt in batch:
            if attempt.key in finished:
                self._stats.duplicates += 1
                attempt.durable = attempt.closed = attempt.ended = True
                self._intake.settle(attempt)
        return [attempt for attempt in batch if attempt.key not in finished]

    def _leave_stopped(self) -> None:
        for partition, assignment in self._assignments.items():
            if assignment.is_stopped:
                self._reader.unassign(self._topic, partition)

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            self._closing = True  # the event loop has gone

    def _start_over(self, error: OffsetOutOfRange) -> None:
        """What retention has taken had expired, and is sent again by who waits for it."""
        _logger.warning("%s", error)
        if error.topic != self._topic:
            start = error.begin if error.topic == self._workers_topic else error.end
            self._notices.assign(error.topic, error.partition, start)
            return
        assignment = self._assignments.get(error.partition)
        if assignment is not None:
            start = self._log.offsets(self._topic, error.partition).begin
            assignment.tracker = OffsetTracker(start)
            self._reader.assign(self._topic, error.partition, start)

    def _settle(self) -> None:
        settled, intake = self._settled, self._intake
        finished: list[AttemptKey] = []
        while settled:
            one = settled.popleft()
            intake.settle(one)
            if isinstance(one, Attempt):
                if one.gate is not None and not one.closed:
                    self._gated.append(one)
                elif one.closed and one.durable and not one.refused:
                    finished.append(one.key)
        if finished and self._shared is not None:
            self._shared.remember(finished)

    def _open_gates(self) -> None:
        """Announced attempts run once their offsets are committed, so that none can kill worker after worker."""
        self._commit(self._assignments.values())
        self._flush_commits()
        gated, self._gated = self._gated, []
        self._call(_open, gated)

    # ------------------------------------------------------------------------------------------------- partitions

    def assigned(self, partitions: Sequence[int]) -> None:
        self._was_assigned = True
        self._arriving += partitions

    def revoked(self, partitions: Sequence[int]) -> None:
        """Running attempts are handed over, so that nobody runs them again; the rest is left to the next holder."""
        going = self._remove(partitions)
        begun = [a for a in self._intake.open.values() if a.began and not a.durable and _is_of(a, going)]
        for attempt in begun:
            if not attempt.announced and not attempt.ended:
                self._sender.announce(attempt)
        deadline = time.monotonic() + self._settings.hand_over_timeout_seconds
        while any(not a.durable for a in begun) and time.monotonic() < deadline and not self._abandoned:
            time.sleep(_BUSY_WAIT_SECONDS)
        self._settle()
        try:
            self._commit(going, clean=all(a.durable for a in begun))
            self._open_gates()
        except LogError as error:  # must not keep the group from going on, or this member from leaving
            _logger.warning("partitions %s go without a last commit: %s", list(partitions), error)

    def lost(self, partitions: Sequence[int]) -> None:
        _logger.warning("lost partitions %s of %s: this worker was silent for too long", list(partitions), self._topic)
        self._remove(partitions)

    def _remove(self, partitions: Sequence[int]) -> list[Assignment]:
        self._arriving = [p for p in self._arriving if p not in partitions]
        going = [self._assignments.pop(p) for p in partitions if p in self._assignments]
        for assignment in going:
            self._reader.unassign(self._topic, assignment.partition)
            self._stats.stopped -= assignment.is_stopped
        self._close_running(going)
        self._call(self._execution.drop_gone)
        self._tell_share()
        return going

    def _open_arriving(self, membership: Membership) -> None:
        committed = membership.committed(self._arriving, _LOG_WAIT_SECONDS)
        opened = [self._opened(p, committed.get(p)) for p in self._arriving]
        was_clean = [a for a, progress in opened if progress.clean]
        if was_clean:
            # From now on somebody may die of a task here.
            self._commit(was_clean)
            self._flush_commits()
        for assignment, _ in opened:
            # Flushing may have let further events of the group through.
            if assignment.partition in self._arriving:
                self._arriving.remove(assignment.partition)
                self._assignments[assignment.partition] = assignment
                self._reader.assign(self._topic, assignment.partition, assignment.tracker.position)
        self._tell_share()

    def _tell_share(self) -> None:
        """How much of the queue is here, for limits that are divided."""
        if not self._partitions:
            info = self._log.topic(self._topic)
            self._partitions = info.partitions if info else 1
        self._on_share(len(self._assignments) / self._partitions)

    def _opened(self, partition: int, committed: Committed | None) -> tuple[Assignment, Progress]:
        begin, end = self._log.offsets(self._topic, partition)
        progress = decode_metadata(committed.offset, committed.metadata) if committed else Progress(begin)
        if not begin <= progress.offset <= end:
            progress = Progress(begin)
        # What is not there cannot be finished: such a commit would make the queue pass over what comes.
        tracker = OffsetTracker(progress.offset, (run for run in progress.finished if run.end <= end))
        return Assignment(partition, tracker, careful_below=0 if progress.clean else end), progress

    def _commit(self, assignments: Iterable[Assignment], *, clean: bool = False) -> None:
        self._commit_at = time.monotonic() + self._settings.commit_seconds
        positions: dict[int, Committed] = {}
        for assignment in assignments:
            progress = assignment.tracker.progress(clean=clean)
            position = (progress.offset, encode_metadata(progress))
            if position != assignment.committed:
                assignment.committed = position
                positions[assignment.partition] = Committed(*position)
        if positions and self._membership is not None:
            self._membership.commit(positions)

    def _flush_commits(self) -> None:
        if self._membership is not None:
            self._membership.flush_commits(_LOG_WAIT_SECONDS)

    # ---------------------------------------------------------------------------------------------------- notices

    def _listen_at_new_homes(self) -> None:
        while self._homes.opened:
            home: Home = self._homes.opened[0]
            topic = home.namespace.topics.replies
            self._notices.assign(topic, home.reply_partition, self._log.offsets(topic, home.reply_partition).end)
            self._homes.opened.popleft()

    def _read_notices(self) -> None:
        if self._homes.opened:
            self._listen_at_new_homes()
        controlled = False
        for record in self._notices.poll(0):
            if record.topic == self._workers_topic:
                controlled |= self._controls.fold([record])
                continue
            if record.key != self._me or record.value is None:
                continue
            try:
                body = self._homes.own.namespace.codec.decode(ReplyRecord, record.value).body
            except SchemaError as error:
                _logger.warning("a notice to this worker cannot be read: %s", error)
                continue
            if isinstance(body, AttemptRevoked):
                self._revoke(record.topic.rpartition(".")[0], body)
        if controlled:
            self._follow_control()

    def _learn_controls(self) -> None:
        """What operators have said before this worker began, and from then on what they say."""
        end = self._log.offsets(self._workers_topic, 0).end
        self._controls.fold(read_to_end(self._log, self._workers_topic, 0))
        self._notices.assign(self._workers_topic, 0, end)
        self._follow_control()

    def _follow_control(self) -> None:
        control = self._controls.queues.get(self._queue) or QueueControl(self._queue)
        if control == self._control:
            return
        was_paused, self._control = self._control.paused_ms is not None, control
        if control.paused_ms is not None:
            why = f": {control.reason}" if control.reason else ""
            _logger.warning('task queue "%s" is paused by %s%s', self._queue, control.identity, why)
        elif was_paused:
            _logger.info('task queue "%s" goes on', self._queue)
        self._call(self._on_control, control)

    def _revoke(self, namespace: str, notice: AttemptRevoked) -> None:
        attempt = self._intake.open.get((namespace, notice.run_id, notice.seq, notice.attempt))
        if attempt is None:
            return
        try:
            reason = StopReason(notice.reason)
        except ValueError:
            reason = StopReason.SUPERSEDED  # whatever a newer orchestrator means by it, it wants no answer
        self._call(self._execution.stop, attempt, reason)


def _log(homes: Homes) -> Log:
    return homes.own.namespace.log


def _is_of(attempt: Attempt, assignments: Sequence[Assignment]) -> bool:
    return any(place.assignment in assignments for place in attempt.places)


def _open(attempts: list[Attempt]) -> None:
    for attempt in attempts:
        if attempt.gate is not None and not attempt.gate.done():
            attempt.gate.set_result(None)
