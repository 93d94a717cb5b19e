"""Runs attempts on the event loop, as many at a time as allowed; activities are called here and nowhere else."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor
from functools import partial
from typing import Any

from odradek.activity import _Definition
from odradek.activity._context import CompleteAsyncError, _current
from odradek.activity.interceptors import ExecuteActivityInput, Interceptor, chain
from odradek.common import RawValue
from odradek.common.standalone import owner_of
from odradek.exceptions import CancelledError, is_cancelled_exception
from odradek.schemas.records import ActivityResult, ActivityStarted
from odradek.workers.attempts import UNHEARD, Attempt, Running, StopReason
from odradek.workers.context import AttemptContext, Surroundings
from odradek.workers.errors import type_unknown
from odradek.workers.metrics import QueueStats, TypeStats
from odradek.workers.outcomes import Outcomes, error_to_answer, is_benign
from odradek.workers.outgoing import Answer, Settled
from odradek.workers.pace import Limit
from odradek.workers.processes import Processes
from odradek.workers.threads import ThreadCancellation
from odradek.workers.waiting import Waiting

_logger = logging.getLogger(__name__)

_FINAL = UNHEARD | {StopReason.START_TO_CLOSE}
"""Whoever stops an attempt for these does not wait for it."""


class Activities:
    """The activities of one worker by name, with the dynamic one for all other names."""

    def __init__(self, by_name: Mapping[str, _Definition], dynamic: _Definition | None) -> None:
        self.by_name = by_name
        self.names = sorted(by_name) + (["*"] if dynamic else [])
        """``*``: any that is not named."""
        self._dynamic = dynamic

    def all(self) -> list[_Definition]:
        return [*self.by_name.values(), *([self._dynamic] if self._dynamic else ())]

    def find(self, name: str) -> _Definition | None:
        return self.by_name.get(name) or self._dynamic


class Execution:
    """Belongs to the event loop's thread, but for ``queued_count`` and ``queued_bytes``, which anyone may read."""

    def __init__(
        self,
        activities: Activities,
        around: Surroundings,
        running: Running,
        outcomes: Outcomes,
        stats: QueueStats,
        settled: deque[Settled],
        *,
        concurrent_max: int,
        per_key_max: int | None = None,
        executor: Callable[[], Executor],
        processes: Processes,
        interceptors: Sequence[Interceptor] = (),
    ) -> None:
        self._activities, self._around, self._running = activities, around, running
        self._outcomes, self._stats, self._settled = outcomes, stats, settled
        self.concurrent_max = concurrent_max
        self._executor, self._processes = executor, processes
        self._interceptors = interceptors
        self._waiting = Waiting(per_key_max)
        self._active = 0
        self._stopping = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._has_codec = around.data_converter.outer is not None
        self.taken_count = self.taken_bytes = 0
        """Of all that was ever queued: what has left the queue. The fetcher counts what came."""
        self.waiting_gates = 0
        """Attempts that run as soon as the fetcher has committed their announcements."""
        self.limits: Sequence[Limit] = ()
        """Of starts per second."""
        self._paced: asyncio.TimerHandle | None = None
        self.on_broken: Callable[[BaseException], None] = lambda error: None
        """Told when a process of the executor has died: it can run nothing any more."""
        self.on_room: Callable[[], None] = lambda: None

    @property
    def looks_ahead(self) -> bool:
        """Whether the order of what waits is not that of the partitions."""
        return self._waiting.is_mixed

    def take(self, batch: list[Attempt]) -> None:
        """Queue these, and start what may start."""
        self._waiting.extend(batch)
        self._start_more()

    def stop(self, attempt: Attempt, reason: StopReason) -> None:
        """Ask one attempt to end; what it answers depends on the reason."""
        if attempt.ended or (attempt.stop_reason is not None and reason not in UNHEARD):
            return
        attempt.stop_reason = reason
        if attempt.context is not None:
            attempt.context.cancel(reason)
            if attempt.context.process is not None:
                attempt.context.process.cancel()
            if attempt.context.thread is not None:
                attempt.context.thread.cancel()
            elif attempt.context.process is not None and reason not in _FINAL:
                return  # it hears of it, and may end in its own time
            elif attempt.asyncio_task is not None:
                attempt.asyncio_task.cancel()
        elif self._waiting.remove(attempt):
            self._left_queue(attempt)
            self._finish_unstarted(attempt)

    def drop_gone(self) -> None:
        """Forget waiting attempts whose partition has gone."""
        for attempt in self._waiting.take_out(lambda attempt: not attempt.places[0].assignment.is_open):
            self._left_queue(attempt)
            self._drop(attempt)

    def stop_starting(self) -> None:
        """Leave what waits to other workers."""
        self._stopping = True
        for attempt in self._waiting.take_out(lambda attempt: True):
            self._left_queue(attempt)
            self._drop(attempt)

    def stop_all(self, reason: StopReason) -> None:
        for attempt in self._running.snapshot():
            self.stop(attempt, reason)

    async def wait_idle(self, timeout_seconds: float) -> bool:
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    # --------------------------------------------------------------------------------------------------- starting

    def _start_more(self) -> None:
        waiting = self._waiting
        while waiting and self._active < self.concurrent_max:
            if self.limits and not self._in_pace(min(len(waiting), self.concurrent_max - self._active)):
                break
            attempt = waiting.pop()
            if attempt is None:
                break
            self.taken_count += 1
            self.taken_bytes += attempt.payload_bytes
            if not self._start(attempt):
                waiting.ended(attempt)
        self.on_room()

    def _in_pace(self, wanted: int) -> bool:
        """Whether one may begin now; otherwise it is tried again when one may."""
        now = time.monotonic()
        wait_seconds = max(limit.wait_seconds(now, wanted) for limit in self.limits)
        if wait_seconds > 0:
            if self._paced is None:
                self._paced = self._around.loop.call_later(wait_seconds, self.go_on)
            return False
        for limit in self.limits:
            limit.start(now)
        return True

    def go_on(self) -> None:
        """Start what may start by now."""
        if self._paced is not None:
            self._paced.cancel()
            self._paced = None
        self._start_more()

    def _left_queue(self, attempt: Attempt) -> None:
        self.taken_count += 1
        self.taken_bytes += attempt.payload_bytes

    def _start(self, attempt: Attempt) -> bool:
        """False: it does not run."""
        now_ms = self._around.now_ms()
        if self._stopping:
            self._drop(attempt)
            return False
        if now_ms > attempt.task.expires_ms:
            self._stats.expired += 1
            attempt.durable = True
            self._drop(attempt)
            return False
        activity = self._activities.find(attempt.task.activity_type)
        if activity is None:
            attempt.started_ms = now_ms
            self._refuse_type(attempt)
            return False
        now = time.monotonic()
        if not self._running.begin(attempt, now_ms, now):
            self._drop(attempt)
            return False
        limit_ms = attempt.task.timeouts.start_to_close_ms
        if limit_ms is not None:
            attempt.deadline = now + limit_ms / 1000
        self._active += 1
        self._stats.waits.observe(max(0, now_ms - attempt.task.attempt_scheduled_ms) / 1000)
        stats = self._stats.of(attempt.task.activity_type)
        stats.started += 1
        stats.running += 1
        attempt.context = AttemptContext(attempt, self._around)
        attempt.asyncio_task = self._around.loop.create_task(self._run(attempt, activity, stats))
        self._idle.clear()
        return True

    def _drop(self, attempt: Attempt) -> None:
        """It does not run here, or not now; unless it was made durable its offset stays open."""
        attempt.refused = attempt.closed = attempt.ended = True
        self._settled.append(attempt)

    def _finish_unstarted(self, attempt: Attempt) -> None:
        attempt.started_ms = self._around.now_ms()
        attempt.ended = True
        if attempt.stop_reason in UNHEARD:
            attempt.durable = attempt.closed = True
            self._settled.append(attempt)
        else:
            self._answer_later(attempt, CancelledError("Cancelled"))

    def _refuse_type(self, attempt: Attempt) -> None:
        error = type_unknown(attempt.task.activity_type, attempt.task.task_queue, self._activities.by_name)
        _logger.warning("%s", error.message, extra={"activity_type": attempt.task.activity_type})
        attempt.ended = True
        self._answer_later(attempt, error)

    def _answer_later(self, attempt: Attempt, error: BaseException) -> None:
        task = self._around.loop.create_task(self._answer_error(attempt, error))
        self._around.background.add(task)
        task.add_done_callback(self._around.background.discard)

    async def _answer_error(self, attempt: Attempt, error: BaseException) -> None:
        self._around.sender.submit(Answer(attempt, await self._outcomes.of_error(attempt, error)))

    # ---------------------------------------------------------------------------------------------------- running

    async def _run(self, attempt: Attempt, activity: _Definition, stats: TypeStats) -> None:
        result: ActivityResult | ActivityStarted | None = None
        try:
            try:
                if attempt.careful:
                    await self._announce(attempt)
                value = await self._call(attempt, activity)
                if attempt.stop_reason is StopReason.START_TO_CLOSE:
                    raise asyncio.CancelledError  # it came too late, whatever it made of its cancellation
                if self._has_codec:
                    result = await self._outcomes.of_encoded_value(attempt, value)
                else:
                    result = self._outcomes.of_value(attempt, value)
                stats.completed += 1
            except GeneratorExit:
                raise
            except CompleteAsyncError:
                result = await self._detached(attempt)
            except BaseException as error:
                result = await self._failed(attempt, error, stats)
        finally:
            self._over(attempt, result, stats)

    async def _detached(self, attempt: Attempt) -> ActivityStarted | None:
        if attempt.stop_reason in UNHEARD:
            return None
        if attempt.context is not None:
            await attempt.context.flush_last_heartbeat()
        return self._outcomes.of_detached(attempt)

    async def _failed(self, attempt: Attempt, error: BaseException, stats: TypeStats) -> ActivityResult | None:
        if attempt.context is not None:
            await attempt.context.flush_last_heartbeat()
        answer = error_to_answer(attempt, error)
        if answer is None or (is_cancelled_exception(answer) and attempt.stop_reason is StopReason.CANCELLED):
            stats.cancelled += 1
        elif not is_benign(answer):
            stats.failed += 1
        if answer is None:
            return None
        level = logging.DEBUG if is_benign(answer) or is_cancelled_exception(answer) else logging.WARNING
        facts = {"activity_type": attempt.task.activity_type, "workflow_id": attempt.task.workflow_id}
        _logger.log(
            level,
            'activity "%s" of %s failed at attempt %d: %s',
            attempt.task.activity_type,
            owner_of(attempt.task.workflow_id),
            attempt.task.attempt,
            answer,
            exc_info=answer if _logger.isEnabledFor(logging.DEBUG) else None,
            extra=facts,
        )
        return await self._outcomes.of_error(attempt, answer)

    def _over(self, attempt: Attempt, result: ActivityResult | ActivityStarted | None, stats: TypeStats) -> None:
        self._running.end(attempt)
        # These three know each other; left to the garbage collector, they would double what an activity costs.
        attempt.context = attempt.asyncio_task = attempt.gate = None
        stats.running -= 1
        stats.durations.observe(time.monotonic() - attempt.started_at)
        if attempt.stop_reason in UNHEARD:
            attempt.durable = attempt.closed = True
            self._settled.append(attempt)
        else:
            self._around.sender.submit(Answer(attempt, result or self._outcomes.of_lost_end(attempt)))
        self._active -= 1
        self._waiting.ended(attempt)
        if self._waiting:
            self._start_more()
        if not self._active:
            self._idle.set()

    async def _announce(self, attempt: Attempt) -> None:
        """Return once it stands in the log that this attempt is held here, and its offset is committed."""
        attempt.gate = self._around.loop.create_future()
        self._around.sender.announce(attempt)
        self.waiting_gates += 1
        try:
            await attempt.gate
        finally:
            self.waiting_gates -= 1

    async def _call(self, attempt: Attempt, activity: _Definition) -> Any:
        assert attempt.context is not None
        _current.set(attempt.context)
        arguments = await self._decoded(attempt, activity) if self._has_codec else self._converted(attempt, activity)
        if not activity.is_async and not self._processes.serve(self._executor()):
            attempt.context.thread = ThreadCancellation(raises=not activity.no_thread_cancel_exception)
        if self._interceptors:
            return await self._intercepted(attempt, activity, arguments)
        if activity.is_async:
            return await activity.fn(*arguments)
        return await self._elsewhere(attempt, activity.fn, arguments)

    async def _elsewhere(self, attempt: Attempt, function: Callable[..., Any], arguments: Sequence[Any]) -> Any:
        """In a thread or a process."""
        executor, context = self._executor(), attempt.context
        assert context is not None
        if not self._processes.serve(executor):
            return await self.call_in_thread(attempt, function, arguments)
        try:
            return await self._processes.call(executor, context, function, arguments)
        except BrokenExecutor as error:
            self.on_broken(error)
            raise

    async def _intercepted(self, attempt: Attempt, activity: _Definition, arguments: list[Any]) -> Any:
        async def call(call_input: ExecuteActivityInput) -> Any:
            if activity.is_async:
                return await call_input.fn(*call_input.args)
            return await self._elsewhere(attempt, call_input.fn, call_input.args)

        assert attempt.context is not None
        executor = None if activity.is_async else self._executor()
        first = chain(self._interceptors, call, attempt.context)
        return await first.execute_activity(
            ExecuteActivityInput(activity.fn, arguments, executor, attempt.task.headers)
        )

    async def call_in_thread(self, attempt: Attempt, function: Callable[..., Any], arguments: Sequence[Any]) -> Any:
        assert attempt.context is not None
        thread = attempt.context.thread or ThreadCancellation(raises=False)
        call = partial(contextvars.copy_context().run, thread.run, function, arguments)
        return await self._around.loop.run_in_executor(self._executor(), call)

    def _converted(self, attempt: Attempt, activity: _Definition) -> list[Any]:
        payloads = attempt.task.input
        if activity.name is None:
            return [[RawValue(payload) for payload in payloads]]
        if not payloads:
            return []
        return self._around.converter_for(attempt).payload_converter.from_payloads(payloads, activity.arg_types)

    async def _decoded(self, attempt: Attempt, activity: _Definition) -> list[Any]:
        converter, task = self._around.converter_for(attempt), attempt.task
        if task.heartbeat_details and attempt.context is not None:
            attempt.context.previous_details = await converter.decode(task.heartbeat_details)
        payloads = await converter.decode_payloads(task.input)
        if activity.name is None:
            return [[RawValue(payload) for payload in payloads]]
        return converter.payload_converter.from_payloads(payloads, activity.arg_types)
