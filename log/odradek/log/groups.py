"""The coordinator of one consumer group on one topic, for the embedded logs: a pure state machine.

A partition is held by one member at a time: it is granted only once its holder has released it, left or fallen silent.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from odradek.log.assignment import assign


@dataclass(slots=True)
class Member:
    session_ms: int
    seen_ms: int
    held: set[int] = field(default_factory=set)
    target: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a member learns from its heartbeat. ``known=False``: it was taken out, everything that it held is lost."""

    known: bool
    held: frozenset[int] = frozenset()
    to_release: frozenset[int] = frozenset()


_LOST = Answer(False)


@dataclass(slots=True)
class Group:
    """Mutable, but touched only by its own methods; whoever keeps it provides the lock, the clock and the storage."""

    partitions: int
    version: int = 0
    """Rises whenever something changes that a member might have to hear of."""
    members: dict[str, Member] = field(default_factory=dict)

    def join(self, name: str, session_ms: int, now_ms: int) -> Answer:
        self.expire(now_ms)
        self.members[name] = Member(session_ms, now_ms)
        self._rebalance()
        return self.heartbeat(name, now_ms)

    def heartbeat(self, name: str, now_ms: int) -> Answer:
        self.expire(now_ms)
        member = self.members.get(name)
        if member is None:
            return _LOST
        member.seen_ms = now_ms
        wanted = member.target - member.held
        if wanted:
            granted = wanted - self._held_by_others(name)
            if granted:
                member.held |= granted
                self.version += 1
        return Answer(True, frozenset(member.held), frozenset(member.held - member.target))

    def release(self, name: str, partitions: Iterable[int], now_ms: int) -> Answer:
        member = self.members.get(name)
        if member is not None:
            member.held.difference_update(partitions)
            self.version += 1
        return self.heartbeat(name, now_ms)

    def leave(self, name: str) -> None:
        if self.members.pop(name, None) is not None:
            self._rebalance()

    def expire(self, now_ms: int) -> None:
        # A sighting in the future comes from a clock that has been set back (the host was started anew).
        silent = [name for name, m in self.members.items() if now_ms - m.seen_ms > m.session_ms or m.seen_ms > now_ms]
        for name in silent:
            del self.members[name]
        if silent:
            self._rebalance()

    def resize(self, partitions: int) -> None:
        if partitions != self.partitions:
            self.partitions = partitions
            self._rebalance()

    def holds(self, name: str, partition: int) -> bool:
        member = self.members.get(name)
        return member is not None and partition in member.held

    def to_json(self) -> str:
        members = {n: [m.session_ms, m.seen_ms, sorted(m.held), sorted(m.target)] for n, m in self.members.items()}
        return json.dumps([self.partitions, self.version, members], separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Group:
        partitions, version, members = json.loads(text)
        return cls(
            partitions,
            version,
            {
                n: Member(session, seen, set(held), frozenset(target))
                for n, (session, seen, held, target) in members.items()
            },
        )

    def _held_by_others(self, name: str) -> set[int]:
        return {p for other, member in self.members.items() if other != name for p in member.held}

    def _rebalance(self) -> None:
        plan = assign({name: member.held for name, member in self.members.items()}, self.partitions)
        for name, target in plan.items():
            self.members[name].target = target
        self.version += 1
