"""The reader's rule of the models and the one of the code say the same of every history that a model can reach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from odradek.orchestrator.core import keys
from odradek.orchestrator.core.run import NO_CLAIM
from odradek.orchestrator.core.workflow import Found, LiveRun, Workflow, resolve
from odradek.schemas import records as r
from odradek.schemas.codec import Codec
from tests.protocol.bounds import SMALL
from tests.protocol.checker import explore
from tests.protocol.chunks import CHUNK, Chunks, Event
from tests.protocol.ownership import RUN, Ownership
from tests.protocol.partition_log import Key, State, Value, surviving

CODEC = Codec()
Survivors = frozenset[tuple[int, Key, Value]]


@dataclass(frozen=True)
class ChunksSeen(Chunks):
    seen: Any = None

    def broken(self, state: State) -> str | None:
        self.seen.add(frozenset(surviving(state.history, len(state.history))))
        return None


@dataclass(frozen=True)
class OwnershipSeen(Ownership):
    seen: Any = None

    def broken(self, state: State) -> str | None:
        self.seen.add(frozenset(surviving(state.history, len(state.history))))
        return None


def started(number: int) -> r.RunStarted:
    lineage = r.Lineage(f"run-{number - 1}", 0) if number else None
    return r.RunStarted("Any", "queue", "run-0", lineage=lineage)


def event(number: int, n: int, decided: Event) -> r.Event:
    kind, _, who = decided
    body: r.EventBody
    match kind:
        case "start":
            body = started(number)
        case "end":
            body = r.RunContinued(r.Successor(f"run-{number + 1}", started(number + 1)))
        case _:
            body = r.SignalReceived(f"by {who}")
    return r.Event(n, 0, body)


def record(at: int, number: int, chunk: int, value: Value, first: int, events: tuple[Event, ...]) -> Found:
    """As history holds it: ``first`` events of the run stand in earlier chunks."""
    said = [event(number, first + place, decided) for place, decided in enumerate(events, 1)]
    body = value.body
    chunk_of = r.Chunk(
        first + len(said), chunk, getattr(body, "sealed", False), getattr(body, "previous_claim", 0),
        events[-1][1], first, "running", events=said,
    )  # fmt: skip
    raw = keys.chunk("w", f"run-{number}", chunk, value.claim)
    encoded = CODEC.encode(r.HistoryRecord(value.claim, value.v, value.x, value.y, chunk_of))
    parsed = keys.parse(raw)
    assert parsed is not None
    return parsed, raw, at, CODEC.decode(r.HistoryRecord, encoded)


def real_chain(wf: Workflow, number: int) -> tuple[list[int], int] | None:
    """The claims of the winning chain, and how many events it has."""
    run_id = f"run-{number}"
    live: LiveRun | None = wf.ending.get(run_id)
    if live is None and wf.live is not None and wf.live.run.run_id == run_id and wf.live.run.started is not None:
        live = wf.live
    if live is None:
        return None
    return [*live.chain, *([live.chunk_claim] if live.chunk_claim != NO_CLAIM else [])], live.run.event_count


@pytest.mark.parametrize("name", [name for name, model in SMALL.items() if isinstance(model, Chunks)])
def test_chains_of_chunks(name: str) -> None:
    bounds = {field: value for field, value in vars(SMALL[name]).items() if field != "removed"}
    seen: set[Survivors] = set()
    model = ChunksSeen(**bounds, seen=seen)
    assert explore(model, 300_000).complete
    assert len(seen) > 100
    for survivors in seen:
        found = sorted(survivors, key=lambda item: item[0])
        items = []
        for at, key, value in found:
            if key[0] == CHUNK:
                before = (key[2] - 1) * model.chunk_events
                items.append(record(at, key[1], key[2], value, before, value.body.events))
        wf = resolve("w", items, CODEC.encode_events)
        chains = model.resolve(found)
        for number in range(2):
            chain = chains[number] if number < len(chains) else []
            events = sum(len(value.body.events) for _, _, value in chain)
            said = ([value.claim for _, _, value in chain], events) if chain else None
            assert real_chain(wf, number) == said, found


def test_claims_of_runs() -> None:
    """Runs of one chunk, with everything that zombies write of them."""
    seen: set[Survivors] = set()
    model = OwnershipSeen(inputs="aa", history_max=6, checkpoints=0, seen=seen)
    assert explore(model, 300_000).complete
    assert len(seen) > 100
    for survivors in seen:
        found = sorted(survivors, key=lambda item: item[0])
        items = []
        for at, key, value in found:
            if key[0] == RUN:
                events = tuple(("start" if place == 0 else "input", *said) for place, said in enumerate(value.body))
                items.append(record(at, 0, 1, value, 0, events))
        best = model.resolve(found, "a")
        said = None if best is None else ([best[2].claim], len(best[2].body))
        assert real_chain(resolve("w", items, CODEC.encode_events), 0) == said, found
