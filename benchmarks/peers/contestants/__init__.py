"""Who takes part, in the order in which they are measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchmarks.peers.contestants.base import Contestant
from benchmarks.peers.contestants.dbos import Dbos
from benchmarks.peers.contestants.kafka import Flushed, OnBroker, OnSqlite, RawLoop, Replicated, SharedBroker
from benchmarks.peers.contestants.restate import Restate
from benchmarks.peers.contestants.temporal import Temporal, TemporalOnPostgres
from benchmarks.peers.install import Cache

CONTESTANTS: Mapping[str, type[Contestant]] = {
    kind.name: kind
    for kind in (RawLoop, OnBroker, Flushed, OnSqlite, Restate, Dbos, TemporalOnPostgres, Replicated, Temporal)
}
OURS = ("odradek", "odradek-fsync", "odradek-sqlite", "odradek-3")
LIMIT = "raw"
"""Is no engine: neither ours nor a peer."""


def make(name: str, cache: Cache, folder: Path, broker: SharedBroker) -> Contestant:
    kind = CONTESTANTS[name]
    return kind(cache, folder, broker) if issubclass(kind, OnBroker) else kind(cache, folder)
