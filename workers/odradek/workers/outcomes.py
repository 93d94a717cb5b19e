"""How an attempt ended, as the answer to its workflow: a result, a failure, or silence."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from odradek.converter import DataConverter
from odradek.exceptions import (
    ApplicationError,
    ApplicationErrorCategory,
    CancelledError,
    TimeoutError,
    TimeoutType,
    is_cancelled_exception,
)
from odradek.schemas.records import ActivityResult, ActivityStarted, Failure, Payload
from odradek.workers.attempts import UNHEARD, Attempt, StopReason
from odradek.workers.context import converter_for
from odradek.workers.errors import cancelled_itself, shut_down, stopped_by_operator, too_large

_logger = logging.getLogger(__name__)


class Outcomes:
    """Makes the answers of one worker."""

    def __init__(self, worker: str, data_converter: DataConverter, payload_bytes_max: int) -> None:
        self._worker = worker
        self._converter = data_converter
        self._payload_bytes_max = payload_bytes_max

    def of_value(self, attempt: Attempt, value: Any) -> ActivityResult:
        """The way without a codec. Raises what the converter raises, and ``ApplicationError`` for a value too large."""
        return self._result(attempt, self._converter_for(attempt).payload_converter.to_payload(value))

    async def of_encoded_value(self, attempt: Attempt, value: Any) -> ActivityResult:
        """The same with a codec."""
        return self._result(attempt, (await self._converter_for(attempt).encode([value]))[0])

    async def of_error(self, attempt: Attempt, error: BaseException) -> ActivityResult:
        try:
            failure = await self._converter_for(attempt).encode_failure(error)
        except Exception as conversion:
            _logger.exception("the failure of an activity cannot be converted")
            failure = _plain_failure(error, conversion)
        return self.of_failure(attempt, failure)

    def of_failure(self, attempt: Attempt, failure: Failure) -> ActivityResult:
        task = attempt.task
        return ActivityResult(
            task.run_id, task.seq, task.attempt, self._worker, attempt.started_ms, result=None, failure=failure
        )

    def of_detached(self, attempt: Attempt) -> ActivityStarted:
        """For an attempt that somebody else will end."""
        task = attempt.task
        return ActivityStarted(task.run_id, task.seq, task.attempt, self._worker, attempt.started_ms, detached=True)

    def of_lost_end(self, attempt: Attempt) -> ActivityResult:
        """For an attempt that was cancelled once more while its failure was being written."""
        return self.of_failure(attempt, Failure("application", "cancelled again at its end", type="ActivityCancelled"))

    def instead_of_large(self, result: ActivityResult, size_bytes: int, limit_bytes: int) -> ActivityResult:
        """An answer that says that the right one does not fit."""
        what = "the result of the activity" if result.failure is None else "the failure of the activity"
        error = too_large(what, size_bytes, limit_bytes)
        failure = self._converter.failure_converter.to_failure(error, self._converter.payload_converter)
        if result.failure is not None:
            failure = replace(failure, non_retryable=result.failure.non_retryable)
        return replace(result, result=None, failure=failure)

    def _converter_for(self, attempt: Attempt) -> DataConverter:
        if attempt.context is not None:
            return attempt.context.data_converter
        return converter_for(self._converter, attempt)

    def _result(self, attempt: Attempt, payload: Payload) -> ActivityResult:
        if len(payload.data) > self._payload_bytes_max:
            raise too_large("the result of the activity", len(payload.data), self._payload_bytes_max)
        task = attempt.task
        return ActivityResult(task.run_id, task.seq, task.attempt, self._worker, attempt.started_ms, payload)


def error_to_answer(attempt: Attempt, error: BaseException) -> BaseException | None:
    """What the workflow hears of an attempt that raised ``error``; None: nothing, since nobody waits for it."""
    reason, activity_type = attempt.stop_reason, attempt.task.activity_type
    if reason in UNHEARD:
        return None
    if not is_cancelled_exception(error):
        return error
    match reason:
        case StopReason.CANCELLED:
            return error if isinstance(error, CancelledError) else CancelledError("Cancelled")
        case StopReason.START_TO_CLOSE:
            limit = (attempt.task.timeouts.start_to_close_ms or 0) / 1000
            message = f'activity "{activity_type}" ran longer than its start-to-close timeout of {limit:g} s'
            return TimeoutError(message, type=TimeoutType.START_TO_CLOSE)
        case StopReason.PAUSED | StopReason.RESET:
            return stopped_by_operator(activity_type, reason)
        case StopReason.SHUTDOWN:
            return shut_down(activity_type)
        case _:
            return cancelled_itself(activity_type)


def is_benign(error: BaseException) -> bool:
    return isinstance(error, ApplicationError) and error.category is ApplicationErrorCategory.BENIGN


def _plain_failure(error: BaseException, conversion: Exception) -> Failure:
    message = f"{type(error).__name__}: {error} (and it could not be converted: {conversion})"
    return Failure("application", message, type=type(error).__name__)
