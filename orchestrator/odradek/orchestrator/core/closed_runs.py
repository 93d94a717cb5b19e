"""Closed runs that somebody asks about: their events are read from the archive, and their code is replayed from them.

Nothing on the partition waits for such a read. What was read is kept a while, within limits.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from odradek.orchestrator.core.instance import WorkflowInstance
from odradek.schemas import records as r

CLOSED_RUNS_MAX = 64
CLOSED_EVENTS_MAX = 50_000
"""Events of closed runs that are kept in memory, of all of them together; the one read last is kept anyway."""
READS_MAX = 256
"""Runs of one partition that are being read at the same time."""

Then = Callable[["ClosedRun | str"], None]
"""Gets the run, or why its events cannot be read."""


@dataclass(slots=True)
class ClosedRun:
    workflow_id: str
    run_id: str
    events: Sequence[r.Event]
    instance: WorkflowInstance | None = None

    @property
    def started(self) -> r.RunStarted:
        body = self.events[0].body
        assert isinstance(body, r.RunStarted)
        return body


@dataclass(slots=True)
class ClosedRuns:
    """The closed runs of one shard that are in memory, the longest unused first, and those that are being read."""

    known: OrderedDict[str, ClosedRun] = field(default_factory=OrderedDict)
    reading: dict[str, list[Then]] = field(default_factory=dict)

    def get(self, run_id: str) -> ClosedRun | None:
        found = self.known.get(run_id)
        if found is not None:
            self.known.move_to_end(run_id)
        return found

    def have_read(self, workflow_id: str, run_id: str, events: Sequence[r.Event] | str) -> None:
        """What came of a read: tell everybody who waits for it."""
        found: ClosedRun | str
        if isinstance(events, str):
            found = events
        else:
            found = self.known[run_id] = ClosedRun(workflow_id, run_id, events)
            self._forget_surplus()
        for then in self.reading.pop(run_id, ()):
            then(found)

    def _forget_surplus(self) -> None:
        total = sum(len(closed.events) for closed in self.known.values())
        while len(self.known) > 1 and (len(self.known) > CLOSED_RUNS_MAX or total > CLOSED_EVENTS_MAX):
            _, oldest = self.known.popitem(last=False)
            total -= len(oldest.events)
            _close(oldest)

    def forget(self, run_id: str) -> None:
        """What was read of it must not be shown any more."""
        closed = self.known.pop(run_id, None)
        if closed is not None:
            _close(closed)

    def clear(self) -> None:
        for closed in self.known.values():
            _close(closed)
        self.known.clear()
        self.reading.clear()


def _close(closed: ClosedRun) -> None:
    if closed.instance is not None:
        closed.instance.close()
        closed.instance = None
