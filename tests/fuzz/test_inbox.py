"""Whatever is appended to an inbox: its partition goes on, and the workflows beside it complete, with every owner.

Each explicit example made a partition fail once.
"""

from __future__ import annotations

import sys
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from odradek.log import Record
from odradek.orchestrator.admission import STRIKES, Admission, Culprits
from odradek.orchestrator.core import effects as fx
from odradek.orchestrator.core.state import InboxItem
from odradek.schemas import records as r
from odradek.schemas.dead_letters import KEY_BYTES_KEPT
from odradek.schemas.limits import NESTED_MAX, NUMBER_MAX, problem
from tests.fuzz.inbox import ADMISSION, CODEC, NAMESPACE, World, check_seed
from tests.fuzz.records import NOW_MS, Values

FUZZED = settings(derandomize=True, deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
REQUEST = r.Request("request", NOW_MS + 10**9, "client", 0)
ORIGIN = r.MessageOrigin("test", "victim-0", "run", 1, NOW_MS + 10**9)


def bodies() -> st.SearchStrategy[Any]:
    return st.integers(0, 2**32).map(lambda seed: Values(Random(seed)).of(r.InboxBody))


@FUZZED
@given(seed=st.integers(0, 10**9))
def test_the_healthy_complete_whatever_stands_beside_them(seed: int) -> None:
    check_seed(seed)


@FUZZED
@given(body=bodies(), workflow_id=st.sampled_from(["victim-0", "victim-1", "new"]))
@example(r.FetchHistory(REQUEST, first_event=10**9), "victim-0")
@example(r.FetchHistory(REQUEST, first_event=-(2**63)), "victim-0")
@example(r.ControlActivity(REQUEST, None, "change", changed=("task_queue",)), "victim-0")
@example(r.ControlActivity(REQUEST, None, "set fire to"), "victim-0")
@example(r.ControlActivity(REQUEST, None, "unpause", jitter_ms=-1), "victim-0")
@example(r.StartWorkflow(REQUEST, "Victim", "queue", start_delay_ms=-(2**63)), "new")
@example(r.StartWorkflow(REQUEST, "Victim", "queue", run_timeout_ms=2**63 - 1), "new")
@example(r.StartWorkflow(REQUEST, "Victim", "queue", retry_policy=r.RetryPolicy(1, float("nan"))), "new")
@example(r.SignalWorkflow("note", request=r.Request("late", -(2**63), "client", 0)), "victim-0")
@example(r.SignalWorkflow("note", request=r.Request("far", 2**63 - 1, "client", 0)), "victim-0")
def test_one_bad_record(body: Any, workflow_id: str) -> None:
    """It is taken in, or it is a dead letter with a code and whoever asked is told."""
    world = World(0)
    letter = arrive(world, workflow_id, body)
    if letter is not None:
        assert letter.record is not None
        assert letter.record.code == "ODR-164"
        request = getattr(body, "request", None)
        wanted = request is not None and problem(request) is None and request.reply_partition >= 0
        assert [one.body.code for one in letter.answers if isinstance(one, fx.Reply)] == (["ODR-164"] if wanted else [])
        told = [one for one in world.partition.emitted if one in letter.answers]
        assert told == list(letter.answers)
    world.owner.pass_time(3601)
    world.check()


def arrive(world: World, workflow_id: str, body: Any) -> fx.DeadLetter | None:
    """What becomes of it, once the owner has taken it in."""
    item = admit(workflow_id, body)
    assert isinstance(item, InboxItem)
    partition = world.partition
    before = len(partition.emitted)
    partition.inbox.append(item._replace(offset=len(partition.inbox)))
    world.owner.run()
    return next((one for one in partition.emitted[before:] if isinstance(one, fx.DeadLetter)), None)


def test_two_workflows_of_one_run_id() -> None:
    """Forged starts of one child: what one of the two decides is not lost to the other."""
    world = World(0)
    parent = r.ParentLink("test", "victim-0", "a run", 1, "victim-0", "a run")
    requests = [world.partition.request() for _ in range(2)]
    for name, request in zip(("new-0", "new-1"), requests, strict=True):
        body = r.StartWorkflow(
            request, "Healthy", "queue", [world.partition.payload(name)], parent=parent, wait_result=True
        )
        world.partition.send(name, body)
    world.owner.run()
    assert [world.completed(name) for name in ("new-0", "new-1")] == [["new-0", "go"], ["new-1", "go"]]


def admit(workflow_id: str, body: Any, *, culprits: Culprits | None = None, offset: int = 0) -> Any:
    value = CODEC.encode(r.InboxRecord(NOW_MS, body))
    record = Record("test.inbox", 0, offset, NOW_MS, workflow_id.encode(), value)
    (admitted,) = Admission(NAMESPACE, 0, culprits or Culprits()).take([record], NOW_MS)
    return admitted


def test_who_sent_a_message_that_cannot_be_is_told() -> None:
    """A parent does not wait for a child that was never started."""
    letter = arrive(World(0), "child", r.StartWorkflow(REQUEST, "Kid", "queue", start_delay_ms=-1, origin=ORIGIN))
    assert letter is not None
    reply, answer = letter.answers
    assert isinstance(reply, fx.Reply)
    assert (reply.request_id, reply.body.code) == ("request", "ODR-164")
    assert isinstance(answer, fx.SendMessage)
    assert answer.record is not None
    assert isinstance(answer.record.body, r.MessageAnswer)
    assert answer.record.body.failure is not None
    assert (answer.workflow_id, answer.record.body.failure.type) == ("victim-0", "ODR-164")


def test_failures_that_are_nested_without_end() -> None:
    failure = None
    for _ in range(NESTED_MAX + 1):
        failure = r.Failure("application", "", cause=failure)
    letter = arrive(World(0), "victim-0", r.ActivityResult("run", 1, 1, "worker", 0, failure=failure))
    assert letter is not None
    assert letter.record is not None
    assert "nested" in letter.record.reason
    assert sys.getrecursionlimit() > 2 * NESTED_MAX


def test_a_record_that_fills_its_topic() -> None:
    """What comes of it would fit nowhere; the copy that is kept is bounded, and says so."""
    size = NAMESPACE.record_bytes_max - 4000
    admitted = admit("victim-0", r.SignalWorkflow("note", [r.Payload("json/plain", b"1" * size)], request=REQUEST))
    letter = admitted[1].record
    assert letter.code == "ODR-105"
    assert letter.value_bytes > size
    assert len(letter.value) <= 64 * 1024
    assert len(CODEC.encode(letter)) < NAMESPACE.record_bytes_max
    assert admitted[1].answers[0].body.code == "ODR-105"


def test_a_key_that_fills_its_topic() -> None:
    """The key stands in the letter, and would stand beside it."""
    key = b"k" * (NAMESPACE.record_bytes_max - 100)
    ((_, dead),) = ADMISSION.take([Record("test.inbox", 0, 0, NOW_MS, key, b"garbage")], NOW_MS)  # type: ignore[misc]
    assert dead.record is not None
    assert len(dead.record.key or b"") <= KEY_BYTES_KEPT
    assert len(CODEC.encode(dead.record)) < NAMESPACE.record_bytes_max // 2


@pytest.mark.parametrize("offset", [7, 8])
def test_a_record_that_fails_twice_is_set_aside(offset: int) -> None:
    culprits = Culprits()
    for _ in range(STRIKES):
        assert isinstance(admit("victim-0", r.CancelWorkflow(request=REQUEST), culprits=culprits, offset=7), InboxItem)
        culprits.failed(("victim-0", 7), RuntimeError("boom"))
    admitted = admit("victim-0", r.CancelWorkflow(request=REQUEST), culprits=culprits, offset=offset)
    if offset == 8:
        assert isinstance(admitted, InboxItem)
        return
    assert admitted[1].record.code == admitted[1].answers[0].body.code == "ODR-166"
    assert "boom" in admitted[1].record.reason
    culprits.forget_to(7)
    assert culprits.offsets == {}


def test_failures_that_do_not_follow_one_another_set_nothing_aside() -> None:
    culprits = Culprits()
    for at in (("a", 1), None, ("a", 1), ("b", 2), ("a", 1)):
        culprits.failed(at, RuntimeError("boom"))
    assert (culprits.offsets, culprits.workflows) == ({}, {})


def test_the_limits_leave_room_for_what_is_allowed() -> None:
    far = r.ActivityTimeouts(schedule_to_close_ms=NUMBER_MAX, start_to_close_ms=0)
    assert problem(far) is None
    assert problem(r.ActivityTimeouts(heartbeat_ms=NUMBER_MAX + 1)) is not None
    assert problem(r.ReportActivity(REQUEST, None, "completed", seq=-1)) is None
