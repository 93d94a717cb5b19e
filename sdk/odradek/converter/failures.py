"""Exceptions to failure records and back, with their kinds, causes and facts.

An exception that is no ``FailureError`` becomes an ``ApplicationError`` whose type is the name of its class.
"""

from __future__ import annotations

import asyncio
import dataclasses
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Any, ClassVar, Final, TypeVar

from odradek.converter.errors import ConverterError
from odradek.converter.payloads import PayloadConverter
from odradek.exceptions import (
    ActivityError,
    ApplicationError,
    ApplicationErrorCategory,
    CancelledError,
    ChildWorkflowError,
    FailureError,
    RetryState,
    ServerError,
    TerminatedError,
    TimeoutError,
    TimeoutType,
    WorkflowAlreadyStartedError,
)
from odradek.schemas.records import Failure, FailureKind, Payload

CAUSES_MAX: Final = 20
"""Causes beyond this many are left out; a chain can be a circle."""
CARRIED_MAX: Final = 100
"""So deep may a failure be that goes from child to parent to parent: what it began with is left out beyond."""
STACK_FRAMES_MAX: Final = 50
HIDDEN_MESSAGE: Final = "Encoded failure"
_MILLISECOND: Final = timedelta(milliseconds=1)

E = TypeVar("E", bound=StrEnum)


class FailureConverter(ABC):
    """Converts exceptions. Runs inside workflows, so it must be deterministic and do no I/O."""

    default: ClassVar[FailureConverter]

    @abstractmethod
    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter) -> Failure:
        """The exception, causes included, as a record."""

    @abstractmethod
    def from_failure(self, failure: Failure, payload_converter: PayloadConverter) -> BaseException:
        """The exception that the record stands for; ``__cause__`` is set, and it is returned rather than raised."""


class DefaultFailureConverter(FailureConverter):
    """``encode_common_attributes`` moves messages and stack traces into a payload, where a codec can encrypt them."""

    def __init__(self, *, encode_common_attributes: bool = False) -> None:
        self._encode_common_attributes = encode_common_attributes

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter) -> Failure:
        return self._to_failure(exception, payload_converter, CAUSES_MAX)

    def from_failure(self, failure: Failure, payload_converter: PayloadConverter) -> BaseException:
        shown = _revealed(failure, payload_converter)
        error = _READ.get(shown.kind, _unknown)(shown, payload_converter)
        error._failure = failure
        if failure.cause is not None:
            error.__cause__ = self.from_failure(failure.cause, payload_converter)
        return error

    def _to_failure(self, exception: BaseException, converter: PayloadConverter, causes: int) -> Failure:
        if isinstance(exception, FailureError) and exception.failure is not None:
            return _shortened(exception.failure)
        cause = _cause(exception) if causes else None
        failure = dataclasses.replace(
            _described(exception, converter),
            stack_trace=_stack_trace(exception),
            cause=None if cause is None else self._to_failure(cause, converter, causes - 1),
        )
        return _hidden(failure, converter) if self._encode_common_attributes else failure


class DefaultFailureConverterWithEncodedAttributes(DefaultFailureConverter):
    """The default one with ``encode_common_attributes`` on."""

    def __init__(self) -> None:
        super().__init__(encode_common_attributes=True)


FailureConverter.default = DefaultFailureConverter()


# ---------------------------------------------------------------------------------------------------------- writing


def _described(exception: BaseException, converter: PayloadConverter) -> Failure:
    match exception:
        case ApplicationError():
            return _application(exception, converter)
        case CancelledError():
            details = _details(converter, exception.details)
            return Failure(FailureKind.CANCELLED, exception.message, details=details)
        case asyncio.CancelledError():
            return Failure(FailureKind.CANCELLED, _text(exception) or "Cancelled")
        case TerminatedError():
            details = _details(converter, exception.details)
            return Failure(FailureKind.TERMINATED, exception.message, details=details)
        case TimeoutError():
            details = _details(converter, exception.last_heartbeat_details)
            return Failure(FailureKind.TIMEOUT, exception.message, details=details, timeout_type=exception.type)
        case ServerError():
            return Failure(FailureKind.SERVER, exception.message, non_retryable=exception.non_retryable)
        case ActivityError() | ChildWorkflowError() | WorkflowAlreadyStartedError():
            return _with_attributes(exception)
        case FailureError():
            return Failure(FailureKind.APPLICATION, exception.message, type=type(exception).__name__)
        case _:
            return Failure(FailureKind.APPLICATION, _text(exception), type=type(exception).__name__)


def _application(error: ApplicationError, converter: PayloadConverter) -> Failure:
    delay = error.next_retry_delay
    return Failure(
        FailureKind.APPLICATION,
        error.message,
        type=error.type,
        non_retryable=error.non_retryable,
        details=_details(converter, error.details),
        next_retry_delay_ms=None if delay is None else delay // _MILLISECOND,
        category="" if error.category is ApplicationErrorCategory.UNSPECIFIED else error.category,
    )


def _details(converter: PayloadConverter, details: Sequence[Any]) -> Sequence[Payload]:
    """Details that cannot be converted are kept as text: they must not hide the failure itself."""
    try:
        return tuple(converter.to_payloads(details)) if details else ()
    except ConverterError:
        return tuple(converter.to_payloads([repr(detail) for detail in details]))


def _text(exception: BaseException) -> str:
    try:
        return str(exception)
    except Exception as error:
        return f"<no message: its __str__ raised {type(error).__name__}>"


def _with_attributes(error: ActivityError | ChildWorkflowError | WorkflowAlreadyStartedError) -> Failure:
    kind, names = _ATTRIBUTES[type(error)] if type(error) in _ATTRIBUTES else _inherited_attributes(error)
    found = {name: getattr(error, field) for name, field in names.items()}
    attributes = {name: str(value) for name, value in found.items() if value not in (None, "")}
    type_name = type(error).__name__ if kind is FailureKind.APPLICATION else None
    return Failure(kind, error.message, type=type_name, attributes=attributes)


def _inherited_attributes(error: FailureError) -> tuple[FailureKind, Mapping[str, str]]:
    return next(entry for error_type, entry in _ATTRIBUTES.items() if isinstance(error, error_type))


_ATTRIBUTES: Final[Mapping[type[FailureError], tuple[FailureKind, Mapping[str, str]]]] = {
    ActivityError: (
        FailureKind.ACTIVITY,
        {
            "activity_type": "activity_type",
            "activity_id": "activity_id",
            "worker": "identity",
            "retry_state": "retry_state",
            "scheduled_event_id": "scheduled_event_id",
            "started_event_id": "started_event_id",
        },
    ),
    ChildWorkflowError: (
        FailureKind.CHILD_WORKFLOW,
        {
            "namespace": "namespace",
            "workflow_id": "workflow_id",
            "run_id": "run_id",
            "workflow_type": "workflow_type",
            "retry_state": "retry_state",
            "initiated_event_id": "initiated_event_id",
            "started_event_id": "started_event_id",
        },
    ),
    WorkflowAlreadyStartedError: (
        FailureKind.APPLICATION,
        {"workflow_id": "workflow_id", "workflow_type": "workflow_type", "run_id": "run_id"},
    ),
}
"""Facts of an error: name in ``Failure.attributes`` → name of the field."""


def _shortened(failure: Failure) -> Failure:
    chain, inner = [failure], failure.cause
    while inner is not None:
        chain.append(inner)
        inner = inner.cause
    if len(chain) <= CARRIED_MAX:
        return failure
    shortened = None
    for link in reversed(chain[:CARRIED_MAX]):
        shortened = dataclasses.replace(link, cause=shortened)
    assert shortened is not None
    return shortened


def _cause(exception: BaseException) -> BaseException | None:
    if exception.__cause__ is not None:
        return exception.__cause__
    return None if exception.__suppress_context__ else exception.__context__


def _stack_trace(exception: BaseException) -> str:
    remote = getattr(exception, "__odradek_stack__", None)
    if remote is not None:  # it was raised in another process
        return str(remote)
    if exception.__traceback__ is None:
        return ""
    return "".join(traceback.format_tb(exception.__traceback__, -STACK_FRAMES_MAX))


def _hidden(failure: Failure, converter: PayloadConverter) -> Failure:
    encoded = converter.to_payload({"message": failure.message, "stack_trace": failure.stack_trace})
    return dataclasses.replace(failure, message=HIDDEN_MESSAGE, stack_trace="", encoded=encoded)


# ---------------------------------------------------------------------------------------------------------- reading


def _revealed(failure: Failure, converter: PayloadConverter) -> Failure:
    if failure.encoded is None:
        return failure
    hidden = converter.from_payload(failure.encoded)
    if not isinstance(hidden, dict):
        return failure
    message, stack_trace = str(hidden.get("message", "")), str(hidden.get("stack_trace", ""))
    return dataclasses.replace(failure, message=message, stack_trace=stack_trace)


def _read_application(failure: Failure, converter: PayloadConverter) -> FailureError:
    facts = failure.attributes
    if failure.type == WorkflowAlreadyStartedError.__name__ and "workflow_id" in facts:
        return WorkflowAlreadyStartedError(
            facts["workflow_id"], facts.get("workflow_type", ""), run_id=facts.get("run_id")
        )
    delay_ms = failure.next_retry_delay_ms
    return ApplicationError(
        failure.message or "Application error",
        *converter.from_payloads(failure.details),
        type=failure.type or None,
        non_retryable=failure.non_retryable,
        next_retry_delay=None if delay_ms is None else _delay(delay_ms),
        category=_member(ApplicationErrorCategory, failure.category) or ApplicationErrorCategory.UNSPECIFIED,
    )


def _delay(milliseconds: int) -> timedelta:
    longest = timedelta.max // _MILLISECOND
    return timedelta(milliseconds=max(-longest, min(milliseconds, longest)))


def _read_cancelled(failure: Failure, converter: PayloadConverter) -> FailureError:
    return CancelledError(failure.message or "Cancelled", *converter.from_payloads(failure.details))


def _read_terminated(failure: Failure, converter: PayloadConverter) -> FailureError:
    return TerminatedError(failure.message or "Terminated", *converter.from_payloads(failure.details))


def _read_timeout(failure: Failure, converter: PayloadConverter) -> FailureError:
    return TimeoutError(
        failure.message or "Timeout",
        type=_member(TimeoutType, failure.timeout_type),
        last_heartbeat_details=converter.from_payloads(failure.details),
    )


def _read_server(failure: Failure, _: PayloadConverter) -> FailureError:
    return ServerError(failure.message or "Server error", non_retryable=failure.non_retryable)


def _read_activity(failure: Failure, _: PayloadConverter) -> FailureError:
    facts = failure.attributes
    return ActivityError(
        failure.message or "Activity error",
        scheduled_event_id=_number(facts.get("scheduled_event_id")),
        started_event_id=_number(facts.get("started_event_id")),
        identity=facts.get("worker", ""),
        activity_type=facts.get("activity_type", ""),
        activity_id=facts.get("activity_id", ""),
        retry_state=_member(RetryState, facts.get("retry_state")),
    )


def _read_child(failure: Failure, _: PayloadConverter) -> FailureError:
    facts = failure.attributes
    return ChildWorkflowError(
        failure.message or "Child workflow error",
        namespace=facts.get("namespace", ""),
        workflow_id=facts.get("workflow_id", ""),
        run_id=facts.get("run_id", ""),
        workflow_type=facts.get("workflow_type", ""),
        initiated_event_id=_number(facts.get("initiated_event_id")),
        started_event_id=_number(facts.get("started_event_id")),
        retry_state=_member(RetryState, facts.get("retry_state")),
    )


def _unknown(failure: Failure, _: PayloadConverter) -> FailureError:
    return FailureError(failure.message or "Failure error")


_READ: Final[Mapping[str, Callable[[Failure, PayloadConverter], FailureError]]] = {
    FailureKind.APPLICATION: _read_application,
    FailureKind.ACTIVITY: _read_activity,
    FailureKind.CHILD_WORKFLOW: _read_child,
    FailureKind.CANCELLED: _read_cancelled,
    FailureKind.TERMINATED: _read_terminated,
    FailureKind.TIMEOUT: _read_timeout,
    FailureKind.SERVER: _read_server,
}


def _member(enum: type[E], value: Any) -> E | None:
    """The member with this value; None for a value that a newer build has written, or none at all."""
    try:
        return enum(value)
    except ValueError:
        return None


def _number(text: str | None) -> int | None:
    return int(text) if text and text.lstrip("-").isdigit() else None
