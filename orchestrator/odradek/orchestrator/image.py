"""What a history partition says, read from the log by somebody who owns nothing: raw records, then workflows.

It joins no group and writes nothing. Any prefix of a partition is a state from which an owner could have begun.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from odradek.log import Log, Record
from odradek.orchestrator.core import keys
from odradek.orchestrator.core.run import NO_CLAIM
from odradek.orchestrator.core.workflow import Found, LiveRun, Workflow, resolve
from odradek.schemas import records as r
from odradek.schemas.codec import Codec
from odradek.schemas.errors import UnreadableRecord

RECORDS_PER_POLL: Final = 5_000
_POLL_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class SeenWorkflow:
    """A workflow as the reader's rule has it, with the records that it was made from."""

    workflow: Workflow
    found: dict[bytes, Found] = field(default_factory=dict)

    def events(self, live: LiveRun) -> list[r.Event]:
        """Of a run that is not summarised yet; a transition that is there by half is left out."""
        run = live.run
        chunks = [keys.chunk(run.workflow_id, run.run_id, number, claim) for number, claim in enumerate(live.chain, 1)]
        if live.chunk_claim != NO_CLAIM:
            chunks.append(live.chunk_key)
        bodies = [self.found[key][3].body for key in chunks]
        return [event for body in bodies if isinstance(body, r.Chunk) for event in body.events if event.n <= run.n]


class PartitionImage:
    """The last record under each key. Without ``closed``, of closed runs only as much is kept as others need."""

    def __init__(self, codec: Codec, *, closed: bool = True) -> None:
        self._codec = codec
        self._keeps_closed = closed
        self._workflows: dict[bytes, dict[bytes, tuple[int, bytes]]] = {}

    def take(self, record: Record) -> None:
        """One more record of the partition, in order. Raises ``NewerSchema``."""
        key, value = record.key or b"", record.value
        name, _, rest = key.partition(b"\0")
        if not name or not rest:
            return
        held = self._workflows.get(name)
        if value is None:
            if held is not None and held.pop(key, None) is not None and not held:
                del self._workflows[name]
            return
        if held is None:
            held = self._workflows[name] = {}
        if not self._keeps_closed and b"\0s0\0" in rest:
            value = self._without_contents(held, key, value)
        held[key] = (record.offset, value)

    def _without_contents(self, held: dict[bytes, tuple[int, bytes]], key: bytes, value: bytes) -> bytes:
        """A summary that says only which run followed; the rest of its run goes."""
        of_run = key[: key.rindex(b"\0s0\0") + 1]
        for other in [other for other in held if other.startswith(of_run) and b"\0s0\0" not in other]:
            del held[other]
        try:
            record = self._codec.decode(r.HistoryRecord, value)
        except UnreadableRecord:
            return value
        if isinstance(record.body, r.Summary):
            bare = dataclasses.replace(
                record.body,
                result=None,
                failure=None,
                requests=(),
                refusals=(),
                messages=(),
                archive=(),
                memo={},
                search_attributes={},
            )
            value = self._codec.encode(dataclasses.replace(record, body=bare))
        return value

    def workflows(self) -> Iterator[SeenWorkflow]:
        """Each workflow, the one first heard of first; it is forgotten then. Raises ``NewerSchema``."""
        for name in list(self._workflows):
            held = self._workflows.pop(name)
            if self._keeps_closed or any(b"\0s0\0" not in key for key in held):
                yield self._resolved(name.decode(errors="replace"), held)

    def _resolved(self, workflow_id: str, held: dict[bytes, tuple[int, bytes]]) -> SeenWorkflow:
        found: dict[bytes, Found] = {}
        damaged: dict[str, str] = {}
        for key, (offset, value) in held.items():
            try:
                parsed = keys.parse(key)
            except ValueError:
                continue
            if parsed is None:
                continue
            try:
                found[key] = (parsed, key, offset, self._codec.decode(r.HistoryRecord, value))
            except UnreadableRecord as error:
                if parsed.kind != "x":
                    damaged[parsed.run_id] = f"{error} (offset {offset})"
        try:
            workflow = resolve(workflow_id, found.values(), _no_blocks, damaged)
        except Exception as error:  # whatever contradictions lead it into
            reason = f"its records contradict one another ({type(error).__name__}: {error})"
            runs = {item[0].run_id for item in found.values() if item[0].run_id}
            return SeenWorkflow(Workflow(workflow_id, damaged=dict.fromkeys(runs, reason) | damaged))
        return SeenWorkflow(workflow, found)


def read_partition(
    log: Log,
    topic: str,
    partition: int,
    take: Callable[[Record], None],
    progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Give ``take`` every record that the partition holds now; returns its end. ``progress`` is told of offsets."""
    begin, end = log.offsets(topic, partition)
    reader = log.reader()
    try:
        reader.assign(topic, partition, begin)
        at = begin
        while at < end:
            for record in reader.poll(_POLL_SECONDS, RECORDS_PER_POLL):
                if record.offset < end:
                    take(record)
            now = min(reader.position(topic, partition), end)
            progress(now - at)
            at = now
    finally:
        reader.close()
    return end


def _no_blocks(events: object) -> bytes:
    """Nobody goes on writing here, so nothing need be encoded."""
    return b""
