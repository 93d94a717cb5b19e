"""The local store of one partition on disk (RocksDB). A cache of the log: its write-ahead log is off, Kafka is the log.

It is thrown away when it does not fit the log any more, or when it may have missed tombstones.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from rocksdict import Options, Rdict, ReadOptions, WriteBatch, WriteOptions

from odradek.orchestrator.core.store import MemoryStore, Store

_IDENTITY = b"i"
_log = logging.getLogger("odradek.orchestrator.store")


@dataclass(frozen=True, slots=True)
class StoreIdentity:
    """Which log, as of when, a store reflects."""

    topic_id: str
    leader_epoch: int
    time_ms: int


@runtime_checkable
class DurableStore(Store, Protocol):
    """A store that outlives its process."""

    def flush(self) -> None:
        """Bring what is written onto the disk: a killed process resumes from the last flush."""


class RocksStore:
    """Ordered keys and values in one directory; owned by one process at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self._options = WriteOptions()
        self._options.disable_wal = True  # type: ignore[method-assign, assignment]
        self._db = Rdict(str(path), _options())
        self._db.set_write_options(self._options)

    def get(self, key: bytes) -> bytes | None:
        found: bytes | None = self._db.get(key)
        return found

    def scan(self, first: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        options = ReadOptions()
        options.set_iterate_upper_bound(end)
        yield from self._db.items(read_opt=options, from_key=first)

    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        batch = WriteBatch(raw_mode=True)
        for key, value in changes.items():
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        self._db.write(batch, self._options)

    def flush(self) -> None:
        self._db.flush()

    def clear(self) -> None:
        self._db.close()
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True, exist_ok=True)
        self._db = Rdict(str(self.path), _options())
        self._db.set_write_options(self._options)

    def close(self) -> None:
        self._db.flush()
        self._db.close()


def _options() -> Options:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_write_buffer_size(32 * 1024 * 1024)
    options.set_max_background_jobs(2)
    options.set_keep_log_file_num(1)
    options.set_max_open_files(256)
    return options


def open_store(directory: Path | None, partition: int) -> Store:
    """The partition's store; in memory when there is no directory, or when another process holds it."""
    if directory is None:
        return MemoryStore()
    path = directory / f"partition-{partition}"
    try:
        return RocksStore(path)
    except Exception as error:  # rocksdict raises a bare Exception
        if "lock" in str(error).lower():
            _log.warning("the store %s is held by another process: this partition is rebuilt in memory", path)
            return MemoryStore()
        _log.warning("the store %s cannot be read (%s): it is made anew from the log", path, error)
        shutil.rmtree(path, ignore_errors=True)
        return RocksStore(path)


def discard_if_unfit(store: Store, now: StoreIdentity, history_end: int, age_ms_max: int) -> None:
    """Empty a store that reflects another topic, more than the log holds, or a time too long ago."""
    raw, meta = store.get(_IDENTITY), store.get(b"m")
    if raw is None or meta is None:
        store.clear()
        return
    reason = "it cannot be read"
    with contextlib.suppress(ValueError, TypeError):
        then = StoreIdentity(**json.loads(raw))
        reason = _unfit(then, now, int(meta.split()[0]), history_end, age_ms_max)
    if reason:
        _log.warning("the local store is made anew from the log: %s", reason)
        store.clear()


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
