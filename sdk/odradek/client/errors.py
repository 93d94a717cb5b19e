"""What calls on a client raise about workflows, beside ``RPCError`` for requests that went wrong.

OdradekError
├── WorkflowFailureError         the workflow closed without a result; ``cause`` says how
├── ActivityFailureError         a standalone activity is over without a result; ``cause`` says how
├── WorkflowContinuedAsNewError  the run went on as a new one, and the caller did not want to follow
├── WorkflowUpdateFailedError    the update was rejected, or its handler failed; ``cause`` says why
├── AsyncActivityCancelledError  an activity that is completed from outside should end; ``details`` say why
├── RPCTimeoutOrCancelledError
│   └── WorkflowUpdateRPCTimeoutOrCancelledError  the call ended before the update did; nothing is said about that
├── WorkflowQueryRejectedError   the run is in a state that the reject condition names
└── WorkflowQueryFailedError     the query handler raised, or does not exist
"""

from __future__ import annotations

from odradek.activity import ActivityCancellationDetails
from odradek.client.status import WorkflowExecutionStatus
from odradek.exceptions import OdradekError


class WorkflowFailureError(OdradekError):
    """The workflow failed, was cancelled or terminated, or ran out of time: ``cause`` is the exception that says so."""

    def __init__(self, *, cause: BaseException) -> None:
        super().__init__("Workflow execution failed")
        self.__cause__ = cause

    @property
    def cause(self) -> BaseException:
        assert self.__cause__ is not None
        return self.__cause__


class ActivityFailureError(OdradekError):
    """The activity failed, was cancelled or terminated, or ran out of time: ``cause`` is the exception that says so."""

    def __init__(self, *, cause: BaseException) -> None:
        super().__init__("Activity execution failed")
        self.__cause__ = cause

    @property
    def cause(self) -> BaseException:
        assert self.__cause__ is not None
        return self.__cause__


class AsyncActivityCancelledError(OdradekError):
    """The answer to a heartbeat: end the activity, and say so by ``report_cancellation`` or ``fail``."""

    def __init__(self, details: ActivityCancellationDetails | None = None) -> None:
        super().__init__("Activity cancelled")
        self.details = details


class WorkflowUpdateFailedError(OdradekError):
    """The update was rejected, its handler failed, or its run ended first: ``cause`` is the exception that says so."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__("Workflow update failed")
        self.__cause__ = cause

    @property
    def cause(self) -> BaseException:
        assert self.__cause__ is not None
        return self.__cause__


class RPCTimeoutOrCancelledError(OdradekError):
    """A call was cancelled or ran out of time, which says nothing about what it was about."""


class WorkflowUpdateRPCTimeoutOrCancelledError(RPCTimeoutOrCancelledError):
    """The call was cancelled or ran out of time; the update may be accepted, and complete, nevertheless."""

    def __init__(self) -> None:
        super().__init__("Timeout or cancellation waiting for update")


class WorkflowContinuedAsNewError(OdradekError):
    """The run continued as a new one, ``new_execution_run_id``."""

    def __init__(self, new_execution_run_id: str) -> None:
        super().__init__("Workflow continued as new")
        self._new_execution_run_id = new_execution_run_id

    @property
    def new_execution_run_id(self) -> str:
        return self._new_execution_run_id


class WorkflowQueryRejectedError(OdradekError):
    """The query was turned away because of the run's status."""

    code = "ODR-106"

    def __init__(self, status: WorkflowExecutionStatus | None) -> None:
        shown = status.name.lower().replace("_", " ") if status else "of unknown status"
        super().__init__(f"{self.code}: the query was rejected, as its reject condition asks: the run is {shown}")
        self._status = status

    @property
    def status(self) -> WorkflowExecutionStatus | None:
        return self._status


class WorkflowQueryFailedError(OdradekError):
    """The query's handler raised, or the workflow has none of that name."""

    code: str  # type: ignore[misc]  # the page depends on what went wrong

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self._message = message
        self.code = message.partition(":")[0] if message.startswith("ODR-") else ""

    @property
    def message(self) -> str:
        return self._message
