"""Where a run stands, as users see it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Final

from odradek.schemas.records import RunStatus


class WorkflowExecutionStatus(IntEnum):
    """Everything but ``RUNNING`` is final."""

    RUNNING = 1
    COMPLETED = 2
    FAILED = 3
    CANCELED = 4
    TERMINATED = 5
    CONTINUED_AS_NEW = 6
    TIMED_OUT = 7


class WorkflowHistoryEventFilterType(IntEnum):
    """Which events of a history are wanted."""

    ALL_EVENT = 1
    CLOSE_EVENT = 2
    """Only the last one: of a closed run what closed it."""


class WorkflowUpdateStage(IntEnum):
    """How far an update has come. ``ADMITTED``, sent and not looked at yet, cannot be waited for."""

    ADMITTED = 1
    ACCEPTED = 2
    """Durable, and passed by its validator."""
    COMPLETED = 3
    """Its handler has returned or failed, or its run has ended."""


_STATUSES: Final[Mapping[str, WorkflowExecutionStatus]] = {
    RunStatus.RUNNING: WorkflowExecutionStatus.RUNNING,
    RunStatus.COMPLETED: WorkflowExecutionStatus.COMPLETED,
    RunStatus.FAILED: WorkflowExecutionStatus.FAILED,
    RunStatus.CANCELLED: WorkflowExecutionStatus.CANCELED,
    RunStatus.TERMINATED: WorkflowExecutionStatus.TERMINATED,
    RunStatus.CONTINUED_AS_NEW: WorkflowExecutionStatus.CONTINUED_AS_NEW,
    RunStatus.TIMED_OUT: WorkflowExecutionStatus.TIMED_OUT,
}


def status_of(recorded: str | None) -> WorkflowExecutionStatus | None:
    """None for a status that only a newer build knows."""
    return _STATUSES.get(recorded or "")


def name_in_filters(status: WorkflowExecutionStatus) -> str:
    """``Running``, ``TimedOut``, …"""
    return "".join(word.capitalize() for word in status.name.split("_"))
