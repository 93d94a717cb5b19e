"""One request and its answers. Which thread may touch what is said at each part; nothing here appends or reads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from odradek.schemas.records import (
    Accepted,
    AwaitResult,
    AwaitUpdate,
    CancelWorkflow,
    ControlActivity,
    DescribeWorkflow,
    EraseWorkflow,
    FetchHistory,
    QueryWorkflow,
    ReplyBody,
    ReportActivity,
    RunOutcome,
    SignalWorkflow,
    StartWorkflow,
    TerminateWorkflow,
    UpdateOutcome,
    UpdateWorkflow,
)

RequestBody: TypeAlias = (
    StartWorkflow
    | SignalWorkflow
    | QueryWorkflow
    | CancelWorkflow
    | TerminateWorkflow
    | AwaitResult
    | DescribeWorkflow
    | FetchHistory
    | UpdateWorkflow
    | AwaitUpdate
    | ReportActivity
    | ControlActivity
    | EraseWorkflow
)


@dataclass(frozen=True, slots=True)
class Appended:
    """The request is durable in the inbox; nobody has answered it."""


@dataclass(frozen=True, slots=True)
class Expired:
    """The caller's time limit has passed."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The connection was closed meanwhile."""

    reason: str


Answer: TypeAlias = ReplyBody | Appended | Expired | Closed
APPENDED = Appended()
EXPIRED = Expired()


def is_first_of_two(answer: Answer) -> bool:
    """The request is accepted; where its sender waits for more, another answer follows."""
    return isinstance(answer, Accepted) or (isinstance(answer, UpdateOutcome) and not answer.completed)


class Exchange:
    """Belongs to the event loop that made it; the connection's threads read it and set its plain fields.

    ``answer`` gets the first answer. With ``outcome`` a second one is awaited there: how the run, or the update, ended.
    Neither future ever carries an exception, so one that nobody awaits leaves no complaint behind.
    """

    __slots__ = (
        "answer",
        "answered",
        "durable",
        "ends_when_durable",
        "error",
        "in_flight",
        "key",
        "loop",
        "outcome",
        "partition",
        "renew",
        "request_id",
        "sent",
        "stage",
        "topic",
        "value",
        "watched",
    )

    def __init__(self, request_id: str, topic: str, partition: int, key: bytes, value: bytes) -> None:
        self.loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[Answer] = self.loop.create_future()
        self.outcome: asyncio.Future[Answer] | None = None
        self.request_id = request_id
        self.topic = topic
        self.partition = partition
        self.key = key
        self.value = value
        self.renew: Callable[[], bytes] | None = None
        """Makes the value of a repeated question, when that has to differ from the first."""
        self.watched = False
        """The connection's threads expire it."""
        self.ends_when_durable = False
        """Nobody answers it: the acknowledgement of the append is all there is."""
        self.stage = 0
        self.in_flight = False
        self.sent = False
        """Some append of it has been begun."""
        self.durable = False
        """Some append of it has been acknowledged."""
        self.error: Exception | None = None
        self.answered = False
        """The first answer is here: appending the request again would tell nobody anything."""

    def expire(self) -> None:
        """In the loop: the caller waits no longer for the first answer."""
        if not self.answer.done():
            self.answer.set_result(EXPIRED)

    def expire_outcome(self) -> None:
        """In the loop: the caller asks for the second answer in another way."""
        if self.outcome is not None and not self.outcome.done():
            self.outcome.set_result(EXPIRED)

    def settle(self, answer: Answer) -> None:
        """In the loop. An answer that comes twice, or too late, changes nothing."""
        if self.outcome is not None and not is_first_of_two(answer):
            if not self.outcome.done():
                self.outcome.set_result(answer)
            if isinstance(answer, RunOutcome):
                answer = Accepted(answer.run_id)
        if not self.answer.done():
            self.answer.set_result(answer)


def settle_all(settled: list[tuple[Exchange, Answer]]) -> None:
    for exchange, answer in settled:
        exchange.settle(answer)
