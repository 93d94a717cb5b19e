"""What a compaction pass may drop: the rules of Kafka's log cleaner, as a pure function for the embedded logs.

A superseded record goes once the record that supersedes it is older than the lag. A tombstone goes only when an earlier
pass had reached it at least ``delete.retention.ms`` ago, so a reader that is quicker than that never misses it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

DAY_MS = 86_400_000


class Entry(NamedTuple):
    """What the rules need to know of a record."""

    offset: int
    time_ms: int
    key: bytes
    is_tombstone: bool


class Pass(NamedTuple):
    """An earlier pass: it reached all records below ``reached`` at ``time_ms``."""

    reached: int
    time_ms: int


@dataclass(frozen=True, slots=True)
class Rules:
    lag_ms: int = 0
    delete_retention_ms: int = DAY_MS

    @classmethod
    def of(cls, config: Mapping[str, str]) -> Rules:
        return cls(int(config.get("min.compaction.lag.ms", "0")), int(config.get("delete.retention.ms", str(DAY_MS))))


@dataclass(frozen=True, slots=True)
class Plan:
    drop: list[int]
    passes: list[Pass]


def plan(entries: Iterable[Entry], passes: Iterable[Pass], rules: Rules, now_ms: int) -> Plan:
    """What to drop from ``entries`` (one whole partition, in order), and the passes to remember for next time."""
    old, recent = _settle(passes, rules, now_ms)
    last: dict[bytes, Entry] = {}
    drop: list[int] = []
    reached = old
    for entry in entries:
        if entry.time_ms > now_ms - rules.lag_ms:
            break
        before = last.get(entry.key)
        if before is not None:
            drop.append(before.offset)
        last[entry.key] = entry
        reached = entry.offset + 1
    drop.extend(e.offset for e in last.values() if e.is_tombstone and e.offset < old)
    drop.sort()
    remembered = [Pass(old, 0)] if old else []
    remembered += recent
    if reached > (recent[-1].reached if recent else old):
        remembered.append(Pass(reached, now_ms))
    return Plan(drop, remembered)


def _settle(passes: Iterable[Pass], rules: Rules, now_ms: int) -> tuple[int, list[Pass]]:
    """Up to where tombstones have been reached for long enough, and the passes that are more recent."""
    old = 0
    recent: list[Pass] = []
    for earlier in passes:
        if earlier.time_ms + rules.delete_retention_ms <= now_ms:
            old = max(old, earlier.reached)
        else:
            recent.append(earlier)
    return old, recent
