"""What a shard asks the world to do: a closed union, carried out by the host in one ``match``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from odradek.schemas import records as r
from odradek.workflow.interceptors import StartLocalActivityInput


class Emitting:
    """Counts the outputs of one history offset that other topics have not acknowledged yet; then calls ``then``."""

    __slots__ = ("offset", "outstanding", "then")

    def __init__(self, offset: int, then: Callable[[], None] | None = None) -> None:
        self.offset = offset
        self.outstanding = 0
        self.then = then


@dataclass(slots=True)
class Output:
    """Something that leaves for another topic. With a ``token`` the watermark y waits until it is acknowledged."""

    token: Emitting | None = None
    tracked = True

    @property
    def about(self) -> str | None:
        """What a newer output of the same kind says anew; None if each one counts."""
        return None

    @property
    def may_wait(self) -> bool:
        """It may be held a moment, in case a newer one takes its place."""
        return False


@dataclass(slots=True)
class Reply(Output):
    partition: int = -1
    recipient: str = ""
    request_id: str = ""
    body: Any = None
    tracked = False
    """A client that gets no answer asks again."""
    awaits_result: bool = False
    """The result will answer the same request."""

    @property
    def about(self) -> str | None:
        return self.request_id

    @property
    def may_wait(self) -> bool:
        return self.awaits_result


@dataclass(slots=True)
class SendTask(Output):
    task: r.TaskRecord | None = None


@dataclass(slots=True)
class SendMessage(Output):
    """A record for the inbox of another workflow; ``namespace`` empty: of this namespace."""

    workflow_id: str = ""
    record: r.InboxRecord | None = None
    namespace: str = ""


@dataclass(slots=True)
class Show(Output):
    """A record for the visibility topic."""

    record: r.VisibilityRecord | None = None

    @property
    def about(self) -> str | None:
        return self.record.run_id if self.record else None

    @property
    def may_wait(self) -> bool:
        return self.record is not None and self.record.status == r.RunStatus.RUNNING


@dataclass(slots=True)
class Archive(Output):
    record: r.ArchiveRecord | None = None
    blocks: bytes = b""
    on_stored: Callable[[int, int], None] | None = None
    """Called with the partition and offset where it stands."""


@dataclass(slots=True)
class DeadLetter(Output):
    record: r.DeadLetterRecord | None = None
    on_stored: Callable[[int, int], None] | None = None
    answers: Sequence[Reply | SendMessage] = ()
    """What those are told who sent the record."""


@dataclass(slots=True)
class InboxDone:
    """The inbox is taken in durably up to here.

    What lies at or below may be deleted, and the group's commit may follow.
    """

    x: int


@dataclass(slots=True)
class ReadGap:
    """Somebody wrote between our records: read history from ``first`` up to ``end`` and hand it to ``gap_read``."""

    first: int
    end: int


@dataclass(slots=True)
class ReadArchive:
    """Somebody asks about a closed run: read its events, while everything else goes on, and call ``on_read``.

    It gets the events, or why they cannot be read.
    """

    workflow_id: str
    run_id: str
    parts: Sequence[r.ArchivePart]
    on_read: Callable[[Sequence[r.Event] | str], None]


@dataclass(slots=True)
class Fenced:
    """This shard must be dropped at once; whether to claim again is the host's question to the group."""

    reason: str


@dataclass(slots=True, eq=False)
class RunStep:
    """Run a step in this process; its end comes back through ``steps_ended``, with this object as its name."""

    workflow_id: str
    run_id: str
    workflow_type: str
    task_queue: str
    seq: int
    call: StartLocalActivityInput
    asked_ms: int
    attempt: int = 0
    """Kept by the host, as the next three, for whoever asks what the run waits for."""
    last_failure: r.Failure | None = None
    running: Any = None
    retry_at_ms: int | None = None
    """Between attempts: when the next one begins."""


@dataclass(slots=True)
class CancelStep:
    """Tell a step's function to stop."""

    step: RunStep


Effect = (
    RunStep
    | CancelStep
    | Reply
    | SendTask
    | SendMessage
    | Show
    | Archive
    | DeadLetter
    | InboxDone
    | ReadGap
    | ReadArchive
    | Fenced
)
