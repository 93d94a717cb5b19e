"""The logs that the contract is tested on, and what differs in how they are driven."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal

import pytest

from odradek.log import Appender, Log, Record, open_log
from odradek.log.memory import MemoryLog
from odradek.log.sqlite import SqliteLog
from odradek.schemas.topics import TopicSpec

Kind = Literal["memory", "sqlite", "kafka"]

EAGER_COMPACTION = {
    "min.compaction.lag.ms": "0",
    "min.cleanable.dirty.ratio": "0.001",
    "segment.ms": "50",
    "delete.retention.ms": "0",
}


def eventually(holds: Callable[[], bool], what: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.01)


class Bench:
    """One log under test."""

    def __init__(self, kind: Kind, address: str) -> None:
        self.kind = kind
        self.address = address
        # A missing topic is an answer at once on the embedded logs; Kafka's client waits in case it is still spreading.
        self.log = self.open({"topic.metadata.propagation.max.ms": "300"})
        self._appender: Appender | None = None

    def open(self, config: Mapping[str, str] | None = None) -> Log:
        return open_log(self.address, config)

    def topic(
        self,
        partitions: int = 1,
        policy: Literal["delete", "compact"] = "delete",
        config: Mapping[str, str] | None = None,
        record_bytes_max: int = 4 * 1024 * 1024,
    ) -> str:
        name = f"t-{uuid.uuid4().hex[:12]}"
        spec = TopicSpec(name, partitions, policy, record_bytes_max=record_bytes_max, config=dict(config or {}))
        self.log.create_topics([spec])
        return name

    def compacted_topic(self, partitions: int = 1, **config: str) -> str:
        settings = {key.replace("_", "."): value for key, value in config.items()}
        return self.topic(partitions, "compact", EAGER_COMPACTION | settings)

    def append(self, topic: str, *pairs: tuple[bytes | None, bytes | None], partition: int = 0) -> list[int]:
        """Append and wait; the offsets."""
        # One for all: Kafka's idempotent producer takes half a second to get its first record out.
        if self._appender is None:
            self._appender = self.log.appender()
        appender = self._appender
        offsets: list[int] = []

        def appended(offset: int | None, error: Exception | None) -> None:
            assert error is None, error
            assert offset is not None
            offsets.append(offset)

        for key, value in pairs:
            appender.append(topic, partition, key, value, appended)
        assert appender.flush(30) == 0
        return offsets

    def read(self, topic: str, partition: int = 0, offset: int = 0) -> list[Record]:
        """All records from ``offset`` to the present end."""
        reader = self.log.reader()
        end = self.log.offsets(topic, partition).end
        reader.assign(topic, partition, offset)
        found: list[Record] = []
        deadline = time.monotonic() + 30
        while reader.position(topic, partition) < end:
            assert time.monotonic() < deadline, f"stuck at {reader.position(topic, partition)} of {end}"
            found += reader.poll(0.2)
        reader.close()
        return found

    def compact(self, topic: str, is_done: Callable[[list[Record]], bool]) -> None:
        """Let compaction run over all that is there (Kafka's leaves the newest segment alone: a filler makes one)."""
        if isinstance(self.log, MemoryLog | SqliteLog):
            self.log.compact(topic)
            self.log.compact(topic)
            assert is_done(self.read(topic))
            return
        deadline = time.monotonic() + 30
        while not is_done(self.read(topic)):
            assert time.monotonic() < deadline, "the cleaner did nothing for 30 s"
            time.sleep(0.1)
            self.append(topic, (b"filler", b"x"))

    def close(self) -> None:
        if self._appender is not None:
            self._appender.close()
        self.log.close()


@pytest.fixture(params=["memory", "sqlite", pytest.param("kafka", marks=pytest.mark.kafka)])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    kind: Kind = request.param
    if kind == "kafka":
        address = f"kafka://{request.getfixturevalue('kafka_broker')}"
    elif kind == "sqlite":
        address = f"sqlite:///{tmp_path / 'log.sqlite'}"
    else:
        address = f"memory://{uuid.uuid4().hex}"
    made = Bench(kind, address)
    yield made
    made.close()
