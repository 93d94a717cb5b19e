"""Claims, epochs, the pipelined watermarks v, x and y, the trimmed inbox, checkpoints and outputs emitted again.

Stands for ``Shard.restore``, ``begin``, ``_reassert``, ``_settle``, ``go_live`` and ``_late`` (``core/shard.py``),
``resolve`` (``core/workflow.py``) for runs of one chunk, ``Transitions.write_again`` and ``write_current``
(``core/transitions.py``) and, through ``partition_log``, for ``HistoryWriter``. Owners decide differently on purpose:
a decision is (workflow, input, who decided).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from tests.protocol.checker import Step
from tests.protocol.partition_log import (
    CHECKPOINT,
    CLAIM,
    LATE_RECORDS,
    MARK,
    Key,
    Owner,
    PartitionLog,
    State,
    Value,
    put,
    surviving,
    watermarks,
)

RUN = "run"
Decision = tuple[int, int]
"""(inbox offset, number of the owner that decided)"""


class Run(NamedTuple):
    decisions: tuple[Decision, ...] = ()
    claim: int = -1
    stale: tuple[Key, ...] = ()
    """Keys under older claims that the next record replaces."""

    @property
    def inbox_offset(self) -> int:
        return self.decisions[-1][0] if self.decisions else -1


class Memory(NamedTuple):
    runs: tuple[Run, ...]
    taken: int
    inbox_end: int
    live: bool = False
    to_reassert: int = 0
    pending: tuple[tuple[str, int, int], ...] = ()
    """Outputs that the predecessor may not have emitted."""
    older: tuple[Key, ...] = ()
    """Claims, marks and checkpoints of earlier claims."""
    checkpoints: int = 0


class World(NamedTuple):
    trimmed: int = -1
    """The inbox is deleted up to here."""
    emitted: frozenset[tuple[str, int, int]] = frozenset()


@dataclass(frozen=True)
class Ownership(PartitionLog):
    """``inputs``: the workflow that each record of the inbox is for; ``checkpoints``: of each claim."""

    inputs: str = "ab"
    checkpoints: int = 1

    DEVICES: ClassVar[dict[str, str]] = {
        **PartitionLog.DEVICES,
        "late records are answered": LATE_RECORDS,
        "y after emission": "y stays below outputs that are not acknowledged",
        "y after catching up": "y does not rise before the predecessor's pending outputs are out",
        "x of what is checked": "x speaks of inputs whose records are acknowledged and checked",
        "re-assertion": "a takeover says again what its predecessor's producer may send again",
        "highest claim wins": "a reader goes by the claim, not by the position",
        "inputs are known by their offset": "a run skips what its records say it has taken in",
        "trimming behind checkpoints": "the inbox is deleted up to the x of an acknowledged checkpoint, and no further",
        "watermarks outlive checkpoints": "an older checkpoint is deleted behind a record that carries what it said",
        "tombstones behind their successor": "an older key is deleted when the newer one is acknowledged and checked",
    }

    @property
    def workflows(self) -> list[str]:
        return sorted(set(self.inputs))

    def world(self) -> World:
        return World()

    # ------------------------------------------------------------------------------------------ takeover

    def resolve(self, found: list[tuple[int, Key, Value]], workflow: str) -> tuple[int, Key, Value] | None:
        """The reader's rule, for runs of one chunk."""
        runs = [item for item in found if item[1][0] == RUN and item[1][1] == workflow]
        if not runs:
            return None
        if not self.has("highest claim wins"):
            return max(runs, key=lambda item: item[0])
        return max(runs, key=lambda item: (item[2].claim, len(item[2].body)))

    def restored(self, state: State, owner: Owner) -> Owner:
        found = list(surviving(state.history, owner.claim + 1))
        v, x, y = watermarks(state.history[: owner.claim + 1])
        claims = sorted(at for at, key, _ in found if key[0] == CLAIM)
        older = [key for at, key, _ in found if key[0] == CLAIM and at < owner.claim]
        older += [key for _, key, _ in found if key[0] in (MARK, CHECKPOINT)]
        memory = Memory((), x, len(self.inputs), older=tuple(older))
        owner = owner._replace(x=x, v_inherited=v, y_inherited=y, memory=memory)
        for workflow in self.workflows:
            owner = self._restore_run(owner, found, workflow, claims)
        return owner if owner.memory.to_reassert else self._settle(owner)

    def _restore_run(
        self, owner: Owner, found: list[tuple[int, Key, Value]], workflow: str, claims: list[int]
    ) -> Owner:
        memory: Memory = owner.memory
        best = self.resolve(found, workflow)
        if best is None:
            return owner._replace(memory=memory._replace(runs=(*memory.runs, Run())))
        at, own_key, value = best
        stale = tuple(k for _, k, _ in found if k[0] == RUN and k[1] == workflow and k != own_key)
        run = Run(value.body, value.claim, stale)
        pending = memory.pending
        if at > owner.y_inherited:
            pending += tuple((workflow, offset, who) for offset, who in run.decisions)
        memory = memory._replace(runs=(*memory.runs, run), pending=pending)
        owner = owner._replace(memory=memory)
        if self.has("re-assertion") and (at > owner.v_inherited or _is_late(value.claim, at, claims)):
            owner = self._write_again(owner, workflow, then=(("reasserted",),))
            owner = owner._replace(memory=owner.memory._replace(to_reassert=owner.memory.to_reassert + 1))
        return owner

    def _write_again(self, owner: Owner, workflow: str, then: tuple[tuple[Any, ...], ...] = ()) -> Owner:
        index = self.workflows.index(workflow)
        run: Run = owner.memory.runs[index]
        key = (RUN, workflow, owner.claim)
        old = (RUN, workflow, run.claim)
        then = (("tombstone", *dict.fromkeys((old, *run.stale))), *then)
        owner = _put_run(owner, index, run._replace(claim=owner.claim, stale=()))
        return self._append_run(owner, key, run.decisions, (), then)

    def _append_run(
        self, owner: Owner, key: Key, decisions: tuple[Decision, ...], outputs: tuple[Any, ...], then: tuple[Any, ...]
    ) -> Owner:
        if self.has("tombstones behind their successor"):
            return self.append(owner, key, decisions, outputs, then)
        owner = self.append(owner, key, decisions, outputs, tuple(what for what in then if what[0] != "tombstone"))
        for old in (old for what in then if what[0] == "tombstone" for old in what[1:]):
            owner = self.append(owner, old)
        return owner

    def _settle(self, owner: Owner) -> Owner:
        """Older claims go; marks and checkpoints wait for one of this claim that carries the watermarks."""
        claims = [key for key in owner.memory.older if key[0] == CLAIM]
        notes = tuple(key for key in owner.memory.older if key[0] != CLAIM)
        if not self.has("watermarks outlive checkpoints"):
            claims, notes = [*claims, *notes], ()
        owner = owner._replace(settled=True, memory=owner.memory._replace(older=notes))
        for key in claims:
            owner = self.append(owner, key)
        return owner

    def say_again(self, owner: Owner, late: Key) -> tuple[Owner, bool]:
        if late[0] != RUN:
            return owner, False
        run: Run = owner.memory.runs[self.workflows.index(late[1])]
        if run.claim in (-1, owner.claim):
            return owner, False
        return self._write_again(owner, late[1]), True

    # ------------------------------------------------------------------------------------------ service

    def owner_steps(self, state: State, owner: Owner) -> Iterator[tuple[Step, State]]:
        number, memory = owner.number, owner.memory
        if memory.taken + 1 < len(self.inputs):
            yield ("owner", number, "takes input", memory.taken + 1), put(state, self._take(state, owner))
        elif not memory.live:
            yield ("owner", number, "has read the inbox to its end"), put(state, self._go_live(owner))
        if memory.live and memory.checkpoints < self.checkpoints:
            yield ("owner", number, "writes a checkpoint"), self._checkpoint(state, owner)
        if owner.outbox:
            world: World = state.world
            outputs: frozenset[Any] = frozenset(output for _, output in owner.outbox)
            after = state._replace(world=world._replace(emitted=world.emitted | outputs))
            yield ("owner", number, "emits", *sorted(outputs)), put(after, owner._replace(outbox=()))

    def _take(self, state: State, owner: Owner) -> Owner:
        memory: Memory = owner.memory
        offset = memory.taken + 1
        if offset <= state.world.trimmed:
            return Owner(owner.number, "over", pipe=owner.pipe)  # out of range: never "earliest"
        workflow = self.inputs[offset]
        index = self.workflows.index(workflow)
        run: Run = memory.runs[index]
        owner = owner._replace(memory=memory._replace(taken=offset))
        if offset > run.inbox_offset or not self.has("inputs are known by their offset"):
            key, old = (RUN, workflow, owner.claim), (RUN, workflow, run.claim)
            stale = run.stale if run.claim in (-1, owner.claim) else (*run.stale, old)
            decided = Run((*run.decisions, (offset, owner.number)), owner.claim)
            owner = _put_run(owner, index, decided)
            then = (("tombstone", *stale),) if stale else ()
            owner = self._append_run(owner, key, decided.decisions, ((workflow, offset, owner.number),), then)
        return self.taken_to(owner, offset)

    def _go_live(self, owner: Owner) -> Owner:
        memory: Memory = owner.memory
        owner = owner._replace(caught_up=True, memory=memory._replace(live=True, pending=()))
        return self.after_in_flight(owner, owner.y_inherited + 1, memory.pending)

    def _checkpoint(self, state: State, owner: Owner) -> State:
        memory: Memory = owner.memory
        older = memory.older if owner.settled else ()
        left = () if owner.settled else memory.older
        owner = owner._replace(memory=memory._replace(checkpoints=memory.checkpoints + 1, older=left))
        if not self.has("trimming behind checkpoints"):
            state = _trim(state, owner.x)
        then = (("trim", owner.x), *((("tombstone", *older),) if older else ()))
        return put(state, self.append(owner, (CHECKPOINT, owner.claim), "checkpoint", then=then))

    def checked(self, state: State, owner: Owner, what: tuple[Any, ...], offset: int) -> tuple[State, Owner]:
        match what:
            case ("trim", x):
                return _trim(state, x), owner
            case ("reasserted",):
                left = owner.memory.to_reassert - 1
                owner = owner._replace(memory=owner.memory._replace(to_reassert=left))
                return state, owner if left else self._settle(owner)
            case _:
                raise AssertionError(what)

    # ------------------------------------------------------------------------------------------ what must hold

    def broken(self, state: State) -> str | None:
        world: World = state.world
        if len({(workflow, offset) for workflow, offset, _ in world.emitted}) != len(world.emitted):
            return "two decisions on one input were emitted"
        found = list(surviving(state.history, len(state.history)))
        _, x, y = watermarks(state.history)
        said: set[tuple[str, int, int]] = set()
        for workflow in self.workflows:
            best = self.resolve(found, workflow)
            if best is not None:
                decisions = {(workflow, offset, who) for offset, who in best[2].body}
                said |= decisions
                if len({offset for _, offset, _ in decisions}) != len(best[2].body):
                    return "a run has taken one input in twice"
                if best[0] <= y and not decisions <= world.emitted:
                    return "y says that an output is out, and it is not"
        if not world.emitted <= said:
            return "what was emitted is not what a reader finds"
        if x < world.trimmed:
            return "the inbox is deleted beyond the x that a new owner finds"
        if not set(range(x + 1)) <= {offset for _, offset, _ in said}:
            return "x says that an input is decided, and no run has it"
        return self._lives_apart(state, found)

    def _lives_apart(self, state: State, found: list[tuple[int, Key, Value]]) -> str | None:
        """The valid owner, with nothing in flight and everything in the log read, is what a replay makes."""
        for owner in state.owners:
            if owner.mode != "owner" or owner.pipe or owner.landed or owner.last != len(state.history) - 1:
                continue
            for run, workflow in zip(owner.memory.runs, self.workflows, strict=True):
                best = self.resolve(found, workflow)
                if (best[2].body if best else ()) != run.decisions:
                    return "what an owner has in memory is not what a replay makes"
        return None


def _put_run(owner: Owner, index: int, run: Run) -> Owner:
    runs = owner.memory.runs
    return owner._replace(memory=owner.memory._replace(runs=(*runs[:index], run, *runs[index + 1 :])))


def _trim(state: State, x: int) -> State:
    return state._replace(world=state.world._replace(trimmed=max(state.world.trimmed, x)))


def _is_late(claim: int, at: int, claims: list[int]) -> bool:
    """Another claim lies between the record's claim and the record."""
    following = bisect_right(claims, claim)
    return following < len(claims) and claims[following] < at
