"""The history of a workflow run: what it is, and where a closed run's stands."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from odradek.client.history_json import event_from_json, event_to_json
from odradek.log import LogError, OffsetOutOfRange, Record
from odradek.log.namespace import Namespace
from odradek.schemas.errors import SchemaError
from odradek.schemas.records import ArchivePart, ArchiveRecord, Event
from odradek.service import RPCError, RPCStatusCode

FORMAT: Final = 1
ARCHIVE_WAIT_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 1.0


@dataclass(frozen=True)
class WorkflowHistory:
    """The events of one run, in order."""

    workflow_id: str
    events: Sequence[Event]
    run_id: str = field(default="", kw_only=True)

    def to_json_dict(self) -> dict[str, Any]:
        """As plain values; see ``to_json``."""
        return {
            "odradek_history": FORMAT,
            "workflow_id": self.workflow_id,
            "run_id": self.run_id,
            "events": [event_to_json(event) for event in self.events],
        }

    def to_json(self) -> str:
        """As JSON that people can read and diff; ``from_json`` gives an equal history."""
        return json.dumps(self.to_json_dict(), indent=2, ensure_ascii=False) + "\n"

    @staticmethod
    def from_json(workflow_id: str, history: str | Mapping[str, Any]) -> WorkflowHistory:
        """The reverse of ``to_json`` and ``to_json_dict``. Raises ``ValueError`` for what is no history."""
        try:
            shown = json.loads(history) if isinstance(history, str) else history
        except RecursionError as error:
            raise ValueError("this is no history: it is nested too deeply") from error
        if not isinstance(shown, Mapping) or shown.get("odradek_history") != FORMAT:
            raise ValueError(f'this is no history of format {FORMAT}: "odradek_history" is missing or another number')
        events = tuple(event_from_json(event) for event in shown.get("events", ()))
        return WorkflowHistory(workflow_id, events, run_id=str(shown.get("run_id", "")))


def read_archive(namespace: Namespace, workflow_id: str, places: Sequence[ArchivePart]) -> list[Event]:
    """The events of a closed run. Blocks; raises ``RPCError`` when the archive does not hold them any more."""
    try:
        parts = [namespace.codec.decode(ArchiveRecord, _value(namespace, place)) for place in places]
    except (LogError, SchemaError) as error:
        raise RPCError(
            f'ODR-134: the history of closed workflow "{workflow_id}" cannot be read from '
            f"{namespace.topics.archive}: {error} A history is kept for the retention of that topic.",
            RPCStatusCode.NOT_FOUND,
        ) from error
    return [event for part in sorted(parts, key=lambda part: part.part) for event in part.events]


def _value(namespace: Namespace, place: ArchivePart) -> bytes:
    topic = namespace.topics.archive
    begin, end = namespace.log.offsets(topic, place.partition)
    record = _record(namespace, place) if begin <= place.offset < end else None
    if record is None or record.value is None or record.offset != place.offset:
        raise OffsetOutOfRange(topic, place.partition, place.offset, begin, end)
    return record.value


def _record(namespace: Namespace, place: ArchivePart) -> Record | None:
    reader = namespace.log.reader()
    try:
        reader.assign(namespace.topics.archive, place.partition, place.offset)
        for _ in range(int(ARCHIVE_WAIT_SECONDS / _POLL_SECONDS)):
            records = reader.poll(_POLL_SECONDS, records_max=1)
            if records:
                return records[0]
        return None
    finally:
        reader.close()
