"""The Log: topics of ordered, durable partitions. Everything above sees a broker only through these four classes.

An offset names a record for ever; a partition's offsets rise by one, and compaction may leave gaps among old ones.
Nothing here decides anything about workflows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from odradek.log.errors import TopicChangeRefused
from odradek.schemas.access import Right
from odradek.schemas.topics import TopicSpec


class Record(NamedTuple):
    """One record as the log holds it. ``value is None`` is a tombstone; ``time_ms`` is the log's append time."""

    topic: str
    partition: int
    offset: int
    time_ms: int
    key: bytes | None
    value: bytes | None


class Offsets(NamedTuple):
    """``begin`` is the first offset that can be read, ``end`` the offset that the next append will get."""

    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """A topic as it exists. ``topic_id`` differs when a topic was deleted and made anew under the same name."""

    name: str
    topic_id: str
    partitions: int
    record_bytes_max: int
    config: Mapping[str, str] = field(default_factory=dict)
    replication: int | None = None
    """Copies of its least replicated partition; None where there is no such thing."""
    leaderless: tuple[int, ...] = ()
    """Partitions that nobody can read or append to now."""
    under_replicated: tuple[int, ...] = ()
    """Partitions with copies that lag behind, or whose broker is down."""


@dataclass(frozen=True)
class ClusterInfo:
    """The brokers of a log."""

    id: str
    brokers: tuple[str, ...]
    config: Mapping[str, str] = field(default_factory=dict)
    """Of one of them; empty where this principal may not see it."""


OnAppended = Callable[[int | None, Exception | None], None]
"""Called with (offset, None) once the record is durable, or with (None, error) when its fate is unknown or it was
refused.
"""


class Appender(ABC):
    """Appends records. Appends to one partition land in the order of the calls. Belongs to one thread.

    A record may land twice, and one that is reported as failed may have landed: whoever needs more checks offsets.
    """

    @abstractmethod
    def append(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, on_appended: OnAppended | None = None
    ) -> None:
        """Queue one record. Raises ``RecordTooLarge`` or ``AppendQueueFull``; other errors reach the callback."""

    @abstractmethod
    def poll(self, timeout_seconds: float = 0) -> int:
        """Run the callbacks that are due, waiting up to ``timeout_seconds`` for the first; returns how many ran."""

    @property
    @abstractmethod
    def in_flight(self) -> int:
        """Records whose callback has not run yet."""

    @abstractmethod
    def flush(self, timeout_seconds: float) -> int:
        """Poll until nothing is in flight or time is up; returns how many are still in flight."""

    @abstractmethod
    def discard(self) -> None:
        """Give up: no further callback runs. Records in flight may or may not land, even later."""

    @abstractmethod
    def close(self, timeout_seconds: float = 5) -> None:
        """Flush, then release all resources."""


class Reader(ABC):
    """Reads explicit partitions from explicit offsets; no group, no commits. Belongs to one thread."""

    @abstractmethod
    def assign(self, topic: str, partition: int, offset: int) -> None:
        """Read this partition from ``offset`` on (again from there when it was assigned already)."""

    @abstractmethod
    def unassign(self, topic: str, partition: int) -> None:
        """Stop reading; records of it that were fetched ahead are not delivered any more."""

    @abstractmethod
    def pause(self, topic: str, partition: int) -> None:
        """Deliver nothing of this partition until ``resume``; the position stays."""

    @abstractmethod
    def resume(self, topic: str, partition: int) -> None: ...

    @abstractmethod
    def poll(self, timeout_seconds: float, records_max: int = 1000) -> list[Record]:
        """The next records, each partition in order; waits up to ``timeout_seconds`` for the first, never for more.

        Raises ``OffsetOutOfRange`` when an assigned position does not exist (any more); the partition is then
        unassigned.
        """

    def wake(self) -> None:  # noqa: B027 - a log that cannot need not
        """From any thread: let a ``poll`` that waits return now, or the next one not wait. Some logs cannot."""

    @abstractmethod
    def position(self, topic: str, partition: int) -> int:
        """The offset that comes next: past all that was delivered, and at the end of the partition past gaps too."""

    @abstractmethod
    def close(self) -> None: ...


class MembershipListener(Protocol):
    """What a group tells its member, from within ``Membership.poll``."""

    def assigned(self, partitions: Sequence[int]) -> None:
        """These partitions have been added. None: the group has answered, and has none for this member now."""

    def revoked(self, partitions: Sequence[int]) -> None:
        """These go to another member as soon as this call returns: the place for an orderly hand-over."""

    def lost(self, partitions: Sequence[int]) -> None:
        """These have been taken away already, since this member was silent for too long."""


class Committed(NamedTuple):
    """A group's committed position: the next offset to read, and up to 4,096 bytes of text beside it."""

    offset: int
    metadata: str


class Standing(NamedTuple):
    """Where a group stands in a partition. ``committed`` is None while it has committed nothing."""

    begin: int
    end: int
    committed: Committed | None

    @property
    def position(self) -> int:
        """The first offset that the group has not done with; what retention has taken is done with."""
        return max(self.begin, self.committed.offset if self.committed else 0)

    @property
    def lag(self) -> int:
        return max(0, self.end - self.position)


class Membership(ABC):
    """One member of a consumer group over one topic. It shares out partitions and keeps commits; it reads nothing.

    Partitions move one by one (cooperative); ``poll`` must be called at least every few seconds. Belongs to one thread.
    """

    @abstractmethod
    def poll(self) -> None:
        """Let group events reach the listener; does not wait. Raises ``AccessDenied`` for who may not join."""

    @property
    @abstractmethod
    def partitions(self) -> frozenset[int]:
        """Assigned now, as far as this member knows."""

    @abstractmethod
    def commit(self, positions: Mapping[int, Committed]) -> None:
        """Commit in the background.

        A commit that the group refuses (this member is no longer in it) is dropped with a log line.
        """

    @abstractmethod
    def flush_commits(self, timeout_seconds: float) -> None:
        """Wait until earlier commits are answered; those that a rebalance refused are made again."""

    @abstractmethod
    def committed(self, partitions: Iterable[int], timeout_seconds: float = 10) -> dict[int, Committed]:
        """What the group has committed; a partition without a commit is left out."""

    @abstractmethod
    def close(self) -> None:
        """Leave the group in order: ``revoked`` is called for what is still assigned, commits are flushed."""


class Log(ABC):
    """A connection to one log. Safe to share between threads; what it makes belongs to one thread each."""

    address: str

    @abstractmethod
    def appender(self) -> Appender: ...

    @abstractmethod
    def reader(self) -> Reader: ...

    @abstractmethod
    def membership(
        self, group: str, topic: str, listener: MembershipListener, *, session_timeout_seconds: float = 10
    ) -> Membership:
        """Join ``group`` on ``topic``. A member that is silent for ``session_timeout_seconds`` loses its partitions."""

    @abstractmethod
    def create_topics(self, specs: Iterable[TopicSpec]) -> None:
        """Create what does not exist; existing topics are left alone. Raises ``TopicCreationRefused``."""

    @abstractmethod
    def set_retention(self, topic: str, retention_ms: int | None) -> None:
        """Keep the topic's records for so long from now on, None for ever. Raises ``TopicMissing``.

        What is older goes when the log looks next: within minutes, and as far as it deletes whole segments.
        """

    @abstractmethod
    def delete_topics(self, names: Iterable[str]) -> None: ...

    @abstractmethod
    def topic(self, name: str) -> TopicInfo | None:
        """The topic as it exists, asked anew each time; None when it does not."""

    @abstractmethod
    def topics(self, prefix: str) -> list[str]:
        """Names of the topics that begin with ``prefix``."""

    @abstractmethod
    def offsets(self, topic: str, partition: int) -> Offsets: ...

    @abstractmethod
    def leader_epoch(self, topic: str, partition: int) -> int:
        """Rises when the partition's leader changes; constant where there is no such thing."""

    @abstractmethod
    def delete_records(self, topic: str, before: Mapping[int, int]) -> None:
        """Drop the records below the given offset of each partition; best effort, logged when the log forbids it."""

    @abstractmethod
    def standing(self, group: str, topic: str) -> dict[int, Standing]:
        """Where a group stands in each partition, whoever its members are. Raises ``TopicMissing``."""

    def cluster(self) -> ClusterInfo | None:
        """Who serves this log; None where there are no brokers."""
        return None

    def alter_topic(self, name: str, config: Mapping[str, str]) -> None:
        """Set these settings and leave the others. Raises ``TopicChangeRefused``, also where nothing can be set."""
        raise TopicChangeRefused(name, "this log has no settings of topics")

    @property
    def principal(self) -> str:
        """How ACLs name who is connected, as far as it is known; empty where there are no ACLs."""
        return ""

    @property
    def checks_access(self) -> bool:
        """Whether roles ask what they may do before they begin."""
        return False

    def missing_rights(self, rights: Sequence[Right]) -> list[Right]:
        """Those that this principal does not have. What the log does not tell counts as allowed."""
        return []

    def lag(self, group: str, topic: str) -> dict[int, int]:
        """Records between a group's committed position (else the beginning) and the end, by partition."""
        return {number: standing.lag for number, standing in self.standing(group, topic).items()}

    @abstractmethod
    def close(self) -> None: ...
