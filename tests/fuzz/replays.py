"""Recorded histories with other events in them: a replay ends, with a code where it does not fit."""

from __future__ import annotations

import asyncio
from functools import cache
from random import Random

from odradek.client import WorkflowHistory
from odradek.schemas import records as r
from odradek.worker import Replayer
from tests.fuzz.history import DamagedWorld
from tests.fuzz.inbox import CODEC
from tests.fuzz.records import Values
from tests.fuzz.workflows import WORKFLOWS

REPLAYER = Replayer(workflows=WORKFLOWS)


@cache
def recorded() -> tuple[WorkflowHistory, ...]:
    """Of runs that have come to different places."""
    found = []
    for seed in range(6):
        world = DamagedWorld(seed)
        shard = world.owner.shard
        for name in ("victim-0", "healthy-0"):
            live = shard.workflow(name).live
            if live is not None:
                found.append(WorkflowHistory(name, tuple(shard.events(live)), run_id=live.run.run_id))
    return tuple(found)


def altered(chance: Random, events: list[r.Event]) -> list[r.Event]:
    values = Values(chance, {"seq": [0, 1, 2, 3], "n": [1, 2, 3], "workflow_type": ["Victim", "Healthy", "Unknown"]})
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(events)) if events else 0
        match chance.randrange(6) if events else 5:
            case 0:
                del events[at]
            case 1:
                events.insert(at, events[chance.randrange(len(events))])
            case 2:
                chance.shuffle(events)
            case 3:
                events[at] = values.mutated(events[at])
            case 4:
                del events[at:]
            case _:
                events.insert(at, values.of(r.Event))
    return events


def check_seed(seed: int) -> None:
    chance = Random(seed)
    told = chance.choice(recorded())
    events = altered(chance, [*told.events])
    history = WorkflowHistory(told.workflow_id, tuple(events), run_id=told.run_id)
    result = asyncio.run(REPLAYER.replay_workflow(history, raise_on_replay_failure=False))
    failure = result.replay_failure
    assert failure is None or str(failure).startswith("ODR-"), repr(failure)
    again = WorkflowHistory.from_json(told.workflow_id, history.to_json())
    assert CODEC.encode_events(again.events) == CODEC.encode_events(events)
