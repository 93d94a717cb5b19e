"""A scripted stand-in for an orchestrator: reads the inbox, and answers as it is told."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Self

from odradek.client import Client
from odradek.log import Log
from odradek.log.namespace import Namespace, open_namespace
from odradek.schemas.records import (
    Accepted,
    AwaitResult,
    InboxRecord,
    ReplyBody,
    ReplyRecord,
    Request,
    RunOutcome,
    StartWorkflow,
)

Script = Callable[[str, Any], Sequence[ReplyBody]]
"""From (workflow ID, body of the request) to the answers."""
Connected = Callable[..., AbstractAsyncContextManager[Client]]
"""``async with connected(**options) as client``: a client of namespace "shop" that insists every 50 ms."""


def obliging(workflow_id: str, body: Any) -> Sequence[ReplyBody]:
    """Accepts everything; a workflow's result is its first argument."""
    run_id = f"run-of-{workflow_id}"
    if isinstance(body, StartWorkflow) and body.wait_result:
        return Accepted(run_id), RunOutcome(run_id, "completed", body.input[0] if body.input else None)
    if isinstance(body, AwaitResult):
        return (RunOutcome(run_id, "completed"),)
    return (Accepted(run_id),)


def silent(workflow_id: str, body: Any) -> Sequence[ReplyBody]:
    return ()


class FakeOrchestrator:
    """One thread. ``seen`` has every request in the order of arrival, ``copies`` how often each request ID came."""

    def __init__(self, log: Log, namespace: str, script: Script = obliging) -> None:
        self.namespace: Namespace = open_namespace(log, namespace)
        self.script = script
        self.seen: list[tuple[str, Any]] = []
        self.copies: Counter[str] = Counter()
        self.lost_copies = 0
        """So many copies of each request are overlooked before one is answered."""
        self._late: ReplyBody | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fake-orchestrator", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def answer_late(self, answer: ReplyBody) -> None:
        """Answer everything that was seen so far, whether or not it was answered then."""
        self._late = answer

    def bodies(self, kind: type) -> list[Any]:
        return [body for _, body in self.seen if isinstance(body, kind)]

    def _run(self) -> None:
        reader, appender = self.namespace.log.reader(), self.namespace.log.appender()
        for partition in range(self.namespace.partitions):
            reader.assign(self.namespace.topics.inbox, partition, 0)
        while not self._stopping.is_set():
            for record in reader.poll(0.02):
                assert record.key is not None
                assert record.value is not None
                body = self.namespace.codec.decode(InboxRecord, record.value).body
                self._take(appender, record.key.decode(), body)
            if self._late is not None:
                for _, body in self.seen:
                    self._append(appender, body.request, self._late)
                self._late = None
            appender.poll()
        reader.close()
        appender.close()

    def _take(self, appender: Any, workflow_id: str, body: Any) -> None:
        request = body.request
        self.seen.append((workflow_id, body))
        self.copies[request.id] += 1
        if self.copies[request.id] <= self.lost_copies or request.reply_partition < 0:
            return
        for answer in self.script(workflow_id, body):
            self._append(appender, request, answer)

    def _append(self, appender: Any, request: Request, answer: ReplyBody) -> None:
        value = self.namespace.codec.encode(ReplyRecord(request.recipient, request.id, answer))
        key = request.recipient.encode()
        appender.append(self.namespace.topics.replies, request.reply_partition, key, value)
