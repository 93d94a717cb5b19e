"""Outputs that may wait: a newer one takes their place, and y does not pass them before they are out."""

from __future__ import annotations

import itertools
import time
import uuid
from typing import Any

import pytest

from odradek.log import Record
from odradek.log.memory import MemoryLog
from odradek.log.namespace import Namespace, create_namespace, open_namespace
from odradek.orchestrator.core import effects as fx
from odradek.orchestrator.core.writer import HistoryWriter
from odradek.orchestrator.outputs import HOLD_SECONDS, Outputs
from odradek.schemas import records as r
from odradek.schemas.records import RunStatus


@pytest.fixture
def namespace() -> Namespace:
    log = MemoryLog(uuid.uuid4().hex)
    create_namespace(log, "held", partitions=1)
    return open_namespace(log, "held")


@pytest.fixture
def writer(namespace: Namespace) -> HistoryWriter:
    writer = HistoryWriter(5, 5, -1, 5, namespace.codec, lambda entry: None, lambda late: None)
    writer.settled = writer.caught_up = True
    return writer


@pytest.fixture
def outputs(namespace: Namespace) -> Outputs:
    def failed(error: Exception) -> None:
        raise error

    return Outputs(namespace, failed, {})


ns = itertools.count(1)


def show(run_id: str, status: str, token: fx.Emitting | None = None) -> fx.Show:
    return fx.Show(token, r.VisibilityRecord("w", run_id, 5, next(ns), "T", "q", status, 1, None))


def accepted(request_id: str, *, awaits_result: bool) -> fx.Reply:
    return fx.Reply(None, 0, "client", request_id, r.Accepted("run"), awaits_result)


def written(namespace: Namespace, topic: str, kind: type) -> list[Any]:
    reader = namespace.log.reader()
    reader.assign(topic, 0, 0)
    found: list[Record] = []
    while batch := reader.poll(0):
        found += batch
    return [namespace.codec.decode(kind, record.value) for record in found if record.value is not None]


def test_a_short_run_is_shown_once(namespace: Namespace, outputs: Outputs, writer: HistoryWriter) -> None:
    outputs.carry_out(show("a", RunStatus.RUNNING), writer, 0)
    outputs.carry_out(show("b", RunStatus.RUNNING), writer, 0)
    outputs.carry_out(show("a", RunStatus.COMPLETED), writer, 0)
    outputs.send_held()
    outputs.appender.flush(5)
    shown = written(namespace, namespace.topics.visibility, r.VisibilityRecord)
    assert [(record.run_id, record.status) for record in shown] == [("a", "completed"), ("b", "running")]


def test_acceptance_gives_way_to_the_result(namespace: Namespace, outputs: Outputs, writer: HistoryWriter) -> None:
    outputs.carry_out(accepted("waits", awaits_result=True), writer, 0)
    outputs.carry_out(accepted("does not", awaits_result=False), writer, 0)
    outputs.carry_out(fx.Reply(None, 0, "client", "waits", r.RunOutcome("run", "completed")), writer, 0)
    outputs.send_held()
    outputs.appender.flush(5)
    replies = written(namespace, namespace.topics.replies, r.ReplyRecord)
    assert [(reply.request_id, type(reply.body)) for reply in replies] == [
        ("does not", r.Accepted),
        ("waits", r.RunOutcome),
    ]


def test_what_is_held_leaves_in_time_and_holds_y(outputs: Outputs, writer: HistoryWriter) -> None:
    token = writer.begin_emitting(6)
    token.outstanding += 1
    writer.last = 6
    outputs.carry_out(show("a", RunStatus.RUNNING, token), writer, 0)
    outputs.send_held(time.monotonic())
    outputs.appender.flush(5)
    assert writer.y == 5
    outputs.send_held(time.monotonic() + HOLD_SECONDS)
    outputs.appender.flush(5)
    assert writer.y == 6


def test_an_output_that_is_replaced_releases_y(outputs: Outputs, writer: HistoryWriter) -> None:
    token = writer.begin_emitting(6)
    token.outstanding += 1
    writer.last = 6
    outputs.carry_out(show("a", RunStatus.RUNNING, token), writer, 0)
    outputs.carry_out(show("a", RunStatus.COMPLETED), writer, 0)
    assert writer.y == 6


def test_nothing_of_a_fenced_owner_leaves(namespace: Namespace, outputs: Outputs, writer: HistoryWriter) -> None:
    outputs.carry_out(show("a", RunStatus.RUNNING), writer, 0)
    writer.fence("another owner")
    outputs.send_held()
    outputs.appender.flush(5)
    assert written(namespace, namespace.topics.visibility, r.VisibilityRecord) == []
