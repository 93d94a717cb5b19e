"""What was written between two moments, on a log in memory."""

from __future__ import annotations

from pathlib import Path

from benchmarks.capacity.volume import Written, ends, segment_bytes, topics_of, written
from benchmarks.stage import Stage


def test_records_are_counted_by_topic_and_what_compaction_leaves_of_the_history(tmp_path: Path) -> None:
    where = Stage("memory://volume", {}, tmp_path)
    topics = where.namespace("volume", 2)
    appender = where.log.appender()

    def append(topic: str, partition: int, *records: tuple[bytes, bytes | None]) -> None:
        for key, value in records:
            appender.append(topic, partition, key, value)
        appender.flush(5)

    append(topics.inbox, 0, (b"before", b"x" * 100))
    before = ends(where, topics)
    append(topics.inbox, 0, (b"key", b"x" * 10), (b"key", b"x" * 20))
    append(topics.inbox, 1, (b"k", b""))
    append(topics.history, 1, (b"run", b"x" * 50), (b"run", b"x" * 70), (b"run", None), (b"summary", b"x" * 5))
    found, live = written(where, topics, before, ends(where, topics))
    appender.close()
    assert set(found) == set(topics_of(topics)) == {"inbox", "history", "replies", "archive", "visibility", "tasks"}
    assert found["inbox"] == Written(3, 3 + 10 + 3 + 20 + 1)
    assert found["history"] == Written(4, 3 * 3 + 50 + 70 + 7 + 5)
    assert found["archive"] == Written(0, 0.0)
    assert live == 7 + 5, "the run has a tombstone"


def test_what_was_deleted_before_it_was_read_counts_like_the_rest(tmp_path: Path) -> None:
    where = Stage("memory://deleted", {}, tmp_path)
    topics = where.namespace("deleted", 1)
    before = ends(where, topics)
    appender = where.log.appender()
    for _ in range(4):
        appender.append(topics.inbox, 0, b"ab", b"x" * 8)
    appender.flush(5)
    where.log.delete_records(topics.inbox, {0: 3})
    found, _ = written(where, topics, before, ends(where, topics))
    assert found["inbox"] == Written(4, 40.0)
    where.log.delete_records(topics.inbox, {0: 4})
    found, _ = written(where, topics, before, ends(where, topics))
    assert found["inbox"] == Written(4, 0.0)
    appender.close()


def test_only_segments_of_the_namespace_count(tmp_path: Path) -> None:
    where = Stage("memory://segments", {}, tmp_path)
    topics = where.namespace("segments", 1)
    for name, size in ((f"{topics.inbox}-0/0.log", 10), (f"{topics.inbox}-0/0.index", 99), ("other.inbox-0/0.log", 99)):
        path = tmp_path / "broker" / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)
    assert segment_bytes(where, topics) == 10
