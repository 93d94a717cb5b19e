"""Starts of many workflows, written straight into the inbox: a client's own time is not measured with them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from benchmarks.stage import QUEUE, Stage
from odradek.converter import DataConverter
from odradek.log.namespace import open_namespace
from odradek.schemas.records import InboxRecord, Request, StartWorkflow
from odradek.schemas.topics import Topics

AHEAD_MAX: Final = 50_000
PATIENCE_SECONDS: Final = 600


class Starts:
    """Starts workflows of one type, at most so far ahead of what the orchestrators have taken in."""

    def __init__(self, where: Stage, topics: Topics) -> None:
        self._log, self._topics = where.log, topics
        self._namespace = open_namespace(where.log, topics.namespace)
        self._appender = where.log.appender()

    def make(
        self, workflow_type: str, ids: Sequence[str], *arguments: Any, reached: Callable[[int], None] = lambda _: None
    ) -> float:
        """Seconds until all have been taken in. ``reached``: told how many have been, every now and then."""
        payloads = tuple(DataConverter.default.payload_converter.to_payloads(arguments))
        began, taken_before, written = time.perf_counter(), self._taken(), 0
        while written < len(ids):
            taken = self._taken() - taken_before
            reached(taken)
            if written - taken >= AHEAD_MAX:
                time.sleep(0.05)
                continue
            for workflow_id in ids[written : written + AHEAD_MAX // 10]:
                self._append(workflow_type, workflow_id, payloads)
            self._appender.flush(60)
            written += AHEAD_MAX // 10
        until = time.monotonic() + PATIENCE_SECONDS
        while (taken := self._taken() - taken_before) < len(ids):
            reached(taken)
            if time.monotonic() > until:
                raise TimeoutError(f"{taken} of {len(ids)} starts were taken in within {PATIENCE_SECONDS} s")
            time.sleep(0.05)
        reached(taken)
        return time.perf_counter() - began

    def _append(self, workflow_type: str, workflow_id: str, payloads: tuple[Any, ...]) -> None:
        now_ms = time.time_ns() // 1_000_000
        request = Request(f"start-{workflow_id}", now_ms + 3_600_000, "bench", -1)
        record = InboxRecord(now_ms, StartWorkflow(request, workflow_type, QUEUE, payloads))
        partition = self._namespace.partition(workflow_id)
        value = self._namespace.codec.encode(record)
        self._appender.append(self._topics.inbox, partition, workflow_id.encode(), value)

    def _taken(self) -> int:
        """Inbox records that are decided, and committed."""
        standing = self._log.standing(self._topics.orchestrators, self._topics.inbox)
        return sum(place.committed.offset for place in standing.values() if place.committed is not None)
