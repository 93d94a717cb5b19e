"""The errors of requests: one that was refused, got no answer, is too large, or met a closed client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeVar

from odradek.client.errors import WorkflowQueryFailedError, WorkflowQueryRejectedError
from odradek.client.exchange import Answer, Exchange, RequestBody
from odradek.client.policy import RequestPolicy
from odradek.client.status import status_of
from odradek.exceptions import OdradekError, WorkflowAlreadyStartedError
from odradek.log.namespace import Namespace
from odradek.schemas.records import (
    AwaitResult,
    AwaitUpdate,
    CancelWorkflow,
    ControlActivity,
    DescribeWorkflow,
    EraseWorkflow,
    FetchHistory,
    QueryWorkflow,
    Refused,
    ReportActivity,
    SignalWorkflow,
    StartWorkflow,
    TerminateWorkflow,
    UpdateWorkflow,
)
from odradek.service import RPCError, RPCStatusCode

T = TypeVar("T")
_STATUSES: Final[Mapping[str, RPCStatusCode]] = {
    "ODR-100": RPCStatusCode.NOT_FOUND,
    "ODR-101": RPCStatusCode.ALREADY_EXISTS,
    "ODR-102": RPCStatusCode.NOT_FOUND,
    "ODR-103": RPCStatusCode.ALREADY_EXISTS,
    "ODR-104": RPCStatusCode.DEADLINE_EXCEEDED,
    "ODR-105": RPCStatusCode.INVALID_ARGUMENT,
    "ODR-108": RPCStatusCode.FAILED_PRECONDITION,
    "ODR-110": RPCStatusCode.FAILED_PRECONDITION,
    "ODR-115": RPCStatusCode.NOT_FOUND,
    "ODR-134": RPCStatusCode.NOT_FOUND,
    "ODR-139": RPCStatusCode.NOT_FOUND,
    "ODR-160": RPCStatusCode.FAILED_PRECONDITION,
    "ODR-252": RPCStatusCode.FAILED_PRECONDITION,
}


def refusal(refused: Refused, workflow_id: str, body: RequestBody) -> OdradekError:
    """The exception for an orchestrator's refusal."""
    if refused.code in ("ODR-101", "ODR-103") and isinstance(body, StartWorkflow):
        return WorkflowAlreadyStartedError(workflow_id, body.workflow_type, run_id=refused.run_id)
    message = refused.message if refused.message.startswith(refused.code) else f"{refused.code}: {refused.message}"
    if refused.code == "ODR-106":
        return WorkflowQueryRejectedError(status_of(refused.status))
    if refused.code == "ODR-107":
        return WorkflowQueryFailedError(message)
    return RPCError(message, _STATUSES.get(refused.code, RPCStatusCode.UNKNOWN), code=refused.code)


def expect(expected: type[T], answer: Answer, workflow_id: str, body: RequestBody) -> T:
    """The answer, if it is of this kind. Raises what a refusal stands for."""
    if isinstance(answer, expected):
        return answer
    if isinstance(answer, Refused):
        raise refusal(answer, workflow_id, body)
    raise RPCError(
        f"ODR-137: {type(answer).__name__} is no answer to {subject(workflow_id, body)}: a newer orchestrator may have "
        f"sent it. Deploy a newer client.",
        RPCStatusCode.INTERNAL,
    )


def no_answer(
    workflow_id: str, body: RequestBody, namespace: Namespace, exchange: Exchange, timeout_seconds: float | None
) -> RPCError:
    """Says what was waited for, how far it came, and what to look at."""
    where = f"(namespace {namespace.topics.namespace}, inbox partition {exchange.partition})"
    within = f"within {timeout_seconds or 0:g} s"
    about = subject(workflow_id, body)
    changes = not isinstance(body, QueryWorkflow | AwaitUpdate | AwaitResult | DescribeWorkflow | FetchHistory)
    if not exchange.durable:
        reason = exchange.error or "the log has not acknowledged it"
        later = "it may still be written and taken in" if changes else "nothing was changed"
        text = (
            f"ODR-131: {about} {where} could not be written to the inbox {within}: {reason}; {later} "
            f"(request ID {exchange.request_id}). Is the log at {namespace.log.address} reachable?"
        )
    elif isinstance(body, AwaitResult):
        text = (
            f'ODR-130: the result of workflow "{workflow_id}" {where} did not come {within}: it may still be running. '
            f"describe() tells what it waits for."
        )
    else:
        later = "the request stands in the inbox" + (" and may still be taken in" if changes else "")
        text = (
            f"ODR-130: no answer to {about} {where} {within}; {later} (request ID {exchange.request_id}). "
            f'Is an orchestrator of this namespace running? "odradek doctor" tells.'
        )
    return RPCError(text, RPCStatusCode.DEADLINE_EXCEEDED)


def payload_too_large(workflow_id: str, what: str, payload_bytes: int, payload_bytes_max: int) -> RPCError:
    return RPCError(
        f'ODR-105: {what} for workflow "{workflow_id}" takes {payload_bytes} bytes, and a payload may have '
        f"{payload_bytes_max}: pass a reference to where the data stands instead, or let a payload codec compress it. "
        f"Nothing was sent.",
        RPCStatusCode.INVALID_ARGUMENT,
    )


def record_too_large(workflow_id: str, body: RequestBody, record_bytes: int, record_bytes_max: int | None) -> RPCError:
    limit = "the topic's limit" if record_bytes_max is None else f"the namespace's limit of {record_bytes_max}"
    return RPCError(
        f"ODR-105: {subject(workflow_id, body)} makes a record of {record_bytes} bytes, above {limit}: "
        f"pass less in one request, or a reference to where the data stands. Nothing was sent.",
        RPCStatusCode.INVALID_ARGUMENT,
    )


def no_room(workflow_id: str, body: RequestBody, policy: RequestPolicy, timeout_seconds: float | None) -> RPCError:
    """Without a time limit nobody has waited: too many do already."""
    within = f" within {timeout_seconds:g} s" if timeout_seconds is not None else ""
    queue = (
        f", and {policy.waiting_max} calls wait for a place, which is waiting_max" if timeout_seconds is None else ""
    )
    return RPCError(
        f"ODR-154: {subject(workflow_id, body)} found no room{within}: this connection has "
        f"requests under way that nobody has answered yet, as many as it may ({policy.requests_max}, or "
        f"{policy.request_bytes_max} bytes; requests_max and request_bytes_max of RequestPolicy{queue}). Nothing was "
        f"sent: try again in {policy.retry_seconds:g} s, and let fewer calls run at a time.",
        RPCStatusCode.RESOURCE_EXHAUSTED,
        retry_after_seconds=policy.retry_seconds,
    )


def closed(reason: str) -> RPCError:
    return RPCError(
        f"ODR-132: this client's connection is closed: {reason}. Connect a new one. A request that was under way may "
        f"still be taken in.",
        RPCStatusCode.UNAVAILABLE,
    )


_SUBJECTS: Final[Mapping[type, str]] = {
    StartWorkflow: 'the start of {workflow} of type "{body.workflow_type}"',
    SignalWorkflow: 'signal "{body.name}" of {workflow}',
    QueryWorkflow: 'query "{body.name}" of {workflow}',
    UpdateWorkflow: 'update "{body.name}" (ID {body.update_id}) of {workflow}',
    AwaitUpdate: "the question for the outcome of update {body.update_id} of {workflow}",
    CancelWorkflow: "the request to cancel {workflow}",
    TerminateWorkflow: "the request to terminate {workflow}",
    EraseWorkflow: "the request to erase {workflow}",
    AwaitResult: "the question for the result of {workflow}",
    DescribeWorkflow: "the question for the state of {workflow}",
    FetchHistory: "the question for the history of {workflow}",
    ReportActivity: 'the report "{body.kind}" of activity {body.activity_id} (number {body.seq}) of {workflow}',
    ControlActivity: "the request to {body.action} activities {body.activity_id}{body.activity_type} of {workflow}",
}


def subject(workflow_id: str, body: RequestBody) -> str:
    """The request in words."""
    return _SUBJECTS[type(body)].format(workflow=f'workflow "{workflow_id}"', body=body)
