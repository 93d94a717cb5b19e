"""The end of a run: closing record → archive → summary → x past the last input → tombstones; and what comes late.

Stands for ``core/closing.py``, ``Transitions.closing_checked`` and ``write_current``, ``_closed_run`` of
``core/workflow.py``, and ``Shard._emit_pending`` for runs that the predecessor closed. Input 0 starts the run, the last
one ends it, and one in between is an event or the end, as its owner pleases; an end is known by its owner.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from tests.protocol.checker import Step
from tests.protocol.partition_log import MARK, Key, Owner, PartitionLog, State, Value, put, surviving, watermarks

CHUNK, SUMMARY = "chunk", "summary"
Event = tuple[str, int, int]
"""("event" or "end"; inbox offset; number of the owner that decided)"""


class Memory(NamedTuple):
    events: tuple[Event, ...] = ()
    claim: int = -1
    """Of the chunk."""
    stale: tuple[Key, ...] = ()
    summary: Event | None = None
    summary_claim: int = -1
    leftovers: tuple[Key, ...] = ()
    """They get tombstones once x can no longer fall behind the last input."""
    taken: int = -1
    live: bool = False
    to_reassert: int = 0
    closing: str = ""
    """ "checked": the end stands, and its archive is to be sent; "archived": the summary is on its way"""

    @property
    def ended(self) -> bool:
        return self.summary is not None or bool(self.events and self.events[-1][0] == "end")


class World(NamedTuple):
    archived: frozenset[Event] = frozenset()
    """The ends that stand in the archive."""
    emitted: frozenset[Event] = frozenset()


@dataclass(frozen=True)
class Closing(PartitionLog):
    inputs: int = 2

    DEVICES: ClassVar[dict[str, str]] = {
        **PartitionLog.DEVICES,
        "outputs behind the end": "the archive leaves when the closing record is acknowledged and checked",
        "archive before summary": "the summary is written when the archive has everything",
        "summary before tombstones": "the run's keys are deleted when the summary is acknowledged and checked",
        "summaries win": "a run with a summary is closed, whatever else is found of it",
    }

    def world(self) -> World:
        return World()

    # ------------------------------------------------------------------------------------------ takeover

    def resolve(self, found: list[tuple[int, Key, Value]]) -> tuple[tuple[int, Key, Value] | None, Any]:
        """(the record that holds, "chunk" or "summary")"""
        summaries = [item for item in found if item[1][0] == SUMMARY]
        chunks = [item for item in found if item[1][0] == CHUNK]
        if summaries and (self.has("summaries win") or not chunks):
            return max(summaries, key=lambda item: item[2].claim), SUMMARY
        if chunks:
            return max(chunks, key=lambda item: (item[2].claim, len(item[2].body))), CHUNK
        return None, None

    def restored(self, state: State, owner: Owner) -> Owner:
        found = list(surviving(state.history, owner.claim + 1))
        v, x, y = watermarks(state.history[: owner.claim + 1])
        best, kind = self.resolve(found)
        others = tuple(key for _, key, _ in found if key[0] in (CHUNK, SUMMARY) and (best is None or key != best[1]))
        memory = Memory(taken=x)
        owner = owner._replace(x=x, v_inherited=v, y_inherited=y, caught_up=True)
        if best is None:
            return owner._replace(memory=memory, settled=True)
        at, _, value = best
        if kind == SUMMARY:
            memory = memory._replace(summary=value.body, summary_claim=value.claim, leftovers=others)
        else:
            memory = memory._replace(events=value.body, claim=value.claim, stale=others)
        owner = owner._replace(memory=memory)
        if at <= v:
            return self._bury(owner._replace(settled=True))
        again = self._write_summary if kind == SUMMARY else self._write_again
        owner = owner._replace(memory=owner.memory._replace(to_reassert=1))
        return self._bury(again(owner, (("reasserted",),)))

    def _write_again(self, owner: Owner, then: tuple[tuple[Any, ...], ...] = ()) -> Owner:
        memory: Memory = owner.memory
        stale = tuple(dict.fromkeys((*memory.stale, (CHUNK, memory.claim))))
        owner = owner._replace(memory=memory._replace(claim=owner.claim, stale=()))
        return self.append(owner, (CHUNK, owner.claim), memory.events, then=(("tombstone", *stale), *then))

    def _write_summary(self, owner: Owner, then: tuple[tuple[Any, ...], ...] = ()) -> Owner:
        memory: Memory = owner.memory
        if memory.summary_claim not in (-1, owner.claim):
            then = (("tombstone", (SUMMARY, memory.summary_claim)), *then)
        owner = owner._replace(memory=memory._replace(summary_claim=owner.claim))
        return self.append(owner, (SUMMARY, owner.claim), memory.summary, then=then)

    def say_again(self, owner: Owner, late: Key) -> tuple[Owner, bool]:
        memory: Memory = owner.memory
        if memory.summary_claim != -1:
            return (owner, False) if memory.summary_claim == owner.claim else (self._write_summary(owner), True)
        if late[0] not in (CHUNK, SUMMARY) or memory.claim in (-1, owner.claim) or memory.ended:
            return owner, False
        return self._write_again(owner), True

    # ------------------------------------------------------------------------------------------ service

    def owner_steps(self, state: State, owner: Owner) -> Iterator[tuple[Step, State]]:
        memory: Memory = owner.memory
        number, following = owner.number, memory.taken + 1
        held = memory.ended and memory.summary is None and not memory.closing
        if following < self.inputs and not held:
            last = following == self.inputs - 1
            if not last:
                yield ("owner", number, "takes input", following), put(state, self._take(owner, "event"))
            if following:
                yield ("owner", number, "ends the run at input", following), put(state, self._take(owner, "end"))
        elif not memory.live and following == self.inputs:
            yield ("owner", number, "has read the inbox to its end"), put(state, self._go_live(owner))
        if memory.closing == "checked":
            world = state.world._replace(archived=state.world.archived | {memory.events[-1]})
            yield ("owner", number, "archives the run"), put(state._replace(world=world), self._summarise(owner))
        if memory.leftovers and not owner.pipe and not owner.landed and memory.closing != "archived":
            yield ("owner", number, "writes a mark"), put(state, self._mark(owner))

    def _take(self, owner: Owner, kind: str) -> Owner:
        memory: Memory = owner.memory
        offset = memory.taken + 1
        owner = owner._replace(memory=memory._replace(taken=offset))
        if not memory.ended and (not memory.events or offset > memory.events[-1][1]):
            event = (kind, offset, owner.number)
            stale = memory.stale
            if memory.claim not in (-1, owner.claim):
                stale = (*stale, (CHUNK, memory.claim))
            events = (*memory.events, event)
            ends = kind == "end"
            left = stale if ends else ()
            owner = owner._replace(memory=owner.memory._replace(events=events, claim=owner.claim, stale=left))
            then: tuple[tuple[Any, ...], ...] = (("emit", event),)
            then = (*then, ("ended",)) if ends else (*then, ("tombstone", *stale)) if stale else then
            owner = self.append(owner, (CHUNK, owner.claim), events, then=then)
            if ends and not self.has("outputs behind the end"):
                owner = owner._replace(memory=owner.memory._replace(closing="checked"))
        return self.taken_to(owner, offset)

    def _go_live(self, owner: Owner) -> Owner:
        """``close_again``: behind what is in flight."""
        memory: Memory = owner.memory._replace(live=True)
        owner = owner._replace(memory=memory)
        if not memory.ended or memory.summary is not None or memory.closing:
            return owner
        if owner.pipe:
            tail = owner.pipe[-1]
            return owner._replace(pipe=(*owner.pipe[:-1], tail._replace(then=(*tail.then, ("ended",)))))
        if owner.landed:
            tail, offset = owner.landed[-1]
            tail = tail._replace(then=(*tail.then, ("ended",)))
            return owner._replace(landed=(*owner.landed[:-1], (tail, offset)))
        return owner._replace(memory=memory._replace(closing="checked"))

    def _summarise(self, owner: Owner) -> Owner:
        """``Closing.write_down``."""
        memory: Memory = owner.memory
        leftovers = tuple(dict.fromkeys((*memory.stale, (CHUNK, memory.claim))))
        memory = memory._replace(summary=memory.events[-1], leftovers=leftovers, stale=(), closing="archived")
        owner = self._write_summary(owner._replace(memory=memory), (("summarised",),))
        if not self.has("summary before tombstones"):
            owner = self._bury(owner, at_once=True)
        return owner

    def _bury(self, owner: Owner, *, at_once: bool = False) -> Owner:
        if not at_once:
            return owner
        memory: Memory = owner.memory
        for key in memory.leftovers:
            owner = self.append(owner, key)
        return owner._replace(memory=owner.memory._replace(leftovers=()))

    def _mark(self, owner: Owner) -> Owner:
        return self.append(owner, (MARK, owner.claim), "mark", then=(("x at", owner.x),))

    def checked(self, state: State, owner: Owner, what: tuple[Any, ...], offset: int) -> tuple[State, Owner]:
        memory: Memory = owner.memory
        match what:
            case ("emit", event):
                state = state._replace(world=state.world._replace(emitted=state.world.emitted | {event}))
            case ("ended",) if memory.summary is None and not memory.closing:
                owner = owner._replace(memory=memory._replace(closing="checked"))
                if not self.has("archive before summary"):
                    owner = self._summarise(owner)
            case ("summarised",):
                owner = owner._replace(memory=memory._replace(closing=""))
            case ("x at", x) if x >= (memory.summary[1] if memory.summary else self.inputs):
                owner = self._bury(owner, at_once=True)
            case ("reasserted",):
                owner = owner._replace(settled=True, memory=memory._replace(to_reassert=0))
        return state, owner

    # ------------------------------------------------------------------------------------------ what must hold

    def broken(self, state: State) -> str | None:
        world: World = state.world
        found = list(surviving(state.history, len(state.history)))
        best, kind = self.resolve(found)
        end = None
        if best is not None:
            end = best[2].body if kind == SUMMARY else best[2].body[-1] if best[2].body[-1][0] == "end" else None
        if kind == SUMMARY and end not in world.archived:
            return "a summary is there, and the archive is not"
        if world.archived and {end} != world.archived:
            return "a run that was closed came back to life, or was closed in two ways"
        if kind != SUMMARY and not world.emitted <= set(best[2].body if best else ()):
            return "what was emitted is not what a reader finds"
        _, x, _ = watermarks(state.history)
        if x >= 0 and best is None:
            return "x says that the start is decided, and there is no run"
        for owner in state.owners:
            memory: Memory | None = owner.memory
            if owner.idle and memory and owner.last == len(state.history) - 1:
                own = memory.summary or (memory.events[-1] if memory.ended else None)
                if own != end:
                    return "what an owner has in memory is not what a replay makes"
                if memory.live and memory.ended and memory.summary is None and memory.closing == "":
                    return "the closing of a run has stopped half-way"
        return None
