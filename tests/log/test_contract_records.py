"""Appending and reading: the same on every log."""

from __future__ import annotations

import random
import time
from threading import Thread

import pytest

from odradek.log import AppendFailed, OffsetOutOfRange, Reader, Record, RecordTooLarge, TopicMissing
from tests.log.conftest import Bench, eventually


def test_offsets_are_contiguous_and_in_the_order_of_the_calls(bench: Bench) -> None:
    """Each partition numbers its records from 0, and answers come in that order."""
    topic = bench.topic(3)
    appender = bench.log.appender()
    answers: dict[int, list[tuple[int, int | None]]] = {0: [], 1: [], 2: []}
    for i in range(3000):
        partition = i % 3

        def appended(offset: int | None, error: Exception | None, partition: int = partition, i: int = i) -> None:
            assert error is None
            answers[partition].append((i, offset))

        appender.append(topic, partition, b"k", str(i).encode(), appended)
    assert appender.flush(30) == 0
    assert appender.in_flight == 0
    appender.close()
    for partition, got in answers.items():
        assert got == [(partition + 3 * n, n) for n in range(1000)]
        records = bench.read(topic, partition)
        assert [(r.offset, r.value) for r in records] == [(n, str(i).encode()) for i, n in got]


def test_a_record_comes_back_as_it_was(bench: Bench) -> None:
    """Keys, values, tombstones and empty bytes are kept apart; the time is the log's."""
    topic = bench.topic()
    before_ms = time.time() * 1000 - 1000
    pairs: list[tuple[bytes | None, bytes | None]] = [
        (b"k", b"v"),
        (None, b"v"),
        (b"k", None),
        (b"", b""),
        (b"\0\xff", b"\0"),
    ]
    bench.append(topic, *pairs)
    records = bench.read(topic)
    assert [(r.key, r.value) for r in records] == pairs
    assert all(isinstance(r, Record) and r.topic == topic and r.partition == 0 for r in records)
    assert all(before_ms < r.time_ms < before_ms + 60_000 for r in records)


def test_an_append_repeated_is_a_record_of_its_own(bench: Bench) -> None:
    """A log does not know that a record was sent twice; whoever cares compares."""
    topic = bench.topic()
    assert bench.append(topic, (b"k", b"same"), (b"k", b"same")) == [0, 1]
    assert [r.value for r in bench.read(topic)] == [b"same", b"same"]


def test_reading_starts_at_the_given_offset_again_and_again(bench: Bench) -> None:
    """A new assignment of the same partition drops whatever was fetched ahead."""
    topic = bench.topic(2)
    for partition in (0, 1):
        bench.append(topic, *[(b"k", str(i).encode()) for i in range(500)], partition=partition)
    reader = bench.log.reader()
    chance = random.Random(7)
    expected: dict[int, int] = {}
    seen = 0
    for _ in range(120):
        partition = chance.randrange(2)
        match chance.randrange(4):
            case 0:
                expected.pop(partition, None)
                reader.unassign(topic, partition)
            case _:
                offset = chance.randrange(500)
                expected[partition] = offset
                reader.assign(topic, partition, offset)
        for _ in range(chance.randrange(4)):
            for record in reader.poll(0.02, records_max=chance.randrange(1, 50)):
                assert record.offset == expected[record.partition], record
                expected[record.partition] += 1
                seen += 1
    assert seen > 500
    reader.close()


def test_a_poll_returns_no_more_than_asked_and_starves_nobody(bench: Bench) -> None:
    """Every partition gets its turn while another one has much to give."""
    topic = bench.topic(3)
    for partition in range(3):
        bench.append(topic, *[(b"k", b"v")] * 200, partition=partition)
    reader = bench.log.reader()
    for partition in range(3):
        reader.assign(topic, partition, 0)
    seen: list[int] = []
    while len(seen) < 600:
        records = reader.poll(5, records_max=7)
        assert 1 <= len(records) <= 7
        seen += [r.partition for r in records]
    assert {seen.count(partition) for partition in range(3)} == {200}
    reader.close()


def test_a_paused_partition_keeps_its_position(bench: Bench) -> None:
    """Nothing is delivered while paused, and nothing is missing after."""
    topic = bench.topic(2)
    reader = bench.log.reader()
    reader.assign(topic, 0, 0)
    reader.assign(topic, 1, 0)
    reader.pause(topic, 0)
    bench.append(topic, (b"k", b"a"), partition=0)
    bench.append(topic, (b"k", b"b"), partition=1)
    assert [r.value for r in _read_some(bench, reader, 1)] == [b"b"]
    assert reader.poll(0.2) == []
    assert reader.position(topic, 0) == 0
    reader.resume(topic, 0)
    assert [r.value for r in _read_some(bench, reader, 1)] == [b"a"]
    reader.close()


def test_a_pause_loses_nothing_of_what_was_fetched_ahead(bench: Bench) -> None:
    topic = bench.topic(1)
    values = [b"%d" % number for number in range(300)]
    bench.append(topic, *((b"k", value) for value in values))
    reader = bench.log.reader()
    reader.assign(topic, 0, 0)
    seen = [r.value for r in reader.poll(5, 7)]
    for _ in range(5):
        reader.pause(topic, 0)
        assert reader.poll(0.05) == []
        assert reader.position(topic, 0) == len(seen)
        reader.resume(topic, 0)
        seen += [r.value for r in reader.poll(5, 7)]
    while len(seen) < len(values):
        seen += [r.value for r in reader.poll(5)]
    assert seen == values
    reader.close()


def test_a_partition_that_was_paused_is_read_when_it_is_assigned_again(bench: Bench) -> None:
    topic = bench.topic(1)
    bench.append(topic, (b"k", b"a"))
    reader = bench.log.reader()
    reader.assign(topic, 0, 0)
    reader.pause(topic, 0)
    reader.unassign(topic, 0)
    reader.assign(topic, 0, 0)
    assert [r.value for r in _read_some(bench, reader, 1)] == [b"a"]
    reader.close()


def test_an_empty_partition_is_read_in_no_time(bench: Bench) -> None:
    """The position of an empty partition is its end, and polling it waits no longer than asked."""
    topic = bench.topic()
    reader = bench.log.reader()
    reader.assign(topic, 0, 0)
    begun = time.monotonic()
    assert reader.poll(0.05) == []
    assert time.monotonic() - begun < 1
    assert reader.position(topic, 0) == 0
    assert bench.log.offsets(topic, 0) == (0, 0)
    assert bench.read(topic) == []
    reader.close()


def test_a_waiting_reader_is_woken(bench: Bench) -> None:
    """A record is delivered long before the poll's time is up. A generous bound, not a benchmark."""
    topic = bench.topic(2)
    reader = bench.log.reader()
    reader.assign(topic, 0, 0)
    reader.assign(topic, 1, 0)
    appender = bench.log.appender()
    appender.append(topic, 0, b"k", b"first")
    appender.flush(10)
    _read_some(bench, reader, 1)
    waits: list[float] = []

    def later() -> None:
        time.sleep(0.02)
        sent.append(time.monotonic())
        appender.append(topic, 1, b"k", b"v")
        appender.flush(10)

    for _ in range(20):
        sent: list[float] = []
        thread = Thread(target=later)
        thread.start()
        assert len(reader.poll(5)) == 1
        woken = time.monotonic()
        thread.join()
        waits.append(woken - sent[0])
    assert sorted(waits)[len(waits) // 2] < 0.1, waits
    appender.close()
    reader.close()


def test_a_position_beyond_the_end_is_an_error(bench: Bench) -> None:
    """Never a silent jump: the error has all the facts, and the partition is not assigned any more."""
    topic = bench.topic(2)
    bench.append(topic, (b"k", b"v"), (b"k", b"v"))
    reader = bench.log.reader()
    reader.assign(topic, 0, 77)
    error = _out_of_range(reader)
    assert (error.topic, error.partition, error.offset, error.begin, error.end) == (topic, 0, 77, 0, 2)
    reader.assign(topic, 1, 0)
    bench.append(topic, (b"k", b"other"), partition=1)
    assert [r.value for r in _read_some(bench, reader, 1)] == [b"other"]
    reader.assign(topic, 0, 1)
    assert [r.offset for r in _read_some(bench, reader, 1)] == [1]
    reader.close()


def test_deleted_records_are_out_of_range(bench: Bench) -> None:
    """What was deleted moves the beginning; offsets go on where they were."""
    topic = bench.topic(2)
    bench.append(topic, *[(b"k", str(i).encode()) for i in range(10)])
    bench.log.delete_records(topic, {0: 6})
    eventually(lambda: bench.log.offsets(topic, 0) == (6, 10), "the beginning to move")
    assert bench.log.offsets(topic, 1) == (0, 0)
    reader = bench.log.reader()
    reader.assign(topic, 0, 3)
    error = _out_of_range(reader)
    assert (error.offset, error.begin, error.end) == (3, 6, 10)
    reader.assign(topic, 0, 6)
    assert [r.offset for r in _read_some(bench, reader, 4)] == [6, 7, 8, 9]
    reader.close()
    bench.log.delete_records(topic, {0: 10})
    eventually(lambda: bench.log.offsets(topic, 0) == (10, 10), "all to be deleted")
    assert bench.append(topic, (b"k", b"next")) == [10]
    bench.log.delete_records(topic, {0: 4})
    assert bench.log.offsets(topic, 0) == (10, 11)


def test_a_record_of_nearly_four_mebibytes_passes(bench: Bench) -> None:
    """The limit of a topic is the limit of one record with its key and frame."""
    topic = bench.topic()
    value = random.Random(1).randbytes(4 * 1024 * 1024 - 1024)
    bench.append(topic, (b"k", value), (b"k", b"after"))
    assert [r.value for r in bench.read(topic)] == [value, b"after"]


def test_too_large_a_record_is_refused(bench: Bench) -> None:
    """At once where the limit is known, through the callback where only the broker knows it; nothing else suffers."""
    topic = bench.topic(record_bytes_max=100_000)
    appender = bench.log.appender()
    errors: list[Exception | None] = []
    try:
        appender.append(topic, 0, b"k", b"x" * 200_000, lambda _, error: errors.append(error))
    except RecordTooLarge as error:
        errors.append(error)
    appender.flush(10)
    assert isinstance(errors[0], RecordTooLarge)
    with pytest.raises(RecordTooLarge):
        appender.append(topic, 0, b"k", b"x" * 9_000_000)
    appender.close()
    assert bench.append(topic, (b"k", b"v")) == [0]


def test_an_append_to_nowhere_fails_in_its_callback(bench: Bench) -> None:
    """Neither a missing topic nor a missing partition raises, and neither hangs."""
    topic = bench.topic()
    appender = bench.log.appender()
    errors: list[Exception | None] = []
    appender.append("no-such-topic", 0, b"k", b"v", lambda _, error: errors.append(error))
    appender.append(topic, 5, b"k", b"v", lambda _, error: errors.append(error))
    assert appender.flush(20) == 0
    assert [type(error) for error in errors] == [TopicMissing, TopicMissing]
    appender.close()


def test_a_compacted_topic_wants_keys(bench: Bench) -> None:
    """A record without a key could never be superseded."""
    topic = bench.compacted_topic()
    appender = bench.log.appender()
    errors: list[Exception | None] = []
    appender.append(topic, 0, None, b"v", lambda _, error: errors.append(error))
    appender.flush(10)
    assert [type(error) for error in errors] == [AppendFailed]
    appender.close()


def test_after_discard_no_callback_runs(bench: Bench) -> None:
    """Records in flight may land, but nobody hears of them; the next appender is not disturbed."""
    topic = bench.topic()
    appender = bench.log.appender()
    heard: list[object] = []
    for _ in range(500):
        appender.append(topic, 0, b"k", b"old", lambda offset, error: heard.append((offset, error)))
    appender.discard()
    appender.poll(0.2)
    assert heard == []
    (offset,) = bench.append(topic, (b"k", b"new"))
    assert bench.read(topic, offset=offset)[0].value == b"new"
    assert heard == []


def test_a_callback_may_append(bench: Bench) -> None:
    """The usual way to send what follows from an acknowledgement."""
    topic = bench.topic(2)
    appender = bench.log.appender()
    appender.append(topic, 0, b"k", b"1", lambda *_: appender.append(topic, 1, b"k", b"2"))
    assert appender.flush(10) == 0
    appender.flush(10)
    appender.close()
    assert [r.value for r in bench.read(topic, 1)] == [b"2"]


def _read_some(bench: Bench, reader: Reader, count: int) -> list[Record]:
    found: list[Record] = []
    deadline = time.monotonic() + 20
    while len(found) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count} records on {bench.kind}"
        found += reader.poll(0.5)
    return found


def _out_of_range(reader: Reader) -> OffsetOutOfRange:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            assert reader.poll(0.5) == []
        except OffsetOutOfRange as error:
            return error
    raise AssertionError("no error within 20 s")
