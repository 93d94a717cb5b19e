"""One run's code, alive: an input event goes in, the command events that the code answers with come out.

Deciding and replaying are the same call, so a replay is a comparison of what came out with what the history records.
"""

from __future__ import annotations

import asyncio
import dataclasses
from asyncio import events
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import lru_cache, partial
from hashlib import sha512
from random import Random
from types import MappingProxyType
from typing import Any, NoReturn
from zlib import crc32

from odradek.common import (
    MetricMeter,
    RawValue,
    RetryPolicy,
    SearchAttributes,
    SearchAttributeUpdate,
    VersioningBehavior,
)
from odradek.converter import (
    ConverterNotReady,
    FailureConverter,
    PayloadConverter,
    encode_search_attribute,
    encode_search_attributes,
)
from odradek.exceptions import ApplicationError, FailureError, is_cancelled_exception
from odradek.orchestrator.core.cancelled_calls import RunCancellation, as_the_code_hears_it
from odradek.orchestrator.core.child_calls import Children
from odradek.orchestrator.core.conversion import Conversion, Converters, counted_bytes, failure_bytes, inline
from odradek.orchestrator.core.facts import info_of
from odradek.orchestrator.core.handler_calls import HandlerCalls
from odradek.orchestrator.core.inbound import intercepted
from odradek.orchestrator.core.loop import CallTask, DeterministicLoop, DurableTimer, Suspended
from odradek.orchestrator.core.run import MESSAGE_LIFETIME_MS, REMOVED, upserted
from odradek.orchestrator.core.step_calls import StepCalls
from odradek.schemas import records as r
from odradek.workflow.children import ChildWorkflowHandle
from odradek.workflow.definition import Definition, DynamicWorkflowConfig
from odradek.workflow.interceptors import (
    ContinueAsNewInput,
    ExecuteWorkflowInput,
    SignalExternalWorkflowInput,
    StartActivityInput,
    StartChildWorkflowInput,
    StartLocalActivityInput,
    WorkflowInboundInterceptor,
)
from odradek.workflow.metrics import ReplaySafeMeter
from odradek.workflow.runtime import (
    DEFAULT_VERSION,
    ContinueAsNewError,
    Encoded,
    Info,
    NondeterminismError,
    ReadOnlyContextError,
    Runtime,
    querying,
)
from odradek.workflow.versioning import ContinueAsNewVersioningBehavior

CODE_INPUTS = (
    r.RunStarted
    | r.SignalReceived
    | r.UpdateAccepted
    | r.CancelRequested
    | r.ActivityCompleted
    | r.ActivityFailed
    | r.TimerFired
    | r.MessageAnswered
    | r.ChildStarted
    | r.ChildStartFailed
    | r.ChildClosed
    | r.StepEnded
)
"""Events that reach the code."""
CLOSING = r.RunCompleted | r.RunFailed | r.RunCancelled | r.RunContinued
"""Commands that end the run."""
COMMANDS = (
    r.ActivityScheduled | r.ActivityCancelRequested | r.TimerStarted | r.TimerCancelled | r.MessageSent
    | r.ChildScheduled | r.SearchAttributesUpserted | r.MemoUpserted | r.UpdateCompleted
    | CLOSING
)  # fmt: skip
"""Events that the code answers with."""

PAYLOAD_BYTES_MAX = 2 * 1024 * 1024


_NEWEST = (ContinueAsNewVersioningBehavior.AUTO_UPGRADE, ContinueAsNewVersioningBehavior.USE_RAMPING_VERSION)


NO_HEADERS: Mapping[str, r.Payload] = MappingProxyType({})


class WorkflowBug(Exception):
    """The code raised something that is not a failure of the run; ``__cause__`` is what it raised."""


class WorkflowDeadlock(WorkflowBug):
    """The code did not come back, and was interrupted."""


class HistoryDamaged(NondeterminismError):
    """No code could have made these events."""


class Deadlocked(BaseException):
    """Raised into code that does not come back; ``except Exception`` lets it pass."""


class WorkflowInstance(Runtime):
    """The user's object, its event loop, and what it waits for."""

    def __init__(
        self,
        definition: Definition,
        workflow_id: str,
        run_id: str,
        namespace: str,
        converter: PayloadConverter,
        failures: FailureConverter,
        payload_bytes_max: int = PAYLOAD_BYTES_MAX,
    ) -> None:
        self.definition = definition
        self.restricted = definition.sandboxed
        self.activity_defaults = definition.activity_defaults
        self._payload_bytes_max = payload_bytes_max
        self.conversion = Conversion.of_run(namespace, workflow_id, (converter, failures))
        if self.conversion is not None:
            converter, failures = self.conversion.of_workflow()
        self.converter = converter
        self._failures = failures
        self._ids = (namespace, workflow_id, run_id)
        self._time_ms = 0
        self._loop = DeterministicLoop(self, crc32(run_id.encode()) * SPREAD & HASH_MAX)  # type: ignore[abstract]
        self._random: Random | None = None
        self._info: Info | None = None
        self._started: r.RunStarted | None = None
        self._started_ms = 0
        self._recorded_ms = 0
        self._memo: dict[str, r.Payload] | None = None
        self._search_attributes: dict[str, r.Payload] | None = None
        self._seq = 0
        self._commands: list[Any] = []
        self._activities: dict[int, tuple[asyncio.Future[Any], StartActivityInput]] = {}
        self._timers: dict[int, DurableTimer] = {}
        self._messages: dict[int, asyncio.Future[None]] = {}
        self._children: Children | None = None
        self.steps: StepCalls | None = None
        self._conditions: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._main: asyncio.Task[Any] | None = None
        self._bug: BaseException | None = None
        self._ended = False
        self._handlers: HandlerCalls | None = None
        self._versions: dict[str, int] = {}
        self.instance: Any = None

    # ------------------------------------------------------------------------------------------ deciding and replaying

    def apply(self, event: CODE_INPUTS, time_ms: int) -> list[Any]:
        """Give the code one input and return the commands that it answers with. Raises ``WorkflowBug``."""
        self._time_ms = max(self._time_ms, time_ms)
        self._commands = []
        self.history_length += 1
        try:
            try:
                _APPLY[type(event)](self, event)
            except (WorkflowBug, NondeterminismError):
                raise
            except ConverterNotReady as error:
                raise WorkflowBug(str(error)) from error
            except Exception as error:  # wrong arguments, a converter: whatever it is, only this run may wait for it
                raise WorkflowBug(_describe(error)) from error
            self._run()
        except Deadlocked as error:
            raise self._came_back(error) from None
        if self._ended:
            _end_with_closing(self._commands)
            if self._handlers is not None and not self.replaying:
                self._warn_of_unfinished(self._handlers)
        self.history_length += len(self._commands)
        if self._when_applied:
            actions, self._when_applied = self._when_applied, ()
            for action in actions:
                action()
        return self._commands

    _when_applied: tuple[Callable[[], None], ...] = ()

    def when_applied(self, action: Callable[[], None]) -> None:
        self._when_applied += (action,)

    def replay(self, history: Iterable[r.Event]) -> None:
        """Bring the code to where its recorded history ends. Raises ``NondeterminismError`` or ``WorkflowBug``."""
        try:
            self._replay(list(history))
        except (NondeterminismError, WorkflowBug):
            raise
        except Exception as error:  # whatever events lead it into that nobody wrote so
            raise HistoryDamaged(
                f'ODR-079: the history of workflow "{self._ids[1]}" (run {self._ids[2]}) was changed: its events '
                f"contradict one another ({type(error).__name__}: {error})"
            ) from error

    def _replay(self, history: Sequence[r.Event]) -> None:
        self._set_replaying(True)
        deferred: list[Any] = []
        expected: Iterator[Any] = iter(())
        self._versions = {
            event.body.change_id: event.body.version for event in history if type(event.body) is r.VersionMarked
        }
        self._recorded_ms = history[0].time_ms if history else 0
        for event in history:
            body = event.body
            if event.deferred:
                deferred.append(body)
            elif isinstance(body, r.DeferredApplied):
                _nothing_left(expected)
                expected = iter(self.apply(deferred.pop(0), event.time_ms))
            elif isinstance(body, CODE_INPUTS):
                _nothing_left(expected)
                expected = iter(self.apply(body, event.time_ms))
            elif isinstance(body, COMMANDS):
                _same_command(body, next(expected, None))
            elif isinstance(body, r.VersionMarked):
                self.history_length += 1
            elif isinstance(body, r.VersionTaken):
                self.version = body.version
        _nothing_left(expected)
        self.deferred = deferred
        self._set_replaying(False)

    def _set_replaying(self, replaying: bool) -> None:
        self.replaying = replaying
        if self.conversion is not None:  # what is said again was stored when it was said first
            self.conversion.replaying = replaying
            self.converter, self._failures = self.conversion.of_workflow()

    deferred: Sequence[Any] = ()
    """After a replay: inputs that are recorded and that the code has not seen."""

    def close(self) -> None:
        """Drop the run from memory; none of its code runs after this. Leaves no cycle for the collector."""
        self._closed = True
        with suppress(Deadlocked):  # cleanup code that did not come back
            self._loop.close()
        self._main = self.instance = self.inbound = self.outbound = None
        self._conditions.clear()
        self._activities.clear()
        self._messages.clear()
        self._children = self._handlers = self.steps = None
        self._timers.clear()
        self._loop.leave()
        del self._loop

    inbound: WorkflowInboundInterceptor | None = None
    """What reaches the code, where there are interceptors."""
    meter: MetricMeter = MetricMeter.noop
    """What the code counts with, where somebody listens."""
    _meter: MetricMeter | None = None
    moves_to: str | None = None
    """The version of its code that the run goes on with from its next input, if that is another."""

    _closed = False
    _payload_bytes = 0

    @property
    def history_bytes(self) -> int:
        return self._payload_bytes + EVENT_BYTES * self.history_length

    @property
    def closed(self) -> bool:
        """The run has left this process."""
        return self._closed

    def _run(self) -> None:
        while True:
            self._loop.run_ready()
            if self._bug is not None:
                raise _bug_of(self._bug)
            if not self._conditions or not self._check_conditions():
                break

    def _check_conditions(self) -> bool:
        for place, (predicate, future) in enumerate(self._conditions):
            if future.done():
                del self._conditions[place]
                return True
            before = events._get_running_loop()
            events._set_running_loop(self._loop)
            try:
                met = predicate()
            except Exception as error:
                raise _bug_of(self._bug or error) from error
            finally:
                events._set_running_loop(before)
            if met:
                del self._conditions[place]
                future.set_result(None)
                return True
        return False

    # ------------------------------------------------------------------------------------------ inputs

    def construct(self, event: r.RunStarted, time_ms: int) -> None:
        """Make the user's object, before the run's first input."""
        try:
            self._construct(event, time_ms)
        except Deadlocked as error:
            raise self._came_back(error) from None

    def _construct(self, event: r.RunStarted, time_ms: int) -> None:
        self._time_ms = max(self._time_ms, time_ms)
        self._started = event
        if self.conversion is not None:
            self.conversion.began(event.workflow_type, event.task_queue)
        self.version = self.version or event.version
        self._started_ms = self._time_ms
        self._recorded_ms = self._recorded_ms or self._time_ms
        definition = self.definition
        self._run_arguments = self._input_of_run(event)
        before = events._get_running_loop()
        events._set_running_loop(self._loop)
        try:
            self.instance = definition.cls(*self._run_arguments) if definition.init_takes_input else definition.cls()
            if definition.dynamic_config is not None:
                self._configure(definition.dynamic_config(self.instance))
            if definition.interceptors:
                self.inbound = intercepted(self, definition.interceptors)
        except Exception as error:
            raise _bug_of(error) from error
        finally:
            events._set_running_loop(before)

    def _on_started(self, event: r.RunStarted) -> None:
        if self.instance is None:
            try:
                self._construct(event, self._time_ms)
            except Exception as error:
                meant = error.__cause__ if isinstance(error, WorkflowBug) else error
                of_others = self.instance is not None or isinstance(meant, ConverterNotReady)
                if of_others or not isinstance(meant, Exception) or not self.fails_with(meant):
                    raise  # no failure that the class's __init__ or its arguments mean
                self._failed(meant)
                return
        self._started = event
        for signal in event.signals:
            self._on_signal(signal)
        if event.update is not None:
            self._on_update(event.update)
        definition, arguments = self.definition, self._run_arguments
        if self.inbound is None:
            coroutine = definition.run(self.instance, *arguments)
        else:
            call = ExecuteWorkflowInput(definition.cls, definition.run, arguments, dict(event.headers))
            coroutine = self.inbound.execute_workflow(call)
        self._run_arguments = []
        self._main = self._loop.create_task(self._guard(coroutine, is_main=True), name="main")

    _run_arguments: Sequence[Any] = ()

    def _input_of_run(self, event: r.RunStarted) -> list[Any]:
        definition = self.definition
        if definition.takes_record:
            self._payload_bytes += sum(len(payload.data) for payload in event.input)
            return [self._ids[1], event]
        if definition.name is None:
            self._payload_bytes += sum(len(payload.data) for payload in event.input)
            return [[RawValue(payload) for payload in event.input]]
        return self._decode(event.input, definition.run_arg_types, f'input of workflow "{event.workflow_type}"')

    def _on_signal(self, event: r.SignalReceived) -> None:
        self.handlers.take_signal(event)

    def _on_update(self, event: r.UpdateAccepted) -> None:
        self.handlers.take_update(event)

    @property
    def workflow_type(self) -> str:
        return self._started.workflow_type if self._started else str(self.definition.name)

    @property
    def handlers(self) -> HandlerCalls:
        if self._handlers is None:
            self._handlers = HandlerCalls(self)
        return self._handlers

    def _warn_of_unfinished(self, handlers: HandlerCalls) -> None:
        try:
            handlers.warn_of_unfinished()
        except Warning as warning:  # where warnings are errors
            raise WorkflowBug(_describe(warning)) from warning

    def _on_cancel(self, event: r.CancelRequested) -> None:
        if self.cancel_reason is not None:
            return  # asked before: what cleans up is not disturbed
        self.cancel_reason = event.reason
        if self._main is not None and not self._main.done():
            self._main.cancel(RunCancellation(event.reason))

    def _on_activity_completed(self, event: r.ActivityCompleted) -> None:
        waiting = self._activities.pop(event.seq, None)
        if waiting is None or waiting[0].done():
            return
        future, call = waiting
        if event.result is not None:
            self._payload_bytes += len(event.result.data)
        converter, _ = self._of_activity(event.seq, call)
        try:
            if event.result is None:
                value = None
            elif call.ret_type is Encoded:
                value = Encoded((event.result,))
            else:
                value = converter.from_payload(event.result, call.ret_type)
        except ConverterNotReady:
            raise
        except Exception as error:
            future.set_exception(_unreadable(f'result of activity "{call.activity}"', error))
        else:
            future.set_result(value)

    def _on_activity_failed(self, event: r.ActivityFailed) -> None:
        waiting = self._activities.pop(event.seq, None)
        if waiting is None or waiting[0].done():
            return
        converter, failures = self._of_activity(event.seq, waiting[1])
        waiting[0].set_exception(failures.from_failure(event.failure, converter))

    def _of_activity(self, seq: int, call: StartActivityInput) -> Converters:
        if self.conversion is None:
            return self.converter, self._failures
        return self.conversion.of_activity(call.activity_id or str(seq), call.activity, call.task_queue)

    def of_workflow(self, workflow_id: str, namespace: str) -> Converters:
        """For what goes to another workflow, or comes from it."""
        if self.conversion is None:
            return self.converter, self._failures
        return self.conversion.of_workflow(workflow_id, namespace)

    def _on_timer(self, event: r.TimerFired) -> None:
        timer = self._timers.pop(event.seq, None)
        if timer is not None:
            self._loop.fire(timer)
        elif event.seq > self._seq:
            raise _missing(f"says that timer {event.seq} fired", "started it")
        # Else it fired while the run was parked, and the code has cancelled it over an input that came before.

    def _on_message_answered(self, event: r.MessageAnswered) -> None:
        future = self._messages.pop(event.seq, None)
        if future is None or future.done():
            return
        if event.failure is None:
            future.set_result(None)
        else:
            future.set_exception(self._failures.from_failure(event.failure, self.converter))

    def _on_child(self, event: r.ChildStarted | r.ChildStartFailed | r.ChildClosed) -> None:
        if self._children is None:
            raise _missing(f"tells of child {event.seq}", "started it")
        self._children.take(event)

    def _on_step_ended(self, event: r.StepEnded) -> None:
        if self.steps is None:
            raise _missing(f"tells of step {event.seq}", "asked for it")
        self.steps.ended(event)

    # ------------------------------------------------------------------------------------------ the end of the code

    async def _guard(self, coroutine: Any, *, is_main: bool = False) -> None:
        """Runs the main method or a handler, and turns how it ends into a command or a bug."""
        try:
            result = await coroutine
            if is_main:
                self._end(r.RunCompleted(self._encode_one(result, "result of the workflow")))
        except ContinueAsNewError as order:
            self._end(r.RunContinued(r.Successor("", order.started)))
        except asyncio.CancelledError:
            if not is_main:
                return
            if self.cancel_reason is None:
                self._bug = self._bug or RuntimeError(
                    "ODR-067: the workflow cancelled its own main task: return, or raise an error, instead"
                )
                return
            self._end(r.RunCancelled())
        except Exception as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        if self.fails_with(error):
            if self.cancel_reason is not None and is_cancelled_exception(error):
                self._end(r.RunCancelled())
            else:
                self._end(r.RunFailed(self.failure_of(error, "failure of the workflow")))
        else:
            self._bug = self._bug or error

    def _end(self, closing: CLOSING) -> None:
        self._ended = True
        self._commands.append(closing)

    def callback_failed(self, error: BaseException) -> None:
        """Nobody awaits what raised, or the code may catch it: a bug all the same. From the loop, and the guard."""
        if not self._closed and isinstance(error, Exception):
            self._bug = self._bug or error

    # ------------------------------------------------------------------------------------------ timers, from the loop

    @property
    def time_ms(self) -> int:
        return self._time_ms

    def timer_started(self, handle: DurableTimer) -> None:
        self._may_command()
        handle.seq = self._next_seq()
        self._timers[handle.seq] = handle
        self._commands.append(r.TimerStarted(handle.seq, handle.due_ms, handle.summary))

    def timer_cancelled(self, handle: DurableTimer) -> None:
        if self._closed or self._timers.pop(handle.seq, None) is None:
            return
        if not self._withdraw(r.TimerStarted, handle.seq):
            self._commands.append(r.TimerCancelled(handle.seq))

    # ------------------------------------------------------------------------------------------ what the code asks for

    @property
    def info(self) -> Info:
        if self._info is None:
            assert self._started is not None
            self._info = info_of(
                self._ids,
                self._started,
                self._recorded_ms,
                self._started_ms,
                self.memo_payloads,
                self.search_attribute_payloads,
            )
        return self._info

    def take_version(self, change_id: str, newest: int) -> int:
        taken = self._versions.get(change_id)
        if taken is None:
            self._may_command()
            if self.replaying:  # what is replayed has run already, on the old side
                taken = DEFAULT_VERSION
            else:
                taken = newest
                self._commands.append(r.VersionMarked(change_id, newest))
            self._versions[change_id] = taken
        return taken

    @property
    def lineage(self) -> r.Lineage | None:
        assert self._started is not None
        return self._started.lineage

    def last_failure(self) -> BaseException | None:
        lineage = self.lineage
        if lineage is None or lineage.last_failure is None:
            return None
        return self._failures.from_failure(lineage.last_failure, self.converter)

    @property
    def memo_payloads(self) -> Mapping[str, r.Payload]:
        assert self._started is not None
        return self._started.memo if self._memo is None else self._memo

    @property
    def search_attribute_payloads(self) -> Mapping[str, r.Payload]:
        assert self._started is not None
        return self._started.search_attributes if self._search_attributes is None else self._search_attributes

    def upsert_memo(self, updates: Mapping[str, Any]) -> None:
        self._may_command()
        given = {name: value for name, value in updates.items() if value is not None}
        changes = dict.fromkeys(updates, REMOVED) | self.encode_memo(given, self.converter)
        self._memo = upserted(self.memo_payloads, changes)
        self._info = None
        self._commands.append(r.MemoUpserted(changes))

    def upsert_search_attributes(self, attributes: SearchAttributes | Sequence[SearchAttributeUpdate[Any]]) -> None:
        self._may_command()
        changes = {
            name: REMOVED if payload.data == b"null" else payload for name, payload in _encoded(attributes).items()
        }
        self._check_size(sum(len(payload.data) for payload in changes.values()), "the search attributes")
        self._search_attributes = upserted(self.search_attribute_payloads, changes)
        self._info = None
        self._commands.append(r.SearchAttributesUpserted(changes))

    def may_change(self) -> None:
        self._may_command()

    def _configure(self, config: DynamicWorkflowConfig) -> None:
        """What a dynamic workflow decides for the type that it stands in for."""
        types = (*self.definition.failure_exception_types, *config.failure_exception_types)
        self.definition = dataclasses.replace(self.definition, failure_exception_types=types)

    def fails_with(self, error: BaseException) -> bool:
        return isinstance(error, (FailureError, *self.definition.failure_exception_types))

    @property
    def metric_meter(self) -> MetricMeter:
        if self._meter is None:
            facts = self.info
            labels = {
                "namespace": facts.namespace,
                "task_queue": facts.task_queue,
                "workflow_type": facts.workflow_type,
            }
            self._meter = ReplaySafeMeter(self.meter.with_additional_attributes(labels), self)
        return self._meter

    noticed: NondeterminismError | None = None
    """What the code itself found not to fit its history."""

    def nondeterminism(self, message: str) -> NondeterminismError:
        self._bug = self.noticed = NondeterminismError(message)
        return self.noticed

    @property
    def random(self) -> Random:
        self._may_command()
        if self._random is None:
            self._random = Random(self.random_seed)
        return self._random

    @property
    def random_seed(self) -> int:
        text = self._ids[2].encode()
        return int.from_bytes(text + sha512(text).digest(), "big")  # what Random makes of the text itself

    async def sleep(self, seconds: float, summary: str) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future = self._loop.create_future()
        timer = self._loop.call_later(seconds, _wake, future)
        self._summarise(timer, summary)
        try:
            await future
        finally:
            timer.cancel()

    async def wait_condition(self, predicate: Callable[[], bool], timeout: float | None, summary: str) -> None:
        self._may_command()
        if predicate():
            return
        future: asyncio.Future[None] = self._loop.create_future()
        self._conditions.append((predicate, future))
        if timeout is None:
            await future
            return
        timer = self._loop.call_later(timeout, _time_out, future)
        self._summarise(timer, summary)
        try:
            await future
        finally:
            timer.cancel()

    def _summarise(self, timer: asyncio.TimerHandle, summary: str) -> None:
        if summary and isinstance(timer, DurableTimer):
            timer.summary = summary
            self._commands[-1] = r.TimerStarted(timer.seq, timer.due_ms, summary)

    def start_activity(self, call: StartActivityInput) -> asyncio.Task[Any]:
        seq, future = self._schedule(call)
        coroutine = self._activity(seq, future, call, is_handle=True)
        name = f"activity-{call.activity}-{seq}"
        return self._loop.keep(CallTask(coroutine, self._loop, name, partial(self._give_up_activity, seq)))

    def execute_activity(self, call: StartActivityInput) -> Coroutine[Any, Any, Any]:
        seq, future = self._schedule(call)
        return self._activity(seq, future, call)

    def _schedule(self, call: StartActivityInput) -> tuple[int, asyncio.Future[Any]]:
        self._may_command()
        started = self._started
        assert started is not None
        seq = self._next_seq()
        future: asyncio.Future[Any] = asyncio.Future(loop=self._loop)
        converter, _ = self._of_activity(seq, call)
        payloads = self._encode(call.args, f'arguments of activity "{call.activity}"', converter)
        self._activities[seq] = (future, call)
        self._commands.append(
            r.ActivityScheduled(
                seq,
                call.activity_id or str(seq),
                call.activity,
                call.task_queue or started.task_queue,
                payloads,
                dict(call.headers) if call.headers else {},
                _timeouts(
                    call.schedule_to_close_timeout,
                    call.schedule_to_start_timeout,
                    call.start_to_close_timeout,
                    call.heartbeat_timeout,
                ),
                call.retry_policy.to_record() if call.retry_policy else _RETRY_DEFAULT,
                str(call.cancellation_type),
                call.summary or "",
                call.priority.to_record() if call.priority else None,
            )
        )
        return seq, future

    async def _activity(
        self, seq: int, future: asyncio.Future[Any], call: StartActivityInput, *, is_handle: bool = False
    ) -> Any:
        asked = False
        while True:
            try:
                return await future
            except asyncio.CancelledError as cancelled:
                if self._closed or seq not in self._activities:
                    raise
                if call.cancellation_type != "wait-cancellation-completed":
                    self._give_up_activity(seq)
                    error = as_the_code_hears_it(cancelled, call.activity, call.activity_id or str(seq), is_handle)
                    raise error from error.__cause__
                future = self._loop.create_future()  # the call was cancelled, and that future with it
                self._activities[seq] = future, call
                if not asked:
                    asked = True
                    self._commands.append(r.ActivityCancelRequested(seq))

    def _give_up_activity(self, seq: int) -> None:
        """Nobody waits for it any more; whether it hears of that is its cancellation type."""
        waiting = self._activities.pop(seq, None)
        if waiting is not None and waiting[1].cancellation_type != "abandon":
            self._commands.append(r.ActivityCancelRequested(seq))

    def start_step(self, call: StartLocalActivityInput) -> asyncio.Task[Any]:
        steps = self._step_calls()
        seq, future = steps.ask(call)
        coroutine = steps.outcome(seq, future, call, is_handle=True)
        return self._loop.keep(
            CallTask(coroutine, self._loop, f"step-{call.activity}-{seq}", partial(steps.give_up, seq))
        )

    def execute_step(self, call: StartLocalActivityInput) -> Coroutine[Any, Any, Any]:
        steps = self._step_calls()
        return steps.outcome(*steps.ask(call), call)

    def _step_calls(self) -> StepCalls:
        self._may_command()
        if self.steps is None:
            self.steps = StepCalls(self)
        return self.steps

    def continue_as_new(self, call: ContinueAsNewInput) -> NoReturn:
        self._may_command()
        before = self._started
        assert before is not None
        retry = before.retry_policy if call.retry_policy is None else call.retry_policy.to_record()
        memo = dict(self.memo_payloads) if call.memo is None else self.encode_memo(call.memo, self.converter)
        attributes = call.search_attributes
        started = r.RunStarted(
            call.workflow or before.workflow_type,
            call.task_queue or before.task_queue,
            before.first_run_id,
            input=self._encode(call.args, "arguments of continue_as_new"),
            headers={**before.headers, **call.headers},
            identity=before.identity,
            run_timeout_ms=before.run_timeout_ms if call.run_timeout is None else _ms(call.run_timeout),
            task_timeout_ms=before.task_timeout_ms if call.task_timeout is None else _ms(call.task_timeout),
            retry_policy=retry,
            memo=memo,
            search_attributes=dict(self.search_attribute_payloads)
            if attributes is None
            else encode_search_attributes(attributes),
            start_delay_ms=_ms(call.backoff_start_interval),
            static_summary=before.static_summary,
            static_details=before.static_details,
            version=self._version_that_follows(call),
            signals=[dataclasses.replace(s, request=None, origin=None) for s in self.handlers.buffered],
        )
        self._check_together(
            (*started.input, *memo.values(), *started.search_attributes.values()),
            [payload for signal in started.signals for payload in signal.input],
            "what continue_as_new carries",
        )
        raise ContinueAsNewError(started)

    def _version_that_follows(self, call: ContinueAsNewInput) -> str:
        """Empty: the newest that there is when the next run begins."""
        pinned = (
            self.definition.versioning_behavior == VersioningBehavior.PINNED
            and call.initial_versioning_behavior not in _NEWEST
        )
        return self.definition.version if pinned and call.workflow in (None, self.definition.name) else ""

    async def signal_external(self, call: SignalExternalWorkflowInput) -> None:
        converter, _ = self.of_workflow(call.workflow_id, call.namespace)
        payloads = self._encode(call.args, f'arguments of signal "{call.signal}"', converter)
        await self._send(
            call.workflow_id, call.workflow_run_id, call.signal, call.namespace, payloads, headers=dict(call.headers)
        )

    async def cancel_external(self, workflow_id: str, run_id: str | None, reason: str, namespace: str) -> None:
        await self._send(workflow_id, run_id, None, namespace, reason=reason)

    def _send(
        self,
        workflow_id: str,
        run_id: str | None,
        name: str | None,
        namespace: str,
        payloads: Sequence[r.Payload] = (),
        reason: str = "",
        headers: dict[str, r.Payload] | None = None,
    ) -> asyncio.Future[None]:
        self._may_command()
        future: asyncio.Future[None] = self._loop.create_future()
        seq, expires_ms = self._next_seq(), self._time_ms + MESSAGE_LIFETIME_MS
        self._messages[seq] = future
        elsewhere = self._elsewhere(namespace)
        self._commands.append(
            r.MessageSent(seq, workflow_id, run_id, name, expires_ms, payloads, headers or {}, reason, elsewhere)
        )
        return future

    def _elsewhere(self, namespace: str) -> str:
        """The namespace as records name it: empty for our own."""
        return "" if namespace == self._ids[0] else namespace

    async def start_child(self, call: StartChildWorkflowInput) -> ChildWorkflowHandle[Any, Any]:
        self._may_command()
        if self._children is None:
            self._children = Children(self)
        return await self._children.start(call)

    def _withdraw(self, command_type: type[r.TimerStarted | r.ChildScheduled], seq: int) -> bool:
        """Take back a command of the step that is being made: nobody need know of it."""
        for place, command in enumerate(self._commands):
            if isinstance(command, command_type) and command.seq == seq:
                del self._commands[place]
                return True
        return False

    def _next_seq(self) -> int:
        self._seq += 1
        return self._seq

    def _may_command(self) -> None:
        if self._closed:
            raise Suspended
        if querying.get():
            raise ReadOnlyContextError(
                "ODR-068: While in read-only function, action attempted: a query handler or an update validator "
                "may only read; start and wait elsewhere"
            )

    def tasks(self) -> list[asyncio.Task[Any]]:
        """Those that wait."""
        return [task for task in self._loop.tasks if not task.done()]

    def waited_for(self) -> list[Callable[[], bool]]:
        """The conditions that the code waits for now."""
        return [predicate for predicate, future in self._conditions if not future.done()]

    # ------------------------------------------------------------------------------------------ queries

    def query(
        self, name: str, payloads: Sequence[r.Payload], headers: Mapping[str, r.Payload] = NO_HEADERS
    ) -> r.QueryAnswer:
        """Run a query handler; what it raises is the answer's failure. Raises ``LookupError`` if there is none."""
        counted = self._payload_bytes
        try:
            answer = self.handlers.query(name, payloads, headers)
            if isinstance(self._bug, WorkflowDeadlock):
                raise self._bug
            return answer
        except Deadlocked as error:
            raise self._came_back(error) from None
        finally:
            self._payload_bytes = counted  # a replay knows of no queries

    def rejection(self, update: r.UpdateAccepted, time_ms: int) -> r.Failure | None:
        """Why the update is not accepted, by its name, its input or its validator; None if it is. Never in a replay."""
        self._time_ms = max(self._time_ms, time_ms)
        counted = self._payload_bytes
        try:
            failure = self.handlers.rejection(update)
        except Deadlocked as error:
            failure = self._failures.to_failure(
                ApplicationError(str(self._came_back(error)), type="Deadlock", non_retryable=True), self.converter
            )
        finally:
            self._payload_bytes = counted
        return failure

    spoiled = False
    """A query or a validator changed something: the instance must be made anew."""

    def interrupt(self, deadlock: WorkflowDeadlock) -> None:
        """Its code does not come back. Whoever says so raises ``Deadlocked`` into it; swallowing that is of no use."""
        self._bug = deadlock
        self.spoiled = True

    def _came_back(self, error: Deadlocked) -> Exception:
        return _bug_of(self._bug or error)

    # ------------------------------------------------------------------------------------------ values

    def _decode(self, payloads: Sequence[r.Payload], types: Sequence[type] | None, what: str) -> list[Any]:
        for payload in payloads:
            self._payload_bytes += len(payload.data)
        try:
            return self.converter.from_payloads(payloads, list(types[: len(payloads)]) if types else None)
        except FailureError:
            raise  # the converter means the run, or the update, to fail
        except Exception as error:
            if isinstance(error, ConverterNotReady):
                raise WorkflowBug(str(error)) from error
            message = f"ODR-069: {what} does not fit (Failed decoding arguments): {error}"
            if self.fails_with(error):
                raise ApplicationError(message, type="UnreadablePayload", non_retryable=True) from error
            raise WorkflowBug(message) from error

    def _encode(
        self, values: Sequence[Any] | Encoded, what: str, converter: PayloadConverter | None = None
    ) -> Sequence[r.Payload]:
        if not values:
            return ()
        converter = converter or self.converter
        try:
            payloads = values.payloads if isinstance(values, Encoded) else converter.to_payloads(values)
        except ConverterNotReady as error:
            raise self._not_ready(error) from None
        self._check_size(counted_bytes(converter, payloads), what)
        return payloads

    def _encode_one(self, value: Any, what: str) -> r.Payload | None:
        if value is None:
            return None
        return self._encode(value if type(value) is Encoded else (value,), what)[0]

    def encode_memo(self, memo: Mapping[str, Any], converter: PayloadConverter) -> dict[str, r.Payload]:
        """Stays in the record: listings read it, and a replay, which stores nothing, makes the same."""
        return dict(zip(memo, self._encode(list(memo.values()), "the memo", inline(converter)), strict=True))

    def _not_ready(self, error: ConverterNotReady) -> ConverterNotReady:
        """The code may catch it, and decides nothing all the same: the run is parked."""
        self._bug = self._bug or error
        self.spoiled = True
        return error

    def failure_of(self, error: BaseException, what: str) -> r.Failure:
        """As a record; instead of one that is too large, its beginning and why."""
        failure = self._failures.to_failure(error, self.converter)
        size = failure_bytes(failure)
        if size <= self._payload_bytes_max:
            return failure
        said = f"{type(error).__name__}: {error}"[:FAILURE_SHOWN_CHARACTERS]
        return self._failures.to_failure(self._too_large(size, f"{what} ({said})"), self.converter)

    def _check_size(self, size: int, what: str) -> None:
        self._payload_bytes += size
        if size > self._payload_bytes_max:
            raise self._too_large(size, what)

    def _check_together(self, own: Iterable[r.Payload], signals: Sequence[r.Payload], what: str) -> None:
        """One event goes into one record, however large its parts may be."""
        size = sum(len(payload.data) for payload in (*own, *signals))
        if size > self.event_bytes_max:
            kept = f", with {len(signals)} value(s) of signals that no handler has taken" if signals else ""
            raise self._too_large(size, what + kept, self.event_bytes_max)

    event_bytes_max = 2 * PAYLOAD_BYTES_MAX
    """All payloads of one event together; less where a record may hold less."""

    def _too_large(self, size: int, what: str, limit: int | None = None) -> ApplicationError:
        return ApplicationError(
            f"ODR-105: {what}: {size:,} bytes are over the limit of {limit or self._payload_bytes_max:,}: store them "
            "elsewhere and pass a reference, or give the data converter an ExternalStorage",
            type="PayloadTooLarge",
            non_retryable=True,
        )


SPREAD = 0x9E3779B97F4A7C15
HASH_MAX = (1 << 60) - 1
FAILURE_SHOWN_CHARACTERS = 500
MEND = "bring back the code that began this run, or guard the change so that old runs take the old path"
EVENT_BYTES = 48
"""What an event takes beside its payloads, about."""
_RETRY_DEFAULT = RetryPolicy().to_record()

_APPLY: dict[type, Callable[[Any, Any], None]] = {
    r.RunStarted: WorkflowInstance._on_started,
    r.SignalReceived: WorkflowInstance._on_signal,
    r.UpdateAccepted: WorkflowInstance._on_update,
    r.CancelRequested: WorkflowInstance._on_cancel,
    r.ActivityCompleted: WorkflowInstance._on_activity_completed,
    r.ActivityFailed: WorkflowInstance._on_activity_failed,
    r.TimerFired: WorkflowInstance._on_timer,
    r.MessageAnswered: WorkflowInstance._on_message_answered,
    r.ChildStarted: WorkflowInstance._on_child,
    r.ChildStartFailed: WorkflowInstance._on_child,
    r.ChildClosed: WorkflowInstance._on_child,
    r.StepEnded: WorkflowInstance._on_step_ended,
}


CODE_RUNS_IN = {
    function.__code__
    for function in (
        *_APPLY.values(),
        WorkflowInstance._run,
        WorkflowInstance._construct,
        HandlerCalls.query,
        HandlerCalls.rejection,
        DeterministicLoop.close,
    )
}
"""Below these calls the code of a run is run; who makes them catches ``Deadlocked``."""


def instance_of(owner: Any) -> WorkflowInstance:
    """The instance that one of the methods of ``CODE_RUNS_IN`` was called for, by its ``self``."""
    if isinstance(owner, WorkflowInstance):
        return owner
    found = owner._instance if isinstance(owner, HandlerCalls) else owner.odradek_runtime
    assert isinstance(found, WorkflowInstance)
    return found


def _end_with_closing(commands: list[Any]) -> None:
    """Nothing follows the end of a run, even if another of its tasks went on within the same step.

    Answers to updates that are ready in that step stand before it.
    """
    for place, command in enumerate(commands):
        if isinstance(command, CLOSING):
            answers = [later for later in commands[place + 1 :] if isinstance(later, r.UpdateCompleted)]
            commands[place:] = [*answers, command]
            return


def _same_command(recorded: Any, made: Any) -> None:
    same = type(recorded) is type(made) and getattr(recorded, "seq", None) == getattr(made, "seq", None)
    if same and isinstance(recorded, r.ActivityScheduled):
        same = recorded.activity_type == made.activity_type
    elif same and isinstance(recorded, r.UpdateCompleted):
        same = recorded.update_id == made.update_id
    elif same and isinstance(recorded, r.ChildScheduled):
        same = (recorded.workflow_type, recorded.workflow_id) == (made.workflow_type, made.workflow_id)
    if not same:
        raise NondeterminismError(
            f"ODR-070: the history records {_name(recorded)}, and the code answers with "
            f"{_name(made) if made is not None else 'nothing'}: {MEND}"
        )


def _nothing_left(expected: Iterator[Any]) -> None:
    surplus = next(expected, None)
    if surplus is not None:
        raise NondeterminismError(
            f"ODR-070: the code answers with {_name(surplus)}, which the history does not record: {MEND}"
        )


def _missing(said: str, done: str) -> NondeterminismError:
    return NondeterminismError(f"ODR-070: the history {said}, and the code has not {done}: {MEND}")


def _name(command: Any) -> str:
    kind = type(command).__name__
    if isinstance(command, r.ActivityScheduled):
        return f'{kind}({command.seq}, "{command.activity_type}")'
    if isinstance(command, r.ChildScheduled):
        return f'{kind}({command.seq}, {command.workflow_type} "{command.workflow_id}")'
    if isinstance(command, r.UpdateCompleted):
        return f'{kind}("{command.update_id}")'
    seq = getattr(command, "seq", None)
    return kind if seq is None else f"{kind}({seq})"


def _encoded(attributes: SearchAttributes | Sequence[SearchAttributeUpdate[Any]]) -> dict[str, r.Payload]:
    if isinstance(attributes, Mapping):
        return encode_search_attributes(attributes)
    return {change.key.name: encode_search_attribute(change.key, change.value) for change in attributes}


def _bug_of(error: BaseException) -> WorkflowBug | NondeterminismError:
    if isinstance(error, NondeterminismError | WorkflowDeadlock):
        return error
    bug = WorkflowBug(str(error) if isinstance(error, ConverterNotReady) else _describe(error))
    bug.__cause__ = error
    return bug


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _unreadable(what: str, error: Exception) -> ApplicationError:
    return ApplicationError(f"ODR-069: {what} does not fit: {error}", type="UnreadablePayload", non_retryable=True)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _time_out(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_exception(TimeoutError())


@lru_cache(256)
def _timeouts(*limits: timedelta | None) -> r.ActivityTimeouts:
    return r.ActivityTimeouts(*map(_ms, limits))


def _ms(duration: timedelta | None) -> int | None:
    return None if duration is None else int(duration.total_seconds() * 1000)
