"""Brings into one record what each fits into one by itself, and together does not. Pure.

What is left out was said before, or says so itself: it never decides whether a run can go on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, Final

from odradek.schemas import records as r
from odradek.schemas.records import FailureKind

OVERHEAD_BYTES: Final = 16 * 1024
"""What surrounds payloads and failures in an event, about."""
MESSAGE_CHARACTERS: Final = 1000


def fitted(progress: r.Progress, bytes_max: int) -> r.Progress:
    """Without what the last failure carries, where that does not fit beside what the attempt has told since."""
    last = progress.last_failure
    if not progress.heartbeat_details and last is None:
        return progress
    told = _payload_bytes(progress.heartbeat_details)
    room = bytes_max - OVERHEAD_BYTES - told
    if room < 0:
        return fitted(dataclasses.replace(progress, heartbeat_details=()), bytes_max)
    if last is None or _failure_bytes(last) <= room:
        return progress
    return dataclasses.replace(progress, last_failure=shortened(last, room))


def shortened(failure: r.Failure, bytes_max: int) -> r.Failure:
    """As it is if it fits, else its kind and how its message begins, and that of its causes as far as there is room."""
    size = _failure_bytes(failure)
    if size <= bytes_max:
        return failure
    cut: list[r.Failure] = []
    room, link = bytes_max, failure
    while True:
        bare = dataclasses.replace(
            link, message=link.message[:MESSAGE_CHARACTERS], stack_trace="", details=(), encoded=None, cause=None,
            attributes={name: value[:MESSAGE_CHARACTERS] for name, value in link.attributes.items()},
        )  # fmt: skip
        room -= _failure_bytes(bare)
        if cut and room < 0:
            break
        cut.append(bare)
        if link.cause is None:
            break
        link = link.cause
    said = f"{cut[0].message} (ODR-105: {size:,} bytes do not fit here: details and stack traces are left out)"
    inner: r.Failure | None = None
    for bare in reversed(cut[1:]):
        inner = dataclasses.replace(bare, cause=inner)
    return dataclasses.replace(cut[0], message=said, cause=inner)


def last_failure_beside(result: r.Payload | None, last: r.Failure | None, bytes_max: int) -> r.Failure | None:
    """What the end of an activity says of the attempt before."""
    if last is None:
        return None
    return shortened(last, bytes_max - OVERHEAD_BYTES - (len(result.data) if result is not None else 0))


def closing_that_fits(closing: Any, encoded_bytes: int, bytes_max: int) -> Any:
    """The end of a run that names the next one: that one goes without what this one leaves it, or there is none."""
    following = closing.next
    if encoded_bytes <= bytes_max:
        return closing
    lineage = following.started.lineage
    left = _payload_bytes([lineage.last_result] if lineage.last_result else [])
    left += _failure_bytes(lineage.last_failure) if lineage.last_failure else 0
    if encoded_bytes - left <= bytes_max - OVERHEAD_BYTES:
        last = None if lineage.last_failure is None else shortened(lineage.last_failure, OVERHEAD_BYTES // 2)
        lineage = dataclasses.replace(lineage, last_result=None, last_failure=last)
        started = dataclasses.replace(following.started, lineage=lineage)
        return dataclasses.replace(closing, next=dataclasses.replace(following, started=started))
    message = (
        f"ODR-105: the end of this run and the start of the next one take {encoded_bytes:,} bytes together, and a "
        f"record may have {bytes_max:,}: the chain of runs ends here. Pass references to where large data stands"
    )
    return r.RunFailed(r.Failure(FailureKind.APPLICATION, message, "PayloadTooLarge", non_retryable=True))


def summary_that_fits(summary: r.Summary, bytes_max: int) -> r.Summary:
    """Without memo and search attributes, which listings have elsewhere, where they do not fit beside the end."""
    kept = [*summary.memo.values(), *summary.search_attributes.values()]
    if not kept:
        return summary
    end = _payload_bytes([summary.result] if summary.result else [])
    end += _failure_bytes(summary.failure) if summary.failure else 0
    remembered = 100 * (len(summary.requests) + len(summary.messages)) + 1000 * len(summary.refusals)
    if end + remembered + _payload_bytes(kept) + OVERHEAD_BYTES <= bytes_max:
        return summary
    return dataclasses.replace(summary, memo={}, search_attributes={})


def _payload_bytes(payloads: Iterable[r.Payload]) -> int:
    return sum(len(payload.data) + sum(map(len, payload.metadata.values())) for payload in payloads)


def _failure_bytes(failure: r.Failure | None) -> int:
    size = 0
    while failure is not None:
        size += len(failure.message.encode()) + len(failure.stack_trace.encode()) + _payload_bytes(failure.details)
        size += sum(len(name) + len(value.encode()) for name, value in failure.attributes.items())
        size += len(failure.encoded.data) if failure.encoded else 0
        failure = failure.cause
    return size
