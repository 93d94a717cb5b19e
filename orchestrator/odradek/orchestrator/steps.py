"""Runs durable steps and local activities in this process: on an event loop of their own, in threads, or inline.

Orders come from the orchestrator's thread, and ends go back to it. What a step's end means is the shard's business.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any, Final, Protocol

from odradek.activity import _Definition
from odradek.activity._context import ActivityCancellationDetails, CompleteAsyncError, _current
from odradek.activity._flag import Flag
from odradek.activity.interceptors import ExecuteActivityInput, Interceptor, chain
from odradek.common import RetryPolicy
from odradek.converter import ActivitySerializationContext, DataConverter
from odradek.exceptions import ApplicationError, CancelledError, TimeoutError, TimeoutType, is_cancelled_exception
from odradek.orchestrator.core.backoff import next_delay_ms
from odradek.orchestrator.core.effects import RunStep
from odradek.orchestrator.core.instance import PAYLOAD_BYTES_MAX
from odradek.orchestrator.step_context import StepContext
from odradek.schemas import records as r
from odradek.schemas.records import FailureKind

_log = logging.getLogger("odradek.orchestrator.steps")

SWEEP_SECONDS: Final = 0.05
"""How often time limits are looked at."""
PATIENCE: Final = 8
"""While steps run, the orchestrator looks for their ends after 1/8 of the time that the newest has taken so far."""
_RETRY_DEFAULT: Final = RetryPolicy().to_record()
_CANCEL_REQUESTED: Final = ActivityCancellationDetails(cancel_requested=True)


class Taker(Protocol):
    """The partition that a step belongs to."""

    @property
    def payload_bytes_max(self) -> int: ...


class _Running:
    """A step on its way through its attempts. Belongs to the loop's thread, or for inline ones to the host's."""

    __slots__ = (
        "began",
        "call",
        "context",
        "deadline",
        "definition",
        "has_begun",
        "is_over",
        "policy",
        "scheduled_ms",
        "step",
        "stop",
        "taker",
        "task",
        "timer",
    )  # fmt: skip

    def __init__(self, taker: Taker, step: RunStep, definition: _Definition | None, scheduled_ms: int) -> None:
        self.taker = taker
        self.step = step
        self.call = step.call
        self.definition = definition
        self.scheduled_ms = scheduled_ms
        self.policy: r.RetryPolicy | None = None
        self.began = time.monotonic()
        self.deadline: float | None = None
        self.stop: str | None = None
        """Why the attempt that runs is being ended: cancelled, dropped, or a time limit's name."""
        self.context: StepContext | None = None
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.has_begun = False
        self.is_over = False


class StepRunner:
    """One per orchestrator. ``run``, ``cancel``, ``drop`` and ``take`` are for its thread; nothing here blocks it."""

    def __init__(
        self,
        namespace: str,
        data_converter: DataConverter,
        activities: Callable[[str], _Definition | None],
        *,
        clock_ms: Callable[[], int],
        identity: str = "",
        concurrent_max: int = 1000,
        threads_max: int = 32,
        known: Callable[[], list[str]] = list,
        interceptors: Sequence[Interceptor] = (),
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """``loop``: where ``async`` functions run, so that they can share with others there; else on one of its own."""
        self._namespace = namespace
        self._converter = data_converter
        self._activities, self._known = activities, known
        self._interceptors = interceptors
        self._clock_ms = clock_ms
        self._identity = identity
        self._concurrent_max, self._threads_max = concurrent_max, threads_max
        self._orders: deque[Callable[[], None]] = deque()
        self._ended: deque[tuple[Taker, RunStep, r.StepEnded]] = deque()
        self._inline_again: deque[_Running] = deque()
        self._loop, self._owns_loop = loop, loop is None
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        self._pool: ThreadPoolExecutor | None = None
        self._rung = False
        self._news = threading.Event()
        self._listening = False
        self._shutdown = Flag()
        self._waiting: deque[_Running] = deque()
        self._attempts: dict[_Running, None] = {}
        self._backing_off: dict[_Running, Callable[[_Running], None]] = {}
        """What happens to each when its next attempt is due."""
        self._sweep: asyncio.TimerHandle | None = None
        self._open = 0
        self._newest = 0.0

    # ------------------------------------------------------------------------------------------ the host's side

    @property
    def open(self) -> int:
        """Steps that have been handed in, and whose end has not been taken."""
        return self._open

    def run(self, taker: Taker, step: RunStep) -> None:
        """Begin a step; its end comes with ``take``."""
        call = step.call
        definition = self._activities(call.activity) if call.is_activity else None
        step.running = running = _Running(taker, step, definition, self._clock_ms())
        self._open += 1
        self._newest = running.began
        if call.inline:
            self._run_inline(running)
        else:
            self._order(partial(self._start, running))

    def cancel(self, step: RunStep, *, dropped: bool = False) -> None:
        """Tell a step's function to stop. ``dropped``: the partition has gone, and its end is of no use."""
        if step.running is not None:
            self._order(partial(self._stop, step.running, "dropped" if dropped else "cancelled"))

    def take(self) -> list[tuple[Taker, RunStep, r.StepEnded]]:
        """The steps that have ended since the last call."""
        while self._inline_again:
            self._run_inline(self._inline_again.popleft())
        taken = []
        while self._ended:
            taken.append(self._ended.popleft())
        self._open -= len(taken)
        return taken

    def time_moved(self) -> None:
        """The clock has skipped: begin what is due now."""
        if self._open:
            self._order(self._start_due)

    @property
    def has_news(self) -> bool:
        return bool(self._ended or self._inline_again)

    def patience_seconds(self) -> float:
        """How long one may look elsewhere while steps run: in proportion to how long the newest has run."""
        return max(0.001, (time.monotonic() - self._newest) / PATIENCE)

    def listen(self, seconds: float) -> bool:
        """Wait for a step to end; whether one has."""
        self._news.clear()
        self._listening = True
        try:
            return self.has_news or self._news.wait(seconds)
        finally:
            self._listening = False

    def close(self) -> None:
        """Drop what runs. Functions in threads go on until they return; nobody hears of them."""
        self._shutdown.set()
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._stop_all)
            self._thread.join(5)
        elif self._loop is not None and self._open and self._loop.is_running():
            self._loop.call_soon_threadsafe(self._stop_all)
            self._stopped.wait(5)
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _order(self, order: Callable[[], None]) -> None:
        self._orders.append(order)
        if self._rung:
            return  # who has rung has not been heard yet
        self._rung = True
        self._opened_loop().call_soon_threadsafe(self._carry_out)

    def _opened_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=_serve, args=(self._loop,), name=f"odradek-steps-{self._namespace}", daemon=True
            )
            self._thread.start()
        return self._loop

    # ------------------------------------------------------------------------------------------ inline

    def _run_inline(self, running: _Running) -> None:
        context = contextvars.copy_context()
        self._begin_attempt(running)
        try:
            value = context.run(self._call_plain, running)
            ended = self._success(running, value)
        except Exception as error:
            self._failed(running, error)
        else:
            self._over(running, ended)

    def _call_plain(self, running: _Running) -> Any:
        _current.set(running.context)  # type: ignore[arg-type]
        return self._function(running)(*running.call.args)

    # ------------------------------------------------------------------------------------------ the loop's side

    def _carry_out(self) -> None:
        self._rung = False
        orders = self._orders
        while orders:
            orders.popleft()()

    def _start(self, running: _Running) -> None:
        if running.stop is not None:
            self._give_up(running)
        elif len(self._attempts) >= self._concurrent_max:
            self._waiting.append(running)
        else:
            self._attempt(running)

    def _attempt(self, running: _Running) -> None:
        assert self._loop is not None
        self._attempts[running] = None
        running.timer = None
        self._begin_attempt(running)
        running.task = self._loop.create_task(self._run(running))
        if self._sweep is None:
            self._sweep = self._loop.call_later(SWEEP_SECONDS, self._look_at_limits)

    def _begin_attempt(self, running: _Running) -> None:
        call, now = running.call, time.monotonic()
        running.step.attempt += 1
        running.stop = None
        running.has_begun = False
        deadline = None if call.start_to_close_timeout is None else now + call.start_to_close_timeout.total_seconds()
        if call.schedule_to_close_timeout is not None:
            whole = running.began + call.schedule_to_close_timeout.total_seconds()
            deadline = whole if deadline is None else min(deadline, whole)
        running.deadline = deadline
        running.context = StepContext(
            running.step,
            self._namespace,
            self._converter_of(running.step).payload_converter,
            running.scheduled_ms,
            self._clock_ms(),
            self._shutdown,
        )

    async def _run(self, running: _Running) -> None:
        call = running.call
        try:
            running.has_begun = True
            if running.stop is not None:
                raise asyncio.CancelledError
            if call.schedule_to_start_timeout is not None and running.step.attempt == 1:
                _check_start(running)
            _current.set(running.context)  # type: ignore[arg-type]
            is_async = running.definition.is_async if running.definition else call.is_async
            function = self._function(running)
            if self._interceptors:
                value = await self._intercepted(running, function, is_async)
            else:
                value = await function(*call.args) if is_async else await self._in_thread(running, function, call.args)
            ended = self._success(running, value)
        except GeneratorExit:
            raise
        except CompleteAsyncError:
            self._failed(running, _cannot_leave(call.activity))
        except BaseException as error:
            self._failed(running, error)
        else:
            self._over(running, ended)

    async def _intercepted(self, running: _Running, function: Callable[..., Any], is_async: bool) -> Any:
        async def innermost(input: ExecuteActivityInput) -> Any:
            if is_async:
                return await input.fn(*input.args)
            return await self._in_thread(running, input.fn, input.args)

        assert running.context is not None
        first = chain(self._interceptors, innermost, running.context)
        call = running.call
        return await first.execute_activity(ExecuteActivityInput(function, call.args, self._pool, call.headers))

    async def _in_thread(self, running: _Running, function: Callable[..., Any], arguments: Sequence[Any]) -> Any:
        assert self._loop is not None
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads_max, thread_name_prefix="odradek-step")
        call = partial(contextvars.copy_context().run, function, *arguments)
        done = self._loop.run_in_executor(self._pool, call)
        while not done.done():
            try:
                await asyncio.shield(done)
            except asyncio.CancelledError:
                if running.stop != "cancelled":
                    raise
                # told through its context: what it makes of that is its end
        value = done.result()
        return await value if inspect.isawaitable(value) else value

    def _function(self, running: _Running) -> Callable[..., Any]:
        if running.definition is not None:
            return running.definition.fn
        if running.call.function is not None:
            return running.call.function
        names = ", ".join(self._known()) or "none"
        raise ApplicationError(
            f'ODR-142: no activity "{running.call.activity}" in this orchestrator\'s process, which knows: {names}. '
            "Local activities run beside the workflow: register it in the same Worker, load its module with "
            '"odradek orchestrator", or pass the function itself',
            type="ActivityTypeUnknown",
        )

    # ------------------------------------------------------------------------------------------ limits and stops

    def _look_at_limits(self) -> None:
        assert self._loop is not None
        now = time.monotonic()
        for running in self._attempts:
            if running.deadline is not None and now >= running.deadline and running.stop is None:
                call = running.call
                whole = call.schedule_to_close_timeout
                over = whole is not None and now >= running.began + whole.total_seconds()
                running.stop = TimeoutType.SCHEDULE_TO_CLOSE if over else TimeoutType.START_TO_CLOSE
                self._tell(running, ActivityCancellationDetails(timed_out=True))
        self._sweep = self._loop.call_later(SWEEP_SECONDS, self._look_at_limits) if self._attempts else None

    def _tell(self, running: _Running, details: ActivityCancellationDetails) -> None:
        if running.context is not None:
            running.context.cancellation_details = details
            running.context.cancelled.set()
        if running.task is not None and running.has_begun:
            running.task.cancel()

    def _stop(self, running: _Running, why: str) -> None:
        if running.is_over or running.stop in ("cancelled", "dropped"):
            return
        running.stop = why
        if running in self._attempts:
            self._tell(running, _CANCEL_REQUESTED)
        elif running.timer is not None or running in self._waiting:
            if running.timer is not None:
                self._back_on(running)
            else:
                self._waiting.remove(running)
            self._give_up(running)

    def _give_up(self, running: _Running) -> None:
        """It is stopped while no attempt runs."""
        self._begin_attempt(running)
        self._final(running, self._failure(CancelledError("Cancelled"), running.step), "cancel-requested")

    def _stop_all(self) -> None:
        assert self._loop is not None
        self._carry_out()
        self._waiting.clear()
        for running in list(self._attempts):
            self._stop(running, "dropped")
        stop = self._loop.stop if self._owns_loop else self._stopped.set
        self._loop.call_soon(self._loop.call_soon, stop)  # what is cancelled hears of it first

    # ------------------------------------------------------------------------------------------ ends

    def _success(self, running: _Running, value: Any) -> r.StepEnded:
        step, context = running.step, running.context
        assert context is not None
        payload = None
        if value is not None:
            payload = self._converter_of(step).in_workflows.to_payload(value)
            limit = min(running.taker.payload_bytes_max, PAYLOAD_BYTES_MAX)
            if len(payload.data) > limit:
                raise _too_large("result", step.call.activity, len(payload.data), limit)
        return r.StepEnded(step.seq, step.call.activity, payload, step.attempt, context.started_ms)

    def _failed(self, running: _Running, error: BaseException) -> None:
        """An attempt has failed: another one later, or the end."""
        step = running.step
        failure = self._failure(self._as_answered(running, error), step)
        if len(failure.message) + sum(len(p.data) for p in failure.details) > running.taker.payload_bytes_max:
            limit = running.taker.payload_bytes_max
            failure = self._failure(_too_large("failure", step.call.activity, len(failure.message), limit), step)
        step.last_failure = failure
        if running.policy is None:
            policy = running.call.retry_policy
            running.policy = _RETRY_DEFAULT if policy is None else policy.to_record()
        delay_ms, state = next_delay_ms(running.policy, step.attempt, failure)
        if running.stop == TimeoutType.SCHEDULE_TO_CLOSE:
            delay_ms, state = None, "timeout"
        elif running.stop in ("cancelled", "dropped"):
            delay_ms, state = None, "cancel-requested"
        whole = running.call.schedule_to_close_timeout
        if delay_ms is not None and whole is not None:
            left = whole.total_seconds() - (time.monotonic() - running.began)
            if delay_ms / 1000 >= left:
                delay_ms, state = None, "timeout"
        level = logging.DEBUG if is_cancelled_exception(error) else logging.WARNING
        _log.log(level, 'step "%s" of workflow "%s" failed at attempt %d: %s', step.call.activity, step.workflow_id,
                 step.attempt, error, exc_info=error if _log.isEnabledFor(logging.DEBUG) else None)  # fmt: skip
        if delay_ms is None:
            self._final(running, failure, state)
        else:
            self._again(running, delay_ms)

    def _again(self, running: _Running, delay_ms: int) -> None:
        self._leave(running)
        running.scheduled_ms = self._clock_ms() + delay_ms
        loop = self._opened_loop()
        due = self._inline_due if running.call.inline else self._start_again

        def later() -> None:
            running.timer = loop.call_later(delay_ms / 1000, due, running)
            self._backing_off[running] = due
            running.step.retry_at_ms = running.scheduled_ms

        if running.call.inline:
            self._order(later)
        else:
            later()

    def _start_due(self) -> None:
        now_ms = self._clock_ms()
        for running, due in list(self._backing_off.items()):
            if running.scheduled_ms <= now_ms:
                due(running)

    def _back_on(self, running: _Running) -> None:
        """It backs off no longer."""
        if running.timer is not None:
            running.timer.cancel()
        self._backing_off.pop(running, None)
        running.timer = running.step.retry_at_ms = None

    def _start_again(self, running: _Running) -> None:
        self._back_on(running)
        self._start(running)

    def _inline_due(self, running: _Running) -> None:
        self._back_on(running)
        self._inline_again.append(running)
        if self._listening:
            self._news.set()

    def _final(self, running: _Running, failure: r.Failure, state: str) -> None:
        step, context = running.step, running.context
        assert context is not None
        call = step.call
        facts = {
            "activity_type": call.activity,
            "activity_id": call.activity_id or str(step.seq),
            "identity": self._identity,
            "retry_state": state,
        }
        message = "Activity task timed out" if failure.kind == FailureKind.TIMEOUT else "Activity task failed"
        outer = r.Failure(FailureKind.ACTIVITY, message, attributes=facts, cause=failure)
        self._over(running, r.StepEnded(step.seq, call.activity, None, step.attempt, context.started_ms, outer))

    def _over(self, running: _Running, ended: r.StepEnded) -> None:
        running.is_over = True
        self._leave(running)
        running.step.running = None
        self._ended.append((running.taker, running.step, ended))
        if self._listening:
            self._news.set()

    def _leave(self, running: _Running) -> None:
        """No attempt of it runs any more; the next one that waits may begin."""
        running.task = None
        if running.call.inline:
            return
        self._attempts.pop(running, None)
        if self._waiting and len(self._attempts) < self._concurrent_max:
            self._attempt(self._waiting.popleft())

    def _as_answered(self, running: _Running, error: BaseException) -> BaseException:
        """What the workflow hears of an attempt that raised ``error``."""
        if not is_cancelled_exception(error):
            return error if isinstance(error, Exception) else ApplicationError(repr(error), type=type(error).__name__)
        call, name = running.call, running.call.activity
        match running.stop:
            case TimeoutType.START_TO_CLOSE:
                return _timed_out(name, TimeoutType.START_TO_CLOSE, call.start_to_close_timeout)
            case TimeoutType.SCHEDULE_TO_CLOSE:
                return _timed_out(name, TimeoutType.SCHEDULE_TO_CLOSE, call.schedule_to_close_timeout)
            case "cancelled" | "dropped":
                return error if isinstance(error, CancelledError) else CancelledError("Cancelled")
            case _:
                return ApplicationError(
                    f'ODR-122: step "{name}" ended as cancelled, and nobody had asked for that. Catch the cancellation '
                    "of what it awaits, or raise another error.",
                    type="ActivityCancelled",
                )

    def _converter_of(self, step: RunStep) -> DataConverter:
        if not self._converter.takes_context:
            return self._converter
        return self._converter.with_context(
            ActivitySerializationContext(
                self._namespace,
                step.call.activity_id or str(step.seq),
                step.call.activity,
                step.task_queue,
                step.workflow_id,
                step.workflow_type,
                is_local=True,
            )
        )

    def _failure(self, error: BaseException, step: RunStep) -> r.Failure:
        converter = self._converter_of(step)
        try:
            return converter.failure_converter.to_failure(error, converter.in_workflows)
        except Exception as conversion:
            _log.exception("the failure of a step cannot be converted")
            message = f"{type(error).__name__}: {error} (and it could not be converted: {conversion})"
            return r.Failure(FailureKind.APPLICATION, message, type=type(error).__name__)


def _check_start(running: _Running) -> None:
    limit = running.call.schedule_to_start_timeout
    assert limit is not None
    if time.monotonic() - running.began > limit.total_seconds():
        running.stop = TimeoutType.SCHEDULE_TO_CLOSE
        raise _timed_out(running.call.activity, TimeoutType.SCHEDULE_TO_START, limit)


def _timed_out(name: str, kind: TimeoutType, limit: timedelta | None) -> TimeoutError:
    seconds = limit.total_seconds() if limit is not None else 0.0
    return TimeoutError(f'step "{name}" took longer than its {kind} timeout of {seconds:g} s', type=kind)


def _cannot_leave(name: str) -> ApplicationError:
    return ApplicationError(
        f'ODR-144: step "{name}" called raise_complete_async, and nobody outside can complete a step or a local '
        "activity: make it an activity of a task queue",
        type="CompleteAsyncInStep",
        non_retryable=True,
    )


def _too_large(what: str, name: str, size_bytes: int, limit_bytes: int) -> ApplicationError:
    return ApplicationError(
        f'ODR-105: the {what} of step "{name}" has {size_bytes:,} bytes, and the limit is {limit_bytes:,}: store the '
        "data elsewhere and return where it is",
        type="PayloadTooLarge",
        non_retryable=True,
    )


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()
