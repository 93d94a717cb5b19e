"""The signal, query and update handlers of one run: which there are, and which are under way.

A validator and a query only read: what they change is refused, or thrown away with the instance.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import json
import warnings
from asyncio import events
from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import MethodType
from typing import TYPE_CHECKING, Any

from odradek.common import RawValue
from odradek.exceptions import ApplicationError, CancelledError, FailureError
from odradek.orchestrator.core.questions import BUILT_IN
from odradek.schemas import records as r
from odradek.workflow.definition import Handler, HandlerUnfinishedPolicy
from odradek.workflow.handlers import (
    Handlers,
    Kind,
    UnfinishedSignalHandlersWarning,
    UnfinishedUpdateHandlersWarning,
    UpdateInfo,
    current_update,
)
from odradek.workflow.interceptors import HandleQueryInput, HandleSignalInput, HandleUpdateInput
from odradek.workflow.runtime import ReadOnlyContextError, querying

if TYPE_CHECKING:
    from odradek.orchestrator.core.instance import WorkflowInstance


class HandlerCalls(Handlers):
    """Made when a run first has to do with a handler."""

    def __init__(self, instance: WorkflowInstance) -> None:
        definition = instance.definition
        self._instance = instance
        self._tables: dict[Kind, dict[str | None, Handler]] = {
            "signal": definition.signals,
            "query": definition.queries,
            "update": definition.updates,
        }
        self.buffered: list[r.SignalReceived] = []
        """Signals that nobody handles yet."""
        self._under_way: dict[int, tuple[Handler, r.SignalReceived | r.UpdateAccepted]] = {}
        self._begun = 0

    # ------------------------------------------------------------------------------------------ which there are

    def get(self, kind: Kind, name: str | None) -> Callable[..., Any] | None:
        handler = self._tables[kind].get(name)
        return None if handler is None else self._bound(handler.function, handler)

    def set(
        self,
        kind: Kind,
        name: str | None,
        function: Callable[..., Any] | None,
        validator: Callable[..., Any] | None = None,
    ) -> None:
        self._instance._may_command()
        table = self._tables[kind] = dict(self._tables[kind])
        if function is None:
            table.pop(name, None)
            return
        table[name] = Handler(name, function, inspect.getdoc(function) or "", validator=validator, is_method=False)
        if kind == "signal" and self.buffered:
            waiting, self.buffered = self.buffered, []
            for event in waiting:
                self.take_signal(event)

    def all_of(self, kind: Kind) -> list[Handler]:
        return list(self._tables[kind].values())

    def _find(self, kind: Kind, name: str) -> Handler | None:
        table = self._tables[kind]
        return table.get(name) or table.get(None)

    def known(self, kind: Kind) -> str:
        return ", ".join(sorted(name for name in self._tables[kind] if name)) or "none"

    def _bound(self, function: Callable[..., Any], handler: Handler) -> Callable[..., Any]:
        return MethodType(function, self._instance.instance) if handler.is_method else function

    def _arguments(self, handler: Handler, kind: Kind, name: str, payloads: Sequence[r.Payload]) -> list[Any]:
        if handler.name is None and not handler.takes_values:
            self._instance._payload_bytes += sum(len(payload.data) for payload in payloads)
            return [name, [RawValue(payload) for payload in payloads]]
        what = f'input of {kind} "{name}"'
        if handler.name is None:
            return [name, *self._instance._decode(payloads, None, what)]
        return self._instance._decode(payloads, handler.arg_types, what)

    # ------------------------------------------------------------------------------------------ signals and updates

    def take_signal(self, event: r.SignalReceived) -> None:
        handler = self._find("signal", event.name)
        if handler is None:
            self.buffered.append(event)
            return
        function = self._bound(handler.function, handler)
        try:
            arguments = self._arguments(handler, "signal", event.name, event.input)
        except FailureError as error:
            self._instance._failed(error)
            return
        if (inbound := self._instance.inbound) is not None:
            function = _through(inbound.handle_signal, HandleSignalInput(event.name, arguments, dict(event.headers)))
        self._begin(handler, event, self._signal(function, arguments, self._begun + 1), f"signal-{event.name}")

    def take_update(self, event: r.UpdateAccepted) -> None:
        handler = self._find("update", event.name)
        if handler is None:
            raise LookupError(self._no_update(event.name))
        function = self._bound(handler.function, handler)
        arguments = self._arguments(handler, "update", event.name, event.input)
        if (inbound := self._instance.inbound) is not None:
            function = _through(inbound.handle_update_handler, _input_of(event, arguments))
        self._begin(handler, event, self._update(event, function, arguments, self._begun + 1), f"update-{event.name}")

    def _begin(
        self,
        handler: Handler,
        event: r.SignalReceived | r.UpdateAccepted,
        coroutine: Coroutine[Any, Any, None],
        name: str,
    ) -> None:
        self._begun += 1
        self._under_way[self._begun] = (handler, event)
        instance = self._instance
        instance._loop.create_task(instance._guard(coroutine), name=name)

    async def _signal(self, function: Callable[..., Any], arguments: Sequence[Any], number: int) -> None:
        try:
            outcome = function(*arguments)
            if outcome is not None and inspect.isawaitable(outcome):
                await outcome
        finally:
            del self._under_way[number]

    async def _update(
        self, event: r.UpdateAccepted, function: Callable[..., Any], arguments: Sequence[Any], number: int
    ) -> None:
        instance = self._instance
        current_update.set(UpdateInfo(event.update_id, event.name))
        try:
            value = function(*arguments)
            if inspect.isawaitable(value):
                value = await value
            completed = r.UpdateCompleted(
                event.update_id, instance._encode_one(value, f'result of update "{event.name}"')
            )
        except asyncio.CancelledError:
            completed = self._failed(event, CancelledError("Update cancelled"))
        except Exception as error:
            if not instance.fails_with(error):
                raise
            completed = self._failed(event, error)
        finally:
            del self._under_way[number]
        instance._commands.append(completed)

    def _failed(self, event: r.UpdateAccepted, error: Exception) -> r.UpdateCompleted:
        instance = self._instance
        return r.UpdateCompleted(event.update_id, None, instance.failure_of(error, f'failure of update "{event.name}"'))

    # ------------------------------------------------------------------------------------------ the validator

    def rejection(self, update: r.UpdateAccepted) -> r.Failure | None:
        """Why the update is not accepted; None if it is."""
        instance = self._instance
        try:
            handler = self._find("update", update.name)
            if handler is None:
                raise ApplicationError(self._no_update(update.name), type="UnknownUpdate", non_retryable=True)
            function = self._bound(handler.function, handler)
            arguments = self._arguments(handler, "update", update.name, update.input)
            inspect.signature(function).bind(*arguments)
            check = None if handler.validator is None else self._bound(handler.validator, handler)
            if (inbound := instance.inbound) is not None:
                check = _through(inbound.handle_update_validator, _input_of(update, arguments))
            if check is not None:
                self._read_only(check, arguments, UpdateInfo(update.update_id, update.name))
        except Exception as error:  # whatever a validator raises is its refusal
            return instance.failure_of(error, f'rejection of update "{update.name}"')
        return None

    def validator(self, name: str) -> Callable[..., Any]:
        """What looks at an update first; for one that nobody looks at, nothing."""
        handler = self._find("update", name)
        if handler is None or handler.validator is None:
            return lambda *arguments: None
        return self._bound(handler.validator, handler)

    def _no_update(self, name: str) -> str:
        return (
            f"ODR-138: Update handler for '{name}' expected but not found, and there is no dynamic handler. "
            f'Workflow type "{self._instance.workflow_type}" has: {self.known("update")}. '
            "Correct the name, or let the workflow handle it"
        )

    # ------------------------------------------------------------------------------------------ queries

    def query(self, name: str, payloads: Sequence[r.Payload], headers: Mapping[str, r.Payload]) -> r.QueryAnswer:
        """Run a query handler; what it raises is the answer's failure. Raises ``LookupError`` if there is none."""
        instance = self._instance
        handler = self._find("query", name)
        if name in BUILT_IN and (handler is None or handler.name is None):
            return r.QueryAnswer(instance._encode_one(BUILT_IN[name](instance), "result of the query"))
        if handler is None:
            raise LookupError(
                f"Query handler for '{name}' expected but not found, known queries: [{self.known('query')}] "
                f'of workflow type "{instance.workflow_type}"'
            )
        try:
            arguments = self._arguments(handler, "query", name, payloads)
            function = self._bound(handler.function, handler)
            if instance.inbound is not None:
                call = HandleQueryInput("", name, arguments, dict(headers))
                function = _through(instance.inbound.handle_query, call)
            value = self._read_only(function, arguments, None)
            return r.QueryAnswer(instance._encode_one(value, "result of the query"))
        except Exception as error:
            return r.QueryAnswer(None, instance.failure_of(error, f'failure of query "{name}"'))

    def _read_only(self, function: Callable[..., Any], arguments: Sequence[Any], update: UpdateInfo | None) -> Any:
        return contextvars.copy_context().run(self._reading, function, arguments, update)

    def _reading(self, function: Callable[..., Any], arguments: Sequence[Any], update: UpdateInfo | None) -> Any:
        querying.set(True)
        current_update.set(update)
        loop = self._instance._loop
        before = events._get_running_loop()
        events._set_running_loop(loop)
        try:
            value = function(*arguments)
            if inspect.iscoroutine(value):
                value = _without_waiting(value)
        finally:
            events._set_running_loop(before)
            if loop._ready:
                self._instance.spoiled = True
        if self._instance.spoiled:
            raise ReadOnlyContextError(
                "ODR-068: While in read-only function, action attempted: a query handler or an update validator may "
                "only read, and this one has started or woken a task"
            )
        return value

    # ------------------------------------------------------------------------------------------ the end

    @property
    def all_finished(self) -> bool:
        return not self._under_way

    def warn_of_unfinished(self) -> None:
        """The run has ended: what is under way is abandoned."""
        signals: dict[str, int] = {}
        updates: list[dict[str, str]] = []
        for handler, event in self._under_way.values():
            if handler.unfinished_policy is HandlerUnfinishedPolicy.ABANDON:
                continue
            if isinstance(event, r.UpdateAccepted):
                updates.append({"name": event.name, "id": event.update_id})
            else:
                signals[event.name] = signals.get(event.name, 0) + 1
        where = f'workflow "{self._instance._ids[1]}" (run {self._instance._ids[2]}) has ended'
        if updates:
            warnings.warn(
                f"{where} while update handlers were under way, and their senders get an error: {json.dumps(updates)}. "
                f"{_REMEDY.format('update')}",
                UnfinishedUpdateHandlersWarning,
                stacklevel=2,
            )
        if signals:
            counted = [{"name": name, "count": count} for name, count in signals.items()]
            warnings.warn(
                f"{where} while signal handlers were under way: {json.dumps(counted)}. {_REMEDY.format('signal')}",
                UnfinishedSignalHandlersWarning,
                stacklevel=2,
            )


_REMEDY = (
    "Let them finish with await workflow.wait_condition(workflow.all_handlers_finished), or say with "
    "@workflow.{}(unfinished_policy=workflow.HandlerUnfinishedPolicy.ABANDON) that they may be abandoned"
)


def _through(entrance: Callable[[Any], Any], call: Any) -> Callable[..., Any]:
    """A handler whose arguments stand in the call already."""
    return lambda *arguments: entrance(call)


def _input_of(event: r.UpdateAccepted, arguments: Sequence[Any]) -> HandleUpdateInput:
    return HandleUpdateInput(event.update_id, event.name, arguments, dict(event.headers))


def _without_waiting(coroutine: Coroutine[Any, Any, Any]) -> Any:
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    raise ReadOnlyContextError(
        "ODR-068: While in read-only function, action attempted: a query handler may only read, and this one waits"
    )
