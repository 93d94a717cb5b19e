"""What of a partition's inbox its shard may see: everything else goes to the dead letters, and who asked is told.

Whatever stands in the inbox, its partition goes on. A record over which the shard has failed twice is set aside, too.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final

from odradek.common.identifiers import WORKFLOW_ID_BYTES_MAX
from odradek.log import Record
from odradek.log.namespace import Namespace
from odradek.orchestrator import metrics
from odradek.orchestrator.core import effects as fx
from odradek.orchestrator.core.rejected import rejected
from odradek.orchestrator.core.state import InboxItem
from odradek.schemas import records as r
from odradek.schemas.errors import SchemaError, UnreadableRecord

_log = logging.getLogger("odradek.orchestrator.admission")

MARGIN_BYTES: Final = 128 * 1024
"""An event that comes of an inbox record says more than the record does."""
STRIKES: Final = 2
"""So often a shard may fail over the same record, or workflow, one claim after the other."""
REFUSED_FOR: Final = ("ODR-002", "ODR-105", "ODR-164", "ODR-165", "ODR-166")
"""Why inbox records are set aside."""

Admitted = InboxItem | tuple[int, fx.DeadLetter]


class Culprits:
    """Over what the shards of one partition have failed, as long as this process lives."""

    def __init__(self) -> None:
        self.offsets: dict[int, str] = {}
        """Inbox records that are not given to the shard again, with the error."""
        self.workflows: dict[str, str] = {}
        """Workflows whose stored history is not read again, with the error."""
        self._last: tuple[str, int] | None = None
        self._strikes = 0

    def failed(self, at: tuple[str, int] | None, error: BaseException) -> None:
        """A shard has failed while it was ``at`` a workflow and (-1: none) an inbox record of it."""
        self._strikes = self._strikes + 1 if at is not None and at == self._last else 1
        self._last = at
        if at is None or self._strikes < STRIKES:
            return
        self._last = None
        workflow_id, offset = at
        why = f"{type(error).__name__}: {error}"[:1000]
        if offset >= 0:
            self.offsets[offset] = why
        else:
            self.workflows[workflow_id] = why
            _log.error(
                'ODR-167: workflow "%s" is set aside, since its partition has failed over it %d times in succession '
                "(%s): terminate it, or let a process with a build that can do it take over", workflow_id, STRIKES, why,
            )  # fmt: skip

    def forget_to(self, offset: int) -> None:
        """The inbox is taken in up to here."""
        for done in [known for known in self.offsets if known <= offset]:
            del self.offsets[done]


class Admission:
    """Of one partition, for one claim. What a record says is looked at when its turn comes, by the shard."""

    def __init__(self, namespace: Namespace, partition: int, culprits: Culprits) -> None:
        self._namespace = namespace
        self._partition = partition
        self._culprits = culprits
        self._value_bytes_max = namespace.record_bytes_max - min(MARGIN_BYTES, namespace.record_bytes_max // 8)

    def take(self, records: Sequence[Record], now_ms: int) -> list[Admitted]:
        """Each record as an item for the shard, or as a dead letter."""
        return [self._take(record, now_ms) for record in records]

    def _take(self, record: Record, now_ms: int) -> Admitted:
        key, value = record.key, record.value
        if not key or not value or b"\0" in key:
            reason = UnreadableRecord("InboxRecord", "it has no workflow ID as its key, or no value")
            return self._set_aside(record, "ODR-002", str(reason))
        try:
            workflow_id = key.decode()
        except UnicodeDecodeError as error:
            return self._set_aside(record, "ODR-002", str(UnreadableRecord("InboxRecord", str(error))))
        found = self._problem(record.offset, key, len(value))
        if found is None:
            return InboxItem(record.offset, record.time_ms, workflow_id, value)
        code, reason_given = found
        return self._set_aside(record, code, f"{code}: {reason_given}", self._body(value), now_ms)

    def _problem(self, offset: int, key: bytes, value_bytes: int) -> tuple[str, str] | None:
        if self._culprits.offsets and offset in self._culprits.offsets:
            return "ODR-166", f"an orchestrator failed over this record, twice: {self._culprits.offsets[offset]}"
        right = self._namespace.partition_of(key)
        if right != self._partition:
            return "ODR-165", (
                f"a record of workflow {key[:80]!r} stands in partition {self._partition}, and belongs into {right}: "
                "its sender must place records by murmur2 of the workflow ID, as Kafka's Java clients do"
            )
        if len(key) > WORKFLOW_ID_BYTES_MAX:
            return "ODR-164", f"its workflow ID has {len(key)} bytes, and may have {WORKFLOW_ID_BYTES_MAX}"
        if value_bytes > self._value_bytes_max:
            return "ODR-105", (
                f"this record has {value_bytes} bytes, and what is to stand in a history may have "
                f"{self._value_bytes_max}: pass a reference to where the data stands instead"
            )
        return None

    def _body(self, value: bytes) -> Any:
        """What it says, for whoever asked; None if it cannot be read."""
        if len(value) > self._namespace.record_bytes_max:
            return None  # a batch that was compressed may swell
        try:
            return self._namespace.codec.decode(r.InboxRecord, value).body
        except SchemaError:
            return None

    def _set_aside(
        self, record: Record, code: str, reason: str, body: Any = None, now_ms: int = 0
    ) -> tuple[int, fx.DeadLetter]:
        metrics.REFUSED_RECORDS.labels(self._namespace.topics.namespace, code).inc()
        letter = rejected(
            self._namespace.topics.namespace, self._partition, record.offset, record.time_ms, record.key, record.value,
            code, reason, self._namespace.record_bytes_max, body, now_ms,
        )  # fmt: skip
        return record.offset, letter
