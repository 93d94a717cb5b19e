"""Exceptions to failure records and back."""

from __future__ import annotations

import asyncio
import dataclasses
import pickle
from datetime import timedelta
from typing import Any

import pytest

from odradek.converter import (
    DataConverter,
    DefaultFailureConverter,
    DefaultFailureConverterWithEncodedAttributes,
    PayloadConverter,
)
from odradek.converter.failures import CARRIED_MAX, CAUSES_MAX
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
from odradek.schemas.codec import Codec
from odradek.schemas.records import ActivityResult, Failure, FailureKind, InboxRecord

PAYLOADS = PayloadConverter.default
CONVERTER = DefaultFailureConverter()


def sent(error: BaseException, converter: DefaultFailureConverter = CONVERTER) -> BaseException:
    """The error as it arrives after a way through the log."""
    failure = converter.to_failure(error, PAYLOADS)
    record = InboxRecord(0, ActivityResult("r", 1, 1, "w", 0, None, failure))
    body = Codec().decode(InboxRecord, Codec().encode(record)).body
    assert isinstance(body, ActivityResult)
    assert body.failure is not None
    return converter.from_failure(body.failure, PAYLOADS)


def fields(error: BaseException) -> dict[str, Any]:
    return {name: value for name, value in vars(error).items() if name != "_failure"}


@pytest.mark.parametrize(
    "error",
    [
        ApplicationError("no"),
        ApplicationError(
            "no",
            "d",
            {"a": 1},
            type="T",
            non_retryable=True,
            next_retry_delay=timedelta(seconds=3),
            category=ApplicationErrorCategory.BENIGN,
        ),
        CancelledError("stop", "why"),
        TerminatedError("ended", 1),
        TimeoutError("late", type=TimeoutType.HEARTBEAT, last_heartbeat_details=["at 7"]),
        TimeoutError("late", type=None),
        ServerError("no", non_retryable=True),
        ActivityError(
            "activity failed",
            scheduled_event_id=3,
            started_event_id=None,
            identity="w",
            activity_type="charge",
            activity_id="1",
            retry_state=RetryState.MAXIMUM_ATTEMPTS_REACHED,
        ),
        ChildWorkflowError(
            "child failed",
            namespace="n",
            workflow_id="w",
            run_id="r",
            workflow_type="T",
            initiated_event_id=1,
            retry_state=RetryState.TIMEOUT,
        ),
        WorkflowAlreadyStartedError("order-7", "Order", run_id="r"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_failure_errors_keep_their_type_and_fields(error: FailureError) -> None:
    copy = sent(error)
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert {name: listed(value) for name, value in fields(copy).items()} == {
        name: listed(value) for name, value in fields(error).items()
    }
    assert isinstance(copy, FailureError)
    assert copy.failure is not None


def listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        if cause is None:
            raise error
        raise error from cause
    except BaseException as caught:
        return caught


def test_other_exceptions_become_application_errors_with_the_name_of_their_class() -> None:
    copy = sent(raised(ZeroDivisionError("division by zero")))
    assert isinstance(copy, ApplicationError)
    assert (copy.type, copy.message) == ("ZeroDivisionError", "division by zero")
    assert copy.failure is not None
    assert "in raised" in copy.failure.stack_trace


def test_subclass_of_an_application_error_keeps_what_it_gave_to_its_base() -> None:
    class CardRefused(ApplicationError):
        def __init__(self, card: str) -> None:
            super().__init__(f"card {card} refused", card, type="CardRefused", non_retryable=True)

    copy = sent(CardRefused("4711"))
    assert type(copy) is ApplicationError
    assert (copy.type, copy.non_retryable, list(copy.details)) == ("CardRefused", True, ["4711"])


def test_causes_are_chained_and_keep_their_types() -> None:
    error = ActivityError("activity failed", activity_type="charge", activity_id="1")
    copy = sent(raised(error, raised(ApplicationError("refused", type="Refused"), raised(KeyError("card")))))
    assert isinstance(copy, ActivityError)
    assert isinstance(copy.cause, ApplicationError)
    assert copy.cause.type == "Refused"
    assert isinstance(copy.cause.cause, ApplicationError)
    assert copy.cause.cause.type == "KeyError"


def test_context_counts_as_a_cause_unless_suppressed() -> None:
    def fail(*, suppressed: bool) -> BaseException:
        try:
            try:
                raise KeyError("first")
            except KeyError:
                if suppressed:
                    raise ValueError("second") from None
                raise ValueError("second")  # noqa: B904 - the case under test
        except ValueError as error:
            return error

    assert sent(fail(suppressed=False)).__cause__ is not None
    assert sent(fail(suppressed=True)).__cause__ is None


def test_circle_of_causes_ends() -> None:
    error = ValueError("a")
    error.__cause__ = KeyError("b")
    error.__cause__.__cause__ = error
    failure: Failure | None = CONVERTER.to_failure(error, PAYLOADS)
    length = 0
    while failure is not None:
        failure, length = failure.cause, length + 1
    assert length == CAUSES_MAX + 1


def test_stack_trace_is_limited() -> None:
    def deep(n: int) -> None:
        if n == 0:
            raise ValueError("deep")
        deep(n - 1)

    with pytest.raises(ValueError, match="deep") as caught:
        deep(300)
    assert len(CONVERTER.to_failure(caught.value, PAYLOADS).stack_trace.splitlines()) < 200


def test_asyncio_cancellation_is_a_cancellation() -> None:
    assert isinstance(sent(asyncio.CancelledError()), CancelledError)


def test_details_that_cannot_be_converted_do_not_hide_the_failure() -> None:
    copy = sent(ApplicationError("no", object(), type="T"))
    assert isinstance(copy, ApplicationError)
    assert str(copy.details[0]).startswith("<object object")


def test_exception_whose_text_fails_is_still_reported() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    copy = sent(Broken())
    assert isinstance(copy, ApplicationError)
    assert copy.type == "Broken"
    assert "RuntimeError" in copy.message


def test_error_that_was_read_is_written_again_unchanged() -> None:
    failure = Failure(FailureKind.APPLICATION, "m", "T", "remote stack", attributes={"x": "kept"})
    assert CONVERTER.to_failure(CONVERTER.from_failure(failure, PAYLOADS), PAYLOADS) is failure


@pytest.mark.parametrize(
    "failure",
    [
        Failure("from-the-future", "m"),
        Failure(FailureKind.ACTIVITY, "", attributes={"retry_state": "?", "scheduled_event_id": "x"}),
        Failure(FailureKind.TIMEOUT, "", timeout_type="?"),
        Failure(FailureKind.APPLICATION, "", category="?"),
    ],
)
def test_what_a_newer_build_wrote_can_be_read(failure: Failure) -> None:
    error = CONVERTER.from_failure(failure, PAYLOADS)
    assert isinstance(error, FailureError)
    assert error.message


def test_read_errors_can_be_pickled() -> None:
    copy = pickle.loads(pickle.dumps(sent(raised(ApplicationError("no", 1), raised(ValueError("why"))))))
    assert copy.failure.cause.type == "ValueError"
    assert isinstance(copy.cause, ApplicationError)


def test_messages_and_stacks_can_be_hidden() -> None:
    """With encoded attributes nothing that user code said stands outside of payloads, on the way back neither."""
    converter = DefaultFailureConverterWithEncodedAttributes()
    error = raised(ApplicationError("secret one"), raised(ValueError("secret two")))
    failure = converter.to_failure(error, PAYLOADS)
    shown = repr(dataclasses.replace(failure, encoded=None, cause=None))
    assert "secret" not in shown
    assert failure.cause is not None
    assert "secret" not in failure.cause.message
    copy = converter.from_failure(failure, PAYLOADS)
    assert isinstance(copy, ApplicationError)
    assert copy.message == "secret one"
    assert str(copy.cause) == "ValueError: secret two"
    assert converter.to_failure(copy, PAYLOADS).message == "Encoded failure"


def test_data_converter_uses_the_given_failure_converter() -> None:
    data = DataConverter(failure_converter_class=DefaultFailureConverterWithEncodedAttributes)
    failure = asyncio.run(data.encode_failure(ValueError("secret")))
    assert failure.message == "Encoded failure"
    assert str(asyncio.run(data.decode_failure(failure))) == "ValueError: secret"


def test_a_failure_that_went_through_many_hands_is_cut() -> None:
    """Each parent puts its own around it: the outer ones are kept, and it can be read whatever its way was."""
    failure = Failure(FailureKind.APPLICATION, "the first")
    for number in range(CARRIED_MAX + 10):
        failure = Failure(FailureKind.APPLICATION, f"around {number}", cause=failure)
    error = CONVERTER.from_failure(failure, PAYLOADS)
    written: Failure | None = CONVERTER.to_failure(error, PAYLOADS)
    assert written is not None
    assert written.message == failure.message
    depth = 0
    while written is not None:
        depth, written = depth + 1, written.cause
    assert depth == CARRIED_MAX
