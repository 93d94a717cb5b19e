"""What a client may have under way: bounded by count and bytes; those who wait for a place get it in their turn."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from odradek.client import RequestPolicy
from odradek.client.room import Room
from odradek.schemas.records import Accepted, ReplyBody, SignalWorkflow
from odradek.service import RPCError, RPCStatusCode
from tests.client.fake_orchestrator import Connected, FakeOrchestrator, obliging, silent
from tests.client.workflows import Order

SOON = timedelta(seconds=0.1)


def policy(**limits: int) -> RequestPolicy:
    return RequestPolicy(retry_seconds=0.05, retry_seconds_max=0.1, **limits)


async def turned() -> None:
    """Let everything that is ready run."""
    for _ in range(5):
        await asyncio.sleep(0)


# ------------------------------------------------------------------------------------------------------ the room


async def test_places_are_given_in_the_order_of_asking() -> None:
    room = Room(2, 1000, 100)
    assert room.enter(10)
    assert room.enter(10)
    assert not room.enter(10)
    order: list[int] = []

    async def caller(number: int) -> None:
        await room.wait(10, None)
        order.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(caller(number))
        await turned()
        assert (order, room.count) == ([], 2)
        room.leave(10)
        assert not room.enter(10), "somebody asked before"
        await turned()
        assert order == [0]
        room.leave(10)
        room.leave(10)
    assert (order, room.count, room.bytes) == ([0, 1, 2], 2, 20)


async def test_bytes_are_bounded_and_a_large_request_has_the_room_for_itself() -> None:
    room = Room(100, 1000, 100)
    assert room.enter(600)
    assert not room.enter(600)
    room.leave(600)
    assert room.enter(5000), "larger than the room, and alone in it"
    assert not room.enter(1)


async def test_who_gives_up_waiting_gives_its_turn_to_the_next() -> None:
    room = Room(1, 1000, 100)
    assert room.enter(1)
    with pytest.raises(TimeoutError):
        await room.wait(1, 0.001)
    cancelled = asyncio.create_task(room.wait(1, None))
    waiting = asyncio.create_task(room.wait(1, None))
    await turned()
    cancelled.cancel()
    await turned()
    room.leave(1)
    await waiting
    assert (room.count, room.bytes) == (1, 1)


async def test_who_is_cancelled_with_its_place_in_its_hand_gives_it_back() -> None:
    room = Room(1, 1000, 100)
    assert room.enter(1)
    waiting = asyncio.create_task(room.wait(1, None))
    await turned()
    room.leave(1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await turned()
    assert room.count == 0


# ---------------------------------------------------------------------------------------------------- the client


async def test_a_full_client_says_when_to_try_again_and_sends_nothing(
    connected: Connected, orchestrator: FakeOrchestrator
) -> None:
    """Callers that gave up keep their places: trying again and again cannot fill an inbox."""
    orchestrator.script = silent
    async with connected(request_policy=policy(requests_max=3)) as client:
        handle = client.get_workflow_handle_for(Order.run, "a")
        calls = (handle.signal("note", n, rpc_timeout=SOON) for n in range(10))
        ends = await asyncio.gather(*calls, return_exceptions=True)
        codes = [end.code for end in ends if isinstance(end, RPCError)]
        assert (codes.count("ODR-130"), codes.count("ODR-154")) == (3, 7)
        with pytest.raises(RPCError, match=r"no room within 0.05 s.* Nothing was sent: try again in 0.05 s") as caught:
            await handle.signal("note", rpc_timeout=SOON)
        assert caught.value.status == RPCStatusCode.RESOURCE_EXHAUSTED
        assert caught.value.retry_after_seconds == 0.05
        assert pickle.loads(pickle.dumps(caught.value)).retry_after_seconds == 0.05
        assert len({body.request.id for body in orchestrator.bodies(SignalWorkflow)}) == 3


async def test_who_finds_too_many_waiting_is_refused_at_once(
    connected: Connected, orchestrator: FakeOrchestrator
) -> None:
    """So a client with more callers than it can serve has time for those that it can."""
    orchestrator.script = silent
    async with connected(request_policy=policy(requests_max=1, waiting_max=2)) as client:
        handle = client.get_workflow_handle_for(Order.run, "a")
        patient = [asyncio.create_task(handle.signal("note", n)) for n in range(3)]
        await turned()
        for _ in range(3):
            with pytest.raises(RPCError, match=r"ODR-154: .* 2 calls wait .* Nothing was sent") as caught:
                await handle.signal("note")
            assert caught.value.retry_after_seconds == 0.05
        patient.pop().cancel()
        await turned()
        patient.append(asyncio.create_task(handle.signal("note", 3)))
        await turned()
        orchestrator.answer_late(Accepted("run"))
        orchestrator.script = obliging
        await asyncio.gather(*patient)
        assert client.connection._pump.room.count == 0


async def test_a_large_request_that_gives_up_lets_small_ones_in() -> None:
    room = Room(10, 100, 10)
    assert room.enter(60)
    large = asyncio.create_task(room.wait(90, 0.01))
    small = asyncio.create_task(room.wait(10, None))
    await turned()
    assert not small.done()
    with pytest.raises(TimeoutError):
        await large
    await small
    assert (room.count, room.bytes) == (2, 70)


async def test_late_answers_make_room_again(connected: Connected, orchestrator: FakeOrchestrator) -> None:
    orchestrator.script = silent
    async with connected(request_policy=policy(requests_max=2)) as client:
        handle = client.get_workflow_handle_for(Order.run, "a")
        for _ in range(2):
            with pytest.raises(RPCError, match="ODR-130"):
                await handle.signal("note", rpc_timeout=SOON)
        room = client.connection._pump.room
        assert room.count == 2
        orchestrator.answer_late(Accepted("run"))
        orchestrator.script = obliging
        await handle.signal("note")
        assert room.count == 0


async def test_calls_beyond_the_limit_wait_and_all_of_them_succeed(
    connected: Connected, orchestrator: FakeOrchestrator
) -> None:
    async with connected(request_policy=policy(requests_max=5)) as client:
        room, most = client.connection._pump.room, 0

        def script(workflow_id: str, body: Any) -> Sequence[ReplyBody]:
            nonlocal most
            most = max(most, room.count)
            return obliging(workflow_id, body)

        orchestrator.script = script
        handle = client.get_workflow_handle_for(Order.run, "a")
        await asyncio.gather(*(handle.signal("note", n) for n in range(200)))
        assert (room.count, room.bytes) == (0, 0)
    assert 1 <= most <= 5


async def test_waiting_for_a_result_takes_no_room(connected: Connected, orchestrator: FakeOrchestrator) -> None:
    orchestrator.lost_copies = 1  # so that results are waited for until they are asked for again
    async with connected(request_policy=policy(requests_max=1)) as client:
        handle = client.get_workflow_handle_for(Order.run, "a")
        results = [asyncio.create_task(handle.result()) for _ in range(5)]
        await turned()
        assert client.connection._pump.room.count == 0
        await handle.signal("note")
        assert await asyncio.gather(*results) == [None] * 5


async def test_a_request_that_wants_no_answer_leaves_when_it_is_durable(
    connected: Connected, orchestrator: FakeOrchestrator
) -> None:
    async with connected(request_policy=policy(requests_max=1)) as client:
        for number in range(20):
            await client.start_workflow("Order", 1, id=f"a-{number}", task_queue="shop", wait=False)
        assert client.connection._pump.room.count == 0


def test_a_connection_needs_room_for_something() -> None:
    with pytest.raises(ValueError, match="requests_max is 0"):
        RequestPolicy(requests_max=0)
    with pytest.raises(ValueError, match="waiting_max is -1"):
        RequestPolicy(waiting_max=-1)
