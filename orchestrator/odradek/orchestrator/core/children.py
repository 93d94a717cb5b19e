"""What a run says to other workflows: messages, starts of children, and at its end to its children and its parent.

Everything here follows from the run's events, so a message that is made again, by whoever owns the run then, is the
same message; its receiver takes it in once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from odradek.orchestrator.core.effects import SendMessage
from odradek.orchestrator.core.run import MESSAGE_LIFETIME_MS, Child, Run
from odradek.orchestrator.core.successors import derived_run_id
from odradek.schemas import records as r
from odradek.schemas.records import FailureKind, RunStatus

PARENT_CLOSED: Final = 1 << 40
"""Added to a child's number: the number of the message that tells it of its parent's end. Nobody awaits its answer."""


def child_run_id(parent_run_id: str, number: int) -> str:
    """The run that a child's start begins: its parent knows it, and two owners of the child mean the same one."""
    return derived_run_id(parent_run_id, number)


def parent_of(run: Run) -> r.ParentLink | None:
    lineage = run.started.lineage if run.started else None
    return lineage.parent if lineage else None


def message(run: Run, namespace: str, number: int, now_ms: int) -> SendMessage:
    """The message of this number, which has no answer yet."""
    sent = run.messages.get(number)
    if sent is None:
        return _start(run, namespace, run.children[number].scheduled, now_ms)
    origin = r.MessageOrigin(namespace, run.workflow_id, run.run_id, number, sent.expires_ms)
    body: r.InboxBody
    if sent.name is None:
        body = r.CancelWorkflow(sent.reason, sent.run_id, origin=origin)
    else:
        body = r.SignalWorkflow(sent.name, sent.input, sent.headers, sent.run_id, origin=origin)
    return SendMessage(workflow_id=sent.workflow_id, record=r.InboxRecord(now_ms, body), namespace=sent.namespace)


def answer(now_ms: int, origin: r.MessageOrigin, refusal: r.Refused | None, started: str | None = None) -> SendMessage:
    """To a message's sender; ``refusal`` None: it was taken in."""
    failure = None
    if refusal is not None:
        failure = r.Failure(FailureKind.APPLICATION, refusal.message, refusal.code, non_retryable=True)
    body = r.MessageAnswer(origin.run_id, origin.number, failure, started)
    return SendMessage(workflow_id=origin.workflow_id, record=r.InboxRecord(now_ms, body), namespace=origin.namespace)


def closing_messages(run: Run, namespace: str, outcome: r.RunOutcome, now_ms: int) -> list[SendMessage]:
    """What a run that has closed still owes others.

    Messages without an answer once more: the owner that sent them may have died on it. To each open child what its
    parent close policy says. To the parent the result, unless a successor goes on.
    """
    messages = [message(run, namespace, number, now_ms) for number in run.unanswered()]
    if run.children:
        messages += _to_children(run, namespace, now_ms)
    parent = parent_of(run)
    if parent is not None and getattr(run.closing, "next", None) is None:
        body = r.ChildResult(parent.run_id, parent.number, run.run_id, outcome.status, outcome.result, outcome.failure)
        to = SendMessage(workflow_id=parent.workflow_id, record=r.InboxRecord(now_ms, body), namespace=parent.namespace)
        messages.append(to)
    return messages


def _to_children(run: Run, namespace: str, now_ms: int) -> Iterator[SendMessage]:
    assert run.closed_ms is not None
    reason = f'parent workflow "{run.workflow_id}" (run {run.run_id}) has closed: {run.status}'
    for number, child in run.children.items():
        scheduled, run_id = child.scheduled, child_run_id(run.run_id, number)
        expires_ms = run.closed_ms + MESSAGE_LIFETIME_MS
        origin = r.MessageOrigin(namespace, run.workflow_id, run.run_id, PARENT_CLOSED + number, expires_ms)
        body: r.InboxBody
        match scheduled.parent_close_policy:
            case "terminate":
                body = r.TerminateWorkflow(None, reason, (), run_id, origin)
            case "request-cancel":
                body = r.CancelWorkflow(reason, run_id, origin=origin)
            case _:
                continue
        record = r.InboxRecord(now_ms, body)
        yield SendMessage(workflow_id=scheduled.workflow_id, record=record, namespace=scheduled.namespace)


def _start(run: Run, namespace: str, child: r.ChildScheduled, now_ms: int) -> SendMessage:
    parent = parent_of(run)
    root = (parent.root_workflow_id, parent.root_run_id) if parent else (run.workflow_id, run.run_id)
    terminate = child.id_reuse_policy == "terminate-if-running"
    body = r.StartWorkflow(
        r.Request(f"{run.run_id}/{child.seq}", child.expires_ms, "", -1),
        child.workflow_type,
        child.task_queue,
        child.input,
        child.headers,
        child.execution_timeout_ms,
        child.run_timeout_ms,
        child.task_timeout_ms,
        child.retry_policy,
        child.id_reuse_policy,
        "terminate-existing" if terminate else "fail",
        child.memo,
        child.search_attributes,
        static_summary=child.static_summary,
        static_details=child.static_details,
        cron_schedule=child.cron_schedule,
        origin=r.MessageOrigin(namespace, run.workflow_id, run.run_id, child.seq, child.expires_ms),
        parent=r.ParentLink(namespace, run.workflow_id, run.run_id, child.seq, *root),
        priority=child.priority,
    )
    return SendMessage(workflow_id=child.workflow_id, record=r.InboxRecord(now_ms, body), namespace=child.namespace)


def closed(child: Child, namespace: str, result: r.ChildResult) -> r.ChildClosed:
    """The event of a child's end; a failure says which child it was."""
    scheduled, failure = child.scheduled, result.failure
    if result.status != RunStatus.COMPLETED:
        attributes = {
            "namespace": scheduled.namespace or namespace,
            "workflow_id": scheduled.workflow_id,
            "run_id": result.child_run_id,
            "workflow_type": scheduled.workflow_type,
            "retry_state": _retry_state(scheduled, result),
        }
        failure = r.Failure(
            FailureKind.CHILD_WORKFLOW, "Child Workflow execution failed", attributes=attributes, cause=failure
        )
    return r.ChildClosed(result.number, result.status, result.result, failure)


def _retry_state(scheduled: r.ChildScheduled, result: r.ChildResult) -> str:
    failure = result.failure
    match result.status:
        case RunStatus.TIMED_OUT:
            return "timeout"
        case RunStatus.CANCELLED:
            return "cancel-requested"
        case _ if failure is not None and (failure.non_retryable or result.status == RunStatus.TERMINATED):
            return "non-retryable-failure"
    policy = scheduled.retry_policy
    if policy is None:
        return "retry-policy-not-set"
    if failure is not None and failure.type in policy.non_retryable_error_types:
        return "non-retryable-failure"
    return "maximum-attempts-reached"
