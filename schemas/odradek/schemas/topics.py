"""The topics of a namespace: their names, and how each must be made."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
RECORD_BYTES_MAX = 4 * 1024 * 1024
PARTITIONS_DEFAULT = 32

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """One topic as it should be. ``retention_ms=None`` keeps records for ever."""

    name: str
    partitions: int
    policy: Literal["delete", "compact"]
    retention_ms: int | None = None
    replication: int | None = None
    """None: what the cluster does by default."""
    record_bytes_max: int = RECORD_BYTES_MAX
    config: Mapping[str, str] = field(default_factory=dict)
    """Further settings under their Kafka names; an embedded log ignores those that it does not know."""

    def settings(self) -> dict[str, str]:
        """All settings under their Kafka names, as the topic is to be made with."""
        return {
            "cleanup.policy": self.policy,
            "retention.ms": str(-1 if self.retention_ms is None else self.retention_ms),
            "max.message.bytes": str(self.record_bytes_max),
            # What a record's time says is when the log took it, whatever the clock of its writer.
            "message.timestamp.type": "LogAppendTime",
            **self.config,
        }


@dataclass(frozen=True, slots=True)
class Topics:
    """Names and settings of all topics of one namespace."""

    namespace: str

    def __post_init__(self) -> None:
        check_name("namespace", self.namespace)

    @property
    def inbox(self) -> str:
        return f"{self.namespace}.inbox"

    @property
    def history(self) -> str:
        return f"{self.namespace}.history"

    @property
    def archive(self) -> str:
        return f"{self.namespace}.archive"

    @property
    def replies(self) -> str:
        return f"{self.namespace}.replies"

    @property
    def visibility(self) -> str:
        return f"{self.namespace}.visibility"

    @property
    def workers(self) -> str:
        return f"{self.namespace}.workers"

    @property
    def dead_letter(self) -> str:
        return f"{self.namespace}.dead-letter"

    @property
    def keys(self) -> str:
        """Only where payloads are encrypted with keys of their workflows."""
        return f"{self.namespace}.keys"

    @property
    def tasks_prefix(self) -> str:
        return f"{self.namespace}.tasks."

    def tasks(self, queue: str) -> str:
        """The topic of a task queue; ``other:queue`` names a queue of another namespace."""
        namespace, name = self.place(queue)
        return f"{check_name('namespace', namespace)}.tasks.{check_name('task queue', name)}"

    def place(self, queue: str) -> tuple[str, str]:
        """The namespace of a queue, and its name there."""
        namespace, colon, name = queue.rpartition(":")
        return (namespace if colon else self.namespace), name

    @property
    def orchestrators(self) -> str:
        """The consumer group of the orchestrators."""
        return f"{self.namespace}.orchestrators"

    def queue_group(self, queue: str) -> str:
        """The consumer group of the workers of a queue."""
        return f"{self.namespace}.workers.{queue}"

    def specs(
        self, partitions: int = PARTITIONS_DEFAULT, *, replication: int | None = None, retention_ms: int = 7 * DAY_MS
    ) -> list[TopicSpec]:
        """Every topic of the namespace but its task queues."""
        return [
            TopicSpec(self.inbox, partitions, "delete", None, replication),
            TopicSpec(
                self.history,
                partitions,
                "compact",
                None,
                replication,
                config={
                    "min.compaction.lag.ms": str(HOUR_MS),
                    "delete.retention.ms": str(HOUR_MS),
                    "segment.bytes": str(64 * 1024 * 1024),
                    "segment.ms": str(HOUR_MS),
                    "min.cleanable.dirty.ratio": "0.3",
                    "message.timestamp.type": "LogAppendTime",
                },
            ),
            TopicSpec(self.archive, partitions, "delete", retention_ms, replication),
            TopicSpec(self.replies, min(partitions, 32), "delete", HOUR_MS // 2, replication),
            TopicSpec(self.visibility, partitions, "compact", None, replication),
            TopicSpec(
                self.workers,
                1,
                "compact",
                None,
                replication,
                config={
                    # Whoever starts reads all of it, and every process writes to it every two seconds.
                    "segment.bytes": str(16 * 1024 * 1024),
                    "segment.ms": str(HOUR_MS // 6),
                    "min.cleanable.dirty.ratio": "0.3",
                    "message.timestamp.type": "LogAppendTime",
                },
            ),
            TopicSpec(self.dead_letter, min(partitions, 4), "delete", 28 * DAY_MS, replication),
        ]

    def keys_spec(self, *, replication: int | None = None) -> TopicSpec:
        """A deleted key is gone from the disks an hour or two later."""
        return TopicSpec(
            self.keys,
            1,
            "compact",
            None,
            replication,
            config={
                "delete.retention.ms": str(HOUR_MS),
                "segment.bytes": str(16 * 1024 * 1024),
                "segment.ms": str(HOUR_MS),
                "min.cleanable.dirty.ratio": "0.01",
                "max.compaction.lag.ms": str(HOUR_MS),
            },
        )

    def tasks_spec(
        self, queue: str, partitions: int = PARTITIONS_DEFAULT, *, replication: int | None = None
    ) -> TopicSpec:
        return TopicSpec(self.tasks(queue), partitions, "delete", 7 * DAY_MS, replication)


def is_abroad(queue: str) -> bool:
    """Whether it names a queue together with its namespace."""
    return ":" in queue


def check_name(what: str, name: str) -> str:
    """The name, if it can be part of a topic's name; else ``ValueError``."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            f'ODR-001: {what} "{name}" cannot be part of a topic name: use 1 to 100 letters, digits, ".", "_" and "-"'
        )
    return name
