"""A run as its events tell it. Live traffic and recovery fold the same events through the same function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from odradek.schemas import records as r
from odradek.schemas.records import RunStatus

NO_CLAIM = -1
"""Nothing has been written yet."""
DISPATCH_EXPIRY_MS = 7 * 24 * 3_600_000 // 2
"""A task that nobody has begun by then is issued again: half of the time for which its topic keeps it."""


@dataclass(slots=True)
class Activity:
    """An open activity: what was scheduled, and how far its attempts have come."""

    scheduled: r.ActivityScheduled
    scheduled_ms: int
    progress: r.Progress
    progress_claim: int = NO_CLAIM
    """The claim that the newest progress record stands under."""
    dispatch_expiry_ms: int = DISPATCH_EXPIRY_MS
    """As the shard knows its queue."""

    @property
    def options(self) -> r.ActivityScheduled | r.ActivityOptions:
        """Its queue, time limits, retry policy and priority, as they are now."""
        return self.progress.options or self.scheduled

    @property
    def attempts(self) -> int:
        """Those that count."""
        return self.progress.attempt - self.progress.attempts_before

    @property
    def is_put_off(self) -> bool:
        """Its attempt was due, and could not be sent."""
        return self.progress.retry_at_ms is not None and self.progress.dispatched_ms is not None

    def deadline(self) -> tuple[int, str] | None:
        """When something must happen if nothing else does, and what: a time limit's name, ``retry`` or ``dispatch``."""
        progress = self.progress
        limits = (progress.options or self.scheduled).timeouts
        waits = not progress.holders and progress.paused_ms is None
        if progress.retry_at_ms is not None and waits:
            first = (progress.retry_at_ms, "retry")
        elif progress.holders:
            first = self._limit_of_attempt()
        elif progress.dispatched_ms is not None and waits:
            first = (progress.dispatched_ms + self.dispatch_expiry_ms, "dispatch")
        else:
            first = NEVER
        due = progress.retry_at_ms is None or self.is_put_off
        if limits.schedule_to_start_ms is not None and waits and due:
            first = min(first, (progress.attempt_scheduled_ms + limits.schedule_to_start_ms, "schedule-to-start"))
        if limits.schedule_to_close_ms is not None:
            first = min(first, (self.scheduled_ms + limits.schedule_to_close_ms, "schedule-to-close"))
        return None if first is NEVER else first

    def _limit_of_attempt(self) -> tuple[int, str]:
        limits, progress = self.options.timeouts, self.progress
        began = min(holder.started_ms for holder in progress.holders)
        first = NEVER
        if limits.start_to_close_ms is not None:
            first = (began + limits.start_to_close_ms, "start-to-close")
        if limits.heartbeat_ms is not None:
            first = min(first, (max(began, progress.heartbeat_ms or 0) + limits.heartbeat_ms, "heartbeat"))
        return first


@dataclass(slots=True)
class Child:
    """An open child: what was scheduled, and the run that its start began, once that has been answered."""

    scheduled: r.ChildScheduled
    run_id: str | None = None


NEVER = (1 << 62, "")
MESSAGE_LIFETIME_MS = 24 * 3_600_000
"""How long a message to another workflow may be taken in; below the retention of summaries."""
REMEMBERED_MANY = 256
CLOCK_SKEW_MS_MAX = 60_000


def inherited(own: r.TaskPriority | None, workflow: r.TaskPriority | None) -> r.TaskPriority | None:
    """A priority whose gaps are filled by that of the workflow."""
    if own is None or workflow is None:
        return own or workflow
    return r.TaskPriority(
        own.key or workflow.key,
        own.fairness_key or workflow.fairness_key,
        own.fairness_weight or workflow.fairness_weight,
    )


class Ranges:
    """A set of rising numbers kept as ranges."""

    __slots__ = ("bounds",)

    def __init__(self, bounds: list[int] | None = None) -> None:
        self.bounds: list[int] = bounds or []

    def __contains__(self, number: int) -> bool:
        return any(first <= number <= last for first, last in self.pairs())

    def pairs(self) -> list[tuple[int, int]]:
        return list(zip(self.bounds[::2], self.bounds[1::2], strict=True))

    def add(self, number: int) -> None:
        pairs: list[tuple[int, int]] = []
        for first, last in sorted([*self.pairs(), (number, number)]):
            if pairs and first <= pairs[-1][1] + 1:
                pairs[-1] = (pairs[-1][0], max(last, pairs[-1][1]))
            else:
                pairs.append((first, last))
        self.bounds = [bound for pair in pairs for bound in pair]


@dataclass(slots=True)
class Remembered:
    """What a workflow ID has taken in already, across its runs, until it expires."""

    requests: dict[str, tuple[int, str]] = field(default_factory=dict)
    """request ID → (expiry, run ID)"""
    refusals: dict[str, tuple[r.RequestRefused, str]] = field(default_factory=dict)
    """request ID → (refusal, run ID)"""
    messages: dict[str, dict[str, tuple[Ranges, int]]] = field(default_factory=dict)
    """source run → run that took them in → (numbers, expiry)"""

    limit: int = REMEMBERED_MANY

    def tidy(self, inbox_ms: int) -> None:
        """Once in a while, drop what had expired when the newest inbox record that has been read was appended.

        Not by our clock: after an outage there may be copies in the inbox that came in time and are read late.
        """
        if self._size() > self.limit:
            self.forget_expired(inbox_ms)
            self.limit = max(REMEMBERED_MANY, 2 * self._size())

    def _size(self) -> int:
        return len(self.requests) + len(self.refusals) + len(self.messages)

    def request(self, seen: r.RequestSeen | None, run_id: str) -> None:
        if seen is not None:
            self.requests[seen.id] = (seen.expires_ms, run_id)

    def refusal(self, refused: r.RequestRefused, run_id: str) -> None:
        self.refusals[refused.request.id] = (refused, run_id)

    def message(self, origin: r.MessageOrigin | None, run_id: str) -> None:
        if origin is not None:
            takers = self.messages.setdefault(origin.run_id, {})
            ranges, expires = takers.get(run_id) or (Ranges(), 0)
            ranges.add(origin.number)
            takers[run_id] = (ranges, max(expires, origin.expires_ms))

    def has_message(self, origin: r.MessageOrigin) -> bool:
        takers = self.messages.get(origin.run_id)
        return takers is not None and any(origin.number in ranges for ranges, _ in takers.values())

    def merge(self, other: Remembered) -> None:
        self.requests |= other.requests
        self.refusals |= other.refusals
        for source, takers in other.messages.items():
            self.messages.setdefault(source, {}).update(takers)

    def forget_expired(self, inbox_ms: int) -> None:
        now_ms = inbox_ms - CLOCK_SKEW_MS_MAX
        self.requests = {key: value for key, value in self.requests.items() if value[0] > now_ms}
        self.refusals = {key: value for key, value in self.refusals.items() if value[0].request.expires_ms > now_ms}
        for source, takers in list(self.messages.items()):
            self.messages[source] = {run_id: seen for run_id, seen in takers.items() if seen[1] > now_ms}
            if not self.messages[source]:
                del self.messages[source]

    def as_records(
        self, run_id: str, inbox_ms: int
    ) -> tuple[list[r.RequestSeen], list[r.RequestRefused], list[r.MessagesSeen]]:
        """What this run took in and is not expired; the other runs of the ID say theirs."""
        self.forget_expired(inbox_ms)
        return (
            [r.RequestSeen(key, expires) for key, (expires, taker) in self.requests.items() if taker == run_id],
            [refused for refused, taker in self.refusals.values() if taker == run_id],
            [
                r.MessagesSeen(source, takers[run_id][0].bounds, takers[run_id][1])
                for source, takers in self.messages.items()
                if run_id in takers
            ],
        )


@dataclass(slots=True)
class Run:
    """The state of one run, folded from its events; beside it the place where its next event is written."""

    workflow_id: str
    run_id: str
    remembered: Remembered
    started: r.RunStarted | None = None
    started_ms: int = 0
    closed_ms: int | None = None
    status: str = RunStatus.RUNNING
    closing: Any = None
    n: int = 0
    time_ms: int = 0
    inbox_offset: int = -1
    event_count: int = 0
    history_bytes: int = 0
    timers: dict[int, r.TimerStarted] = field(default_factory=dict)
    activities: dict[int, Activity] = field(default_factory=dict)
    messages: dict[int, r.MessageSent] = field(default_factory=dict)
    children: dict[int, Child] = field(default_factory=dict)
    updates: dict[str, bool] | None = None
    """Accepted updates, and whether they have completed; None: there are none."""
    deferred: int = 0
    starts_at_ms: int | None = None
    """A start that was delayed reaches its code then."""
    begun: bool = False
    """The code has seen its first input."""
    version_taken: str | None = None
    """The version of the code that the run has gone on to; None: it is on the one that it began with."""
    upserted_memo: dict[str, r.Payload] | None = None
    upserted_search_attributes: dict[str, r.Payload] | None = None

    @property
    def version(self) -> str:
        """Of its type's code; empty where the class names none."""
        if self.version_taken is not None:
            return self.version_taken
        return self.started.version if self.started else ""

    @property
    def memo(self) -> dict[str, r.Payload]:
        if self.upserted_memo is not None:
            return self.upserted_memo
        return self.started.memo if self.started else {}

    @property
    def search_attributes(self) -> dict[str, r.Payload]:
        if self.upserted_search_attributes is not None:
            return self.upserted_search_attributes
        return self.started.search_attributes if self.started else {}

    @property
    def is_open(self) -> bool:
        return self.status == RunStatus.RUNNING

    def unanswered(self) -> list[int]:
        """The numbers of messages, starts of children included, that nobody has answered yet, in their order."""
        if not self.children:
            return list(self.messages)
        return sorted([*self.messages, *(seq for seq, child in self.children.items() if child.run_id is None)])

    def awaits_answer(self, number: int) -> bool:
        child = self.children.get(number)
        return number in self.messages if child is None else child.run_id is None

    def limits(self) -> list[tuple[int, str]]:
        """When the whole run times out, and by which limit."""
        started = self.started
        if started is None:
            return []
        found = []
        if started.run_timeout_ms is not None:
            found.append((self.started_ms + (started.start_delay_ms or 0) + started.run_timeout_ms, "run"))
        if started.execution_timeout_ms is not None:
            found.append((self.execution_started_ms + started.execution_timeout_ms, "execution"))
        return found

    @property
    def execution_started_ms(self) -> int:
        """When the first run of the chain was to begin."""
        started = self.started
        if started is not None and started.lineage is not None and started.lineage.execution_started_ms is not None:
            return started.lineage.execution_started_ms
        return self.started_ms + (started.start_delay_ms or 0 if started else 0)


UPDATE_CANNOT_END = r.Failure(
    r.FailureKind.APPLICATION,
    "The workflow has ended, and this update had not completed",
    "AcceptedUpdateCompletedWorkflow",
    non_retryable=True,
)
"""How an accepted update ends if its run does so first."""


def fold(run: Run, event: r.Event) -> None:
    """Take one event into the run's state."""
    body = event.body
    run.n = event.n
    run.time_ms = max(run.time_ms, event.time_ms)
    run.event_count += 1
    if event.deferred:
        run.deferred += 1
    _FOLD[type(body)](run, event, body)


def _started(run: Run, event: r.Event, body: r.RunStarted) -> None:
    run.started, run.started_ms, run.begun = body, event.time_ms, not event.deferred
    run.remembered.request(body.request, run.run_id)
    if body.start_delay_ms:
        run.starts_at_ms = event.time_ms + body.start_delay_ms
    if body.update is not None:
        _update_accepted(run, event, body.update)


def _update_accepted(run: Run, event: r.Event, body: r.UpdateAccepted) -> None:
    if run.updates is None:
        run.updates = {}
    run.updates[body.update_id] = False
    run.remembered.request(body.request, run.run_id)


def _update_rejected(run: Run, event: r.Event, body: r.UpdateRejected) -> None:
    run.remembered.request(body.request, run.run_id)


def _update_completed(run: Run, event: r.Event, body: r.UpdateCompleted) -> None:
    assert run.updates is not None
    run.updates[body.update_id] = True


def _joined(run: Run, event: r.Event, body: r.RequestJoined) -> None:
    run.remembered.request(body.request, run.run_id)


def _refused(run: Run, event: r.Event, body: r.RequestRefused) -> None:
    run.remembered.refusal(body, run.run_id)


def _addressed(run: Run, event: r.Event, body: r.SignalReceived | r.CancelRequested) -> None:
    run.remembered.request(body.request, run.run_id)
    run.remembered.message(body.origin, run.run_id)


def _scheduled(run: Run, event: r.Event, body: r.ActivityScheduled) -> None:
    time = event.time_ms
    run.activities[body.seq] = Activity(body, time, r.Progress(0, 1, time, dispatched_ms=time))


def _activity_ended(run: Run, event: r.Event, body: r.ActivityCompleted | r.ActivityFailed) -> None:
    run.activities.pop(body.seq, None)


def _activity_cancel(run: Run, event: r.Event, body: r.ActivityCancelRequested) -> None:
    activity = run.activities.get(body.seq)
    if activity is not None and activity.scheduled.cancellation_type != "wait-cancellation-completed":
        del run.activities[body.seq]


def _timer_started(run: Run, event: r.Event, body: r.TimerStarted) -> None:
    run.timers[body.seq] = body


def _timer_ended(run: Run, event: r.Event, body: r.TimerFired | r.TimerCancelled) -> None:
    run.timers.pop(body.seq, None)


def _message_sent(run: Run, event: r.Event, body: r.MessageSent) -> None:
    run.messages[body.seq] = body


def _message_answered(run: Run, event: r.Event, body: r.MessageAnswered) -> None:
    run.messages.pop(body.seq, None)


def _child_scheduled(run: Run, event: r.Event, body: r.ChildScheduled) -> None:
    run.children[body.seq] = Child(body)


def _child_started(run: Run, event: r.Event, body: r.ChildStarted) -> None:
    run.children[body.seq].run_id = body.run_id


def _child_over(run: Run, event: r.Event, body: r.ChildStartFailed | r.ChildClosed) -> None:
    run.children.pop(body.seq, None)


def _step_ended(run: Run, event: r.Event, body: r.StepEnded) -> None:
    """Nothing of a step is recorded before."""


def _deferred_applied(run: Run, event: r.Event, body: r.DeferredApplied) -> None:
    run.deferred -= 1
    run.starts_at_ms = None
    run.begun = True


def _noted(run: Run, event: r.Event, body: r.VersionMarked) -> None:
    """Of the code's own concern."""


def _version_taken(run: Run, event: r.Event, body: r.VersionTaken) -> None:
    run.version_taken = body.version


def _search_attributes_upserted(run: Run, event: r.Event, body: r.SearchAttributesUpserted) -> None:
    run.upserted_search_attributes = upserted(run.search_attributes, body.search_attributes)


def _memo_upserted(run: Run, event: r.Event, body: r.MemoUpserted) -> None:
    run.upserted_memo = upserted(run.memo, body.memo)


REMOVED = r.Payload("null", b"")
"""Stands in an upsert for a value that is taken away."""


def upserted(before: Mapping[str, r.Payload], changes: dict[str, r.Payload]) -> dict[str, r.Payload]:
    merged = {**before, **changes}
    return {name: value for name, value in merged.items() if value.encoding != REMOVED.encoding}


def _closed(status: RunStatus) -> Callable[[Run, r.Event, Any], None]:
    def close(run: Run, event: r.Event, body: Any) -> None:
        run.status, run.closed_ms, run.closing = status, event.time_ms, body
        run.timers.clear()
        run.activities.clear()  # messages and children stay: the end of the run has something to say to them
        run.deferred = 0
        run.remembered.request(getattr(body, "request", None), run.run_id)

    return close


_FOLD: dict[type, Callable[[Run, r.Event, Any], None]] = {
    r.RunStarted: _started,
    r.RequestJoined: _joined,
    r.RequestRefused: _refused,
    r.SignalReceived: _addressed,
    r.CancelRequested: _addressed,
    r.UpdateAccepted: _update_accepted,
    r.UpdateRejected: _update_rejected,
    r.UpdateCompleted: _update_completed,
    r.ActivityScheduled: _scheduled,
    r.ActivityCompleted: _activity_ended,
    r.ActivityFailed: _activity_ended,
    r.ActivityCancelRequested: _activity_cancel,
    r.TimerStarted: _timer_started,
    r.TimerFired: _timer_ended,
    r.TimerCancelled: _timer_ended,
    r.MessageSent: _message_sent,
    r.MessageAnswered: _message_answered,
    r.ChildScheduled: _child_scheduled,
    r.ChildStarted: _child_started,
    r.ChildStartFailed: _child_over,
    r.ChildClosed: _child_over,
    r.StepEnded: _step_ended,
    r.DeferredApplied: _deferred_applied,
    r.VersionMarked: _noted,
    r.VersionTaken: _version_taken,
    r.SearchAttributesUpserted: _search_attributes_upserted,
    r.MemoUpserted: _memo_upserted,
    r.RunCompleted: _closed(RunStatus.COMPLETED),
    r.RunFailed: _closed(RunStatus.FAILED),
    r.RunContinued: _closed(RunStatus.CONTINUED_AS_NEW),
    r.RunCancelled: _closed(RunStatus.CANCELLED),
    r.RunTerminated: _closed(RunStatus.TERMINATED),
    r.RunTimedOut: _closed(RunStatus.TIMED_OUT),
}
