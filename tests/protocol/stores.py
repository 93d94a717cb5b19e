"""A local store that is older than the log, of another log, or of another time; and the progress of activities in it.

Stands for ``discard_if_unfit`` (``orchestrator/rocks.py``), ``flush_store``, ``put`` and ``restore_from``
(``core/state.py``, ``core/shard.py``), the stamps of ``OwnedPartition``, and ``_fold_progress`` (``core/workflow.py``).
One owner at a time: the log's own troubles are the concern of other models. Keys are those of two activities' progress
under two claims.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from tests.protocol.checker import Model, Step

Key = tuple[str, int]
"""(activity, claim)"""
Image = frozenset[tuple[Key, int, int | None]]
"""(key, offset, value); value None: a tombstone"""


class Record(NamedTuple):
    key: Key
    value: int | None
    v: int
    """The log is settled up to here, says this record."""
    time: int


class Store(NamedTuple):
    log: int = 0
    position: int = -1
    v: int = -1
    time: int = 0
    image: Image = frozenset()


class State(NamedTuple):
    log: int = 0
    """Which topic this is: it may be deleted and made anew."""
    records: tuple[Record | None, ...] = ()
    claim: int = 0
    settled: int = -1
    """Everything is acknowledged up to here."""
    v: int = -1
    settled_time: int = 0
    """When that was last found to be all."""
    now: int = 0
    store: Store = Store()
    cleanings: int = 2
    writes: int = 1
    """The store may yet be written so often: the older it is, the worse."""
    remade: bool = False
    cut: bool = False
    """An unclean election has cost the log its last record. (A log that grew on from there would not be noticed.)"""


RETENTION = 1
"""Tombstones stay for so long, and stores are of use for so long."""


@dataclass(frozen=True)
class Stores(Model[State]):
    history_max: int = 4
    time_max: int = 1
    cleanings: int = 1

    DEVICES: ClassVar[dict[str, str]] = {
        "time of the log": "a store is as old as the last append that was acknowledged, whenever it is written",
        "same topic": "a store of a topic that was deleted and made anew is discarded",
        "not beyond the log": "a store that reflects more than the log holds is discarded",
        "not too old": "a store that may have missed tombstones is discarded",
        "records and position in one": "a store is written with the position that it reflects, or not at all",
        "reads again from v": "what is not settled is read again, so that it is asserted again",
        "highest claim wins": "of the progress of an activity the highest claim counts, then the highest number",
        "tombstones are taken in": "what is read of the log deletes from the store, too",
    }

    def initial(self) -> State:
        return State(cleanings=self.cleanings)

    def steps(self, state: State) -> Iterator[tuple[Step, State]]:
        if len(state.records) < self.history_max and not state.cut:
            yield from self._appends(state)
        if state.now < self.time_max:
            yield ("time passes",), state._replace(now=state.now + 1)
        if state.settled < len(state.records) - 1 or (state.writes and state.settled_time < state.now):
            yield (
                ("everything is acknowledged",),
                state._replace(settled=len(state.records) - 1, settled_time=state.now if state.writes else 0),
            )
        if state.v < state.settled:
            yield ("v rises",), state._replace(v=state.settled)
        if state.records and state.claim == 0:
            yield ("another claim",), state._replace(claim=1)
        if state.writes:
            yield ("the store is written",), self._write(state)
        if not self.has("records and position in one"):
            half = state.store._replace(log=state.log, position=state.settled, time=state.now)
            yield ("the store is half written",), state._replace(store=half)
        if not state.remade and state.records and not state.now:
            # What is in the new topic has nothing to do with the old one; it may be longer.
            made = State(
                1, now=state.now, store=state.store, cleanings=state.cleanings, writes=state.writes, remade=True
            )
            yield ("the topic is made anew",), made
        if state.records and state.cleanings == self.cleanings and not state.cut:
            left = state.records[:-1]
            yield (
                ("the log loses its end",),
                state._replace(
                    records=left, settled=min(state.settled, len(left) - 1), v=min(state.v, len(left) - 1), cut=True
                ),
            )
        if state.cleanings and state.settled == len(state.records) - 1 and not state.cut:
            yield from self._cleans(state)

    def _appends(self, state: State) -> Iterator[tuple[Step, State]]:
        held: dict[Key, int | None] = {key: value for key, _, value in image(state.records)}
        for activity in "pq":
            key = (activity, state.claim)
            value = 1 + max((v for (name, _), v in held.items() if name == activity and v is not None), default=0)
            if value <= 2 and (activity == "p" or value == state.claim == 1):
                yield ("progress", activity, value, "under claim", state.claim), _append(state, key, value)
        for key, said in held.items():
            newer = (key[0], 1)
            if said is not None and key[1] == 0 and held.get(newer) is not None:
                yield ("a tombstone for", key), _append(state, key, None)

    def _write(self, state: State) -> State:
        end = state.settled + 1
        kept = frozenset(item for item in image(state.records[:end]) if item[2] is not None)
        time = state.settled_time if self.has("time of the log") else state.now
        return state._replace(
            store=Store(state.log, end - 1, state.v, time, kept), writes=state.writes - 1, settled_time=0
        )

    def _cleans(self, state: State) -> Iterator[tuple[Step, State]]:
        """Superseded records go; a tombstone once it is old."""
        last = {record.key: at for at, record in enumerate(state.records) if record is not None}
        left = tuple(
            None
            if record is None
            or last[record.key] != at
            or (record.value is None and state.now - record.time >= RETENTION and at < len(state.records) - 1)
            else record
            for at, record in enumerate(state.records)
        )
        if left != state.records:
            yield ("the cleaner cleans",), state._replace(records=left, cleanings=state.cleanings - 1)

    # ------------------------------------------------------------------------------------------ what must hold

    def broken(self, state: State) -> str | None:
        """Whoever restarts now with this store is where somebody without one is."""
        fit, store = self._fit(state), state.store
        whole: dict[Key, tuple[int, int | None]] = {
            key: (at, value) for key, at, value in image(state.records) if value is not None
        }
        v = max((record.v for record in state.records if record is not None), default=-1)
        if not fit:
            store = Store(position=-1)
        v = max(v, store.v) if fit else v
        first = min(store.position, store.v) + 1 if self.has("reads again from v") else store.position + 1
        found: dict[Key, tuple[int, int | None]] = {key: (at, value) for key, at, value in store.image}
        again: set[str] = set()
        for at in range(first, len(state.records)):
            record = state.records[at]
            if record is None:
                continue
            again.add(record.key[0])
            if record.value is not None:
                found[record.key] = (at, record.value)
            elif self.has("tombstones are taken in"):
                found.pop(record.key, None)
        if self._progress(found) != best(whole):
            return "a store and the log together say something else than the log"
        if any(at > v and key[0] not in again for key, (at, _) in whole.items()):
            return "what is not settled is not asserted again"
        if set(found) != set(whole):
            return "a store holds a key that the log does not"
        return None

    def _fit(self, state: State) -> bool:
        """``rocks._unfit``."""
        store = state.store
        if self.has("same topic") and store.log != state.log:
            return False
        if self.has("not beyond the log") and store.position >= len(state.records):
            return False
        return not self.has("not too old") or state.now - store.time < RETENTION

    def _progress(self, found: dict[Key, tuple[int, int | None]]) -> dict[str, int | None]:
        if self.has("highest claim wins"):
            return best(found)
        last = sorted(found.items(), key=lambda item: item[1][0] if item[0][1] else item[1][0] + 100)
        return {key[0]: value for key, (_, value) in last}


def best(found: Mapping[Key, tuple[int, int | None]]) -> dict[str, int | None]:
    return {key[0]: value for key, (_, value) in sorted(found.items(), key=lambda item: item[0][1])}


def image(records: tuple[Record | None, ...]) -> Image:
    last = {record.key: (at, record.value) for at, record in enumerate(records) if record is not None}
    return frozenset((key, at, value) for key, (at, value) in last.items())


def _append(state: State, key: Key, value: int | None) -> State:
    record = Record(key, value, state.v, state.now)
    return state._replace(records=(*state.records, record))
