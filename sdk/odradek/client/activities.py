"""Open activities as seen from outside: completing one without its worker, and what an operator may do with one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, cast

from odradek.activity import ActivityCancellationDetails
from odradek.client.connection import Lane, Question
from odradek.client.errors import AsyncActivityCancelledError
from odradek.client.handle import UNSET
from odradek.client.interceptor import (
    CompleteAsyncActivityInput,
    ControlActivityInput,
    FailAsyncActivityInput,
    HeartbeatAsyncActivityInput,
    ReportCancellationAsyncActivityInput,
)
from odradek.client.refusals import expect, payload_too_large
from odradek.common.identifiers import checked_id
from odradek.common.standalone import workflow_id_of
from odradek.converter import ActivitySerializationContext, DataConverter
from odradek.schemas.records import Accepted, Payload, Refused, ReportActivity, Request
from odradek.service import NO_RPC_METADATA, RpcMetadata

if TYPE_CHECKING:
    from odradek.client.client import Client

STOPPED: Final = "ODR-116"


@dataclass(frozen=True)
class AsyncActivityIDReference:
    """An activity by its IDs; without ``run_id`` that of the current run, without ``workflow_id`` a standalone one."""

    workflow_id: str | None
    run_id: str | None
    activity_id: str


class AsyncActivityHandle:
    """Reports for an activity that has called ``activity.raise_complete_async``; usable from any process.

    Every method returns once what it says is durable. Raises ``RPCError`` with NOT_FOUND for an activity that nobody
    waits for any more, ``AsyncActivityCancelledError`` at a heartbeat when it should end.
    """

    def __init__(
        self,
        client: Client,
        id_or_token: AsyncActivityIDReference | bytes,
        data_converter_override: DataConverter | None = None,
    ) -> None:
        self._client = client
        self._id_or_token = id_or_token
        self._converter = data_converter_override

    async def heartbeat(
        self, *details: Any, rpc_timeout: timedelta | None = None, rpc_metadata: RpcMetadata = NO_RPC_METADATA
    ) -> None:
        """Say that it is alive; the next attempt finds the last ``details``."""
        await self._client.outbound.heartbeat_async_activity(
            HeartbeatAsyncActivityInput(
                id_or_token=self._id_or_token,
                details=details,
                rpc_timeout=rpc_timeout,
                data_converter_override=self._converter,
            )
        )

    async def complete(
        self, result: Any = UNSET, *, rpc_timeout: timedelta | None = None, rpc_metadata: RpcMetadata = NO_RPC_METADATA
    ) -> None:
        """The activity has this result; none at all is None."""
        await self._client.outbound.complete_async_activity(
            CompleteAsyncActivityInput(
                id_or_token=self._id_or_token,
                result=None if result is UNSET else result,
                rpc_timeout=rpc_timeout,
                data_converter_override=self._converter,
            )
        )

    async def fail(
        self,
        error: Exception,
        *,
        last_heartbeat_details: Sequence[Any] = (),
        rpc_timeout: timedelta | None = None,
        rpc_metadata: RpcMetadata = NO_RPC_METADATA,
    ) -> None:
        """The attempt has failed; whether there is another one is for the retry policy to say."""
        await self._client.outbound.fail_async_activity(
            FailAsyncActivityInput(
                id_or_token=self._id_or_token,
                error=error,
                last_heartbeat_details=last_heartbeat_details,
                rpc_timeout=rpc_timeout,
                data_converter_override=self._converter,
            )
        )

    async def report_cancellation(
        self, *details: Any, rpc_timeout: timedelta | None = None, rpc_metadata: RpcMetadata = NO_RPC_METADATA
    ) -> None:
        """The activity has ended because it was asked to."""
        await self._client.outbound.report_cancellation_async_activity(
            ReportCancellationAsyncActivityInput(
                id_or_token=self._id_or_token,
                details=details,
                rpc_timeout=rpc_timeout,
                data_converter_override=self._converter,
            )
        )


@dataclass(frozen=True, slots=True)
class Target:
    """Where a report goes."""

    namespace: str
    workflow_id: str
    run_id: str | None
    seq: int = -1
    activity_id: str = ""
    attempt: int = 0

    @staticmethod
    def of(client: Client, id_or_token: AsyncActivityIDReference | bytes) -> Target:
        """Raises ``ValueError`` for bytes that are no token."""
        if isinstance(id_or_token, AsyncActivityIDReference):
            run_id, activity_id = id_or_token.run_id, id_or_token.activity_id
            given = id_or_token.workflow_id
            workflow_id = workflow_id_of(activity_id) if given is None else checked_id(given)
            return Target(client.namespace, workflow_id, run_id, activity_id=activity_id)
        try:
            namespace, workflow_id, run_id, _, seq, attempt, _ = json.loads(id_or_token)
            return Target(str(namespace), str(workflow_id), str(run_id), int(seq), "", int(attempt))
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"ODR-117: {id_or_token[:80]!r} is no task token: take it from activity.info().task_token, as it stands"
            ) from error


def converter_of(client: Client, report: Any) -> DataConverter:
    """For what a report says: the one that the caller named, or the client's, for this activity."""
    if report.data_converter_override is not None:
        return cast("DataConverter", report.data_converter_override)
    if not client.data_converter.takes_context:
        return client.data_converter
    target = Target.of(client, report.id_or_token)
    activity_id = target.activity_id or str(target.seq)
    return client.data_converter.with_context(
        ActivitySerializationContext(target.namespace, activity_id, None, None, target.workflow_id, None)
    )


async def report(
    client: Client,
    id_or_token: AsyncActivityIDReference | bytes,
    kind: str,
    rpc_timeout: timedelta | None,
    *,
    result: Payload | None = None,
    failure: Any = None,
    details: Sequence[Payload] = (),
) -> None:
    """Say it and wait until it is durable."""
    target = Target.of(client, id_or_token)
    lane = await client.connection.lane(target.namespace)
    for payload in (*details, *([result] if result else ())):
        if len(payload.data) > lane.policy.payload_bytes_max:
            what = f"what is reported of activity {target.activity_id or target.seq}"
            raise payload_too_large(target.workflow_id, what, len(payload.data), lane.policy.payload_bytes_max)
    timeout, request = _request(client, lane, rpc_timeout)
    body = ReportActivity(
        request, target.run_id, kind, target.seq, target.activity_id, target.attempt, result, failure, details
    )
    answer = await lane.ask(Question(target.workflow_id, body, timeout))
    if isinstance(answer, Refused) and answer.code == STOPPED:
        paused = answer.status == "paused"
        raise AsyncActivityCancelledError(ActivityCancellationDetails(cancel_requested=not paused, paused=paused))
    expect(Accepted, answer, target.workflow_id, body)


async def control(client: Client, input: ControlActivityInput) -> None:
    lane = await client.connection.lane(client.namespace)
    timeout, request = _request(client, lane, input.rpc_timeout)
    body = replace(input.control, request=request)
    answer = await lane.ask(Question(checked_id(input.id), body, timeout))
    expect(Accepted, answer, input.id, body)


def _request(client: Client, lane: Lane, rpc_timeout: timedelta | None) -> tuple[float, Request]:
    timeout = lane.policy.rpc_timeout_seconds if rpc_timeout is None else rpc_timeout.total_seconds()
    return timeout, lane.request(client.identity, timeout_seconds=timeout)
