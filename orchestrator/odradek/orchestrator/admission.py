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
from odradek.orchestrator.core import children
from odradek.orchestrator.core import effects as fx
from odradek.orchestrator.core.state import InboxItem
from odradek.schemas import records as r
from odradek.schemas.dead_letters import dead_letter
from odradek.schemas.errors import UnreadableRecord
from odradek.schemas.limits import problem

_log = logging.getLogger("odradek.orchestrator.admission")

MARGIN_BYTES: Final = 128 * 1024
"""An event that comes of an inbox record says more than the record does."""
STRIKES: Final = 2
"""So often a shard may fail over the same record, or workflow, one claim after the other."""

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
    """Of one partition, for one claim."""

    def __init__(self, namespace: Namespace, partition: int, culprits: Culprits) -> None:
        self._namespace = namespace
        self._partition = partition
        self._culprits = culprits
        self._value_bytes_max = namespace.record_bytes_max - min(MARGIN_BYTES, namespace.record_bytes_max // 8)

    def take(self, records: Sequence[Record], now_ms: int) -> list[Admitted]:
        """Each record as an item for the shard, or as a dead letter. Raises ``NewerSchema``."""
        return [self._take(record, now_ms) for record in records]

    def _take(self, record: Record, now_ms: int) -> Admitted:
        key, value = record.key, record.value
        if not key or not value or b"\0" in key:
            reason = UnreadableRecord("InboxRecord", "it has no workflow ID as its key, or no value")
            return self._set_aside(record, "ODR-002", str(reason))
        try:
            workflow_id = key.decode()
            decoded = self._namespace.codec.decode(r.InboxRecord, value)
        except (UnreadableRecord, UnicodeDecodeError) as error:
            return self._set_aside(record, "ODR-002", str(error))
        found = self._problem(record, key, decoded, len(value))
        if found is None:
            return InboxItem(record.offset, record.time_ms, workflow_id, decoded)
        code, reason_given = found
        return self._set_aside(record, code, f"{code}: {reason_given}", decoded.body, now_ms)

    def _problem(self, record: Record, key: bytes, decoded: r.InboxRecord, value_bytes: int) -> tuple[str, str] | None:
        if self._culprits.offsets and record.offset in self._culprits.offsets:
            why = self._culprits.offsets[record.offset]
            return "ODR-166", f"an orchestrator failed over this {type(decoded.body).__name__}, twice: {why}"
        if self._namespace.partition_of(key) != self._partition:
            right = self._namespace.partition_of(key)
            return "ODR-165", (
                f"a record of workflow {key[:80]!r} stands in partition {self._partition}, and belongs into {right}: "
                "its sender must place records by murmur2 of the workflow ID, as Kafka's Java clients do"
            )
        wrong = problem(decoded)
        if wrong is None and len(key) > WORKFLOW_ID_BYTES_MAX:
            wrong = f"its workflow ID has {len(key)} bytes, and may have {WORKFLOW_ID_BYTES_MAX}"
        if wrong is not None:
            return "ODR-164", f"no {type(decoded.body).__name__} can be so: {wrong}"
        if value_bytes > self._value_bytes_max:
            return "ODR-105", (
                f"this {type(decoded.body).__name__} has {value_bytes} bytes, and what is to stand in a history may "
                f"have {self._value_bytes_max}: pass a reference to where the data stands instead"
            )
        return None

    def _set_aside(
        self, record: Record, code: str, reason: str, body: Any = None, now_ms: int = 0
    ) -> tuple[int, fx.DeadLetter]:
        letter = dead_letter(
            self._namespace.record_bytes_max,
            code,
            reason,
            record.topic,
            record.partition,
            record.offset,
            record.time_ms,
            record.key,
            record.value,
        )
        return record.offset, fx.DeadLetter(record=letter, answers=self._answers(body, code, reason, now_ms))

    def _answers(self, body: Any, code: str, reason: str, now_ms: int) -> list[fx.Reply | fx.SendMessage]:
        """What whoever asked is told, as far as the record says who that is."""
        answers: list[fx.Reply | fx.SendMessage] = []
        request, origin = getattr(body, "request", None), getattr(body, "origin", None)
        refusal = r.Refused(code, reason)
        if request is not None and problem(request) is None and request.reply_partition >= 0:
            answers.append(fx.Reply(None, request.reply_partition, request.recipient, request.id, refusal))
        if origin is not None and problem(origin) is None and origin.number < children.PARENT_CLOSED:
            answers.append(children.answer(now_ms, origin, refusal))
        return answers
