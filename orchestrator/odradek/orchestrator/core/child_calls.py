"""Child workflows as one run's code sees them: starts, results, and how a call that is cancelled ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from odradek.converter import ConverterNotReady, encode_search_attributes
from odradek.exceptions import (
    ApplicationError,
    CancelledError,
    ChildWorkflowError,
    RetryState,
    WorkflowAlreadyStartedError,
)
from odradek.orchestrator.core.children import child_run_id
from odradek.orchestrator.core.run import MESSAGE_LIFETIME_MS, inherited
from odradek.schemas import records as r
from odradek.workflow.children import ChildWorkflowHandle
from odradek.workflow.interceptors import StartChildWorkflowInput

if TYPE_CHECKING:
    from odradek.orchestrator.core.instance import WorkflowInstance

ID_IN_USE: Final = ("ODR-101", "ODR-103")
"""Refusals of a start that callers know as ``WorkflowAlreadyStartedError``."""


class _Child:
    """A child that the code waits for."""

    __slots__ = ("asked_to_cancel", "call", "result", "run_id", "seq", "started")

    def __init__(
        self, seq: int, call: StartChildWorkflowInput, run_id: str, future: Callable[[], asyncio.Future[Any]]
    ) -> None:
        self.seq = seq
        self.call = call
        self.run_id = run_id
        self.started = future()
        self.result = future()
        self.asked_to_cancel = False


class Children:
    """The children of one instance."""

    def __init__(self, instance: WorkflowInstance) -> None:
        self._instance = instance
        self._open: dict[int, _Child] = {}

    async def start(self, call: StartChildWorkflowInput) -> ChildWorkflowHandle[Any, Any]:
        """Returns once the child's start is recorded there; a cancellation before that ends as ``cancel`` says."""
        child = self._schedule(call)
        while not child.started.done():
            try:
                await asyncio.shield(child.started)
            except asyncio.CancelledError as cancelled:
                self.cancel(child, cancelled.args[0] if cancelled.args else None)
        return self._handle(child, child.started.result())

    def _schedule(self, call: StartChildWorkflowInput) -> _Child:
        instance = self._instance
        command = self._command(call)
        child = _Child(command.seq, call, child_run_id(instance._ids[2], command.seq), instance._loop.create_future)
        self._open[command.seq] = child
        instance._commands.append(command)
        return child

    def _command(self, call: StartChildWorkflowInput) -> r.ChildScheduled:
        instance = self._instance
        started, (converter, _) = instance._started, instance.of_workflow(call.id, call.namespace)
        assert started is not None
        payloads = instance._encode(call.args, f'arguments of child workflow "{call.workflow}"', converter)
        retry_policy = call.retry_policy.to_record() if call.retry_policy else None
        attributes = encode_search_attributes(call.search_attributes) if call.search_attributes else {}
        memo = instance.encode_memo(call.memo, converter) if call.memo else {}
        if memo or attributes:
            together = (*payloads, *memo.values(), *attributes.values())
            instance._check_together(together, (), f'what child workflow "{call.workflow}" starts with')
        return r.ChildScheduled(
            instance._next_seq(),
            call.id,
            call.workflow,
            call.task_queue or started.task_queue,
            instance.time_ms + MESSAGE_LIFETIME_MS,
            instance._elsewhere(call.namespace),
            payloads,
            dict(call.headers),
            _ms("execution_timeout", call.execution_timeout),
            _ms("run_timeout", call.run_timeout),
            _ms("task_timeout", call.task_timeout),
            retry_policy,
            str(call.id_reuse_policy),
            str(call.parent_close_policy),
            str(call.cancellation_type),
            call.cron_schedule,
            memo,
            attributes,
            call.static_summary or "",
            call.static_details or "",
            inherited(call.priority.to_record(), started.priority),
        )

    def _handle(self, child: _Child, run_id: str) -> ChildWorkflowHandle[Any, Any]:
        call, loop = child.call, self._instance._loop
        cancel = partial(self.cancel, child)
        handle: ChildWorkflowHandle[Any, Any]
        handle = ChildWorkflowHandle(self._result(child), loop, call.id, run_id, call.namespace, cancel)
        handle.add_done_callback(_seen)
        loop.keep(handle)
        return handle

    async def _result(self, child: _Child) -> Any:
        return await child.result

    # ------------------------------------------------------------------------------------------ cancellation

    def cancel(self, child: _Child, reason: str | None) -> None:
        """The call is cancelled: what the child hears of it and when the call ends is its cancellation type."""
        if self._instance.closed or child.seq not in self._open or child.asked_to_cancel:
            return
        child.asked_to_cancel = True
        instance, kind = self._instance, child.call.cancellation_type
        if instance._withdraw(r.ChildScheduled, child.seq) or kind == "abandon":
            self._end(child, self._cancelled(child))
            return
        call = child.call
        answered = instance._send(call.id, child.run_id, None, call.namespace, reason=reason or "")
        answered.add_done_callback(partial(self._cancel_answered, child))
        if kind == "try-cancel":
            self._end(child, self._cancelled(child))

    def _cancel_answered(self, child: _Child, answer: asyncio.Future[None]) -> None:
        if answer.cancelled():
            return
        refusal = answer.exception()
        if child.seq not in self._open or child.call.cancellation_type != "wait-cancellation-requested":
            return
        if refusal is None:
            self._end(child, self._cancelled(child))
        # refused: the child has closed, and its result is on its way

    # ------------------------------------------------------------------------------------------ what comes of it

    def take(self, event: r.ChildStarted | r.ChildStartFailed | r.ChildClosed) -> None:
        child = self._open.get(event.seq)
        if child is None:
            return  # the call has been cancelled, and has not waited for this
        match event:
            case r.ChildStarted(run_id=run_id):
                child.started.set_result(run_id)
            case r.ChildStartFailed(failure=failure):
                self._start_failed(child, failure)
            case r.ChildClosed():
                self._closed(child, event)

    def _start_failed(self, child: _Child, failure: r.Failure) -> None:
        call = child.call
        converter, failures = self._instance.of_workflow(call.id, call.namespace)
        cause = failures.from_failure(failure, converter)
        error: Exception
        if failure.type in ID_IN_USE:
            error = WorkflowAlreadyStartedError(call.id, call.workflow)
            error.__cause__ = cause
        else:
            error = self._error(child, cause, None)
        self._end(child, error)

    def _closed(self, child: _Child, event: r.ChildClosed) -> None:
        call, value = child.call, None
        converter, failures = self._instance.of_workflow(call.id, call.namespace)
        if event.failure is not None:
            self._end(child, failures.from_failure(event.failure, converter))
            return
        try:
            if event.result is not None:
                value = converter.from_payload(event.result, call.ret_type)
        except ConverterNotReady:
            raise
        except Exception as error:
            why = f'ODR-069: result of child workflow "{call.id}" does not fit: {error}'
            self._end(child, ApplicationError(why, type="UnreadablePayload", non_retryable=True))
        else:
            del self._open[child.seq]
            child.result.set_result(value)

    def _end(self, child: _Child, error: BaseException) -> None:
        """Fail what waits for the child; nobody need be waiting."""
        del self._open[child.seq]
        for future in (child.started, child.result):
            if not future.done():
                future.set_exception(error)
                future.exception()  # seen: that nobody awaits it is no bug of the loop's

    def _cancelled(self, child: _Child) -> ChildWorkflowError:
        return self._error(child, CancelledError("Child Workflow cancelled"), RetryState.CANCEL_REQUESTED)

    def _error(self, child: _Child, cause: BaseException, retry_state: RetryState | None) -> ChildWorkflowError:
        call = child.call
        error = ChildWorkflowError(
            "Child Workflow execution failed",
            namespace=call.namespace or self._instance.info.namespace,
            workflow_id=call.id,
            run_id=child.run_id,
            workflow_type=call.workflow,
            retry_state=retry_state,
        )
        error.__cause__ = cause
        return error


def _seen(handle: asyncio.Task[Any]) -> None:
    """A child whose result nobody awaits is no bug."""
    if not handle.cancelled():
        handle.exception()


def _ms(name: str, duration: timedelta | None) -> int | None:
    if duration is None:
        return None
    if duration < timedelta():
        raise ValueError(f"{name} of a child workflow is {duration}, and must not be negative")
    return duration // timedelta(milliseconds=1)
