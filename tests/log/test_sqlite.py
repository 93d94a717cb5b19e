"""The embedded log between real processes: wake-ups, crashes, and what a crash must not lose."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from functools import partial
from io import FileIO
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from odradek.log import AppendFailed, Log, LogUnavailable, open_log, sqlite_chores
from odradek.log.sqlite import SqliteLog
from odradek.log.sqlite_storage import Storage
from odradek.log.wakeup import Bell, Ringer, bells_folder
from odradek.schemas.topics import TopicSpec
from tests.log.conftest import eventually

TOPIC = "t"

# Not fork: a connection to SQLite must not be carried into a child.
processes = multiprocessing.get_context("spawn")


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'log.sqlite'}"


@pytest.fixture
def log(address: str) -> Iterator[Log]:
    opened = open_log(address)
    opened.create_topics([TopicSpec(TOPIC, 2, "delete")])
    yield opened
    opened.close()


def _note(notes: FileIO, value: bytes, offset: int | None, error: Exception | None) -> None:
    if offset is not None:
        notes.write(b"%d=%s\n" % (offset, value))


def _write(address: str, acknowledged: str, partition: int, count: int) -> None:
    """Append numbers; note each in the file ``acknowledged`` when the log has said that it is durable."""
    log = open_log(address)
    appender = log.appender()
    with Path(acknowledged).open("ab", buffering=0) as notes:
        for number in range(count):
            value = b"%d:%d" % (partition, number)
            appender.append(TOPIC, partition, b"k", value, partial(_note, notes, value))
            if number % 20 == 0:
                appender.poll()
        appender.flush(30)
    appender.close()
    log.close()


def _echo(address: str, ready: Event) -> None:
    """Answer each record of partition 0 with one on partition 1."""
    log = open_log(address)
    reader, appender = log.reader(), log.appender()
    reader.assign(TOPIC, 0, 0)
    ready.set()
    while True:
        for record in reader.poll(30):
            if record.value == b"end":
                return
            appender.append(TOPIC, 1, record.key, record.value)
        appender.poll()


def test_a_killed_writer_loses_nothing_that_was_acknowledged(address: str, log: Log, tmp_path: Path) -> None:
    """SIGKILL in the middle of the work: what was acknowledged is there, at its offset, and nothing is torn."""
    notes = tmp_path / "notes"
    notes.touch()
    survivor = processes.Process(target=_write, args=(address, str(tmp_path / "other"), 1, 3000))
    victim = processes.Process(target=_write, args=(address, str(notes), 0, 1_000_000))
    survivor.start()
    victim.start()
    eventually(lambda: notes.stat().st_size > 50_000, "the writer to have written")
    victim.kill()
    victim.join()
    survivor.join()
    assert survivor.exitcode == 0
    reader = log.reader()
    for partition, file in ((0, notes), (1, tmp_path / "other")):
        end = log.offsets(TOPIC, partition).end
        reader.assign(TOPIC, partition, 0)
        stored: dict[int, bytes | None] = {}
        while len(stored) < end:
            stored |= {r.offset: r.value for r in reader.poll(5)}
        reader.unassign(TOPIC, partition)
        assert list(stored) == list(range(end))
        assert [stored[n] for n in range(end)] == [b"%d:%d" % (partition, n) for n in range(end)]
        complete = [line for line in file.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
        assert complete
        for line in complete:
            offset, _, value = line.strip().partition(b"=")
            assert stored[int(offset)] == value
    reader.close()


def test_records_wake_readers_of_other_processes(address: str, log: Log) -> None:
    """There and back again through another process, without anybody looking on a timer."""
    ready = processes.Event()
    other = processes.Process(target=_echo, args=(address, ready))
    other.start()
    assert ready.wait(20)
    reader, appender = log.reader(), log.appender()
    reader.assign(TOPIC, 1, 0)
    trips: list[float] = []
    for _ in range(50):
        begun = time.monotonic()
        appender.append(TOPIC, 0, b"k", b"v")
        assert len(reader.poll(10)) == 1
        trips.append(time.monotonic() - begun)
    appender.append(TOPIC, 0, b"k", b"end")
    appender.close()
    reader.close()
    other.join(20)
    assert sorted(trips)[25] < 0.1, trips


def test_a_reader_that_waits_costs_next_to_nothing(log: Log) -> None:
    """Idle readers do not poll the file."""
    reader = log.reader()
    reader.assign(TOPIC, 0, 0)
    reader.poll(0.01)
    before = time.thread_time()
    assert reader.poll(1.0) == []
    assert time.thread_time() - before < 0.05
    reader.close()


def test_two_processes_share_one_partition_in_order(address: str, log: Log, tmp_path: Path) -> None:
    """Offsets are contiguous whoever writes, and each writer's records keep their order."""
    writers = [
        processes.Process(target=_write, args=(address, str(tmp_path / f"n{i}"), partition, 1500))
        for i, partition in enumerate((0, 0))
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert log.offsets(TOPIC, 0) == (0, 3000)
    for i in range(2):
        offsets = [int(line.partition(b"=")[0]) for line in (tmp_path / f"n{i}").read_bytes().splitlines()]
        assert len(offsets) == 1500
        assert offsets == sorted(offsets)


def test_a_bell_that_is_left_behind_is_taken_down(tmp_path: Path) -> None:
    folder = bells_folder(tmp_path / "x.db")
    bell = Bell(folder, "reader")
    assert len(list(folder.iterdir())) == 1
    del bell
    gc.collect()
    assert not list(folder.iterdir())


def test_a_bell_of_a_dead_process_is_taken_down(tmp_path: Path) -> None:
    """A crash leaves a socket behind; the next ring finds out."""
    folder = bells_folder(tmp_path / "log.sqlite")
    dead, alive = Bell(folder, "reader"), Bell(folder, "reader")
    dead._socket.close()
    ringer = Ringer(folder, "reader")
    ringer.ring([1, 2])
    assert alive.wait(1) == {1, 2}
    assert len(list(folder.iterdir())) == 1
    for _ in range(20):
        ringer.ring([3])
    assert alive.wait(1) is None, "with so many waiting, some may have been lost: look everywhere"
    assert alive.wait(0) == set()
    alive.close()
    ringer.close()


def test_a_ring_that_was_lost_is_made_up_for(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader looks for itself now and then."""
    monkeypatch.setattr(Ringer, "ring", lambda *_: None)
    reader, appender = log.reader(), log.appender()
    reader.assign(TOPIC, 0, 0)
    assert reader.poll(0.01) == []
    appender.append(TOPIC, 0, b"k", b"v")
    assert len(reader.poll(5)) == 1
    reader.close()
    appender.close()


def test_a_full_disk_fails_the_appends_and_nothing_else(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """The callback gets the reason; when there is room again, appends go on without a hole."""
    from odradek.log.sqlite_appender import Writer

    appender = log.appender()
    answers: list[tuple[int | None, Exception | None]] = []
    appender.append(TOPIC, 0, b"k", b"1", lambda *answer: answers.append(answer))
    assert appender.flush(10) == 0

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(Writer, "_insert", full)
        appender.append(TOPIC, 0, b"k", b"2", lambda *answer: answers.append(answer))
        assert appender.flush(10) == 0
    appender.append(TOPIC, 0, b"k", b"3", lambda *answer: answers.append(answer))
    assert appender.flush(10) == 0
    assert [offset for offset, _ in answers] == [0, None, 1]
    assert isinstance(answers[1][1], AppendFailed)
    appender.close()


def test_retention_drops_the_oldest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Time limits are kept lazily: the chores do it."""
    log = SqliteLog(str(tmp_path / "log.sqlite"))
    log.create_topics([TopicSpec("short", 1, "delete", 1), TopicSpec("long", 1, "delete", 3_600_000)])
    appender = log.appender()
    for topic in ("short", "long"):
        for _ in range(20):
            appender.append(topic, 0, b"k", b"v")
    appender.flush(10)
    time.sleep(0.01)
    storage = Storage(tmp_path / "log.sqlite")
    sqlite_chores.do_all(storage, 30)
    assert log.offsets("short", 0) == (20, 20)
    assert log.offsets("long", 0) == (0, 20)
    appender.append("short", 0, b"k", b"v")
    appender.flush(10)
    sqlite_chores.do_all(storage, 30)
    assert log.offsets("short", 0) == (20, 21), "somebody has just done the chores"
    storage.close()
    appender.close()
    log.close()


def test_compaction_happens_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A partition that has grown enough is compacted without being asked, and the lag is honoured."""
    monkeypatch.setattr("odradek.log.sqlite.CHORES_SECONDS", 0)
    monkeypatch.setattr("odradek.log.sqlite_chores.COMPACT_RECORDS_MIN", 500)
    log = SqliteLog(str(tmp_path / "log.sqlite"))
    kept = {"min.compaction.lag.ms": "3600000"}
    log.create_topics([TopicSpec("c", 1, "compact"), TopicSpec("lagging", 1, "compact", config=kept)])
    appender = log.appender()
    with sqlite3.connect(tmp_path / "log.sqlite") as spy:

        def grown() -> bool:
            for topic in ("c", "lagging"):
                for _ in range(200):
                    appender.append(topic, 0, b"same", b"v")
            appender.flush(10)
            time.sleep(0.01)
            (count,) = spy.execute("SELECT count(*) FROM records WHERE id >> 40 = 1").fetchone()
            return bool(count < log.offsets("c", 0).end / 2 > 250)

        eventually(grown, "compaction")
    (lagging,) = spy.execute("SELECT count(*) FROM records WHERE id >> 40 = 2").fetchone()
    spy.close()
    assert lagging == log.offsets("lagging", 0).end
    appender.close()
    log.close()


def test_a_stopped_process_delays_nobody_who_only_reads(address: str, log: Log, tmp_path: Path) -> None:
    """Readers need no lock, not even one that a stopped writer may be holding."""
    writer = processes.Process(target=_write, args=(address, str(tmp_path / "n"), 0, 1_000_000))
    writer.start()
    eventually(lambda: log.offsets(TOPIC, 0).end > 200, "some records")
    assert writer.pid is not None
    os.kill(writer.pid, signal.SIGSTOP)
    try:
        reader = log.reader()
        reader.assign(TOPIC, 0, 0)
        begun = time.monotonic()
        assert len(reader.poll(5, 100)) == 100
        assert time.monotonic() - begun < 1
        reader.close()
    finally:
        writer.kill()
        writer.join()


def test_a_commit_is_on_disk_when_it_returns(tmp_path: Path) -> None:
    """What a power loss must not take: the write-ahead log is synchronised with each commit."""
    storage = Storage(tmp_path / "log.sqlite")
    for pragma, value in (("journal_mode", "wal"), ("synchronous", 2), ("fullfsync", 1)):
        assert storage.connection.execute(f"PRAGMA {pragma}").fetchone() == (value,)
    storage.close()


def test_a_file_that_is_no_log_is_refused(tmp_path: Path) -> None:
    """Somebody else's file is neither read nor changed."""
    path = tmp_path / "log.sqlite"
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(LogUnavailable, match="not a database"):
        SqliteLog(str(path)).topics("")
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(LogUnavailable, match="its format is 99"):
        SqliteLog(str(path)).topics("")
