"""Copies of local stores in Redis: a machine without a store resumes from one instead of reading its whole partition.

A copy is one hash for each partition. It is judged as a store of its age is, and may vanish at any time.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from odradek.common.redis_link import RedisLink
from odradek.orchestrator.core.store import Store
from odradek.orchestrator.rocks import StoreFailed, StoreIdentity, discard_if_unfit, open_store, position_of

Owner = TypeVar("Owner")
_log = logging.getLogger("odradek.orchestrator.store")

ANSWER_SECONDS: Final = 5.0
THREADS: Final = 2
PAIRS: Final = 2000
"""Sent at a time: Redis answers nobody else meanwhile."""
SEND_BYTES: Final = 1024 * 1024
BACKLOG_BYTES_MAX: Final = 32 * 1024 * 1024
"""Of changes that Redis does not take: with more, the copy is given up and later made anew."""
AHEAD_MIN: Final = 10_000
"""How many records a copy must be ahead of a store that is there, to be read instead."""

_END: Final = b"\xff"
# The fields "#claim", "#number" and "#whole" are not keys of a store. A copy belongs to the highest claim. Each batch
# that its owner sends has a number of its own, and is taken in where the copy is as after the last batch that was
# acknowledged ("known"; -1: it is made anew) or after one sent since, whose changes the later ones repeat. So nobody
# changes what he does not know, not even when Redis has forgotten the last minute.
_TAKE: Final = """
local claim = tonumber(redis.call('HGET', KEYS[1], '#claim') or '-1')
if claim > tonumber(ARGV[1]) then return {'newer'} end
if claim < 0 then return {'none'} end
redis.call('HSET', KEYS[1], '#claim', ARGV[1])
return redis.call('HMGET', KEYS[1], '#whole', '#number', 'm')
"""
_SEND: Final = """
local held = redis.call('HMGET', KEYS[1], '#claim', '#number')
local claim, number = tonumber(held[1] or '-1'), tonumber(held[2] or '-1')
local mine, following, known, removed = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[5]), tonumber(ARGV[6])
if claim > mine then return 'newer' end
if known < 0 then redis.call('UNLINK', KEYS[1])
elseif claim ~= mine or number < known or number >= following then return 'lost' end
redis.call('HSET', KEYS[1], '#claim', ARGV[1], '#number', ARGV[2], '#whole', ARGV[3])
for i = 7, 6 + removed do redis.call('HDEL', KEYS[1], ARGV[i]) end
for i = 7 + removed, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 'done'
"""


@dataclass(frozen=True, slots=True)
class ToOpen:
    """The store of a partition under a claim, and what it must fit."""

    directory: Path | None
    partition: int
    claim: int
    now: StoreIdentity
    age_ms_max: int

    def store(self) -> Store:
        """The local one, emptied if it does not fit."""
        store = open_store(self.directory, self.partition)
        try:
            self.discard_if_unfit(store)
        except StoreFailed:
            store.close()
            raise
        return store

    def discard_if_unfit(self, store: Store) -> None:
        discard_if_unfit(store, self.now, self.claim + 1, self.age_ms_max)


class Copies(Generic[Owner]):
    """Of the partitions of one process, in one Redis. ``wake`` is called from other threads when there is news."""

    def __init__(self, url: str, namespace: str, wake: Callable[[], None]) -> None:
        """Raises ``ImportError`` naming the extra, and ``ValueError`` for a URL that is none."""
        self._prefix = f"odradek:{namespace}:store:"
        self._wake = wake
        self._stopping = False
        self.link = RedisLink(
            url,
            "stores have no copies, and machines without a store read the log",
            answer_seconds=ANSWER_SECONDS,
            namespace=namespace,
            used_by="orchestrator",
        )
        self._take = self.link.client.register_script(_TAKE)
        self._send = self.link.client.register_script(_SEND)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="odradek-copies")
        self.done: deque[tuple[Owner, CopiedStore | Exception]] = deque()
        """Stores that have been opened, or why they could not be."""

    def open(self, owner: Owner, wanted: ToOpen) -> None:
        """Open a store in another thread, with what its copy holds where that is much newer."""
        self._threads.submit(self._open, owner, wanted)

    def _open(self, owner: Owner, wanted: ToOpen) -> None:
        opened: CopiedStore | Exception
        try:
            store = wanted.store()
            key = f"{self._prefix}{wanted.now.topic_id}:{wanted.partition}"
            opened = CopiedStore(store, self, key, wanted, self._loaded(key, wanted, store))
        except Exception as error:  # whoever waits for it must be told
            opened = error
        self.done.append((owner, opened))
        self._wake()

    def _loaded(self, key: str, wanted: ToOpen, store: Store) -> int | None:
        """The number of the copy's last batch, if the store is now as that; None: it is as it was, or empty."""
        try:
            return self.link.tried(lambda: self._load(key, wanted, store))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            _log.warning(
                "the copy %s in Redis is none (%r): partition %d is read from the log", key, error, wanted.partition
            )
            return None

    def _load(self, key: str, wanted: ToOpen, store: Store) -> int | None:
        whole, *more = self._take(keys=[key], args=[wanted.claim])
        if whole != b"1":
            return None
        number, position, here = int(more[0]), int(more[1].split()[0]), position_of(store)
        if here >= 0 and position < here + AHEAD_MIN:
            return None
        began, pairs = time.monotonic(), 0
        store.clear()
        try:
            fields = ((k, v) for k, v in self.link.client.hscan_iter(key, count=PAIRS) if k[:1] != b"#")
            while not self._stopping and (batch := dict(islice(fields, PAIRS))):
                store.write(batch)
                pairs += len(batch)
            is_same = self.link.client.hmget(key, "#claim", "#number") == [b"%d" % wanted.claim, b"%d" % number]
        except BaseException:
            store.clear()
            raise
        if not is_same or self._stopping:
            store.clear()
            return None
        wanted.discard_if_unfit(store)
        if position_of(store) < 0:
            return None
        _log.info(
            "partition %d: its store comes from the copy in Redis, %d pairs in %.2f s",
            wanted.partition, pairs, time.monotonic() - began,
        )  # fmt: skip
        return number

    def send(self, part: Part) -> Future[str | None]:
        """Send it in another thread.

        Its answer is "done", "newer" (another owner has the copy by now), "lost" (the copy is not what was sent so
        far), or None: Redis is away.
        """
        return self._threads.submit(self.link.tried, lambda: self._send_all(part))

    def _send_all(self, part: Part) -> str:
        changes = iter(part.changes.items())
        batch = dict(islice(changes, PAIRS))
        while batch:
            following = dict(islice(changes, PAIRS))
            removed = [key for key, value in batch.items() if value is None]
            pairs = [each for pair in batch.items() if pair[1] is not None for each in pair]
            whole = int(part.completes and not following)
            number, part.number = part.number, part.number + 1
            head = [part.claim, number, whole, part.age_ms_max, part.known, len(removed)]
            answer = self._send(keys=[part.key], args=[*head, *removed, *pairs]).decode()
            if answer != "done":
                return str(answer)
            part.known = number
            batch = following
        return "done"

    def close(self) -> None:
        """What is being sent still goes out; what is being loaded does not come in."""
        self._stopping = True
        self._threads.shutdown(wait=True)
        self.link.close()


@dataclass(slots=True)
class Part:
    """Changes on their way to a copy."""

    key: str
    claim: int
    known: int
    """The last batch that was acknowledged; -1: none, and what was there before goes."""
    number: int
    """Of the next batch."""
    changes: dict[bytes, bytes | None]
    completes: bool
    """With it the copy is as its store is."""
    age_ms_max: int


class CopiedStore:
    """A store whose changes go to its copy too, sooner or later. For one thread, as stores are."""

    def __init__(self, store: Store, copies: Copies[Any], key: str, wanted: ToOpen, number: int | None) -> None:
        """``number``: of the last batch, where the store is as its copy is."""
        self.store = store
        self._copies = copies
        self._key = key
        self._wanted = wanted
        self._changes: dict[bytes, bytes | None] = {}
        self._bytes = 0
        self._known = -1 if number is None else number
        self._number = secrets.randbits(48) if number is None else number + 1
        self._cursor = b"" if number is None else None
        """How far the whole store has been sent; None: wholly."""
        self._part: Part | None = None
        self._answer: Future[str | None] = Future()
        self.is_disowned = False
        """The copy belongs to a newer owner."""

    @property
    def waiting_bytes(self) -> int:
        """Of changes that the copy lacks, and that this process holds for it; at most ``BACKLOG_BYTES_MAX``."""
        return self._bytes + (0 if self._part is None else sum(map(_size, self._part.changes.items())))

    @property
    def is_behind(self) -> bool:
        """The copy is not whole, and will be made anew."""
        return self._cursor is not None and not self.is_disowned

    def get(self, key: bytes) -> bytes | None:
        return self.store.get(key)

    def scan(self, first: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        return self.store.scan(first, end)

    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        self.store.write(changes)
        if self._cursor != b"" and not self.is_disowned:
            self._note(changes)

    def flush(self) -> None:
        self.store.flush()
        self.send()

    def clear(self) -> None:
        self.store.clear()
        self._begin_anew()

    def close(self) -> None:
        self.send()
        self.store.close()

    def advance(self) -> None:
        """Send what has gathered, if it is enough; call it often."""
        if self._cursor is not None or self._part is not None or self._bytes >= SEND_BYTES:
            self.send()

    def send(self) -> None:
        """Send what has gathered, unless something is on its way."""
        if self._part is not None and self._answer.done():
            self._answered(self._part, self._answer.result())
        if self._part is not None or self.is_disowned or not self._copies.link.is_up:
            return
        if self._cursor is not None:
            self._gather(self._cursor)
        if self._changes:
            changes, self._changes, self._bytes = self._changes, {}, 0
            completes = self._cursor is None
            self._part = Part(
                self._key, self._wanted.claim, self._known, self._number, changes, completes, self._wanted.age_ms_max
            )
            self._answer = self._copies.send(self._part)

    def _answered(self, part: Part, answer: str | None) -> None:
        self._part = None
        self._number = part.number
        if answer == "newer":
            self.is_disowned = True
            self._changes = {}
        if self.is_disowned or self._cursor == b"":
            return
        self._known = part.known
        match answer:
            case "lost":
                self._begin_anew()
            case None:
                newer, self._changes = self._changes, part.changes
                self._bytes = sum(map(_size, part.changes.items()))
                self._note(newer)

    def _note(self, changes: Mapping[bytes, bytes | None]) -> None:
        self._changes.update(changes)
        self._bytes += sum(map(_size, changes.items()))
        if self._bytes > BACKLOG_BYTES_MAX:
            self._begin_anew()

    def _begin_anew(self) -> None:
        self._cursor = b""
        self._known = -1
        self._changes = {}
        self._bytes = 0

    def _gather(self, first: bytes) -> None:
        pairs = list(islice(self.store.scan(first, _END), PAIRS))
        for key, value in pairs:
            self._changes.setdefault(key, value)
        self._cursor = pairs[-1][0] + b"\0" if len(pairs) == PAIRS else None


def _size(change: tuple[bytes, bytes | None]) -> int:
    return len(change[0]) + len(change[1] or b"")
