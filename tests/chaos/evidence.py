"""What the topics of a namespace say afterwards: who wrote late, and whether anything was decided twice."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, TypeVar

from odradek.log import Log, Record
from odradek.log.namespace import Namespace, open_namespace, read_to_end
from odradek.orchestrator.core import keys
from odradek.schemas import records as r

R = TypeVar("R")


class Evidence:
    """A namespace's topics as they stand now. Compaction must not have reached ``history`` yet."""

    def __init__(self, log: Log, name: str) -> None:
        self.namespace: Namespace = open_namespace(log, name)
        self.topics = self.namespace.topics
        self.histories = [self.read(self.topics.history, p) for p in range(self.namespace.partitions)]
        self.workflow_ids: dict[str, str] = {}
        """Of the archived runs, by run ID."""
        self.archived = self._archived()

    def read(self, topic: str, partition: int) -> list[Record]:
        return read_to_end(self.namespace.log, topic, partition)

    def decoded(self, topic: str, record_type: type[R]) -> Iterator[R]:
        info = self.namespace.log.topic(topic)
        assert info is not None
        for partition in range(info.partitions):
            for record in self.read(topic, partition):
                if record.value is not None:
                    yield self.namespace.codec.decode(record_type, record.value)

    # ------------------------------------------------------------------------------------------ history

    def late_records(self) -> list[Record]:
        """Records of a run that landed although a newer claim than theirs stood before them; tombstones may."""
        found = []
        for records in self.histories:
            claims = [record.offset for record in records if _is_claim(record) and record.value is not None]
            for record in records:
                key = keys.parse(record.key or b"")
                following = bisect_right(claims, key.claim) if key else len(claims)
                if record.value is not None and following < len(claims) and claims[following] < record.offset:
                    found.append(record)
        return found

    def check_late_records_are_removed(self) -> None:
        """The last word under the key of each late record is a tombstone."""
        last = {record.key: record for records in self.histories for record in records}
        left = [record for record in self.late_records() if last[record.key].value is not None]
        assert left == [], f"{len(left)} late records still count, the first is {left[0].key!r} at {left[0].offset}"

    # ------------------------------------------------------------------------------------------ decisions

    def _archived(self) -> dict[str, list[r.Event]]:
        """The history of each closed run; archived twice, it is the same twice."""
        parts: dict[str, dict[int, list[r.Event]]] = defaultdict(dict)
        for record in self.decoded(self.topics.archive, r.ArchiveRecord):
            events = list(record.events)
            self.workflow_ids[record.run_id] = record.workflow_id
            known = parts[record.run_id].setdefault(record.part, events)
            assert known == events, f"two histories of run {record.run_id} are archived"
        return {run_id: [e for number in sorted(found) for e in found[number]] for run_id, found in parts.items()}

    def check_tasks(self, queue: str) -> int:
        """Each task is one that the run's only history has asked for, with one input; how many there were."""
        asked = {
            (run_id, event.body.seq): (event.body.activity_type, event.body.input)
            for run_id, events in self.archived.items()
            for event in events
            if isinstance(event.body, r.ActivityScheduled)
        }
        count = 0
        for task in self.decoded(self.topics.tasks(queue), r.TaskRecord):
            wanted = asked.get((task.run_id, task.seq))
            assert wanted is not None, f"activity {task.seq} of run {task.run_id} is not in its history"
            assert wanted == (task.activity_type, task.input), f"two inputs of activity {task.seq} of {task.run_id}"
            count += 1
        return count

    def check_replies(self) -> int:
        """Each outcome is that of the run's history, each accepted request belongs to one run; how many outcomes."""
        accepted = _Once()
        count = 0
        for reply in self.decoded(self.topics.replies, r.ReplyRecord):
            match reply.body:
                case r.RunOutcome(run_id=run_id, result=result):
                    closing = self.archived[run_id][-1].body
                    assert isinstance(closing, r.RunCompleted), closing
                    assert closing.result == result, f"two results of run {run_id}"
                    count += 1
                case r.Accepted(run_id=run_id):
                    assert run_id in self.archived, f"run {run_id} was promised and is in no history"
                    accepted.say(reply.request_id, run_id)
                case r.Refused() as refused:
                    raise AssertionError(refused)
        return count


class _Once:
    def __init__(self) -> None:
        self._said: dict[str, Any] = {}

    def say(self, name: str, value: object) -> None:
        known = self._said.setdefault(name, value)
        assert known == value, f"two answers to {name}: {known} and {value}"


def _is_claim(record: Record) -> bool:
    return (record.key or b"").startswith(keys.CLAIM)
