"""Sees every record that lands, whoever wrote it, and says at once when one must not be there.

What it keeps: what histories have said so far, and what has left because of them.
"""

from __future__ import annotations

from typing import Any, Final

from odradek.log.interface import Record
from odradek.orchestrator.core import keys
from odradek.orchestrator.core.children import PARENT_CLOSED
from odradek.schemas import records as r
from odradek.schemas.codec import Codec
from odradek.schemas.topics import Topics
from tests.simulation.host import EPOCH_MS, Hosts, Process

SKEW_MS_MAX: Final = 3_000
"""No clock is wrong by more; see ``Process.skew_ms``."""
CLOSINGS: Final = (
    r.RunCompleted, r.RunFailed, r.RunContinued, r.RunCancelled, r.RunTerminated, r.RunTimedOut,
)  # fmt: skip

Said = tuple[Any, ...]


class Violated(AssertionError):
    """An invariant does not hold."""


class Witness:
    def __init__(self, hosts: Hosts, topics: Topics) -> None:
        self._hosts, self._topics = hosts, topics
        self._codec = Codec()
        self.said: set[Said] = set()
        """What some record of some history says, also of owners that were none any more."""
        self.begun: dict[str, int] = {}
        """Runs in the order in which their first records landed."""
        self.places: dict[object, list[int]] = {}
        """Of each request and message: where in its inbox it has landed, however often."""
        self.tasks: dict[tuple[str, int], tuple[str, list[bytes]]] = {}
        self.messages: dict[tuple[type, str, int], bytes] = {}
        self.taken: dict[tuple[str, int], str] = {}
        """Messages that were answered as taken in."""
        self.outcomes: dict[str, r.RunOutcome] = {}
        self.accepted: dict[str, str] = {}
        """Request → run that it was accepted for."""
        self.refused: dict[str, str] = {}
        self.updates: dict[tuple[str, str], r.UpdateOutcome] = {}
        """By request and run: an update ID counts once in a run, and the request may meet another run later."""
        self.archive: dict[tuple[str, str], dict[int, r.Event]] = {}
        """By workflow and run: the events, by their place."""
        self.parts: dict[tuple[str, str], set[int]] = {}
        """Of each archive, those that have not landed."""
        self.records: dict[str, int] = {}
        self._seen_events: dict[bytes, int] = {}
        self._take = {
            topics.history: self._history,
            topics.inbox: self._inbox,
            topics.replies: self._reply,
            topics.archive: self._archived,
        }

    def landed(self, process: Process, record: Record) -> None:
        self.records[record.topic] = self.records.get(record.topic, 0) + 1
        take = self._take.get(record.topic)
        if take is not None:
            take(process, record)
        elif record.topic.startswith(self._topics.tasks_prefix):
            self._task(process, record)
        elif record.topic == self._topics.dead_letter:
            raise Violated(f"a dead letter: {record.value!r}")

    def _require(self, said: Said) -> None:
        if said not in self.said:
            raise Violated(f"an output without history: {said}")

    # ------------------------------------------------------------------------------------------ histories

    def _history(self, process: Process, record: Record) -> None:
        key = record.key or b""
        if record.value is None:
            process.note("history", record.partition, record.offset, "tombstone", _shown(key))
            return
        body = self._codec.decode(r.HistoryRecord, record.value).body
        process.note("history", record.partition, record.offset, type(body).__name__, _shown(key))
        parsed = None if key.startswith(b"\0") else keys.parse(key)
        if isinstance(body, r.Chunk):
            assert parsed is not None
            seen = self._seen_events.get(key, 0)
            new = body.events[seen:]
            self._seen_events[key] = seen + len(new)
            for event in new:
                process.note("   event", event.n, brief(event.body))
                self._say(parsed.workflow_id, parsed.run_id, event)

    def _say(self, workflow_id: str, run_id: str, event: r.Event) -> None:
        body, said = event.body, self.said
        latest_ms = EPOCH_MS + int(self._hosts.now * 1000) + SKEW_MS_MAX
        if event.time_ms > latest_ms:
            raise Violated(f"an event from the future: {event}")
        for request in (getattr(body, "request", None), getattr(getattr(body, "update", None), "request", None)):
            if request is not None:
                said.add(("request", request.id, run_id))
        origin = getattr(body, "origin", None)
        if origin is not None:
            said.add(("took", origin.run_id, origin.number))
        match body:
            case r.RunStarted():
                self._say_started(workflow_id, run_id, body)
            case r.ActivityScheduled():
                said.add(("activity", run_id, body.seq, body.activity_type, *(p.data for p in body.input)))
            case r.MessageSent() | r.ChildScheduled():
                said.add(("message", run_id, body.seq))
            case _ if isinstance(body, CLOSINGS):
                said.add(("closed", run_id))

    def _say_started(self, workflow_id: str, run_id: str, body: r.RunStarted) -> None:
        self.said.add(("run", run_id, workflow_id))
        self.begun.setdefault(run_id, len(self.begun))
        lineage = body.lineage
        if lineage is not None and lineage.parent is not None and lineage.continued_run_id is None:
            self.said.add(("took", lineage.parent.run_id, lineage.parent.number))

    # ------------------------------------------------------------------------------------------ what leaves

    def _task(self, process: Process, record: Record) -> None:
        task = self._codec.decode(r.TaskRecord, record.value or b"")
        process.note("task", task.workflow_id, task.run_id[:6], task.seq, "attempt", task.attempt)
        decided = (task.activity_type, [p.data for p in task.input])
        self._require(("activity", task.run_id, task.seq, task.activity_type, *decided[1]))
        known = self.tasks.setdefault((task.run_id, task.seq), decided)
        if known != decided:
            raise Violated(f"decided twice: {known} and {decided}")

    def _inbox(self, process: Process, record: Record) -> None:
        body = self._codec.decode(r.InboxRecord, record.value or b"").body
        workflow_id = (record.key or b"").decode()
        process.note("inbox", record.partition, record.offset, workflow_id, brief(body))
        origin, request = getattr(body, "origin", None), getattr(body, "request", None)
        if request is not None:
            self.places.setdefault(request.id, []).append(record.offset)
        if origin is not None:
            self.places.setdefault((origin.run_id, origin.number), []).append(record.offset)
            self._message(body, origin.run_id, origin.number)
        match body:
            case r.MessageAnswer(failure=None):
                self._require(("took", body.run_id, body.number))
                self.taken[body.run_id, body.number] = workflow_id
            case r.ChildResult():
                self._require(("closed", body.child_run_id))
                self._once((r.ChildResult, body.run_id, body.number), body)

    def _message(self, body: Any, run_id: str, number: int) -> None:
        self._require(("closed", run_id) if number >= PARENT_CLOSED else ("message", run_id, number))
        self._once((type(body), run_id, number), body)

    def _once(self, what: tuple[type, str, int], body: Any) -> None:
        """A message is the same whoever sends it, and however often."""
        written = self._codec.encode(r.InboxRecord(0, body))
        if self.messages.setdefault(what, written) != written:
            raise Violated(f"decided twice: {body}")

    def _reply(self, process: Process, record: Record) -> None:
        reply = self._codec.decode(r.ReplyRecord, record.value or b"")
        request_id, body = reply.request_id, reply.body
        process.note("reply", record.partition, request_id[-6:], brief(body))
        match body:
            case r.RunOutcome():
                self._require(("closed", body.run_id))
                if self.outcomes.setdefault(body.run_id, body) != body:
                    raise Violated(f"two outcomes of one run: {self.outcomes[body.run_id]} and {body}")
            case r.Accepted():
                self._require(("request", request_id, body.run_id))
                if self.accepted.setdefault(request_id, body.run_id) != body.run_id or request_id in self.refused:
                    raise Violated(f"two answers: {self.accepted[request_id]} and {body}")
            case r.Refused() if body.code in ("ODR-101", "ODR-103"):
                self.refused[request_id] = body.code
                if request_id in self.accepted:
                    raise Violated(f"two answers: {self.accepted[request_id]} and {body}")
            case r.UpdateOutcome():
                known = self.updates.setdefault((request_id, body.run_id), body)
                if known.completed and body.completed and known != body:
                    raise Violated(f"two answers to an update: {known} and {body}")
                if body.completed:
                    self.updates[request_id, body.run_id] = body

    def _archived(self, process: Process, record: Record) -> None:
        body = self._codec.decode(r.ArchiveRecord, record.value or b"")
        process.note("archive", body.workflow_id, body.run_id[:6], f"{len(body.events)} events")
        self.parts.setdefault((body.workflow_id, body.run_id), set(range(1, body.parts + 1))).discard(body.part)
        known = self.archive.setdefault((body.workflow_id, body.run_id), {})
        for place, event in enumerate(body.events, body.first_event):
            if known.setdefault(place, event) != event:
                raise Violated(f"two histories of one run were archived: {known[place]} and {event}")


def _shown(key: bytes) -> str:
    return key.replace(b"\0", b" ").decode(errors="replace")[:60]


def brief(body: Any) -> str:
    facts = [
        f"{name}={value}"
        for name in ("seq", "number", "attempt", "update_id", "name", "due_ms", "status", "code", "run_id")
        if (value := getattr(body, name, None)) is not None
    ]
    return f"{type(body).__name__}({', '.join(facts)})"
