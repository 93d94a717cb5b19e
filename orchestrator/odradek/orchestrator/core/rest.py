"""Whether anything can still happen in a shard by itself, and when time brings the next thing about.

For clocks that skip: a retry of parked code or a repeated message is no reason to move time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from odradek.orchestrator.core.state import ShardState
from odradek.orchestrator.core.workflow import LiveRun


class Rest(NamedTuple):
    """A shard in which nothing happens before ``due_ms``; None: nothing at all, unless somebody asks for it."""

    due_ms: int | None


WITHOUT_EFFECT = frozenset("pm")
"""Kinds of due times that only repeat what was tried before."""


def at_rest(shard: ShardState) -> Rest | None:
    """None while something is under way: an append, a step, an attempt of an activity that was dispatched."""
    if shard.writer.in_flight or shard.touched or shard.closed_runs.reading:
        return None
    dues: list[int] = []
    for workflow in shard.workflows.values():
        live = workflow.live
        if workflow.waiting:
            return None
        if live is None:
            continue
        if live.barrier or any(_attempts_under_way(live)):
            return None
        for step in live.steps.values():
            if step.retry_at_ms is None:
                return None
            dues.append(step.retry_at_ms)
        dues += [entry[0] for entry in live.due if entry[1] not in WITHOUT_EFFECT and live.is_true(entry)]
    return Rest(min(dues, default=None))


def _attempts_under_way(live: LiveRun) -> Iterator[bool]:
    return (activity.progress.retry_at_ms is None for activity in live.run.activities.values())
