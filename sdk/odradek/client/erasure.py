"""Erases what is kept of a workflow: its owner what it remembers, then the listing, then the keys of its payloads."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from odradek.client.connection import Question
from odradek.client.status import WorkflowExecutionStatus
from odradek.common.identifiers import checked_id
from odradek.log.data_keys import forget_keys, keys_of
from odradek.log.namespace import Namespace, append_all, read_to_end
from odradek.schemas.errors import UnreadableRecord
from odradek.schemas.records import EraseWorkflow, VisibilityRecord
from odradek.service import RPCError, RPCStatusCode

if TYPE_CHECKING:
    from odradek.client.client import Client

_OPEN: Final = "ODR-252"
_NEEDED: Final = "ODR-257"
_LOOK_SECONDS: Final = 0.2
_ENDING_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Erased:
    """What went. Numbers of 0: it had been erased before, or there was nothing."""

    listed: int
    """Records of listings."""
    keys: int
    """Keys of payloads; without the codec that makes them there are none."""


async def erase(
    client: Client,
    workflow_id: str,
    *,
    terminate: bool,
    despite_parent: bool,
    reason: str,
    rpc_timeout: timedelta | None,
) -> Erased:
    """As ``Client.erase_workflow``."""
    from odradek.client.outbound import WireOutbound

    wire = WireOutbound(client)
    lane = await wire._lane()
    timeout = wire._timeout(lane, rpc_timeout)
    keys = [] if despite_parent else await asyncio.to_thread(keys_of, lane.namespace, workflow_id)
    if keys:
        await _check_parent(client, workflow_id, rpc_timeout)
    if terminate:
        await _terminate(client, workflow_id, reason, rpc_timeout)
    deadline = time.monotonic() + _ENDING_SECONDS
    while True:
        body = EraseWorkflow(wire._request(lane, True, timeout))
        try:
            await wire._change(lane, Question(checked_id(workflow_id), body, timeout))
            break
        except RPCError as error:  # its end is being written down
            if not terminate or error.code != _OPEN or time.monotonic() > deadline:
                raise
            await asyncio.sleep(_LOOK_SECONDS)
    return await asyncio.to_thread(_forget, lane.namespace, workflow_id)


async def _check_parent(client: Client, workflow_id: str, rpc_timeout: timedelta | None) -> None:
    """A child's result stands in its parent's history under the child's key, and each replay reads it."""
    try:
        child = await client.get_workflow_handle(workflow_id).describe(rpc_timeout=rpc_timeout)
        if child.parent_id is None or child.parent_namespace != client.namespace:
            return
        handle = client.get_workflow_handle(child.parent_id, run_id=child.parent_run_id)
        parent = await handle.describe(rpc_timeout=rpc_timeout)
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise
        return
    if parent.status == WorkflowExecutionStatus.RUNNING:
        message = (
            f'{_NEEDED}: the parent of workflow "{workflow_id}", "{parent.id}" (run {parent.run_id}), is open, and its '
            "code could not read the child's result any more: let the parent end first, or terminate it. Erased all "
            "the same (--despite-parent), it is parked when it is replayed next, for ever"
        )
        raise RPCError(message, RPCStatusCode.FAILED_PRECONDITION, code=_NEEDED)


async def _terminate(client: Client, workflow_id: str, reason: str, rpc_timeout: timedelta | None) -> None:
    try:
        await client.get_workflow_handle(workflow_id).terminate(reason=reason, rpc_timeout=rpc_timeout)
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise


def _forget(namespace: Namespace, workflow_id: str) -> Erased:
    partition = namespace.partition(workflow_id)
    topic = namespace.topics.visibility
    last = {record.key: record.value for record in read_to_end(namespace.log, topic, partition) if record.key}
    listed = [key for key, value in last.items() if value is not None and key and _is_of(namespace, value, workflow_id)]
    append_all(namespace.log, topic, partition, dict.fromkeys(listed))
    return Erased(len(listed), forget_keys(namespace, workflow_id))


def _is_of(namespace: Namespace, value: bytes, workflow_id: str) -> bool:
    try:
        return namespace.codec.decode(VisibilityRecord, value).workflow_id == workflow_id
    except UnreadableRecord:
        return False
