"""Typed records over the Avro schemas: what stands in every topic of a namespace.

A field here is a field there, in the same order (a test compares them). Times are milliseconds since 1970 in UTC.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar, dataclass_transform

SCHEMA_VERSION = 1
"""The newest schema version that this build reads, and the one it writes once the namespace's feature level allows."""

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def record(cls: type[T]) -> type[T]:
    """A slotted dataclass that type checkers see as frozen; freezing at run time would triple the cost of making it."""
    return dataclass(slots=True)(cls)


class RunStatus(StrEnum):
    """Where a run stands. Everything but RUNNING is final."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TERMINATED = "terminated"
    TIMED_OUT = "timed-out"
    CONTINUED_AS_NEW = "continued-as-new"
    REFUSED = "refused"
    """A start request that was refused; kept so that the refusal stands in the log."""


class FailureKind(StrEnum):
    """Which exception a failure becomes."""

    APPLICATION = "application"
    ACTIVITY = "activity"
    CHILD_WORKFLOW = "child-workflow"
    CANCELLED = "cancelled"
    TERMINATED = "terminated"
    TIMEOUT = "timeout"
    SERVER = "server"


# ---------------------------------------------------------------------------------------------------- shared parts


@record
class Payload:
    """One value as bytes. ``encoding`` says how to read ``data``; a codec may add ``metadata``."""

    encoding: str
    data: bytes
    metadata: dict[str, bytes] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Without the data: records are shown in logs and tracebacks, and values have no business there."""
        return f"Payload({self.encoding!r}, <{len(self.data)} bytes>, {self.metadata!r})"


@record
class Failure:
    """An exception as data."""

    kind: str
    message: str
    type: str | None = None
    stack_trace: str = ""
    non_retryable: bool = False
    details: Sequence[Payload] = ()
    next_retry_delay_ms: int | None = None
    timeout_type: str | None = None
    category: str = ""
    attributes: dict[str, str] = field(default_factory=dict)
    """Facts of an activity's or child's failure: activity_type, activity_id, worker, retry_state, …"""
    encoded: Payload | None = None
    """Message and stack trace, when a failure converter hides them."""
    cause: Failure | None = None


@record
class RetryPolicy:
    initial_interval_ms: int = 1000
    backoff_coefficient: float = 2.0
    maximum_interval_ms: int | None = None
    maximum_attempts: int = 0
    non_retryable_error_types: Sequence[str] = ()


@record
class Request:
    """Who asks, and where the answer goes. ``reply_partition`` -1: no answer is wanted."""

    id: str
    expires_ms: int
    recipient: str
    reply_partition: int
    identity: str = ""


@record
class RequestSeen:
    """A request that has been taken in, remembered until it expires."""

    id: str
    expires_ms: int


@record
class MessageOrigin:
    """The run that sent a message to another workflow, and its number there."""

    namespace: str
    workflow_id: str
    run_id: str
    number: int
    expires_ms: int


@record
class MessagesSeen:
    """Numbers of messages taken in from one source run, as pairs first, last."""

    run_id: str
    ranges: Sequence[int]
    expires_ms: int


@record
class ParentLink:
    """The run that started this one as its child, and its number there. ``root`` began the whole tree."""

    namespace: str
    workflow_id: str
    run_id: str
    number: int
    root_workflow_id: str
    root_run_id: str


@record
class TaskPriority:
    """Which of the tasks that wait in a queue comes first. 0 and empty: as the workflow has it, else the default."""

    key: int = 0
    """1 is the most urgent, 3 the default."""
    fairness_key: str = ""
    fairness_weight: float = 0.0


@record
class ActivityTimeouts:
    schedule_to_close_ms: int | None = None
    schedule_to_start_ms: int | None = None
    start_to_close_ms: int | None = None
    heartbeat_ms: int | None = None


# ---------------------------------------------------------------------------------------------------- <ns>.inbox


@record
class StartWorkflow:
    request: Request
    workflow_type: str
    task_queue: str
    input: Sequence[Payload] = ()
    headers: dict[str, Payload] = field(default_factory=dict)
    execution_timeout_ms: int | None = None
    run_timeout_ms: int | None = None
    task_timeout_ms: int | None = None
    retry_policy: RetryPolicy | None = None
    id_reuse_policy: str = "allow-duplicate"
    id_conflict_policy: str = "fail"
    memo: dict[str, Payload] = field(default_factory=dict)
    search_attributes: dict[str, Payload] = field(default_factory=dict)
    start_delay_ms: int | None = None
    wait_result: bool = False
    """Also answer with the run's result once it closes."""
    static_summary: str = ""
    static_details: str = ""
    cron_schedule: str = ""
    signal: SignalWorkflow | None = None
    """Taken in with the start; an open run takes it in alone."""
    update: UpdateWorkflow | None = None
    """Taken in with the start, or by the open run that the conflict policy is content with."""
    origin: MessageOrigin | None = None
    """Set when a workflow starts a child; the request's ID is then made of it, and the answer goes there."""
    parent: ParentLink | None = None
    priority: TaskPriority | None = None
    version: str = ""
    """Of the code, to begin on; empty: the newest."""


@record
class SignalWorkflow:
    name: str
    input: Sequence[Payload] = ()
    headers: dict[str, Payload] = field(default_factory=dict)
    run_id: str | None = None
    request: Request | None = None
    origin: MessageOrigin | None = None
    """Exactly one of ``request`` (from a client) and ``origin`` (from a workflow) is set."""


@record
class QueryWorkflow:
    request: Request
    name: str
    input: Sequence[Payload] = ()
    headers: dict[str, Payload] = field(default_factory=dict)
    run_id: str | None = None
    reject_condition: str = "none"
    consistent: bool = False


@record
class UpdateWorkflow:
    """``run_id`` names a run, or the first of its chain. An update ID counts once per run."""

    request: Request
    update_id: str
    name: str
    input: Sequence[Payload] = ()
    headers: dict[str, Payload] = field(default_factory=dict)
    run_id: str | None = None
    wait_completed: bool = False
    """Answer when the handler has ended, not when the update is accepted."""


@record
class AwaitUpdate:
    """Asks for the outcome of an update that was sent before."""

    request: Request
    update_id: str
    run_id: str | None = None
    wait_completed: bool = True


@record
class CancelWorkflow:
    reason: str = ""
    run_id: str | None = None
    request: Request | None = None
    origin: MessageOrigin | None = None


@record
class TerminateWorkflow:
    """Exactly one of ``request`` and ``origin`` (a parent that has closed) is set."""

    request: Request | None = None
    reason: str = ""
    details: Sequence[Payload] = ()
    run_id: str | None = None
    origin: MessageOrigin | None = None


@record
class AwaitResult:
    request: Request
    run_id: str | None = None


@record
class DescribeWorkflow:
    request: Request
    run_id: str | None = None


@record
class FetchHistory:
    """Asks for events ``first_event`` and on, as many as fit one answer."""

    request: Request
    run_id: str | None = None
    first_event: int = 0


@record
class ActivityStarted:
    """A worker holds this attempt; sent when an attempt lasts longer than about a second."""

    run_id: str
    seq: int
    attempt: int
    worker: str
    started_ms: int
    detached: bool = False
    """It goes on without a worker: somebody will report its end (``ReportActivity``)."""


@record
class ActivityHeartbeat:
    run_id: str
    seq: int
    attempt: int
    worker: str
    started_ms: int
    details: Sequence[Payload] = ()


@record
class ActivityResult:
    """How an attempt ended: with ``failure`` None it succeeded."""

    run_id: str
    seq: int
    attempt: int
    worker: str
    started_ms: int
    result: Payload | None = None
    failure: Failure | None = None


@record
class ReportActivity:
    """What somebody who is no worker says of an activity: of its attempt ``attempt``, or of the current one (0)."""

    request: Request
    run_id: str | None
    kind: str
    """heartbeat, completed, failed or cancelled"""
    seq: int = -1
    activity_id: str = ""
    """Where ``seq`` is -1."""
    attempt: int = 0
    result: Payload | None = None
    failure: Failure | None = None
    details: Sequence[Payload] = ()


@record
class ActivityOptions:
    """What an operator has changed of an open activity."""

    task_queue: str
    timeouts: ActivityTimeouts
    retry_policy: RetryPolicy
    priority: TaskPriority | None = None


@record
class ControlActivity:
    """What an operator wants of the open activities of a run: of one, of a type, or (both empty) of all."""

    request: Request
    run_id: str | None
    action: str
    """pause, unpause, reset or change"""
    activity_id: str = ""
    activity_type: str = ""
    reason: str = ""
    reset_attempts: bool = False
    reset_heartbeat: bool = False
    keep_paused: bool = False
    jitter_ms: int = 0
    options: ActivityOptions | None = None
    changed: Sequence[str] = ()
    """Which of ``options`` are meant, by the names of the fields (``timeouts.heartbeat_ms``)."""


@record
class EraseWorkflow:
    """Of all closed runs of this ID nothing may be kept that says what they were about."""

    request: Request


@record
class MessageAnswer:
    """The answer to a message that this run sent to another workflow: ``failure`` None means taken in."""

    run_id: str
    number: int
    failure: Failure | None = None
    started_run_id: str | None = None
    """The run that a start began."""


@record
class ChildResult:
    """A child that this run started has closed for good, and no run of its chain follows."""

    run_id: str
    number: int
    child_run_id: str
    status: str
    result: Payload | None = None
    failure: Failure | None = None


InboxBody = (
    StartWorkflow
    | SignalWorkflow
    | QueryWorkflow
    | CancelWorkflow
    | TerminateWorkflow
    | AwaitResult
    | DescribeWorkflow
    | FetchHistory
    | ActivityStarted
    | ActivityHeartbeat
    | ActivityResult
    | MessageAnswer
    | UpdateWorkflow
    | AwaitUpdate
    | ChildResult
    | ReportActivity
    | ControlActivity
    | EraseWorkflow
)


@record
class InboxRecord:
    """Anything addressed to a workflow; the record's key is the workflow ID."""

    sent_ms: int
    body: InboxBody
    schema_version: int = SCHEMA_VERSION


# ---------------------------------------------------------------------------------------------------- events


@record
class RunStarted:
    workflow_type: str
    task_queue: str
    first_run_id: str
    attempt: int = 1
    input: Sequence[Payload] = ()
    headers: dict[str, Payload] = field(default_factory=dict)
    request: RequestSeen | None = None
    identity: str = ""
    execution_timeout_ms: int | None = None
    run_timeout_ms: int | None = None
    task_timeout_ms: int | None = None
    retry_policy: RetryPolicy | None = None
    memo: dict[str, Payload] = field(default_factory=dict)
    search_attributes: dict[str, Payload] = field(default_factory=dict)
    start_delay_ms: int | None = None
    static_summary: str = ""
    static_details: str = ""
    version: str = ""
    """Of the workflow's code, where it names one: this run stays on it."""
    cron_schedule: str = ""
    signals: Sequence[SignalReceived] = ()
    """Taken in with the start: their handlers begin before the main method."""
    update: UpdateAccepted | None = None
    """Taken in with the start, as the signals."""
    lineage: Lineage | None = None
    """Set unless a client began this run afresh."""
    priority: TaskPriority | None = None


@record
class Lineage:
    """What a run has of the run before it in its chain, and of its parent."""

    continued_run_id: str | None = None
    execution_started_ms: int | None = None
    """When the first run of the chain began; None: this is the first."""
    last_result: Payload | None = None
    """Of the last run of the chain that completed."""
    last_failure: Failure | None = None
    """Of the run before, if it failed."""
    parent: ParentLink | None = None


@record
class Successor:
    """The run that follows one of the same ID: it exists through the closing event that names it."""

    run_id: str
    started: RunStarted


@record
class RequestJoined:
    """A request that this run took in, and that no other event tells of: a start that was content with it, a report."""

    request: RequestSeen


@record
class RequestRefused:
    request: RequestSeen
    code: str
    message: str


@record
class SignalReceived:
    name: str
    input: Sequence[Payload] = ()
    headers: dict[str, Payload] = field(default_factory=dict)
    request: RequestSeen | None = None
    origin: MessageOrigin | None = None
    identity: str = ""


@record
class UpdateAccepted:
    """An update that its validator let pass; its handler runs."""

    update_id: str
    name: str
    input: Sequence[Payload] = ()
    headers: dict[str, Payload] = field(default_factory=dict)
    request: RequestSeen | None = None
    identity: str = ""


@record
class UpdateRejected:
    """An update that its validator, or its input, did not let pass: its code never saw it."""

    update_id: str
    name: str
    failure: Failure
    request: RequestSeen | None = None


@record
class UpdateCompleted:
    update_id: str
    result: Payload | None = None
    failure: Failure | None = None


@record
class CancelRequested:
    reason: str = ""
    request: RequestSeen | None = None
    origin: MessageOrigin | None = None


@record
class ActivityScheduled:
    seq: int
    activity_id: str
    activity_type: str
    task_queue: str
    input: Sequence[Payload] = ()
    headers: dict[str, Payload] = field(default_factory=dict)
    timeouts: ActivityTimeouts = field(default_factory=ActivityTimeouts)
    retry_policy: RetryPolicy = field(default_factory=RetryPolicy)
    cancellation_type: str = "try-cancel"
    summary: str = ""
    priority: TaskPriority | None = None


@record
class ActivityCompleted:
    seq: int
    result: Payload | None
    attempt: int
    started_ms: int
    worker: str
    last_failure: Failure | None = None


@record
class ActivityFailed:
    """The activity is over without a result: failed, timed out or cancelled, as ``failure.kind`` says."""

    seq: int
    failure: Failure
    attempt: int
    retry_state: str
    started_ms: int | None = None
    worker: str = ""


@record
class ActivityCancelRequested:
    seq: int


@record
class TimerStarted:
    seq: int
    due_ms: int
    summary: str = ""


@record
class TimerFired:
    seq: int


@record
class TimerCancelled:
    seq: int


@record
class MessageSent:
    """A signal or a cancel request to another workflow; ``name`` None is a cancel request."""

    seq: int
    workflow_id: str
    run_id: str | None
    name: str | None
    expires_ms: int
    input: Sequence[Payload] = ()
    headers: dict[str, Payload] = field(default_factory=dict)
    reason: str = ""
    namespace: str = ""
    """Empty: this one."""


@record
class MessageAnswered:
    seq: int
    failure: Failure | None = None


@record
class ChildScheduled:
    """A child is to be started; its run ID follows from this run's and ``seq``."""

    seq: int
    workflow_id: str
    workflow_type: str
    task_queue: str
    expires_ms: int
    namespace: str = ""
    """Empty: this one."""
    input: Sequence[Payload] = ()
    headers: dict[str, Payload] = field(default_factory=dict)
    execution_timeout_ms: int | None = None
    run_timeout_ms: int | None = None
    task_timeout_ms: int | None = None
    retry_policy: RetryPolicy | None = None
    id_reuse_policy: str = "allow-duplicate"
    parent_close_policy: str = "terminate"
    cancellation_type: str = "wait-cancellation-completed"
    cron_schedule: str = ""
    memo: dict[str, Payload] = field(default_factory=dict)
    search_attributes: dict[str, Payload] = field(default_factory=dict)
    static_summary: str = ""
    static_details: str = ""
    priority: TaskPriority | None = None


@record
class ChildStarted:
    seq: int
    run_id: str


@record
class ChildStartFailed:
    seq: int
    failure: Failure


@record
class ChildClosed:
    """The child is over, with all runs of its chain; without a failure it completed."""

    seq: int
    status: str
    result: Payload | None = None
    failure: Failure | None = None


@record
class StepEnded:
    """A durable step ran in the orchestrator's process; nothing is recorded before it ends."""

    seq: int
    name: str
    result: Payload | None
    attempt: int
    started_ms: int
    failure: Failure | None = None


@record
class VersionMarked:
    """The code took this side of a change; a replay takes it again."""

    change_id: str
    version: int


@record
class VersionTaken:
    """From the next input on, the run goes on with this version of its type's code."""

    version: str


@record
class SearchAttributesUpserted:
    """A value of encoding ``null`` takes the attribute away."""

    search_attributes: dict[str, Payload]


@record
class MemoUpserted:
    """A value of encoding ``null`` takes the field away."""

    memo: dict[str, Payload]


@record
class DeferredApplied:
    """The oldest input that was recorded while the run was parked reaches its code now."""

    remaining: int


@record
class RunCompleted:
    result: Payload | None = None
    next: Successor | None = None
    """The next run of a cron schedule."""


@record
class RunFailed:
    failure: Failure
    next: Successor | None = None
    """The retry, or the next run of a cron schedule."""


@record
class RunContinued:
    """Continue-as-new: the same ID goes on in a new run with an empty history."""

    next: Successor


@record
class RunCancelled:
    details: Sequence[Payload] = ()


@record
class RunTerminated:
    reason: str
    details: Sequence[Payload] = ()
    request: RequestSeen | None = None
    identity: str = ""


@record
class RunTimedOut:
    timeout_type: str
    next: Successor | None = None


EventBody = (
    RunStarted
    | RequestJoined
    | RequestRefused
    | SignalReceived
    | CancelRequested
    | ActivityScheduled
    | ActivityCompleted
    | ActivityFailed
    | ActivityCancelRequested
    | TimerStarted
    | TimerFired
    | TimerCancelled
    | MessageSent
    | MessageAnswered
    | DeferredApplied
    | RunCompleted
    | RunFailed
    | RunCancelled
    | RunTerminated
    | RunTimedOut
    | UpdateAccepted
    | UpdateRejected
    | UpdateCompleted
    | ChildScheduled
    | ChildStarted
    | ChildStartFailed
    | ChildClosed
    | StepEnded
    | VersionMarked
    | SearchAttributesUpserted
    | MemoUpserted
    | RunContinued
    | VersionTaken
)


@record
class Event:
    """One event of a run; ``n`` is the number of the transition that it belongs to."""

    n: int
    time_ms: int
    body: EventBody
    deferred: bool = False
    """An input that was recorded while the run was parked; ``DeferredApplied`` says when its code saw it."""


# ---------------------------------------------------------------------------------------------------- <ns>.history


@record
class Claim:
    """A process takes this partition; the claim's offset is its number."""

    owner: str
    time_ms: int


@record
class Chunk:
    """The events of one chunk of a run so far. ``events`` is last so that encoded events can be joined as bytes."""

    n: int
    number: int
    sealed: bool
    previous_claim: int
    inbox_offset: int
    first_event: int
    status: str
    continues: bool = False
    """The transition n goes on in the next chunk, and counts only when its last chunk is there."""
    awaits_steps: bool = False
    """The code waits for steps of the owner's process: who takes over runs them again."""
    due_ms: int = 0
    """Unless an input comes, nothing is to be done about the run before then; 0: a new owner has to look at it."""
    events: Sequence[Event] = ()


@record
class Holder:
    worker: str
    started_ms: int


@record
class Progress:
    """An open activity between its attempts; ``n`` counts the changes."""

    n: int
    attempt: int
    attempt_scheduled_ms: int
    retry_at_ms: int | None = None
    dispatched_ms: int | None = None
    holders: Sequence[Holder] = ()
    last_failure: Failure | None = None
    heartbeat_ms: int | None = None
    heartbeat_details: Sequence[Payload] = ()
    cancel_requested: bool = False
    workers_lost: int = 0
    """How many workers were lost in attempts in succession."""
    attempts_before: int = 0
    """Of the attempts so far, those that a reset has made not count."""
    paused_ms: int | None = None
    paused_why: str = ""
    options: ActivityOptions | None = None


@record
class Mark:
    """Carries the watermarks when nothing else is being written; number 0: the claim ends in order."""

    number: int


@record
class Checkpoint:
    time_ms: int


@record
class ArchivePart:
    partition: int
    offset: int


@record
class Summary:
    """What is remembered of a closed run, and of a refused start."""

    status: str
    workflow_type: str
    task_queue: str
    first_run_id: str
    started_ms: int
    closed_ms: int
    n: int
    inbox_offset: int
    event_count: int
    expires_ms: int
    result: Payload | None = None
    failure: Failure | None = None
    requests: Sequence[RequestSeen] = ()
    refusals: Sequence[RequestRefused] = ()
    messages: Sequence[MessagesSeen] = ()
    archive: Sequence[ArchivePart] = ()
    memo: dict[str, Payload] = field(default_factory=dict)
    search_attributes: dict[str, Payload] = field(default_factory=dict)
    next_run_id: str | None = None
    """The run of the same ID that follows this one: continue-as-new, retry, cron."""
    version: str = ""
    parent: ParentLink | None = None


@record
class Suspect:
    """A workflow whose code is about to run after a crash, and how often its process died then, this time included."""

    crashes: int
    reason: str = ""


HistoryBody = Claim | Chunk | Progress | Mark | Checkpoint | Summary | Suspect


@record
class HistoryRecord:
    """``claim`` is 0 in a claim itself. ``v``, ``x`` and ``y`` are the watermarks of the acknowledged prefix."""

    claim: int
    v: int
    x: int
    y: int
    body: HistoryBody
    schema_version: int = SCHEMA_VERSION


# ---------------------------------------------------------------------------------------------------- other topics


@record
class ArchiveRecord:
    """The history of a closed run, in parts when large; ``events`` is last for the same reason as in a chunk."""

    workflow_id: str
    run_id: str
    workflow_type: str
    status: str
    part: int
    parts: int
    first_event: int
    schema_version: int = SCHEMA_VERSION
    events: Sequence[Event] = ()


@record
class TaskRecord:
    """One attempt of an activity. The answer goes to ``inbox_partition`` of ``namespace`` under the workflow ID."""

    namespace: str
    workflow_id: str
    run_id: str
    workflow_type: str
    inbox_partition: int
    seq: int
    attempt: int
    activity_id: str
    activity_type: str
    task_queue: str
    scheduled_ms: int
    attempt_scheduled_ms: int
    expires_ms: int
    input: Sequence[Payload] = ()
    headers: dict[str, Payload] = field(default_factory=dict)
    timeouts: ActivityTimeouts = field(default_factory=ActivityTimeouts)
    retry_policy: RetryPolicy = field(default_factory=RetryPolicy)
    heartbeat_details: Sequence[Payload] = ()
    priority: TaskPriority | None = None
    attempts_before: int = 0
    """Of ``attempt``, those that do not count any more."""
    schema_version: int = SCHEMA_VERSION


@record
class Accepted:
    """The request's transition is durable."""

    run_id: str
    already: bool = False
    """The run existed before this request (conflict policy use-existing)."""


@record
class RunOutcome:
    run_id: str
    status: str
    result: Payload | None = None
    failure: Failure | None = None
    next_run_id: str | None = None


@record
class UpdateOutcome:
    """How far an update has come: ``completed`` False means accepted."""

    run_id: str
    update_id: str
    completed: bool
    result: Payload | None = None
    failure: Failure | None = None


@record
class QueryAnswer:
    result: Payload | None = None
    failure: Failure | None = None


@record
class Refused:
    """``code`` is one of ODR-…; ``run_id`` names the run that the refusal is about, if there is one."""

    code: str
    message: str
    run_id: str | None = None
    status: str | None = None


@record
class Wait:
    """Something that a run waits for."""

    kind: str
    """timer, activity, child, step, message or condition"""
    name: str
    seq: int
    due_ms: int | None = None
    state: str = ""
    """of an activity: dispatched, queue-paused, started, backing-off, cancel-requested, paused"""
    attempt: int = 0
    worker: str = ""
    last_failure: Failure | None = None
    heartbeat_details: Sequence[Payload] = ()
    scheduled_ms: int | None = None
    id: str = ""
    """Of an activity."""
    reason: str = ""
    """Why an activity, or the queue that it waits in, is paused."""
    options: ActivityOptions | None = None
    """Of an activity, once an operator has changed them."""
    task_queue: str = ""
    """Of an activity."""
    unserved_ms: int | None = None
    """Of a dispatched activity: for how long no worker has served its queue; None: one does, or that is not known."""


@record
class Parked:
    """Why a run cannot go on by itself, since when, and when it is tried next."""

    code: str
    message: str
    since_ms: int
    retry_at_ms: int
    failures: int


@record
class Description:
    run_id: str
    first_run_id: str
    workflow_type: str
    task_queue: str
    status: str
    started_ms: int
    closed_ms: int | None
    event_count: int
    history_bytes: int
    waits: Sequence[Wait] = ()
    parked: Parked | None = None
    memo: dict[str, Payload] = field(default_factory=dict)
    search_attributes: dict[str, Payload] = field(default_factory=dict)
    static_summary: str = ""
    static_details: str = ""
    version: str = ""
    cron_schedule: str = ""
    parent: ParentLink | None = None
    current_details: str = ""


@record
class HistoryPage:
    """Events from ``first_event`` on; ``next_event`` None: that was all for now. ``archive``: read them there."""

    run_id: str
    status: str
    first_event: int
    next_event: int | None
    events: Sequence[Event] = ()
    archive: Sequence[ArchivePart] = ()


@record
class AttemptRevoked:
    """To a worker: stop this attempt. ``reason``: cancelled, superseded, timed-out, closed, paused or reset."""

    run_id: str
    seq: int
    attempt: int
    reason: str


@record
class PartitionTaken:
    """To everybody: a new owner serves this inbox partition, and knows of nobody who waits: ask again."""

    partition: int


ReplyBody = (
    Accepted
    | RunOutcome
    | QueryAnswer
    | Refused
    | Description
    | HistoryPage
    | AttemptRevoked
    | PartitionTaken
    | UpdateOutcome
)


EVERYBODY = "*"


@record
class ReplyRecord:
    """An answer for one recipient among those that share a partition, or for ``EVERYBODY``."""

    recipient: str
    request_id: str
    body: ReplyBody
    schema_version: int = SCHEMA_VERSION


@record
class VisibilityRecord:
    """The state of one run for listing; of several for one run the highest (claim, n) counts."""

    workflow_id: str
    run_id: str
    claim: int
    n: int
    workflow_type: str
    task_queue: str
    status: str
    started_ms: int
    closed_ms: int | None = None
    parked: Parked | None = None
    memo: dict[str, Payload] = field(default_factory=dict)
    search_attributes: dict[str, Payload] = field(default_factory=dict)
    first_run_id: str = ""
    parent: ParentLink | None = None
    version: str = ""
    schema_version: int = SCHEMA_VERSION


@record
class HeldAttempt:
    """An attempt that runs in a worker."""

    workflow_id: str
    activity_id: str
    activity_type: str
    attempt: int
    started_ms: int
    namespace: str


@record
class WorkerLease:
    """A worker incarnation lives; repeated every few seconds."""

    worker: str
    identity: str
    task_queue: str
    reply_partition: int
    ended: bool = False
    namespace: str = ""
    """Of the queue; empty: the one whose topic this is in."""
    started_ms: int = 0
    build: str = ""
    """The version of this library that it runs."""
    running: int = 0
    concurrent_max: int = 0
    activity_types: Sequence[str] = ()
    """``*`` for one that takes all other names."""
    longest: Sequence[HeldAttempt] = ()
    """The attempts that have been running for longest; a few."""


@record
class Beacon:
    """An orchestrator's own sign of life beside the leases: silence is measured against it."""

    orchestrator: str


@record
class NamespaceFacts:
    """What the namespace was made with, and the newest record forms that may be written in it."""

    partitions: int
    feature_level: int
    stands_by: bool = False
    """It was restored or copied, and nobody may serve it before it is promoted."""


@record
class QueueControl:
    """What operators want of a task queue; a tombstone under its key: nothing any more."""

    task_queue: str
    paused_ms: int | None = None
    """Since when its workers begin no tasks."""
    reason: str = ""
    identity: str = ""
    """Who paused it."""
    tasks_per_second: float | None = None
    """For all workers of the queue together, in the place of what they say."""


@record
class TypeControl:
    """The code of this workflow type's runs does not run; a tombstone under its key: it does."""

    workflow_type: str
    paused_ms: int
    reason: str = ""
    identity: str = ""


@record
class WorkersRecord:
    body: WorkerLease | Beacon | NamespaceFacts | QueueControl | TypeControl
    schema_version: int = SCHEMA_VERSION


@record
class DeadLetterRecord:
    """A record that could not be taken in, with the reason and where it stood; or a note that it was sent again."""

    code: str
    reason: str
    topic: str
    partition: int
    offset: int
    time_ms: int
    key: bytes | None
    value: bytes | None
    value_bytes: int | None = None
    """How large the value was, where only its beginning is kept."""
    redriven_ms: int | None = None
    """This is no letter: the one of this topic, partition and offset was sent again then."""
    identity: str = ""
    """Who sent it again."""
    schema_version: int = SCHEMA_VERSION


@record
class DataKeyRecord:
    """The key that payloads of one workflow are encrypted with, itself encrypted; a tombstone: nobody reads them."""

    subject: str
    """A workflow ID."""
    key_id: str
    master_key_id: str
    wrapped: bytes
    created_ms: int
    schema_version: int = SCHEMA_VERSION


TopLevel = (
    InboxRecord
    | HistoryRecord
    | ArchiveRecord
    | TaskRecord
    | ReplyRecord
    | VisibilityRecord
    | WorkersRecord
    | DeadLetterRecord
    | DataKeyRecord
)
