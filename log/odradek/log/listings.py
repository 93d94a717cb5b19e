"""Takes out of the listings what closed long ago, and what was said of a run before its partition had other owners.

Nothing else forgets it: a compacted topic keeps the last record of each key, and an owner does not know which keys
those before it have written. A tombstone on the newest alone would bring an older one back.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from odradek.log.interface import Record
from odradek.log.namespace import Namespace, append_all, each_to_end
from odradek.schemas.errors import UnreadableRecord
from odradek.schemas.records import RunStatus, VisibilityRecord


@dataclass(frozen=True)
class Pruned:
    """How many runs and records listings have lost, and how many runs they have still."""

    runs: int
    records: int
    left: int


class TooManyListings(Exception):
    """A partition has more of their records than may be looked through here."""


class _Shown(NamedTuple):
    """What decides over a record of the listings."""

    run: tuple[str, str]
    place: tuple[int, int]
    closed_ms: int | None
    """None: it is open."""


def prune_listings(
    namespace: Namespace,
    closed_before_ms: int,
    partitions: Iterable[int] | None = None,
    records_max: float = math.inf,
) -> Pruned:
    """Open runs stay, and what cannot be read. Of these partitions, or of all. Blocks, and holds a partition's runs.

    Raises ``TooManyListings`` where one has more records than ``records_max``.
    """
    runs = records = left = 0
    for partition in range(namespace.partitions) if partitions is None else partitions:
        stands: dict[bytes | None, _Shown] = {}
        for number, record in enumerate(each_to_end(namespace.log, namespace.topics.visibility, partition)):
            if number >= records_max:
                raise TooManyListings(partition)
            shown = _shown(namespace, record)
            if shown is None:
                stands.pop(record.key, None)
            else:
                stands[record.key] = shown
        newest: dict[tuple[str, str], bytes | None] = {}
        for key, shown in sorted(stands.items(), key=lambda item: item[1].place):
            newest[shown.run] = key
        last = set(newest.values())
        old = [key for key in last if _closed_before(stands[key], closed_before_ms)]
        gone = [key for key in (*(stands.keys() - last), *old) if key is not None]
        append_all(namespace.log, namespace.topics.visibility, partition, dict.fromkeys(gone))
        runs, records, left = runs + len(old), records + len(gone), left + len(newest) - len(old)
    return Pruned(runs, records, left)


def _shown(namespace: Namespace, record: Record) -> _Shown | None:
    if record.value is None:
        return None
    try:
        shown = namespace.codec.decode(VisibilityRecord, record.value)
    except UnreadableRecord:
        return None
    closed_ms = None if shown.status == RunStatus.RUNNING else shown.closed_ms
    return _Shown((shown.workflow_id, shown.run_id), (shown.claim, shown.n), closed_ms)


def _closed_before(shown: _Shown, time_ms: int) -> bool:
    return shown.closed_ms is not None and shown.closed_ms < time_ms
