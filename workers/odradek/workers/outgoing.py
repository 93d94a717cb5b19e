"""What a worker appends for its attempts: answers to inboxes, and copies of records that nobody can read."""

from __future__ import annotations

from odradek.schemas.records import ActivityHeartbeat, ActivityResult, ActivityStarted, DeadLetterRecord
from odradek.workers.attempts import Attempt, Place

AnswerBody = ActivityStarted | ActivityHeartbeat | ActivityResult


class Answer:
    """A notice or result of one attempt, for the inbox of the workflow that waits for it."""

    __slots__ = ("attempt", "body", "size")

    def __init__(self, attempt: Attempt, body: AnswerBody) -> None:
        self.size = 0
        """Bytes of its record, once that has been appended."""
        self.attempt = attempt
        self.body = body

    def acknowledged(self) -> Attempt | None:
        """What is finished with it."""
        attempt = self.attempt
        body = self.body
        if isinstance(body, ActivityHeartbeat):
            return None
        attempt.durable = True
        if isinstance(body, ActivityResult) or body.detached:
            attempt.closed = True
        return attempt


class DeadLetter:
    """A record of the queue that could not be read; its offset is finished once the copy is safe."""

    __slots__ = ("places", "record", "size")

    def __init__(self, record: DeadLetterRecord, place: Place) -> None:
        self.size = 0
        self.record = record
        self.places = [place]

    def acknowledged(self) -> DeadLetter:
        return self


Outgoing = Answer | DeadLetter
Settled = Attempt | DeadLetter
