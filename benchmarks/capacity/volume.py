"""How much a fleet writes: records and bytes by topic, and what of them is left once the history is compacted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.stage import QUEUE, Stage
from odradek.log import Reader
from odradek.schemas.topics import Topics

READ_SECONDS = 0.5


@dataclass(frozen=True)
class Written:
    records: float
    bytes: float
    """Of keys and values."""


def topics_of(topics: Topics) -> dict[str, str]:
    """Those that workflows write to, by what the page calls them."""
    names = ("inbox", "history", "replies", "archive", "visibility")
    return {**{name: getattr(topics, name) for name in names}, "tasks": topics.tasks(QUEUE)}


Ends = Mapping[tuple[str, int], int]


def ends(where: Stage, topics: Topics) -> Ends:
    found: dict[tuple[str, int], int] = {}
    for name in topics_of(topics).values():
        info = where.log.topic(name)
        assert info is not None
        found |= {(name, p): where.log.offsets(name, p).end for p in range(info.partitions)}
    return found


def written(where: Stage, topics: Topics, before: Ends, after: Ends) -> tuple[dict[str, Written], float]:
    """Between two moments, by topic; and the bytes of history that compaction leaves of it.

    What has been deleted meanwhile, as orchestrators do with their inboxes, counts like what has not. Where all of it
    has been there are records, and no bytes.
    """
    found, live = {}, 0.0
    for label, name in topics_of(topics).items():
        reader, last, read, size = where.log.reader(), dict[bytes | None, int](), 0, 0
        records = 0
        for (topic, partition), end in after.items():
            if topic != name:
                continue
            records += end - before[topic, partition]
            begin = max(before[topic, partition], where.log.offsets(topic, partition).begin)
            for key, length in _sizes(reader, topic, partition, begin, end):
                read, size = read + 1, size + length + len(key or b"")
                last[key] = length
        reader.close()
        found[label] = Written(records, size / read * records if read else 0.0)
        if label == "history":
            live = sum(length + len(key or b"") for key, length in last.items() if length)
    return found, live


def _sizes(reader: Reader, topic: str, partition: int, begin: int, end: int) -> list[tuple[bytes | None, int]]:
    found: list[tuple[bytes | None, int]] = []
    if begin >= end:
        return found
    reader.assign(topic, partition, begin)
    while reader.position(topic, partition) < end:
        records = reader.poll(READ_SECONDS, 10_000)
        found += [(record.key, len(record.value or b"")) for record in records if record.offset < end]
    reader.unassign(topic, partition)
    return found


def segment_bytes(where: Stage, topics: Topics) -> int:
    """On the disks of the brokers that were started here; 0 where they are others'."""
    wanted = tuple(f"{name}-" for name in topics_of(topics).values())
    logs = (where.folder / "broker").glob("**/*.log")
    return sum(path.stat().st_size for path in logs if path.parent.name.startswith(wanted))


def disk_factor(copies_bytes: int, values_bytes: float, copies: int) -> float:
    return copies_bytes / values_bytes / copies if copies_bytes and values_bytes else 1.0
