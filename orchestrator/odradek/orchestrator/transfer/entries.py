"""What a transfer carries: a header, then entries in an order in which they can be written without looking back.

The archive comes first, since summaries say where in it histories stand; then what operators have said; then each
partition's history, what of its inbox has not been taken in, and its visibility.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol


class Entry(NamedTuple):
    """One record, and where it stood."""

    part: str
    """archive, control, key, history, inbox, visibility, or end: the partition has no more."""
    partition: int
    offset: int
    time_ms: int
    key: bytes | None
    value: bytes | None


@dataclass(frozen=True)
class Header:
    """The namespace as it was."""

    namespace: str
    partitions: int
    feature_level: int
    queues: dict[str, int]
    """Task queues with their partitions."""
    taken_ms: int
    retention_ms: dict[str, int] = field(default_factory=dict)
    """Of the topics that forget by time, by their names without the namespace's; -1: for ever."""


class Source(Protocol):
    """Where a namespace comes from."""

    @property
    def header(self) -> Header: ...

    def entries(self) -> Iterator[Entry]:
        """All of it, once."""
