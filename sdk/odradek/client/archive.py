"""The histories of all closed runs that the archive of a namespace still holds."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

from odradek.client.history import WorkflowHistory
from odradek.log.interface import Record
from odradek.log.namespace import Namespace
from odradek.schemas.errors import UnreadableRecord
from odradek.schemas.records import ArchiveRecord

if TYPE_CHECKING:
    from odradek.client.client import Client

_logger = logging.getLogger(__name__)
_POLL_SECONDS: Final = 1.0
_PAGE_RECORDS: Final = 500


async def archived_histories(client: Client, *, workflow_type: str | None = None) -> AsyncIterator[WorkflowHistory]:
    """Every closed run of the client's namespace, each once; ``workflow_type`` leaves out the others.

    Reads the whole archive topic, in threads. Raises ``LogUnavailable`` and ``SchemaError``.
    """
    lane = await client.connection.lane(client.namespace)
    namespace = lane.namespace
    topic = namespace.topics.archive
    info = namespace.log.topic(topic)
    seen: set[str] = set()
    for partition in range(info.partitions if info else 0):
        at, end = await asyncio.to_thread(namespace.log.offsets, topic, partition)
        parts: dict[str, dict[int, ArchiveRecord]] = {}
        while at < end:
            at, page = await asyncio.to_thread(_page, namespace, partition, at, end)
            for part in page:
                if workflow_type not in (None, part.workflow_type) or part.run_id in seen:
                    continue
                known = parts.setdefault(part.run_id, {})
                known[part.part] = part
                if len(known) == part.parts:
                    seen.add(part.run_id)  # a new owner may have archived it once more
                    yield _history([one for _, one in sorted(parts.pop(part.run_id).items())])


def _page(namespace: Namespace, partition: int, first: int, end: int) -> tuple[int, list[ArchiveRecord]]:
    """The next records, and the offset to go on from."""
    topic = namespace.topics.archive
    reader = namespace.log.reader()
    try:
        reader.assign(topic, partition, first)
        found: list[ArchiveRecord] = []
        while len(found) < _PAGE_RECORDS and reader.position(topic, partition) < end:
            records = [record for record in reader.poll(_POLL_SECONDS) if record.offset < end]
            found += [part for record in records if (part := _part(namespace, record)) is not None]
        return reader.position(topic, partition), found
    finally:
        reader.close()


def _part(namespace: Namespace, record: Record) -> ArchiveRecord | None:
    """None for what somebody else has put there."""
    try:
        return namespace.codec.decode(ArchiveRecord, record.value) if record.value else None
    except UnreadableRecord as error:
        _logger.warning("record %d of %s is left out: %s", record.offset, record.topic, error)
        return None


def _history(parts: list[ArchiveRecord]) -> WorkflowHistory:
    events = tuple(event for part in parts for event in part.events)
    return WorkflowHistory(parts[0].workflow_id, events, run_id=parts[0].run_id)
