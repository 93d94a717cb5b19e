"""One history partition, its owners and their producers, as models share them.

Stands for ``orchestrator/core/writer.py`` (``HistoryWriter``: contiguity, watermarks, emission) and for what a broker
and its client may do: a window sent again, an append that fails, acknowledgements that come late or never, compaction.
An owner that stops for good is one that makes no further step: crashes and pauses need no step of their own.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from tests.protocol.checker import Model, Step

Key = tuple[Any, ...]
"""(kind, name …, claim); kinds: claim, checkpoint, mark, and what a model adds. The last part is the claim."""

CLAIM, CHECKPOINT, MARK = "claim", "checkpoint", "mark"
FAILED = -1
"""The offset of an append that failed."""
LATE_RECORDS = "a late record of an older claim is contradicted under the own one, then removed"
CLAIMING, OWNER, OVER = "claiming", "owner", "over"


class Value(NamedTuple):
    """``HistoryRecord``: the claim, the watermarks, and what is said."""

    claim: int
    v: int
    x: int
    y: int
    body: Any


class Record(NamedTuple):
    key: Key
    value: Value | None
    """None: a tombstone."""


class Entry(NamedTuple):
    """One append on its way, as ``writer.Entry``."""

    record: Record
    acked_at_send: int
    carried_x: int
    x_after: int
    outputs: tuple[tuple[int | None, Hashable], ...] = ()
    """(what y stays below until this is out, None for the record's own offset; the output)"""
    then: tuple[tuple[Any, ...], ...] = ()
    """What happens once it is checked."""

    def __str__(self) -> str:
        key, value = " ".join(map(str, self.record.key)), self.record.value
        return f"tombstone of {key}" if value is None else f"{key} {value.body or ''}".rstrip()


class Owner(NamedTuple):
    """One claim: its producer, its ``HistoryWriter``, and what the model keeps in memory."""

    number: int
    mode: str = CLAIMING
    claim: int = -1
    last: int = -1
    x: int = -1
    v_inherited: int = -1
    y_inherited: int = -1
    settled: bool = False
    caught_up: bool = False
    late: frozenset[int] = frozenset()
    outbox: tuple[tuple[int, Hashable], ...] = ()
    pipe: tuple[Entry, ...] = ()
    """Sent, not landed."""
    landed: tuple[tuple[Entry, int], ...] = ()
    """Landed, not acknowledged."""
    memory: Any = None

    def first_in_flight(self) -> Entry | None:
        if self.landed:
            return self.landed[0][0]
        return self.pipe[0] if self.pipe else None

    @property
    def idle(self) -> bool:
        return self.mode == OWNER and not self.pipe and not self.landed and not self.outbox


class State(NamedTuple):
    history: tuple[Record | None, ...]
    """By offset; None: compacted away."""
    owners: tuple[Owner, ...]
    world: Any
    resends: int
    failures: int
    cleanings: int


@dataclass(frozen=True)
class PartitionLog(Model[State]):
    """Bounds: claims in all, windows sent again, appends that fail, cleanings of a key, records in the history."""

    claims: int = 2
    resends: int = 1
    failures: int = 0
    cleanings: int = 1
    history_max: int = 12

    DEVICES: ClassVar[dict[str, str]] = {
        "contiguity": "a gap between own offsets is read, and a claim in it ends this one",
        "failed appends end a claim": "nothing is taken for durable behind an append that failed",
        "compaction lag": "a takeover is over before what follows its claim may be compacted",
        "claims in keys": "a late record cannot replace the one of a newer claim",
    }

    # ------------------------------------------------------------------------------------------ what models add

    @abstractmethod
    def world(self) -> Any:
        """What is outside of the log at the beginning."""

    @abstractmethod
    def restored(self, state: State, owner: Owner) -> Owner:
        """The claim is acknowledged: make memory out of what the history holds up to it, and assert it again."""

    @abstractmethod
    def owner_steps(self, state: State, owner: Owner) -> Iterator[tuple[Step, State]]: ...

    @abstractmethod
    def checked(self, state: State, owner: Owner, what: tuple[Any, ...], offset: int) -> tuple[State, Owner]:
        """An element of ``Entry.then``."""

    @abstractmethod
    def say_again(self, owner: Owner, late: Key) -> tuple[Owner, bool]:
        """Append what contradicts a late record; False if this claim has said it already. ``Shard._late``."""

    # ------------------------------------------------------------------------------------------ steps

    def initial(self) -> State:
        return State((), (), self.world(), self.resends, self.failures, self.cleanings)

    def steps(self, state: State) -> Iterator[tuple[Step, State]]:
        if len(state.owners) < self.claims and len(state.history) < self.history_max:
            yield from self._claim_steps(state)
        for owner in state.owners:
            yield from self._producer_steps(state, owner)
            if owner.mode == OWNER:
                yield from self.owner_steps(state, owner)
        if state.cleanings:
            yield from self._cleaner_steps(state)

    def _claim_steps(self, state: State) -> Iterator[tuple[Step, State]]:
        """A claim lands at once: before that its owner is nobody."""
        number = len(state.owners)
        claim = Entry(Record((CLAIM, number), Value(-1, -1, -1, -1, None)), -1, -1, -1)
        owner = Owner(number, landed=((claim, len(state.history)),))
        claimed = state._replace(history=(*state.history, claim.record), owners=(*state.owners, owner))
        yield ("owner", number, "claims"), claimed

    def _producer_steps(self, state: State, owner: Owner) -> Iterator[tuple[Step, State]]:
        if owner.pipe:
            entry, rest = owner.pipe[0], owner.pipe[1:]
            if len(state.history) < self.history_max:
                landed = owner.landed
                if owner.mode != OVER:
                    landed = (*landed, (entry, len(state.history)))
                after = state._replace(history=(*state.history, entry.record))
                yield ("owner", owner.number, entry, "lands"), put(after, owner._replace(pipe=rest, landed=landed))
            if state.failures and owner.mode != OVER:
                failed = owner._replace(pipe=rest, landed=(*owner.landed, (entry, FAILED)))
                yield ("owner", owner.number, entry, "fails"), put(state._replace(failures=state.failures - 1), failed)
        if owner.landed:
            entry = owner.landed[0][0]
            if state.resends and owner.mode == OWNER and all(offset != FAILED for _, offset in owner.landed):
                again = tuple(entry for entry, _ in owner.landed)
                resent = owner._replace(pipe=again + owner.pipe, landed=())
                yield (
                    ("owner", owner.number, "sends its window again"),
                    put(state._replace(resends=state.resends - 1), resent),
                )
            yield ("owner", owner.number, entry, "is acknowledged"), self._acknowledge(state, owner)

    def _cleaner_steps(self, state: State) -> Iterator[tuple[Step, State]]:
        reading = [owner.landed[0][1] for owner in state.owners if owner.mode == CLAIMING and owner.landed]
        young = min(reading, default=len(state.history)) if self.has("compaction lag") else len(state.history)
        by_key: dict[Key, list[int]] = {}
        for offset, record in enumerate(state.history):
            if record is not None:
                by_key.setdefault(record.key, []).append(offset)
        for key, offsets in by_key.items():
            last = state.history[offsets[-1]]
            assert last is not None
            gone = offsets if last.value is None else offsets[:-1]
            if gone and offsets[-1] <= young:
                left = tuple(None if at in gone else record for at, record in enumerate(state.history))
                yield ("the cleaner cleans", key), state._replace(history=left, cleanings=state.cleanings - 1)

    # ------------------------------------------------------------------------------------------ HistoryWriter

    def v(self, owner: Owner) -> int:
        if not owner.settled:
            return owner.v_inherited
        first = owner.first_in_flight()
        v = owner.last if first is None else first.acked_at_send
        return min(v, min(owner.late) - 1) if owner.late else v

    def y(self, owner: Owner) -> int:
        if not owner.caught_up and self.has("y after catching up"):
            return owner.y_inherited
        holds = [hold for hold, _ in owner.outbox]
        holds += [hold for entry in _in_flight(owner) for hold, _ in entry.outputs if hold is not None]
        y = min([owner.last, *(hold - 1 for hold in holds)]) if self.has("y after emission") else owner.last
        return min(y, min(owner.late) - 1) if owner.late else y

    def append(
        self,
        owner: Owner,
        key: Key,
        body: Any = None,
        outputs: tuple[Hashable, ...] = (),
        then: tuple[tuple[Any, ...], ...] = (),
    ) -> Owner:
        """``body`` None: a tombstone."""
        x_after = _x_after(owner)
        if not self.has("claims in keys") and key[0] != CLAIM:
            key = (*key[:-1], 0)
        carried = owner.x if self.has("x of what is checked") else x_after
        value = None if body is None else Value(owner.claim, self.v(owner), carried, self.y(owner), body)
        entry = Entry(Record(key, value), owner.last, carried, x_after, tuple((None, o) for o in outputs), then)
        return owner._replace(pipe=(*owner.pipe, entry))

    def taken_to(self, owner: Owner, x: int) -> Owner:
        """Every input up to ``x`` is decided by the appends made so far."""
        if owner.pipe:
            return owner._replace(pipe=(*owner.pipe[:-1], owner.pipe[-1]._replace(x_after=x)))
        if owner.landed:
            entry, offset = owner.landed[-1]
            return owner._replace(landed=(*owner.landed[:-1], (entry._replace(x_after=x), offset)))
        return owner._replace(x=max(owner.x, x))

    def after_in_flight(self, owner: Owner, hold: int, outputs: tuple[Hashable, ...]) -> Owner:
        """Let outputs leave behind what is in flight; y stays below ``hold`` until they are out."""
        held = tuple((hold, output) for output in outputs)
        if owner.pipe:
            tail = owner.pipe[-1]
            return owner._replace(pipe=(*owner.pipe[:-1], tail._replace(outputs=tail.outputs + held)))
        if owner.landed:
            tail, offset = owner.landed[-1]
            tail = tail._replace(outputs=tail.outputs + held)
            return owner._replace(landed=(*owner.landed[:-1], (tail, offset)))
        return owner._replace(outbox=owner.outbox + held)

    def _acknowledge(self, state: State, owner: Owner) -> State:
        offset, rest = owner.landed[0][1], owner.landed[1:]
        acked = owner._replace(landed=rest)
        if owner.mode == CLAIMING:
            after = self.restored(state, acked._replace(mode=OWNER, claim=offset, last=offset))
            return put(state, after)
        if offset == FAILED:
            return put(state, _over(acked) if self.has("failed appends end a claim") else acked)
        if offset <= owner.last:
            return put(state, _over(acked))
        late: list[tuple[int, Key]] = []
        if offset > owner.last + 1 and self.has("contiguity"):
            for at in range(owner.last + 1, offset):
                record = state.history[at]
                if record is not None and record.key[0] == CLAIM:
                    return put(state, _over(acked))
                if record is None or claim_of(record) > owner.claim:
                    return put(state, _over(acked))
                if claim_of(record) < owner.claim and self.has("late records are answered"):
                    late.append((at, record.key))
        before = acked._replace(landed=owner.landed, late=owner.late | {at for at, _ in late})
        for at, key in late:
            before = self._answer_late(before, at, key)
        return self._check(state, before._replace(landed=before.landed[1:]), before.landed[0][0], offset)

    def _answer_late(self, owner: Owner, at: int, key: Key) -> Owner:
        after, appended = self.say_again(owner, key)
        if not appended:
            after = self.append(owner, (MARK, owner.claim), "mark")
        entry = after.pipe[-1]
        return after._replace(pipe=(*after.pipe[:-1], entry._replace(then=(*entry.then, ("late", at, key)))))

    def _check(self, state: State, owner: Owner, entry: Entry, offset: int) -> State:
        held = tuple((offset if hold is None else hold, output) for hold, output in entry.outputs)
        owner = owner._replace(last=offset, x=max(owner.x, entry.x_after), outbox=owner.outbox + held)
        for what in entry.then:
            match what:
                case ("tombstone", *keys):
                    for key in keys:
                        owner = self.append(owner, key)
                case ("late", at, key):
                    owner = self.append(owner, key, then=(("late done", at),))
                case ("late done", at):
                    owner = owner._replace(late=owner.late - {at})
                case _:
                    state, owner = self.checked(state, owner, what, offset)
        return put(state, owner)


def put(state: State, owner: Owner) -> State:
    owners = state.owners
    return state._replace(owners=(*owners[: owner.number], owner, *owners[owner.number + 1 :]))


def _in_flight(owner: Owner) -> list[Entry]:
    return [*(entry for entry, _ in owner.landed), *owner.pipe]


def _x_after(owner: Owner) -> int:
    if owner.pipe:
        return owner.pipe[-1].x_after
    return owner.landed[-1][0].x_after if owner.landed else owner.x


def _over(owner: Owner) -> Owner:
    """Fenced: what its producer holds may still land, and nobody hears of it."""
    return Owner(owner.number, OVER, pipe=tuple(Entry(entry.record, -1, -1, -1) for entry in owner.pipe))


def surviving(history: tuple[Record | None, ...], end: int) -> Iterator[tuple[int, Key, Value]]:
    """What a reader finds before offset ``end``: the last record of each key, unless it is a tombstone."""
    last: dict[Key, int] = {}
    for at in range(end):
        record = history[at]
        if record is not None:
            last[record.key] = at
    for key, at in last.items():
        record = history[at]
        if record is not None and record.value is not None:
            yield at, key, record.value


def watermarks(history: tuple[Record | None, ...]) -> tuple[int, int, int]:
    """v, x and y as a reader finds them: in records, too, that newer ones of their key have replaced."""
    values = [record.value for record in history if record is not None and record.value is not None]
    return (
        max((value.v for value in values), default=-1),
        max((value.x for value in values), default=-1),
        max((value.y for value in values), default=-1),
    )


def claim_of(record: Record) -> int:
    return int(record.key[-1] if record.value is None else record.value.claim)
