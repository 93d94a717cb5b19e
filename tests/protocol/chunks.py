"""Runs of several cumulative chunks, runs that follow one another, and what zombies write of either.

Stands for ``Transitions`` (``core/transitions.py``: sealing, the barrier, ``write_again``), ``_best_chain``
and ``_void_runs`` (``core/workflow.py``), ``begin_successor`` (``core/decide.py``) and ``held_by``. One workflow ID; an
input marked ``n`` may end its run with a successor or not, as its owner pleases. Outputs leave when they are checked,
and again when what a predecessor wrote is asserted again: what y says of them is the concern of ``ownership``.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from tests.protocol.checker import Step
from tests.protocol.partition_log import (
    CLAIM,
    LATE_RECORDS,
    Key,
    Owner,
    PartitionLog,
    State,
    Value,
    put,
    surviving,
    watermarks,
)

CHUNK = "chunk"
NO_CLAIM = -1
Event = tuple[str, int, int]
"""("start", "input" or "end"; inbox offset; number of the owner that decided)"""


class Sealed(NamedTuple):
    claim: int
    events: tuple[Event, ...]


class Body(NamedTuple):
    """``records.Chunk``."""

    events: tuple[Event, ...]
    sealed: bool
    previous_claim: int


class Run(NamedTuple):
    sealed: tuple[Sealed, ...] = ()
    claim: int = NO_CLAIM
    """The claim under which the open chunk was last written."""
    events: tuple[Event, ...] = ()
    """Of the open chunk."""
    barrier: bool = False
    stale: tuple[Key, ...] = ()

    def all(self) -> tuple[Event, ...]:
        return (*(event for chunk in self.sealed for event in chunk.events), *self.events)

    @property
    def closed(self) -> bool:
        events = self.all()
        return bool(events) and events[-1][0] == "end"

    @property
    def previous_claim(self) -> int:
        return self.sealed[-1].claim if self.sealed else NO_CLAIM


class Memory(NamedTuple):
    runs: tuple[Run, ...] = ()
    taken: int = -1
    closing: bool = False
    """A closing record is in flight."""
    to_reassert: int = 0


@dataclass(frozen=True)
class Chunks(PartitionLog):
    """``inputs``: one letter each, ``.`` an ordinary one; a chunk is sealed at ``chunk_events``."""

    inputs: str = ".n"
    chunk_events: int = 1

    DEVICES: ClassVar[dict[str, str]] = {
        **PartitionLog.DEVICES,
        "late records are answered": LATE_RECORDS,
        "re-assertion": "a takeover says again what its predecessor's producer may send again",
        "highest claim wins": "a reader goes by the claim of a chain, not by the position",
        "whole chains": "a chunk counts only with every chunk before it, by the claims that they name",
        "barrier": "the next chunk is begun when the sealed one is acknowledged and checked",
        "the end before the next run": "a run begins when the end of the one before it is acknowledged and checked",
        "void runs": "a run whose predecessor did not end with its name is none",
        "cumulative chunks": "a record says all that its key has to say",
    }

    def world(self) -> frozenset[tuple[int, Event]]:
        """What was emitted: (run, event)."""
        return frozenset()

    # ------------------------------------------------------------------------------------------ reading

    def resolve(self, found: list[tuple[int, Key, Value]]) -> list[list[tuple[int, Key, Value]]]:
        """The winning chain of each run, the first run first."""
        runs: list[list[tuple[int, Key, Value]]] = []
        numbers = sorted({key[1] for _, key, _ in found if key[0] == CHUNK})
        for number in numbers:
            chain = self._best_chain([item for item in found if item[1][0] == CHUNK and item[1][1] == number])
            if number > len(runs) and self.has("void runs"):
                break
            if number and self.has("void runs") and (not runs[-1] or not _ends(runs[-1])):
                break
            runs += [[] for _ in range(number - len(runs))]
            runs.append(chain)
        while runs and not runs[-1]:
            runs.pop()
        return runs

    def _best_chain(self, found: list[tuple[int, Key, Value]]) -> list[tuple[int, Key, Value]]:
        chunks = {(key[2], value.claim): (at, key, value) for at, key, value in found}
        order = sorted(chunks, key=lambda at: (at[1], at[0]), reverse=True)
        if not self.has("highest claim wins"):
            order = sorted(chunks, key=lambda at: chunks[at][0], reverse=True)
        for top in order:
            chain: list[tuple[int, Key, Value]] = []
            number, claim = top
            while number and (number, claim) in chunks:
                item = chunks[number, claim]
                chain.append(item)
                number, claim = number - 1, item[2].body.previous_claim
                if not self.has("whole chains") and any(n == number for n, _ in chunks):
                    last = max((at, c) for (n, c), (at, _, _) in chunks.items() if n == number)
                    claim = last[1]
            if number == 0:
                return chain[::-1]
        return []

    def events(self, runs: list[list[tuple[int, Key, Value]]]) -> list[list[Event]]:
        return [[event for item in chain for event in item[2].body.events] for chain in runs]

    # ------------------------------------------------------------------------------------------ takeover

    def restored(self, state: State, owner: Owner) -> Owner:
        found = list(surviving(state.history, owner.claim + 1))
        v, x, y = watermarks(state.history[: owner.claim + 1])
        claims = sorted(at for at, key, _ in found if key[0] == CLAIM)
        owner = owner._replace(x=x, v_inherited=v, y_inherited=y, caught_up=True, memory=Memory(taken=x))
        for number, chain in enumerate(self.resolve(found)):
            run = _folded(chain)
            kept = {key for _, key, _ in chain}
            run = run._replace(stale=tuple(k for _, k, _ in found if k[:2] == (CHUNK, number) and k not in kept))
            owner = owner._replace(memory=owner.memory._replace(runs=(*owner.memory.runs, run)))
            if not chain:
                continue
            at, _, value = chain[-1]
            if self.has("re-assertion") and (at > v or _is_late(value.claim, at, claims)):
                left = owner.memory.to_reassert + 1
                again = tuple((number, event) for event in run.all())
                owner = self._write_again(owner, number, (("reasserted", *again),))
                owner = owner._replace(memory=owner.memory._replace(to_reassert=left))
        return owner if owner.memory.to_reassert else owner._replace(settled=True)

    def _write_again(self, owner: Owner, number: int, then: tuple[tuple[Any, ...], ...] = ()) -> Owner:
        run: Run = owner.memory.runs[number]
        if run.claim == NO_CLAIM:
            old = run.sealed[-1]
            chunk, previous = len(run.sealed), run.sealed[-2].claim if chunk_above_first(run) else NO_CLAIM
            body = Body(old.events, True, previous)
            sealed = (*run.sealed[:-1], Sealed(owner.claim, old.events))
            after = run._replace(sealed=sealed, barrier=True, stale=())
            stale = (*run.stale, (CHUNK, number, chunk, old.claim))
        else:
            chunk = len(run.sealed) + 1
            body = Body(run.events, False, run.previous_claim)
            after = run._replace(claim=owner.claim, stale=())
            stale = (*run.stale, (CHUNK, number, chunk, run.claim))
        lift = (("lift", number),) if after.barrier else ()
        owner = _put_run(owner, number, after)
        key = (CHUNK, number, chunk, owner.claim)
        return self.append(owner, key, body, then=(("tombstone", *dict.fromkeys(stale)), *lift, *then))

    def say_again(self, owner: Owner, late: Key) -> tuple[Owner, bool]:
        """``Transitions.write_current``: of the run that is open."""
        memory: Memory = owner.memory
        if late[0] != CHUNK or late[1] != len(memory.runs) - 1 or memory.runs[-1].closed:
            return owner, False
        run = memory.runs[-1]
        said = run.claim if run.claim != NO_CLAIM else run.previous_claim
        if said in (NO_CLAIM, owner.claim):
            return owner, False
        return self._write_again(owner, late[1]), True

    # ------------------------------------------------------------------------------------------ service

    def owner_steps(self, state: State, owner: Owner) -> Iterator[tuple[Step, State]]:
        memory: Memory = owner.memory
        if not memory.runs or (memory.runs[-1].closed and not memory.closing):
            if memory.to_reassert == 0:
                yield ("owner", owner.number, "begins run", len(memory.runs)), put(state, self._begin(owner))
            return
        held = memory.closing or memory.runs[-1].barrier
        if memory.taken + 1 < len(self.inputs) and not held:
            offset = memory.taken + 1
            yield ("owner", owner.number, "takes input", offset), put(state, self._take(owner, "input"))
            if self.inputs[offset] == "n" and offset > memory.runs[-1].all()[-1][1]:
                yield ("owner", owner.number, "ends the run at input", offset), put(state, self._take(owner, "end"))

    def _begin(self, owner: Owner) -> Owner:
        memory: Memory = owner.memory
        before = memory.runs[-1].all()[-1][1] if memory.runs else -1
        owner = owner._replace(memory=memory._replace(runs=(*memory.runs, Run())))
        return self._decide(owner, ("start", before, owner.number))

    def _take(self, owner: Owner, kind: str) -> Owner:
        memory: Memory = owner.memory
        offset = memory.taken + 1
        owner = owner._replace(memory=memory._replace(taken=offset))
        if offset > memory.runs[-1].all()[-1][1]:
            owner = self._decide(owner, (kind, offset, owner.number))
        return self.taken_to(owner, offset)

    def _decide(self, owner: Owner, event: Event) -> Owner:
        """``Transitions.write_transition``."""
        memory: Memory = owner.memory
        number = len(memory.runs) - 1
        run = memory.runs[number]
        chunk = len(run.sealed) + 1
        stale = run.stale
        if run.claim not in (NO_CLAIM, owner.claim):
            stale = (*stale, (CHUNK, number, chunk, run.claim))
        ends = event[0] == "end"
        events = (*run.events, event)
        sealed = not ends and len(events) >= self.chunk_events
        run = run._replace(claim=owner.claim, events=events, barrier=sealed, stale=stale if ends else ())
        previous = run.previous_claim
        owner = _put_run(owner, number, run)
        owner = owner._replace(memory=owner.memory._replace(closing=ends))
        then: tuple[tuple[Any, ...], ...] = (("emit", number, event),)
        if stale and not ends:
            then = (*then, ("tombstone", *stale))
        if sealed:
            then = (*then, ("seal", number))
        if ends:
            then = (*then, ("ended",))
        said = events if self.has("cumulative chunks") else (event,)
        owner = self.append(owner, (CHUNK, number, chunk, owner.claim), Body(said, sealed, previous), then=then)
        if sealed and not self.has("barrier"):
            owner = self._seal(owner, number)
        if ends and not self.has("the end before the next run"):
            owner = self._begin(owner._replace(memory=owner.memory._replace(closing=False)))
        return owner

    def _seal(self, owner: Owner, number: int) -> Owner:
        run: Run = owner.memory.runs[number]
        sealed = (*run.sealed, Sealed(owner.claim, run.events))
        return _put_run(owner, number, run._replace(sealed=sealed, claim=NO_CLAIM, events=(), barrier=False))

    def checked(self, state: State, owner: Owner, what: tuple[Any, ...], offset: int) -> tuple[State, Owner]:
        memory: Memory = owner.memory
        match what:
            case ("emit", number, event):
                state = state._replace(world=state.world | {(number, event)})
            case ("seal", number) if self.has("barrier"):
                owner = self._seal(owner, number)
            case ("lift", number):
                owner = _put_run(owner, number, memory.runs[number]._replace(barrier=False))
            case ("ended",) if self.has("the end before the next run"):
                owner = self._begin(owner._replace(memory=memory._replace(closing=False)))
            case ("reasserted", *again):
                owner = owner._replace(memory=memory._replace(to_reassert=memory.to_reassert - 1))
                if memory.to_reassert == 1:
                    owner = owner._replace(settled=True)
                state = state._replace(world=state.world | set(again))
        return state, owner

    # ------------------------------------------------------------------------------------------ what must hold

    def broken(self, state: State) -> str | None:
        found = list(surviving(state.history, len(state.history)))
        runs = self.events(self.resolve(found))
        said = {(number, event) for number, events in enumerate(runs) for event in events}
        if not state.world <= said:
            return "what was emitted is not what a reader finds"
        if len({(number, event[:2]) for number, event in state.world}) != len(state.world):
            return "two decisions on one input were emitted"
        taken = [event[1] for events in runs for event in events if event[0] != "start"]
        if len(taken) != len(set(taken)):
            return "an input was taken in twice"
        _, x, _ = watermarks(state.history)
        if not set(range(x + 1)) <= set(taken):
            return "x says that an input is decided, and no run has it"
        if any(not events or events[-1][0] != "end" for events in runs[:-1]):
            return "a run follows one that has not ended"
        return self._lives_apart(state, runs)

    def _lives_apart(self, state: State, runs: list[list[Event]]) -> str | None:
        for owner in state.owners:
            if not owner.idle or owner.last != len(state.history) - 1:
                continue
            if [list(run.all()) for run in owner.memory.runs] != runs:
                return "what an owner has in memory is not what a replay makes"
        return None


def chunk_above_first(run: Run) -> bool:
    return len(run.sealed) > 1


def _folded(chain: list[tuple[int, Key, Value]]) -> Run:
    """``workflow._fold_chain``."""
    sealed = tuple(Sealed(value.claim, value.body.events) for _, _, value in chain)
    if not chain or chain[-1][2].body.sealed:
        return Run(sealed)
    return Run(sealed[:-1], sealed[-1].claim, sealed[-1].events)


def _ends(chain: list[tuple[int, Key, Value]]) -> bool:
    events = chain[-1][2].body.events
    return bool(events) and events[-1][0] == "end"


def _put_run(owner: Owner, number: int, run: Run) -> Owner:
    runs = owner.memory.runs
    return owner._replace(memory=owner.memory._replace(runs=(*runs[:number], run, *runs[number + 1 :])))


def _is_late(claim: int, at: int, claims: list[int]) -> bool:
    following = bisect_right(claims, claim)
    return following < len(claims) and claims[following] < at
