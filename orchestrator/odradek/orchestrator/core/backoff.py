"""When a failed attempt is made again, of an activity as of a whole workflow."""

from __future__ import annotations

from odradek.schemas import records as r
from odradek.schemas.records import FailureKind

MAXIMUM_INTERVAL_FACTOR = 100
"""Without a maximum interval of its own, a retry policy waits at most this many initial intervals."""


def next_delay_ms(policy: r.RetryPolicy, attempt: int, failure: r.Failure) -> tuple[int | None, str]:
    """How long to wait after this attempt; None, with the reason, if it was the last."""
    if failure.kind == FailureKind.CANCELLED:
        return None, "cancel-requested"
    if failure.non_retryable or failure.type in policy.non_retryable_error_types:
        return None, "non-retryable-failure"
    if policy.maximum_attempts and attempt >= policy.maximum_attempts:
        return None, "maximum-attempts-reached"
    if failure.next_retry_delay_ms is not None:
        return failure.next_retry_delay_ms, "in-progress"
    limit = policy.maximum_interval_ms or policy.initial_interval_ms * MAXIMUM_INTERVAL_FACTOR
    try:
        grown = policy.initial_interval_ms * policy.backoff_coefficient ** min(max(attempt - 1, 0), 64)
    except OverflowError:
        return limit, "in-progress"
    return int(min(grown, limit)), "in-progress"
