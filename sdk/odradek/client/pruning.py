"""Takes out of the listings what closed long ago, and what was said of a run before its partition had other owners.

Nothing else forgets it: a compacted topic keeps the last record of each key, and an owner does not know which keys
those before it have written.
"""

from __future__ import annotations

from dataclasses import dataclass

from odradek.log.namespace import Namespace, append_all, read_to_end
from odradek.schemas.errors import UnreadableRecord
from odradek.schemas.records import RunStatus, VisibilityRecord


@dataclass(frozen=True)
class Pruned:
    """How many runs and records listings have lost, and how many records they have still."""

    runs: int
    records: int
    left: int


def prune_listings(namespace: Namespace, closed_before_ms: int) -> Pruned:
    """Open runs stay, and what cannot be read. Blocks."""
    runs = records = left = 0
    for partition in range(namespace.partitions):
        last = {
            record.key: record.value for record in read_to_end(namespace.log, namespace.topics.visibility, partition)
        }
        newest: dict[tuple[str, str], tuple[VisibilityRecord, bytes]] = {}
        gone: list[bytes] = []
        for key, value in last.items():
            shown = _shown(namespace, value)
            if key is None or shown is None:
                continue
            run = shown.workflow_id, shown.run_id
            before = newest.get(run)
            if before is None or (before[0].claim, before[0].n) < (shown.claim, shown.n):
                newest[run] = shown, key
            if before is not None:
                gone.append(before[1] if newest[run][1] is key else key)
        old = [key for shown, key in newest.values() if _closed_before(shown, closed_before_ms)]
        append_all(namespace.log, namespace.topics.visibility, partition, dict.fromkeys([*gone, *old]))
        runs, records, left = runs + len(old), records + len(gone) + len(old), left + len(newest) - len(old)
    return Pruned(runs, records, left)


def _shown(namespace: Namespace, value: bytes | None) -> VisibilityRecord | None:
    if value is None:
        return None
    try:
        return namespace.codec.decode(VisibilityRecord, value)
    except UnreadableRecord:
        return None


def _closed_before(shown: VisibilityRecord, time_ms: int) -> bool:
    return shown.status != RunStatus.RUNNING and shown.closed_ms is not None and shown.closed_ms < time_ms
