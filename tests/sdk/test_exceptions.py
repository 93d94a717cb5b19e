"""The errors of users: they keep their fields and causes wherever they are sent."""

from __future__ import annotations

import asyncio
import pickle
from datetime import timedelta

import pytest

from odradek.exceptions import (
    ActivityError,
    ApplicationError,
    ApplicationErrorCategory,
    CancelledError,
    ChildWorkflowError,
    FailureError,
    OdradekError,
    RetryState,
    ServerError,
    TerminatedError,
    TimeoutError,
    TimeoutType,
    WorkflowAlreadyStartedError,
    is_cancelled_exception,
)


class OutOfStock(ApplicationError):
    """As users write them: with a signature of its own."""

    def __init__(self, sku: str, *, left: int) -> None:
        super().__init__(f"{sku}: {left} left", type="OutOfStock", non_retryable=True)
        self.sku, self.left = sku, left


class Unpicklable(Exception):
    def __init__(self) -> None:
        super().__init__("holds a lambda")
        self.callback = lambda: None


class NeedsTwo(Exception):
    """Pickles, but cannot be made again: a classic."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} and {b}")


ACTIVITY = ActivityError(
    "activity failed", activity_type="charge", activity_id="3", identity="w", retry_state=RetryState.TIMEOUT
)
CHILD = ChildWorkflowError("child failed", namespace="n", workflow_id="w", run_id="r", workflow_type="T")


@pytest.mark.parametrize(
    "error",
    [
        OdradekError("plain"),
        FailureError("plain"),
        ApplicationError(
            "no", {"a": 1}, 2, type="T", next_retry_delay=timedelta(seconds=3), category=ApplicationErrorCategory.BENIGN
        ),
        OutOfStock("sku-1", left=0),
        ACTIVITY,
        CHILD,
        CancelledError("stop", "why"),
        TerminatedError("ended", "by hand"),
        TimeoutError("late", type=TimeoutType.HEARTBEAT, last_heartbeat_details=[1]),
        ServerError("no", non_retryable=True),
        WorkflowAlreadyStartedError("order-7", "Order", run_id="r-1"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_survive_pickling(error: OdradekError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert copy.__dict__ == error.__dict__
    assert (str(copy), copy.args) == (str(error), error.args)


def test_causes_survive_pickling() -> None:
    """A chain of ours and of others arrives whole."""
    error = FailureError("outer")
    error.__cause__ = ValueError("middle")
    error.__cause__.__cause__ = ApplicationError("inner", type="T")
    copy = pickle.loads(pickle.dumps(error))
    assert isinstance(copy.cause, ValueError)
    assert isinstance(copy.cause.__cause__, ApplicationError)
    assert copy.cause.__cause__.type == "T"


@pytest.mark.parametrize("cause", [Unpicklable(), NeedsTwo(1, 2)])
def test_cause_that_cannot_be_pickled_becomes_an_application_error(cause: Exception) -> None:
    """An error reaches the other side even when what caused it cannot."""
    error = FailureError("outer")
    error.__cause__ = cause
    copy = pickle.loads(pickle.dumps(error))
    assert isinstance(copy.cause, ApplicationError)
    assert copy.cause.type == type(cause).__name__
    assert copy.cause.message == str(cause)


def test_circle_of_causes_can_be_pickled() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    error = FailureError("outer")
    error.__cause__ = first
    assert str(pickle.loads(pickle.dumps(error)).cause) == "first"


def test_long_chain_is_pickled_in_linear_size() -> None:
    def chain(length: int) -> bytes:
        error = FailureError("end")
        for _ in range(length):
            outer = FailureError("link")
            outer.__cause__ = error
            error = outer
        return pickle.dumps(error)

    assert len(chain(20)) < 4 * len(chain(10))


def test_application_error_shows_its_type() -> None:
    assert str(ApplicationError("card refused", type="CardRefused")) == "CardRefused: card refused"
    assert str(ApplicationError("card refused")) == "card refused"
    assert ApplicationError("card refused", type="CardRefused").message == "card refused"


def test_already_started_names_the_workflow_and_the_next_step() -> None:
    error = WorkflowAlreadyStartedError("order-7", "Order", run_id="r-1")
    assert error.code == "ODR-101"
    assert str(error).startswith('ODR-101: workflow "order-7" has been started already (run r-1)')
    assert "policy" in str(error)


def _caused_by(error: FailureError, cause: Exception) -> FailureError:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (asyncio.CancelledError(), True),
        (CancelledError(), True),
        (_caused_by(ActivityError("x", activity_type="a", activity_id="1"), CancelledError()), True),
        (_caused_by(ActivityError("x", activity_type="a", activity_id="1"), ApplicationError("no")), False),
        (
            _caused_by(
                ChildWorkflowError("x", namespace="n", workflow_id="w", run_id="r", workflow_type="T"), CancelledError()
            ),
            True,
        ),
        (_caused_by(ApplicationError("x"), CancelledError()), False),
        (ValueError(), False),
    ],
)
def test_is_cancelled_exception(error: BaseException, expected: bool) -> None:
    assert is_cancelled_exception(error) is expected
