"""A workflow's records as they stand under one fresh claim in a namespace that has taken nothing in yet. Pure.

Claims and inbox offsets name places in topics that the new namespace does not have. What they were there for, which
history holds and what has been taken in, is decided here, once; the new records need neither.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

from odradek.orchestrator.core import keys
from odradek.orchestrator.core.run import NO_CLAIM, Activity, Run
from odradek.orchestrator.core.workflow import LiveRun, Workflow
from odradek.orchestrator.image import SeenWorkflow
from odradek.schemas import records as r
from odradek.schemas.codec import Codec

T = TypeVar("T")

RENEWED_MS: Final = 600_000
"""The lifetime of what has come in time and was not taken in before: of a client's own request by default."""
_ASKS: Final = (r.QueryWorkflow, r.DescribeWorkflow, r.FetchHistory, r.AwaitResult, r.AwaitUpdate)
"""They want nothing but an answer."""
_OF_WORKERS: Final = (r.ActivityStarted, r.ActivityHeartbeat)
_NOBODY: Final = ""
"""Holds the attempts that go on without a worker: whoever has their token reports their end."""

Written = tuple[bytes, Any]
"""A key of history and its body."""
Place = Callable[[r.ArchivePart], r.ArchivePart | None]
"""Where a part of an archived history stands now."""


def records_of(seen: SeenWorkflow, claim: int, rename: tuple[str, str], place: Place) -> Iterator[Written]:
    """What the new history says of a workflow; ``rename`` are the namespace's old name and its new one."""
    workflow = seen.workflow
    taken = _taken_in(workflow)
    for live in unsummarised(workflow):
        for key, body in _chunks(seen, live, claim):
            yield key, renamed(body, *rename)
        for seq, activity in live.run.activities.items():
            if activity.progress_claim != NO_CLAIM:
                yield keys.progress(workflow.id, live.run.run_id, seq, claim), _progress(activity)
    for run_id, summary in workflow.closed.items():
        parts = [place(part) for part in summary.archive]
        found = [part for part in parts if part is not None]
        archive = found if len(found) == len(parts) else []
        # Before the new inbox, and in their order: of two that closed in one millisecond the later is the latest.
        moved = dataclasses.replace(summary, inbox_offset=summary.inbox_offset - taken - 1, archive=archive)
        yield keys.summary(workflow.id, run_id, claim), renamed(moved, *rename)


def unsummarised(workflow: Workflow) -> list[LiveRun]:
    """Its runs of which the history still has the events."""
    live = workflow.live
    return [*workflow.ending.values(), *([live] if live is not None and live.run.started is not None else [])]


def _chunks(seen: SeenWorkflow, live: LiveRun, claim: int) -> Iterator[Written]:
    run = live.run
    for number, before in enumerate(live.chain, 1):
        body = _chunk(seen, keys.chunk(run.workflow_id, run.run_id, number, before))
        previous = claim if number > 1 else 0
        # Due at 0: whoever comes first looks at each run.
        moved = dataclasses.replace(body, previous_claim=previous, inbox_offset=-1, due_ms=0)
        yield keys.chunk(run.workflow_id, run.run_id, number, claim), moved
    if live.chunk_claim != NO_CLAIM:
        yield (
            keys.chunk(run.workflow_id, run.run_id, live.chunk, claim),
            r.Chunk(
                run.n,
                live.chunk,
                sealed=False,
                previous_claim=claim if live.chain else 0,
                inbox_offset=-1,
                first_event=live.first_event,
                status=run.status,
                awaits_steps=live.steps_lost,
                # A transition that is there by half does not count, and is not carried over.
                events=[event for event in _chunk(seen, live.chunk_key).events if event.n <= run.n],
            ),
        )


def _chunk(seen: SeenWorkflow, key: bytes) -> r.Chunk:
    body = seen.found[key][3].body
    assert isinstance(body, r.Chunk)
    return body


def _progress(activity: Activity) -> r.Progress:
    """No worker of the old namespace is known in the new one: what they held is issued again, as the same attempt."""
    holders = [holder for holder in activity.progress.holders if holder.worker == _NOBODY]
    return dataclasses.replace(activity.progress, holders=holders)


# ---------------------------------------------------------------------------------------------------- the inbox


def message_of(
    workflow: Workflow | None, offset: int, time_ms: int, record: r.InboxRecord, now_ms: int, rename: tuple[str, str]
) -> r.InboxRecord | None:
    """An inbox record that was not taken in, for the new inbox; None if it was, or nobody is there any more to hear."""
    body = record.body
    if isinstance(body, _ASKS) or (isinstance(body, _OF_WORKERS) and not getattr(body, "detached", False)):
        return None
    if workflow is not None and (_is_taken_in(workflow, offset, body) or _remembers(workflow, body)):
        return None
    return renamed(dataclasses.replace(record, body=_asked_anew(body, time_ms, now_ms)), *rename)


def _asked_anew(body: Any, time_ms: int, now_ms: int) -> Any:
    """Nobody waits for the answer where the old replies went."""
    changes: dict[str, Any] = {}
    if (request := getattr(body, "request", None)) is not None:
        changes["request"] = _renewed(dataclasses.replace(request, reply_partition=-1), time_ms, now_ms)
    if (origin := getattr(body, "origin", None)) is not None:
        changes["origin"] = _renewed(origin, time_ms, now_ms)
    if isinstance(body, r.StartWorkflow):
        changes["wait_result"] = False
        changes["update"] = _asked_anew(body.update, time_ms, now_ms)
    return dataclasses.replace(body, **changes) if changes else body


def _is_taken_in(workflow: Workflow, offset: int, body: Any) -> bool:
    """Inputs of a workflow are taken in one by one and in their order."""
    last = _taken_in(workflow)
    if offset == last and isinstance(body, r.StartWorkflow) and body.id_conflict_policy == "terminate-existing":
        # It ends the run that is in its way, which says so, and comes again when that end is durable.
        found = [status for at, status in _runs(workflow) if at == offset]
        return found != [r.RunStatus.TERMINATED]
    return offset <= last


def _taken_in(workflow: Workflow) -> int:
    return max([-1, *(at for at, _ in _runs(workflow))])


def _runs(workflow: Workflow) -> Iterator[tuple[int, str]]:
    """The last inbox offset that each has taken in, and its status."""
    for live in unsummarised(workflow):
        yield live.run.inbox_offset, live.run.status
    for summary in workflow.closed.values():
        yield summary.inbox_offset, summary.status


def _remembers(workflow: Workflow, body: Any) -> bool:
    request, origin, remembered = getattr(body, "request", None), getattr(body, "origin", None), workflow.remembered
    if request is not None:
        return request.id in remembered.requests or request.id in remembered.refusals
    return origin is not None and remembered.has_message(origin)


def _renewed(asked: Any, time_ms: int, now_ms: int) -> Any:
    """What came in time must not be late because of the time that has passed since."""
    in_time = time_ms <= asked.expires_ms < now_ms + RENEWED_MS
    return dataclasses.replace(asked, expires_ms=now_ms + RENEWED_MS) if in_time else asked


# ---------------------------------------------------------------------------------------------------- names, digests


def renamed(value: T, old: str, new: str) -> T:
    """The same with the namespace's name changed wherever a run is named together with its namespace."""
    if old == new:
        return value
    found: Any = _renamed(value, old, new)
    return value if found is None else found


def _renamed(value: Any, old: str, new: str) -> Any:
    """None: nothing in it changes."""
    if isinstance(value, r.Payload) or value is None or isinstance(value, str | bytes | int | float | dict):
        return None
    if isinstance(value, list | tuple):
        items = [_renamed(item, old, new) for item in value]
        if all(item is None for item in items):
            return None
        return [before if item is None else item for before, item in zip(value, items, strict=True)]
    changes: dict[str, Any] = {}
    if isinstance(value, r.MessageOrigin | r.ParentLink) and value.namespace == old:
        changes["namespace"] = new
    for field in dataclasses.fields(value):
        found = _renamed(getattr(value, field.name), old, new)
        if found is not None:
            changes[field.name] = found
    return dataclasses.replace(value, **changes) if changes else None


def is_tied(run: Run, namespace: str) -> bool:
    """Whether something of an open run goes on going to this name, or coming to it.

    Work in a queue that is named together with its namespace; children in other namespaces, which answer to their
    parent where it was when it began them.
    """
    queues = [activity.options.task_queue for activity in run.activities.values()]
    abroad = any(child.scheduled.namespace not in ("", namespace) for child in run.children.values())
    return abroad or any(queue.startswith(f"{namespace}:") for queue in queues)


@dataclasses.dataclass
class Digest:
    """What open runs come to, in whatever order they were added."""

    open_runs: int = 0
    closed_runs: int = 0
    state: int = 0

    def add(self, seen: SeenWorkflow, codec: Codec, namespace: str) -> None:
        workflow = seen.workflow
        self.closed_runs += len(workflow.closed) + len(workflow.ending)
        for live in unsummarised(workflow):
            self.open_runs += live.run.is_open
            self.state = (self.state + _state_of(live, seen.events(live), codec, namespace)) % (1 << 128)

    def __str__(self) -> str:
        return f"{self.open_runs} open and {self.closed_runs} closed runs with digest {self.state:032x}"


def _state_of(live: LiveRun, events: Sequence[r.Event], codec: Codec, namespace: str) -> int:
    run = live.run
    told = hashlib.sha256(f"{run.workflow_id}\0{run.run_id}\0{run.n}\0{run.status}\0".encode())
    told.update(codec.encode_events(renamed(list(events), namespace, "")))
    for seq, activity in sorted(run.activities.items()):
        p = activity.progress
        told.update(repr((seq, p.attempt, p.retry_at_ms, p.paused_ms, p.workers_lost, p.attempts_before)).encode())
    return int.from_bytes(told.digest()[:16], "big")
