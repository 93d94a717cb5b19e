"""Compaction: what readers may rely on, the same on every log."""

from __future__ import annotations

import time
from collections.abc import Iterable

import pytest

from odradek.log import Record
from tests.log.conftest import Bench

HOUR = "3600000"


def _offsets_of(records: Iterable[Record], key: bytes) -> list[int]:
    return [r.offset for r in records if r.key == key]


def test_compaction_keeps_the_last_record_of_a_key_under_its_offset(bench: Bench) -> None:
    """Gaps appear, offsets stay; what is read is each key's last word."""
    topic = bench.compacted_topic()
    bench.append(topic, *[(b"k%d" % (i % 3), str(i).encode()) for i in range(30)])
    bench.compact(topic, lambda records: len([r for r in records if r.key != b"filler"]) <= 3)
    records = [r for r in bench.read(topic) if r.key != b"filler"]
    assert [(r.offset, r.key, r.value) for r in records] == [
        (27, b"k0", b"27"),
        (28, b"k1", b"28"),
        (29, b"k2", b"29"),
    ]
    assert bench.log.offsets(topic, 0).begin == 0
    (following,) = bench.append(topic, (b"k0", b"next"))
    assert following >= 30


def test_reading_from_within_a_gap_goes_on_behind_it(bench: Bench) -> None:
    """A position that compaction has emptied is no error."""
    topic = bench.compacted_topic()
    bench.append(topic, *[(b"same", str(i).encode()) for i in range(20)], (b"other", b"x"))
    bench.compact(topic, lambda records: len(_offsets_of(records, b"same")) == 1)
    for offset in (0, 7, 19):
        assert _offsets_of(bench.read(topic, offset=offset), b"same") == [19]


def test_the_position_passes_gaps(bench: Bench) -> None:
    """A reader that wants to know that it has read everything compares its position with the end."""
    topic = bench.compacted_topic()
    reader = bench.log.reader()
    bench.append(topic, *[(b"same", str(i).encode()) for i in range(20)], (b"gone", b"x"), (b"gone", None))
    bench.compact(topic, lambda records: not _offsets_of(records, b"gone"))
    end = bench.log.offsets(topic, 0).end
    assert end >= 22
    reader.assign(topic, 0, 0)
    deadline = time.monotonic() + 20
    while reader.position(topic, 0) < end:
        assert time.monotonic() < deadline
        reader.poll(0.1)
    assert reader.position(topic, 0) == end
    reader.close()


def test_a_tombstone_goes_with_its_key(bench: Bench) -> None:
    """First the values go; the tombstone itself goes in a later pass, when its retention is over."""
    topic = bench.compacted_topic()
    bench.append(topic, (b"dead", b"1"), (b"alive", b"1"), (b"dead", b"2"), (b"dead", None), (b"end", b"x"))
    bench.compact(topic, lambda records: not _offsets_of(records, b"dead"))
    assert _offsets_of(bench.read(topic), b"alive") == [1]


def test_a_tombstone_is_there_while_its_retention_lasts(bench: Bench) -> None:
    """A reader that is quicker than the retention cannot miss a deletion."""
    topic = bench.compacted_topic(delete_retention_ms=HOUR)
    bench.append(topic, (b"dead", b"1"), (b"dead", None), (b"end", b"x"))
    bench.compact(topic, lambda records: len(_offsets_of(records, b"dead")) == 1)
    dead = [r for r in bench.read(topic) if r.key == b"dead"]
    assert [(r.offset, r.value) for r in dead] == [(1, None)]


def test_nothing_goes_within_the_compaction_lag(bench: Bench) -> None:
    """The lag is what a takeover relies on."""
    if bench.kind == "kafka":
        pytest.skip("that a cleaner does nothing cannot be waited for")
    topic = bench.compacted_topic(min_compaction_lag_ms=HOUR)
    bench.append(topic, *[(b"same", b"v")] * 10)
    bench.compact(topic, lambda records: len(records) == 10)


def test_a_store_older_than_its_tombstones_cannot_know(bench: Bench) -> None:
    """Who reads on from an old position after tombstones are gone sees no trace of the deletion, and no error.

    That is why a local store has an age limit.
    """
    topic = bench.compacted_topic()
    bench.append(topic, (b"dead", b"1"), (b"alive", b"1"))
    old_position = 2
    bench.append(topic, (b"dead", None), (b"alive", b"2"), (b"end", b"x"))
    bench.compact(topic, lambda records: not _offsets_of(records, b"dead"))
    assert bench.log.offsets(topic, 0).begin == 0
    later = bench.read(topic, offset=old_position)
    assert _offsets_of(later, b"dead") == []
    assert _offsets_of(later, b"alive") == [3]


def test_a_restore_that_races_with_compaction_ends_with_the_same_state(bench: Bench) -> None:
    """Reading slowly while the cleaner works gives each living key its last value, whatever was cleaned meanwhile."""
    topic = bench.compacted_topic(delete_retention_ms=HOUR)
    pairs = [(b"k%d" % (i % 40), None if i % 40 == 7 else str(i).encode()) for i in range(2000)]
    bench.append(topic, *pairs)
    expected = dict(pairs)
    reader = bench.log.reader()
    reader.assign(topic, 0, 0)
    state = {r.key: r.value for r in reader.poll(10, records_max=100)}
    bench.compact(topic, lambda records: len([r for r in records if r.key != b"filler"]) < 100)
    end = bench.log.offsets(topic, 0).end
    last = -1
    deadline = time.monotonic() + 20
    while reader.position(topic, 0) < end:
        assert time.monotonic() < deadline
        for record in reader.poll(0.1, records_max=50):
            assert record.offset > last
            last = record.offset
            state[record.key] = record.value
    state.pop(b"filler", None)
    assert state == expected
    reader.close()
