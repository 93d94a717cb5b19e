"""What a shard needs of its local store, and the store in memory.

A store is a cache of the log: it can be deleted at any time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final, Protocol

from sortedcontainers import SortedDict  # type: ignore[import-untyped]

_KEYS: Final = 500


class Store(Protocol):
    """Ordered keys and values; a write is atomic."""

    def get(self, key: bytes) -> bytes | None: ...

    def scan(self, first: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Pairs with ``first <= key < end`` in order; what it yields may lag behind writes made meanwhile."""
        ...

    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Put and (None) delete, all or nothing."""
        ...

    def flush(self) -> None:
        """Begin to bring what is written to where it outlives the process, as far as this store does that."""

    def clear(self) -> None: ...

    def close(self) -> None: ...


class MemoryStore:
    """For tests, simulation and logs that do not outlive the process."""

    def __init__(self) -> None:
        self._items: SortedDict[bytes, bytes] = SortedDict()

    def get(self, key: bytes) -> bytes | None:
        found: bytes | None = self._items.get(key)
        return found

    def scan(self, first: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        while keys := list(islice(self._items.irange(first, end, inclusive=(True, False)), _KEYS)):
            for key in keys:
                if key in self._items:
                    yield key, self._items[key]
            first = keys[-1] + b"\0"

    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        for key, value in changes.items():
            if value is None:
                self._items.pop(key, None)
            else:
                self._items[key] = value

    def flush(self) -> None:
        return None

    def clear(self) -> None:
        self._items.clear()

    def close(self) -> None:
        return None
