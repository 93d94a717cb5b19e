"""Appends to one partition's history under one claim, and decides what may leave: the heart of the ownership protocol.

Contiguity: the owner is the only writer, so each acknowledged offset must be the last one plus one. An effect leaves
when its append and every append before it are acknowledged and contiguous. The watermarks v, x, y speak of that prefix
only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from typing import Any

from odradek.orchestrator.core import keys
from odradek.orchestrator.core.effects import (
    Effect,
    Emitting,
    Fenced,
    InboxDone,
    Output,
    ReadGap,
    SendMessage,
    SendTask,
    Show,
)
from odradek.schemas import records as r
from odradek.schemas.codec import Codec


class Entry:
    """One append on its way."""

    __slots__ = ("acked_at_send", "carried_x", "effects", "key", "offset", "then", "value", "x_after")

    def __init__(self, key: bytes, value: bytes | None, acked_at_send: int, carried_x: int) -> None:
        self.key = key
        self.value = value
        self.acked_at_send = acked_at_send
        self.carried_x = carried_x
        self.x_after = carried_x
        self.effects: Sequence[Effect] = ()
        self.then: Callable[[int], None] | None = None
        self.offset = -1


def chain_then(entry: Entry, then: Callable[[int], None]) -> None:
    """Call ``then`` after what the entry calls already."""
    before = entry.then

    def both(offset: int) -> None:
        if before is not None:
            before(offset)
        then(offset)

    entry.then = both


class LateRecord:
    """A record of an older claim that landed after ours."""

    __slots__ = ("key", "offset")

    def __init__(self, key: bytes, offset: int) -> None:
        self.key = key
        self.offset = offset


class HistoryWriter:
    """The in-flight window of one claim.

    ``on_checked(entry)`` is called for every append that is acknowledged and checked; ``on_late(record)`` for a record
    of an older claim found in a gap: whoever handles it calls ``late_done`` once the log is in order again.
    """

    def __init__(
        self,
        claim: int,
        v: int,
        x: int,
        y: int,
        codec: Codec,
        on_checked: Callable[[Entry], None],
        on_late: Callable[[LateRecord], None],
    ) -> None:
        self.claim = claim
        self._codec = codec
        self._on_checked = on_checked
        self._on_late = on_late
        self.last = claim
        """The last offset that is acknowledged and checked."""
        self.x = x
        self._v_inherited, self._y_inherited = v, y
        self.settled = False
        """False until everything above the predecessor's v is asserted again: v does not rise before."""
        self.caught_up = False
        """False until the predecessor's pending outputs are emitted again: y does not rise before."""
        self.in_flight: deque[Entry] = deque()
        self.bytes_in_flight = 0
        self.to_send: list[Entry] = []
        self.outbox: list[Effect] = []
        self._emitting: deque[Emitting] = deque()
        self._late: set[int] = set()
        self._waiting_for_x: list[tuple[int, int, Callable[[], None]]] = []
        self._waited = 0
        self._gap: tuple[int, int] | None = None
        self._held: deque[tuple[Entry, int]] = deque()
        self.fenced = False
        self._marks = 0

    # ------------------------------------------------------------------------------------------ watermarks

    @property
    def v(self) -> int:
        if not self.settled:
            return self._v_inherited
        v = self.in_flight[0].acked_at_send if self.in_flight else self.last
        return min(v, min(self._late) - 1) if self._late else v

    @property
    def y(self) -> int:
        if not self.caught_up:
            return self._y_inherited
        y = self._emitting[0].offset - 1 if self._emitting else self.last
        return min(y, min(self._late) - 1) if self._late else y

    # ------------------------------------------------------------------------------------------ appending

    def append(
        self,
        key: bytes,
        body: Any | None,
        blocks: bytes | None = None,
        effects: Sequence[Effect] = (),
        then: Callable[[int], None] | None = None,
    ) -> Entry:
        """Append a history record (``body`` None: a tombstone).

        ``effects`` leave once it is checked, then ``then`` is called.
        """
        value = None
        if body is not None:
            value = self._codec.encode_history(self.claim, self.v, self.x, self.y, body, blocks)
        entry = Entry(key, value, self.last, self.x)
        entry.effects = effects
        entry.then = then
        self.in_flight.append(entry)
        self.bytes_in_flight += len(value or b"")
        self.to_send.append(entry)
        return entry

    def taken_to(self, x: int) -> None:
        """Every inbox record up to ``x`` is decided by the appends made so far."""
        if self.in_flight:
            self.in_flight[-1].x_after = x
        elif x > self.x:
            self.x = x

    def after_in_flight(self, effects: Sequence[Effect]) -> None:
        """Let effects leave behind the appends that are in flight now, without one of their own.

        What they are decided by may be any of these appends: y stays below all of them until the effects are out.
        """
        if self.in_flight:
            self._hold_y(effects, self.last + 1)
            tail = self.in_flight[-1]
            tail.effects = [*tail.effects, *effects]
        else:
            self._release(effects, self.last)

    def then_in_flight(self, action: Callable[[int], None]) -> None:
        """Call ``action`` behind the appends that are in flight now."""
        if self.in_flight:
            chain_then(self.in_flight[-1], action)
        else:
            action(self.last)

    def when_x(self, offset: int, action: Callable[[], None]) -> None:
        """Call ``action`` once an acknowledged record carries an x at or beyond ``offset``."""
        self._waited += 1
        heappush(self._waiting_for_x, (offset, self._waited, action))

    @property
    def waiting_for_x(self) -> int:
        """How many actions wait in ``when_x``."""
        return len(self._waiting_for_x)

    def mark_if_idle(self) -> None:
        """Write a mark if somebody waits for an x that has been reached, and no other append is going to carry it."""
        waiting = self._waiting_for_x
        if waiting and waiting[0][0] <= self.x and not self.in_flight and not self.fenced:
            self.mark()

    def mark(self) -> Entry:
        self._marks += 1
        return self.append(keys.mark(self.claim), r.Mark(self._marks))

    def checkpoint(self, now_ms: int, then: Callable[[int], None] | None = None) -> None:
        entry = self.append(keys.checkpoint(self.claim), r.Checkpoint(now_ms))
        entry.effects = [InboxDone(entry.carried_x)]
        entry.then = then

    # ------------------------------------------------------------------------------------------ acknowledgements

    def acked(self, entry: Entry, offset: int) -> None:
        """The log has acknowledged ``entry`` at ``offset``; acknowledgements come in the order of the appends."""
        if self.fenced:
            return
        if self._gap is not None:
            self._held.append((entry, offset))
        elif offset == self.last + 1:
            self._check(entry, offset)
        elif offset <= self.last:
            self.fence(f"an append was acknowledged at offset {offset}, which was behind us already ({self.last})")
        else:
            self._gap = (self.last + 1, offset)
            self._held.append((entry, offset))
            self.outbox.append(ReadGap(*self._gap))

    def gap_read(self, records: Sequence[tuple[int, bytes, int | None]]) -> None:
        """What stands in the gap: (offset, key, claim of the record, None for a claim or what cannot be read).

        Compaction may have been there before us, if we slept for long: a claim may have been in what is gone.
        """
        assert self._gap is not None
        first, end = self._gap
        if len(records) < end - first:
            self.fence(f"compaction has taken records between offsets {first} and {end}, and one may have been a claim")
            return
        for offset, key, claim in records:
            if key.startswith(keys.CLAIM) or (claim is not None and claim > self.claim):
                self.fence(f"another owner claimed the partition before offset {offset + 1}")
                return
            if claim is not None and claim < self.claim:
                self._late.add(offset)
                self._on_late(LateRecord(key, offset))
        self.last = self._gap[1] - 1
        self._gap = None
        held, self._held = self._held, deque()
        for entry, offset in held:
            self.acked(entry, offset)

    def late_done(self, offset: int) -> None:
        self._late.discard(offset)

    def fence(self, reason: str) -> None:
        """Emit nothing any more; nothing that is in flight will be answered."""
        if not self.fenced:
            self.fenced = True
            self.outbox = [Fenced(reason)]
            self.to_send.clear()

    def _check(self, entry: Entry, offset: int) -> None:
        self.last = offset
        first = self.in_flight.popleft()
        assert first is entry, "acknowledgements out of order"
        self.bytes_in_flight -= len(entry.value or b"")
        entry.offset = offset
        self.x = max(self.x, entry.x_after)
        self._on_checked(entry)
        if entry.effects:
            self._release(entry.effects, offset)
        if entry.then is not None:
            entry.then(offset)
        while self._waiting_for_x and self._waiting_for_x[0][0] <= entry.carried_x:
            heappop(self._waiting_for_x)[2]()

    # ------------------------------------------------------------------------------------------ emission

    def _release(self, effects: Sequence[Effect], offset: int) -> None:
        self._hold_y(effects, offset)
        self.outbox.extend(effects)

    def _hold_y(self, effects: Sequence[Effect], offset: int) -> None:
        for effect in effects:
            if isinstance(effect, Output) and effect.tracked and effect.token is None:
                effect.token = self.begin_emitting(offset)
                effect.token.outstanding += 1

    def catch_up(self, effects: Sequence[SendTask | SendMessage | Show], then: Callable[[int], None]) -> None:
        """Emit the predecessor's pending outputs behind what is in flight; y stays until they are acknowledged."""
        token = Emitting(self._y_inherited + 1)
        token.outstanding = len(effects) + 1
        self._emitting.appendleft(token)
        self.caught_up = True
        for effect in effects:
            effect.token = token
        self.after_in_flight(effects)

        def release(offset: int) -> None:
            then(offset)
            self.emitted(token)

        self.then_in_flight(release)

    def begin_emitting(self, offset: int) -> Emitting:
        """A token that holds y below ``offset`` until its outputs are acknowledged."""
        newest = self._emitting[-1] if self._emitting else None
        if newest is not None and newest.offset >= offset and newest.then is None:
            newest.offset = offset
            return newest
        token = Emitting(offset)
        self._emitting.append(token)
        return token

    def begin_closing(self, offset: int, then: Callable[[], None]) -> Emitting:
        """A token of its own, which calls ``then`` once everything under it is acknowledged.

        It counts as one output itself: whoever has added the last one calls ``emitted`` for it.
        """
        token = Emitting(offset, then)
        token.outstanding = 1
        if self._emitting and offset <= self._emitting[0].offset:
            self._emitting.appendleft(token)
        else:
            self._emitting.append(token)
        return token

    def emit_under(self, token: Emitting, outputs: Sequence[Effect]) -> None:
        """Let outputs leave now."""
        for effect in outputs:
            if isinstance(effect, Output) and effect.tracked:
                token.outstanding += 1
                effect.token = token
        self.outbox.extend(outputs)

    def emitted(self, token: Emitting) -> None:
        """One output of this token is acknowledged by its topic."""
        token.outstanding -= 1
        if token.outstanding == 0 and token.then is not None:
            then, token.then = token.then, None
            then()
        emitting = self._emitting
        while emitting and emitting[0].outstanding == 0:
            emitting.popleft()
