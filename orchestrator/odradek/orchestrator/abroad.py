"""Messages to workflows of other namespaces on the same log.

A namespace is opened in a thread of its own; what is for it waits meanwhile, in order, and nothing else waits with it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from odradek.common.labels import Names
from odradek.log import TopicMissing
from odradek.log.namespace import Namespace, open_namespace
from odradek.orchestrator import metrics
from odradek.orchestrator.core.children import PARENT_CLOSED
from odradek.orchestrator.core.effects import SendMessage
from odradek.orchestrator.core.writer import HistoryWriter
from odradek.schemas import records as r
from odradek.schemas.topics import Topics

_log = logging.getLogger("odradek.orchestrator.abroad")

OPEN_AGAIN_SECONDS: Final = 5.0
CHECK_SECONDS: Final = 1.0
MESSAGES_MAX: Final = 10_000
BYTES_MAX: Final = 64 * 1024 * 1024
"""For each other namespace: how much waits in memory. Beyond that only what nobody sends again does."""


class Waiting(NamedTuple):
    effect: SendMessage
    writer: HistoryWriter
    home: int


class _Neighbour:
    """Another namespace: open, or being opened, or out of reach for a while, with the reason."""

    def __init__(self, own: Namespace, name: str) -> None:
        self.name = name
        self.namespace: Namespace | None = None
        self.missing = False
        """There is certainly no such namespace."""
        self.reason = "it has not been opened yet"
        self.waiting: dict[object, Waiting] = {}
        self.waiting_bytes = 0
        """Of what has been put there since it was last emptied; what has left meanwhile counts, too."""
        self._own = own
        self._opening = False
        self._retry_at = 0.0
        self._told_full = False

    @property
    def is_full(self) -> bool:
        return len(self.waiting) >= MESSAGES_MAX or self.waiting_bytes > BYTES_MAX

    def empty(self) -> dict[object, Waiting]:
        """What has waited."""
        waiting, self.waiting, self.waiting_bytes, self._told_full = self.waiting, {}, 0, False
        return waiting

    def open(self) -> None:
        if not self._opening and time.monotonic() >= self._retry_at:
            self._opening, self.missing = True, False
            threading.Thread(target=self._open, name=f"opening-{self.name}", daemon=True).start()

    def _open(self) -> None:
        try:
            topics, log = Topics(self.name), self._own.log
            if log.topic(topics.inbox) is None:  # asked first: opening would make an embedded one
                raise TopicMissing(topics.inbox)
            self.namespace = open_namespace(log, self.name, schema_registry=self._own.schema_registry or "")
        except Exception as error:
            self.out_of_reach(str(error), missing=isinstance(error, TopicMissing | ValueError))
        finally:
            self._opening = False

    def tell_full(self) -> None:
        if not self._told_full:
            self._told_full = True
            _log.error(
                'ODR-129: more than %d messages or %d bytes wait for namespace "%s" (%s): those that come now are '
                "sent again by the histories of their senders, every 30 s", MESSAGES_MAX, BYTES_MAX, self.name,
                self.reason,
            )  # fmt: skip

    def out_of_reach(self, reason: str, *, missing: bool = False) -> None:
        self._retry_at = time.monotonic() + OPEN_AGAIN_SECONDS
        if reason != self.reason:
            what = "are refused, since it does not exist" if missing else "wait until it can be reached"
            _log.error('ODR-129: messages to namespace "%s" %s: %s', self.name, what, reason)
        self.namespace, self.reason, self.missing = None, reason, missing


class Abroad:
    """``deliver`` appends a message to an opened namespace; ``refuse`` answers it to its sender with a reason."""

    def __init__(
        self,
        own: Namespace,
        deliver: Callable[[Waiting, Namespace], None],
        refuse: Callable[[Waiting, str], None],
    ) -> None:
        self._own = own
        self._deliver = deliver
        self._refuse = refuse
        self._neighbours: dict[str, _Neighbour] = {}
        self._labels = Names()
        self._waits = False
        self._check_at = 0.0

    def __len__(self) -> int:
        """How much waits."""
        return sum(len(there.waiting) for there in self._neighbours.values())

    def send(self, waiting: Waiting) -> None:
        """Deliver a message now or, in order, when its namespace is open."""
        name = waiting.effect.namespace
        there = self._neighbours.get(name)
        if there is None:
            there = self._neighbours[name] = _Neighbour(self._own, name)
        if there.namespace is not None and not there.waiting:
            self._deliver(waiting, there.namespace)
            return
        self._wait(there, waiting)
        there.open()

    def _wait(self, there: _Neighbour, waiting: Waiting) -> None:
        """A message that waits already gives its place to the same one sent again."""
        key = _identity(waiting.effect.record)
        older = there.waiting.get(key)
        if older is None and there.is_full and _is_sent_again(waiting.effect.record):
            metrics.MESSAGES_DROPPED.labels(self._own.topics.namespace, self._labels.shown(there.name)).inc()
            there.tell_full()
            _emitted(waiting)
            return
        there.waiting[key] = waiting
        if older is None:
            there.waiting_bytes += len(self._own.codec.encode(waiting.effect.record))
        else:
            _emitted(older)
        self._waits = True

    def turn(self) -> None:
        """Deliver what can be delivered now, and refuse what never can."""
        if not self._waits:
            return
        monotonic = time.monotonic()
        expiring = monotonic >= self._check_at
        if expiring:
            self._check_at = monotonic + CHECK_SECONDS
        for there in self._neighbours.values():
            if there.namespace is not None:
                for message in there.empty().values():
                    if not message.writer.fenced:
                        self.send(message)
            elif there.waiting and (there.missing or expiring):
                self._refuse_some(there)
                there.open()
        self._waits = any(there.waiting for there in self._neighbours.values())

    def _refuse_some(self, there: _Neighbour) -> None:
        missing, now_ms = there.missing, time.time() * 1000
        for key, message in list(there.waiting.items()):
            expires_ms = _expires_ms(message.effect.record)
            if message.writer.fenced:
                del there.waiting[key]
            elif missing or now_ms > expires_ms:
                del there.waiting[key]
                what = "does not exist on this log" if missing else "could not be reached within the message's lifetime"
                self._refuse(
                    message,
                    f'ODR-129: namespace "{there.name}" {what} ({there.reason}): correct its name, or have it made',
                )
        if not there.waiting:
            there.empty()

    def failed(self, message: Waiting, error: Exception) -> None:
        """An append over there was refused: only what goes there waits for it."""
        there = self._neighbours[message.effect.namespace]
        there.out_of_reach(str(error))
        self._wait(there, message)

    def clear(self) -> None:
        for there in self._neighbours.values():
            there.empty()
        self._waits = False


def _identity(record: r.InboxRecord | None) -> object:
    assert record is not None
    body: Any = record.body
    about = getattr(body, "origin", None) or body
    return type(body), about.run_id, about.number


def _emitted(message: Waiting) -> None:
    if message.effect.token is not None and not message.writer.fenced:
        message.writer.emitted(message.effect.token)


def _is_sent_again(record: r.InboxRecord | None) -> bool:
    """Until it is answered its sender repeats it; an answer is given again when that happens."""
    assert record is not None
    origin = getattr(record.body, "origin", None)
    return isinstance(record.body, r.MessageAnswer) or (origin is not None and origin.number < PARENT_CLOSED)


def _expires_ms(record: r.InboxRecord | None) -> float:
    """Answers and results wait for as long as it takes."""
    origin = getattr(record.body, "origin", None) if record else None
    return float("inf") if origin is None else origin.expires_ms
