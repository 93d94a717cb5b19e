"""What workflows, activities and clients raise and catch.

OdradekError                       every error of odradek; ``code`` names its page in the docs, where it has one
├── FailureError                   a failure of a workflow or an activity; its cause is ``__cause__``
│   ├── ApplicationError           raised by user code, or made from any other exception of it
│   ├── ActivityError              an activity failed; the cause says why
│   ├── ChildWorkflowError         a child workflow failed; the cause says why
│   ├── CancelledError             cancelled, and it did not object
│   ├── TerminatedError            ended from outside, without being asked
│   ├── TimeoutError               a time limit of the work passed
│   ├── ServerError                odradek itself could not do it
│   ├── WorkflowAlreadyStartedError  ODR-101  the workflow ID is in use
│   └── ActivityAlreadyStartedError  ODR-202  the ID of a standalone activity is in use
└── (the errors of the client and of the converter stand in their own packages)

All of them survive pickling, causes included.
"""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Any, ClassVar

from odradek.schemas.records import Failure

__all__ = [
    "ActivityAlreadyStartedError",
    "ActivityError",
    "ApplicationError",
    "ApplicationErrorCategory",
    "CancelledError",
    "ChildWorkflowError",
    "FailureError",
    "OdradekError",
    "RetryState",
    "ServerError",
    "TemporalError",
    "TerminatedError",
    "TimeoutError",
    "TimeoutType",
    "WorkflowAlreadyStartedError",
    "is_cancelled_exception",
]


class ApplicationErrorCategory(StrEnum):
    """How seriously an application error is meant."""

    UNSPECIFIED = "unspecified"
    BENIGN = "benign"
    """Expected: logged at debug level, and not counted as a failure in metrics."""


class TimeoutType(StrEnum):
    """Which time limit passed."""

    START_TO_CLOSE = "start-to-close"
    SCHEDULE_TO_START = "schedule-to-start"
    SCHEDULE_TO_CLOSE = "schedule-to-close"
    HEARTBEAT = "heartbeat"


class RetryState(StrEnum):
    """Why there was no further attempt."""

    IN_PROGRESS = "in-progress"
    NON_RETRYABLE_FAILURE = "non-retryable-failure"
    TIMEOUT = "timeout"
    MAXIMUM_ATTEMPTS_REACHED = "maximum-attempts-reached"
    RETRY_POLICY_NOT_SET = "retry-policy-not-set"
    INTERNAL_SERVER_ERROR = "internal-server-error"
    CANCEL_REQUESTED = "cancel-requested"


class OdradekError(Exception):
    """The root of all errors of odradek."""

    code: ClassVar[str] = ""
    """``ODR-…`` for errors that have a page in the docs."""

    @property
    def cause(self) -> BaseException | None:
        """The same as ``__cause__``."""
        return self.__cause__

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (type(self), self.args, self.__dict__.copy(), _pickled_causes(self.__cause__))


TemporalError = OdradekError
"""The root's name in code that is moved here."""


class FailureError(OdradekError):
    """The base of failures of workflows and activities."""

    def __init__(self, message: str, *, failure: Failure | None = None) -> None:
        super().__init__(message)
        self._message = message
        self._failure = failure

    @property
    def message(self) -> str:
        return self._message

    @property
    def failure(self) -> Failure | None:
        """The record that this error was read from; None when it was raised in this process."""
        return self._failure


class ApplicationError(FailureError):
    """Raised by user code to fail a workflow, or an attempt of an activity.

    ``type`` is what ``RetryPolicy.non_retryable_error_types`` names; ``details`` are values that reach whoever
    catches it. ``next_retry_delay`` overrides the retry policy's next interval; ``non_retryable`` forbids one.
    """

    def __init__(
        self,
        message: str,
        *details: Any,
        type: str | None = None,
        non_retryable: bool = False,
        next_retry_delay: timedelta | None = None,
        category: ApplicationErrorCategory = ApplicationErrorCategory.UNSPECIFIED,
    ) -> None:
        super().__init__(message)
        self._details = details
        self._type = type
        self._non_retryable = non_retryable
        self._next_retry_delay = next_retry_delay
        self._category = category

    def __str__(self) -> str:
        return f"{self._type}: {self._message}" if self._type else self._message

    @property
    def details(self) -> Sequence[Any]:
        return self._details

    @property
    def type(self) -> str | None:
        return self._type

    @property
    def non_retryable(self) -> bool:
        return self._non_retryable

    @property
    def next_retry_delay(self) -> timedelta | None:
        return self._next_retry_delay

    @property
    def category(self) -> ApplicationErrorCategory:
        return self._category


class CancelledError(FailureError):
    """The work was cancelled. Not ``asyncio.CancelledError``, which is how a running coroutine hears of it."""

    def __init__(self, message: str = "Cancelled", *details: Any) -> None:
        super().__init__(message)
        self._details = details

    @property
    def details(self) -> Sequence[Any]:
        return self._details


class TerminatedError(FailureError):
    """The run was ended from outside; its code was not asked."""

    def __init__(self, message: str, *details: Any) -> None:
        super().__init__(message)
        self._details = details

    @property
    def details(self) -> Sequence[Any]:
        return self._details


class TimeoutError(FailureError):
    """A time limit of an activity or a workflow passed. Not the built-in one, which ``asyncio.timeout`` raises."""

    def __init__(self, message: str, *, type: TimeoutType | None, last_heartbeat_details: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self._type = type
        self._last_heartbeat_details = last_heartbeat_details

    @property
    def type(self) -> TimeoutType | None:
        return self._type

    @property
    def last_heartbeat_details(self) -> Sequence[Any]:
        return self._last_heartbeat_details


class ServerError(FailureError):
    """odradek could not do what was asked."""

    def __init__(self, message: str, *, non_retryable: bool = False) -> None:
        super().__init__(message)
        self._non_retryable = non_retryable

    @property
    def non_retryable(self) -> bool:
        return self._non_retryable


class ActivityError(FailureError):
    """An activity ended without a result; ``cause`` says why. Event IDs are None where nothing has numbered them."""

    def __init__(
        self,
        message: str,
        *,
        scheduled_event_id: int | None = None,
        started_event_id: int | None = None,
        identity: str = "",
        activity_type: str,
        activity_id: str,
        retry_state: RetryState | None = None,
    ) -> None:
        super().__init__(message)
        self._scheduled_event_id = scheduled_event_id
        self._started_event_id = started_event_id
        self._identity = identity
        self._activity_type = activity_type
        self._activity_id = activity_id
        self._retry_state = retry_state

    @property
    def scheduled_event_id(self) -> int | None:
        return self._scheduled_event_id

    @property
    def started_event_id(self) -> int | None:
        return self._started_event_id

    @property
    def identity(self) -> str:
        """The worker of the last attempt."""
        return self._identity

    @property
    def activity_type(self) -> str:
        return self._activity_type

    @property
    def activity_id(self) -> str:
        return self._activity_id

    @property
    def retry_state(self) -> RetryState | None:
        return self._retry_state


class ChildWorkflowError(FailureError):
    """A child workflow closed without a result; ``cause`` says why."""

    def __init__(
        self,
        message: str,
        *,
        namespace: str,
        workflow_id: str,
        run_id: str,
        workflow_type: str,
        initiated_event_id: int | None = None,
        started_event_id: int | None = None,
        retry_state: RetryState | None = None,
    ) -> None:
        super().__init__(message)
        self._namespace = namespace
        self._workflow_id = workflow_id
        self._run_id = run_id
        self._workflow_type = workflow_type
        self._initiated_event_id = initiated_event_id
        self._started_event_id = started_event_id
        self._retry_state = retry_state

    @property
    def namespace(self) -> str:
        return self._namespace

    @property
    def workflow_id(self) -> str:
        return self._workflow_id

    @property
    def run_id(self) -> str:
        return self._run_id

    @property
    def workflow_type(self) -> str:
        return self._workflow_type

    @property
    def initiated_event_id(self) -> int | None:
        return self._initiated_event_id

    @property
    def started_event_id(self) -> int | None:
        return self._started_event_id

    @property
    def retry_state(self) -> RetryState | None:
        return self._retry_state


class WorkflowAlreadyStartedError(FailureError):
    """A workflow was not started, since its ID is in use or may not be used again. ``run_id`` is the run in the way."""

    code: ClassVar[str] = "ODR-101"

    def __init__(self, workflow_id: str, workflow_type: str, *, run_id: str | None = None) -> None:
        super().__init__(
            f'{self.code}: workflow "{workflow_id}" has been started already'
            + (f" (run {run_id})" if run_id else "")
            + f', so no "{workflow_type}" was started. Use another ID, or an ID reuse or conflict policy for it.'
        )
        self.workflow_id = workflow_id
        self.workflow_type = workflow_type
        self.run_id = run_id


class ActivityAlreadyStartedError(FailureError):
    """A standalone activity was not started, since its ID is in use or may not be used again.

    ``run_id`` is the run in the way.
    """

    code: ClassVar[str] = "ODR-202"

    def __init__(self, activity_id: str, activity_type: str, *, run_id: str | None = None) -> None:
        super().__init__(
            f'{self.code}: activity "{activity_id}" has been started already'
            + (f" (run {run_id})" if run_id else "")
            + f', so no "{activity_type}" was started. Use another ID, or an ID reuse or conflict policy for it.'
        )
        self.activity_id = activity_id
        self.activity_type = activity_type
        self.run_id = run_id


def is_cancelled_exception(exception: BaseException) -> bool:
    """Whether this is a cancellation: of this task, of the work itself, or of an activity or child it waited for."""
    if isinstance(exception, ActivityError | ChildWorkflowError):
        return isinstance(exception.__cause__, CancelledError)
    return isinstance(exception, asyncio.CancelledError | CancelledError)


# ---------------------------------------------------------------------------------------------------------- pickling


def _pickled_causes(cause: BaseException | None) -> list[tuple[bytes, str, str]]:
    """The chain of causes, each with a type name and a message in case it cannot be made again elsewhere."""
    causes: list[tuple[bytes, str, str]] = []
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        try:
            data = pickle.dumps(cause)
        except Exception:
            data = b""
        causes.append((data, type(cause).__name__, str(cause)))
        if isinstance(cause, OdradekError) and data:
            break  # it has taken its own causes with it
        cause = cause.__cause__
    return causes


def _rebuilt(
    error_type: type[OdradekError],
    arguments: tuple[Any, ...],
    fields: dict[str, Any],
    causes: list[tuple[bytes, str, str]],
) -> OdradekError:
    error = error_type.__new__(error_type, *arguments)
    error.args = arguments
    error.__dict__.update(fields)
    current: BaseException = error
    for data, type_name, message in causes:
        current.__cause__ = _unpickled(data) or ApplicationError(message, type=type_name)
        current = current.__cause__
    return error


def _unpickled(data: bytes) -> BaseException | None:
    try:
        found = pickle.loads(data) if data else None  # noqa: S301 - a part of what is being unpickled anyway
    except Exception:
        return None
    return found if isinstance(found, BaseException) else None
