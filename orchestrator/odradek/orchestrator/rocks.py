"""The local store of one partition on disk (RocksDB). A cache of the log: its write-ahead log is off, Kafka is the log.

It is thrown away when it does not fit the log any more, or when it may have missed tombstones. Where the disk fails
(it is full, the folder was deleted) the partition is claimed anew, and served from memory if nothing can be written.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from rocksdict import (
    BlockBasedOptions,
    Cache,
    Options,
    Rdict,
    ReadOptions,
    WriteBatch,
    WriteBufferManager,
    WriteOptions,
)

from odradek.orchestrator.core.store import MemoryStore, Store

_IDENTITY, _META = b"i", b"m"
# All stores of a process share these, however many partitions it has.
_WRITE_BUFFERS = WriteBufferManager(128 * 1024 * 1024, allow_stall=False)
_BLOCKS = BlockBasedOptions()
_BLOCKS.set_block_cache(Cache(64 * 1024 * 1024))
_IN_USE = re.compile(r"/LOCK: (Resource temporarily unavailable|No locks available)")
"""RocksDB's words, where another process has it and where this one has."""
_log = logging.getLogger("odradek.orchestrator.store")


@dataclass(frozen=True, slots=True)
class StoreIdentity:
    """Which log, as of when, a store reflects."""

    topic_id: str
    leader_epoch: int
    time_ms: int


class StoreFailed(Exception):
    """The disk of a local store does not do what it should; nothing is lost, as the log has everything."""

    code = "ODR-157"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"{self.code}: the local store {self.path} cannot be used: {self.reason}. Look at its disk; what it holds "
            f"is a copy of the log, and may be deleted."
        )


class StoreInUse(StoreFailed):
    """Another process has it open, or this one still has."""


class RocksStore:
    """Ordered keys and values in one directory; owned by one process at a time. Raises ``StoreFailed``."""

    def __init__(self, path: Path, *, is_spare: bool = False) -> None:
        """``is_spare``: deleted when it is closed, as one that has been found damaged is."""
        self.path, self._goes_when_closed = path, is_spare
        self._options = WriteOptions()
        self._options.disable_wal = True  # type: ignore[method-assign, assignment]
        self.has_failed = False
        self._open()

    def get(self, key: bytes) -> bytes | None:
        try:
            found: bytes | None = self._db.get(key)
        except Exception as error:  # rocksdict raises bare ones
            raise self._failed(error) from error
        return found

    def scan(self, first: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        options = ReadOptions()
        options.set_iterate_upper_bound(end)
        try:
            found = self._db.iter(options)
            found.seek(first)
            while found.valid():
                yield found.key(), found.value()
                found.next()
            found.status()  # at a damaged block it is at its end, too, and ``items`` of rocksdict says nothing
        except Exception as error:
            raise self._failed(error) from error

    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        batch = WriteBatch(raw_mode=True)
        for key, value in changes.items():
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        try:
            self._db.write(batch, self._options)
        except Exception as error:
            raise self._failed(error) from error

    def flush(self, *, wait: bool = False) -> None:
        """Bring to disk what has been written, in the background unless ``wait``: a restart reads less of the log."""
        try:
            self._db.flush(wait)
        except Exception as error:
            raise self._failed(error) from error

    def clear(self) -> None:
        with contextlib.suppress(Exception):
            self._db.close()
        shutil.rmtree(self.path, ignore_errors=True)
        self._open()

    def close(self) -> None:
        """It is closed even when this raises; what could not be written is missing, and is read from the log."""
        try:
            if not self.has_failed:
                self.flush(wait=True)
        finally:
            if self.has_failed:
                # RocksDB waits a second for itself then, and nobody should wait with it.
                threading.Thread(target=self._abandon).start()
            else:
                self._end()

    def _abandon(self) -> None:
        with contextlib.suppress(Exception):
            self._end()

    def _end(self) -> None:
        self._db.close()
        if self._goes_when_closed:
            shutil.rmtree(self.path, ignore_errors=True)

    def _open(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._db = Rdict(str(self.path), _options())
        except Exception as error:
            raise self._failed(error) from error
        self._db.set_write_options(self._options)

    def _failed(self, error: Exception) -> StoreFailed:
        self.has_failed = True
        self._goes_when_closed |= "Corruption" in str(error)
        kind = StoreInUse if _IN_USE.search(str(error)) else StoreFailed
        return kind(str(self.path), str(error))


def _options() -> Options:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_write_buffer_size(32 * 1024 * 1024)
    options.set_write_buffer_manager(_WRITE_BUFFERS)
    options.set_block_based_table_factory(_BLOCKS)
    options.set_max_background_jobs(2)
    options.set_keep_log_file_num(1)
    options.set_max_open_files(256)
    return options


def stores_of(directory: Path, partitions: Iterable[int]) -> Iterator[Path]:
    """Where the stores of these partitions are, or would be."""
    for partition in partitions:
        yield directory / f"partition-{partition}"
        yield directory / f"partition-{partition}-spare"


def open_store(directory: Path | None, partition: int) -> Store:
    """The partition's store; in memory where there is no directory, or its disk fails.

    While another process holds it, as one that hangs may although the partition has left it: a spare one.
    """
    if directory is None:
        return MemoryStore()
    path, spare = stores_of(directory, [partition])
    try:
        try:
            store = _open_or_make_anew(path)
        except StoreInUse:
            _log.warning("the store %s is in use elsewhere: this partition has a spare one meanwhile", path)
            return _open_or_make_anew(spare, is_spare=True)
        if spare.exists():
            with contextlib.suppress(StoreFailed):
                RocksStore(spare, is_spare=True).close()
    except StoreFailed as error:
        _log.warning("%s This partition is rebuilt in memory", error)
        return MemoryStore()
    return store


def _open_or_make_anew(path: Path, *, is_spare: bool = False) -> RocksStore:
    try:
        return RocksStore(path, is_spare=is_spare)
    except StoreInUse:
        raise
    except StoreFailed as error:
        _log.warning("%s It is made anew from the log", error)
    shutil.rmtree(path, ignore_errors=True)
    return RocksStore(path, is_spare=is_spare)


def discard_if_unfit(store: Store, now: StoreIdentity, history_end: int, age_ms_max: int) -> None:
    """Empty a store that reflects another topic, more than the log holds, or a time too long ago."""
    raw, meta = store.get(_IDENTITY), store.get(_META)
    if raw is None or meta is None:
        store.clear()
        return
    reason = "it cannot be read"
    with contextlib.suppress(ValueError, TypeError):
        then = StoreIdentity(**json.loads(raw))
        reason = _unfit(then, now, int(meta.split()[0]), history_end, age_ms_max)
    if reason:
        _log.warning("a store is made anew from the log: %s", reason)
        store.clear()


def position_of(store: Store) -> int:
    """The last offset of the history that it reflects; -1: none."""
    meta = store.get(_META)
    return -1 if meta is None else int(meta.split()[0])


def _unfit(then: StoreIdentity, now: StoreIdentity, position: int, history_end: int, age_ms_max: int) -> str:
    if then.topic_id != now.topic_id:
        return "it reflects a topic that was deleted and made anew"
    if then.leader_epoch > now.leader_epoch:
        return "it reflects a later leader epoch than the log's"
    if position >= history_end:
        return f"it reflects offset {position}, and the log ends at {history_end}"
    if now.time_ms - then.time_ms > age_ms_max:
        return "it is old enough to have missed tombstones"
    return ""


def stamp(store: Store, identity: StoreIdentity) -> None:
    store.write({_IDENTITY: json.dumps(asdict(identity)).encode()})
