"""Messages that cannot be delivered, or not yet: who hears of it, what waits, and what y says meanwhile."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from odradek.log import Appender, AppendFailed, LogError, RecordTooLarge
from odradek.log.memory import MemoryLog
from odradek.log.namespace import Namespace, create_namespace, open_namespace, read_to_end
from odradek.orchestrator import abroad
from odradek.orchestrator.core.effects import SendMessage, Show
from odradek.orchestrator.core.writer import HistoryWriter
from odradek.orchestrator.outputs import Outputs
from odradek.schemas import records as r

NEVER_MS = 4_000_000_000_000


class Refusing:
    """An appender that refuses what ``refuses`` says, as a broker would."""

    def __init__(self, inner: Appender, refuses: Callable[[str, bytes], Exception | None]) -> None:
        self._inner = inner
        self._refuses = refuses

    def append(self, topic: str, partition: int, key: bytes, value: bytes, on_appended: Any = None) -> None:
        refusal = self._refuses(topic, value)
        if isinstance(refusal, RecordTooLarge):
            raise refusal
        if refusal is None:
            self._inner.append(topic, partition, key, value, on_appended)
        else:
            on_appended(None, refusal)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class Sending:
    """Outputs of one namespace, with another one beside it, and a token for each message."""

    def __init__(self, refuses: Callable[[str, bytes], Exception | None] = lambda topic, value: None) -> None:
        log = MemoryLog(uuid.uuid4().hex)
        self.namespaces: dict[str, Namespace] = {}
        for name in ("here", "there"):
            create_namespace(log, name, partitions=1)
            self.namespaces[name] = open_namespace(log, name)
        here = self.namespaces["here"]
        self.failures: list[Exception] = []
        self.outputs = Outputs(here, self.failures.append, {})
        self.outputs.appender = Refusing(self.outputs.appender, refuses)  # type: ignore[assignment]
        self.writer = HistoryWriter(0, -1, -1, -1, here.codec, lambda entry: None, lambda late: None)
        self.writer.settled = self.writer.caught_up = True
        self.writer.last = 10

    def send(self, body: r.InboxBody, namespace: str) -> None:
        effect = SendMessage(workflow_id="receiver", record=r.InboxRecord(1, body), namespace=namespace)
        self.writer.emit_under(self.writer.begin_emitting(10), [effect])
        self.writer.outbox.clear()
        self.outputs.carry_out(effect, self.writer, 0)

    def settle(self, until: Callable[[], bool]) -> None:
        """Turn the loop until something has come about; opening a namespace takes a thread's time."""
        pause = threading.Event()
        for _ in range(2000):
            self.outputs.send_held()
            self.outputs.appender.poll(0)
            if until():
                return
            pause.wait(0.005)
        raise AssertionError("it has not come about")

    def inbox(self, name: str) -> list[tuple[str, Any]]:
        namespace = self.namespaces[name]
        records = read_to_end(namespace.log, namespace.topics.inbox, 0)
        return [((x.key or b"").decode(), namespace.codec.decode(r.InboxRecord, x.value or b"").body) for x in records]


def signal(number: int, name: str = "go") -> r.SignalWorkflow:
    return r.SignalWorkflow(name, origin=r.MessageOrigin("here", "sender", "run", number, NEVER_MS))


def too_large(topic: str, value: bytes) -> Exception | None:
    return RecordTooLarge(topic, 0, len(value), 1000) if len(value) > 1000 else None


@pytest.mark.parametrize("namespace", ["", "there"])
def test_sender_of_a_message_that_is_too_large_is_told(namespace: str) -> None:
    sending = Sending(too_large)
    sending.send(signal(7, "x" * 2000), namespace)
    sending.settle(lambda: sending.writer.y == 10)
    [(workflow_id, answer)] = sending.inbox("here")
    assert (workflow_id, answer.run_id, answer.number, answer.failure.type) == ("sender", "run", 7, "ODR-105")


def test_result_that_is_too_large_for_the_parent_reaches_it_as_a_failure() -> None:
    sending = Sending(too_large)
    result = r.Payload("json/plain", b"x" * 2000)
    sending.send(r.ChildResult("parent-run", 3, "child-run", "completed", result), "there")
    sending.settle(lambda: sending.writer.y == 10)
    [(_, told)] = sending.inbox("there")
    assert (told.number, told.status, told.result, told.failure.type) == (3, "failed", None, "PayloadTooLarge")


def test_append_that_another_namespace_refuses_is_repeated_and_ends_no_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing right over there holds up what goes there, in order, and nothing else."""
    monkeypatch.setattr(abroad, "OPEN_AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(abroad, "CHECK_SECONDS", 0.01)
    allowed: list[bool] = []

    def refuses(topic: str, value: bytes) -> Exception | None:
        return None if allowed or topic.startswith("here") else AppendFailed(topic, 0, "not authorized")

    sending = Sending(refuses)
    sending.send(signal(1), "there")
    sending.send(signal(2), "there")
    sending.settle(lambda: "not authorized" in sending.outputs._abroad._neighbours["there"].reason)
    assert sending.outputs.blocked_count == 2
    sending.send(signal(3), "")
    sending.settle(lambda: len(sending.inbox("here")) == 1)
    assert sending.writer.y == 9
    allowed.append(True)
    sending.settle(lambda: sending.writer.y == 10)
    assert [body.origin.number for _, body in sending.inbox("there")] == [1, 2]
    assert sending.failures == []


def test_message_that_is_sent_again_while_it_waits_waits_once() -> None:
    sending = Sending()
    for _ in range(3):
        sending.send(signal(1), "there")
    sending.settle(lambda: sending.writer.y == 10)
    assert len(sending.inbox("there")) == 1


def test_nothing_of_a_fenced_owner_goes_abroad() -> None:
    sending = Sending()
    sending.send(signal(1), "there")
    sending.writer.fence("another owner")
    sending.settle(lambda: not sending.outputs._abroad._waits)
    assert sending.inbox("there") == []


def test_answer_to_a_namespace_that_is_gone_holds_nothing_up() -> None:
    sending = Sending()
    sending.send(r.MessageAnswer("run", 1), "gone")
    sending.settle(lambda: sending.writer.y == 10)


def test_output_of_our_own_that_is_too_large_is_dropped_and_one_that_fails_holds_y() -> None:
    for refuses, y in ((too_large, 10), (lambda topic, value: LogError("gone"), 9)):
        sending = Sending(refuses)
        shown = r.VisibilityRecord("w" * 2000, "run", 5, 1, "T", "q", "completed", 1, None)
        effect = Show(record=shown)
        sending.writer.emit_under(sending.writer.begin_emitting(10), [effect])
        sending.outputs.carry_out(effect, sending.writer, 0)
        sending.outputs.send_held()
        assert sending.writer.y == y
        assert len(sending.failures) == (y != 10)
