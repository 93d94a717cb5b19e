"""What the embedded log does now and then: retention, compaction, and clearing away deleted topics.

All of it in small transactions, so that appends never wait for long.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from odradek.log.compaction import Entry, Pass, Rules, plan
from odradek.log.sqlite_appender import drop_range, trim
from odradek.log.sqlite_storage import OFFSET_BITS, OFFSET_MASK, Storage, TopicRow, wall_ms

COMPACT_RECORDS_MIN: Final = 10_000
"""A partition is compacted when it has grown by this and by as much as it kept last time."""
SCAN_RECORDS: Final = 5_000
DROP_RECORDS: Final = 500


def do_all(storage: Storage, every_seconds: float) -> None:
    """Everything that is due, unless another process has just done it."""
    now_ms = wall_ms()
    with storage.transaction() as connection:
        connection.execute("INSERT OR IGNORE INTO chores VALUES ('all', 0)")
        due = "UPDATE chores SET due_ms = ? WHERE name = 'all' AND (due_ms <= ? OR due_ms > ?)"
        later_ms = now_ms + int(every_seconds * 1000)
        # A due time far ahead comes from a clock that has been set back.
        if connection.execute(due, (later_ms, now_ms, later_ms)).rowcount == 0:
            return
    empty_trash(storage)
    for topic in storage.topics():
        for partition in storage.partitions(topic.name):
            if topic.policy == "compact":
                if _is_dirty(storage, partition.id):
                    compact(storage, topic, partition.id)
            elif topic.retention_ms is not None:
                _expire(storage, partition.id, now_ms - topic.retention_ms)


def compact(storage: Storage, topic: TopicRow, partition_id: int) -> None:
    rules = Rules.of(topic.config)
    row = storage.connection.execute("SELECT passes FROM partitions WHERE id = ?", (partition_id,)).fetchone()
    if row is None:
        return
    passes = [Pass(*earlier) for earlier in json.loads(row[0])]
    seen = 0

    def counted() -> Iterator[Entry]:
        nonlocal seen
        for entry in _entries(storage, partition_id):
            seen += 1
            yield entry

    result = plan(counted(), passes, rules, wall_ms())
    for start in range(0, len(result.drop), DROP_RECORDS):
        _drop(storage, partition_id, result.drop[start : start + DROP_RECORDS])
    with storage.transaction() as connection:
        connection.execute(
            "UPDATE partitions SET passes = ?, kept = ? WHERE id = ?",
            (json.dumps(result.passes), seen - len(result.drop), partition_id),
        )


def delete_topic(storage: Storage, name: str) -> None:
    """Forget a topic; its records are trash from then on."""
    with storage.transaction() as connection:
        connection.execute("INSERT INTO trash SELECT id FROM partitions WHERE topic = ?", (name,))
        for table, column in (("partitions", "topic"), ("topics", "name"), ("commits", "topic"), ("groups", "topic")):
            connection.execute(f"DELETE FROM {table} WHERE {column} = ?", (name,))  # noqa: S608  # names of ours


def empty_trash(storage: Storage) -> None:
    for (partition_id,) in storage.connection.execute("SELECT id FROM trash").fetchall():
        start = partition_id << OFFSET_BITS
        finished = False
        while not finished:
            with storage.transaction() as connection:
                finished = drop_range(connection, start, start + OFFSET_MASK)
                if finished:
                    connection.execute("DELETE FROM trash WHERE id = ?", (partition_id,))


def _entries(storage: Storage, partition_id: int) -> Iterator[Entry]:
    start = partition_id << OFFSET_BITS
    stop = start + OFFSET_MASK
    query = "SELECT id, time_ms, key, value IS NULL FROM records WHERE id >= ? AND id <= ? ORDER BY id LIMIT ?"
    while True:
        rows = storage.connection.execute(query, (start, stop, SCAN_RECORDS)).fetchall()
        for identity, time_ms, key, is_tombstone in rows:
            yield Entry(identity & OFFSET_MASK, time_ms, key, bool(is_tombstone))
        if len(rows) < SCAN_RECORDS:
            return
        start = rows[-1][0] + 1


def _drop(storage: Storage, partition_id: int, offsets: list[int]) -> None:
    with storage.transaction() as connection:
        found = storage.offsets(partition_id)
        if found is None:
            return
        connection.execute(
            "UPDATE partitions SET end_floor = max(end_floor, ?) WHERE id = ?", (found.end, partition_id)
        )
        ids = [((partition_id << OFFSET_BITS) | offset,) for offset in offsets]
        connection.executemany("DELETE FROM records WHERE id = ?", ids)


def _is_dirty(storage: Storage, partition_id: int) -> bool:
    query = "SELECT passes, kept FROM partitions WHERE id = ?"
    row = storage.connection.execute(query, (partition_id,)).fetchone()
    offsets = storage.offsets(partition_id)
    if row is None or offsets is None:
        return False
    passes = json.loads(row[0])
    reached = passes[-1][0] if passes else 0
    kept: int = row[1]
    return offsets.end - int(reached) >= max(COMPACT_RECORDS_MIN, kept)


def _expire(storage: Storage, partition_id: int, oldest_ms: int) -> None:
    keep = _first_kept(storage, partition_id, oldest_ms)
    offsets = storage.offsets(partition_id)
    if offsets is None or keep <= offsets.begin:
        return
    while not trim(storage, partition_id, keep):
        pass


def _first_kept(storage: Storage, partition_id: int, oldest_ms: int) -> int:
    start = partition_id << OFFSET_BITS
    query = "SELECT id, time_ms FROM records WHERE id >= ? AND id <= ? ORDER BY id LIMIT ?"
    stop = start + OFFSET_MASK
    while True:
        rows = storage.connection.execute(query, (start, stop, SCAN_RECORDS)).fetchall()
        for identity, time_ms in rows:
            if time_ms >= oldest_ms:
                return int(identity) & OFFSET_MASK
        if len(rows) < SCAN_RECORDS:
            return (int(rows[-1][0]) & OFFSET_MASK) + 1 if rows else 0
        start = rows[-1][0] + 1
