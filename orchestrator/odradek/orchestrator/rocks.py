"""The local store of one partition on disk (RocksDB). A cache of the log: its write-ahead log is off, Kafka is the log.

It is thrown away when it does not fit the log any more, or when it may have missed tombstones. Where the disk fails
(it is full, the folder was deleted) the partition is claimed anew, and served from memory if nothing can be written.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import threading
from collections.abc import Iterator, Mapping
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


class RocksStore:
    """Ordered keys and values in one directory; owned by one process at a time. Raises ``StoreFailed``."""

    def __init__(self, path: Path) -> None:
        self.path = path
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
            yield from self._db.items(read_opt=options, from_key=first)
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
                threading.Thread(target=self._abandon, daemon=True).start()
            else:
                self._db.close()

    def _abandon(self) -> None:
        with contextlib.suppress(Exception):
            self._db.close()

    def _open(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._db = Rdict(str(self.path), _options())
        except Exception as error:
            raise self._failed(error) from error
        self._db.set_write_options(self._options)

    def _failed(self, error: Exception) -> StoreFailed:
        self.has_failed = True
        return StoreFailed(str(self.path), str(error))


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


def open_store(directory: Path | None, partition: int) -> Store:
    """The partition's store; in memory where there is no directory, another process holds it, or its disk fails."""
    if directory is None:
        return MemoryStore()
    path = directory / f"partition-{partition}"
    try:
        return RocksStore(path)
    except StoreFailed as error:
        if "lock" in error.reason.lower():
            _log.warning("the store %s is in use elsewhere: this partition is rebuilt in memory", path)
            return MemoryStore()
        _log.warning("%s It is made anew from the log", error)
    shutil.rmtree(path, ignore_errors=True)
    try:
        return RocksStore(path)
    except StoreFailed as error:
        _log.warning("%s This partition is rebuilt in memory", error)
        return MemoryStore()


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
