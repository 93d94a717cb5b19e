"""Code that does not come back costs one workflow, and nothing else of its process."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any

import pytest

from odradek import workflow
from odradek.client import Client, WorkflowHandle, WorkflowUpdateFailedError
from odradek.client.description import ParkedInfo
from odradek.orchestrator.core.instance import Deadlocked, WorkflowDeadlock
from odradek.orchestrator.deadlocks import DeadlockDetector
from odradek.orchestrator.settings import OrchestratorSettings
from odradek.schemas import records as r
from odradek.service import RPCError
from odradek.worker import Worker
from tests.orchestrator.partition import Owner, Partition

QUEUE = "queue"
LIMIT_SECONDS = 0.3
PATIENCE = timedelta(seconds=60)


class Gate:
    """Deployed fix: the loops of the classes below end."""

    closed = True


def spin() -> None:
    while Gate.closed:
        pass


@workflow.defn
class Spinning:
    """Loops where it is told to."""

    def __init__(self) -> None:
        self._seen: list[str] = []

    @workflow.run
    async def run(self, where: str) -> str:
        if where == "main":
            spin()
        if where == "swallowing":
            while Gate.closed:
                with contextlib.suppress(BaseException):
                    spin()
        if where == "yielding":
            while Gate.closed:  # noqa: ASYNC110 - just what is wrong with it is tested
                await asyncio.sleep(0)
        if where == "task":
            await asyncio.gather(self._spin())
        if where == "condition":
            await workflow.wait_condition(lambda: spin() is None)
        await workflow.wait_condition(lambda: bool(self._seen))
        return where

    async def _spin(self) -> None:
        spin()

    @workflow.signal
    def end(self) -> None:
        self._seen.append("end")

    @workflow.signal
    def hang(self) -> None:
        spin()

    @workflow.query
    def loop(self) -> int:
        spin()
        return 1

    @workflow.query
    def seen(self) -> list[str]:
        return self._seen

    @workflow.update
    def change(self) -> int:
        return 1

    @change.validator
    def check(self) -> None:
        spin()


@workflow.defn
class SpinningWhenMade:
    def __init__(self) -> None:
        spin()

    @workflow.run
    async def run(self) -> str:
        return "made"


@workflow.defn
class Expression:
    @workflow.run
    async def run(self, text: str) -> bool:
        return Gate.closed and re.match(r"(a+)+$", text) is not None


@workflow.defn
class Quick:
    @workflow.run
    async def run(self) -> str:
        await asyncio.sleep(0.01)
        return "done"


WORKFLOWS = [Spinning, SpinningWhenMade, Expression, Quick]


@pytest.fixture(autouse=True)
def gate() -> Iterator[None]:
    Gate.closed = True
    yield
    Gate.closed = True


# ---------------------------------------------------------------------------------------------------- a whole process


@asynccontextmanager
async def served(limit_seconds: float = LIMIT_SECONDS, **options: Any) -> AsyncIterator[Client]:
    settings = OrchestratorSettings(deadlock_timeout_seconds=limit_seconds)
    client = await Client.connect("memory://")
    async with Worker(client, task_queue=QUEUE, workflows=WORKFLOWS, orchestrator_settings=settings, **options):
        yield client


async def parked(handle: WorkflowHandle[Any, Any]) -> ParkedInfo:
    while True:
        description = await handle.describe(rpc_timeout=PATIENCE)
        if description.parked is not None:
            return description.parked
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("where", ["main", "swallowing", "yielding", "task", "condition"])
async def test_others_go_on_while_a_workflow_loops(where: str) -> None:
    """It is parked with the place where it stood, and the twenty others of the process complete."""
    async with served() as client:
        handle = await client.start_workflow("Spinning", where, id="spinning", task_queue=QUEUE)
        others = [
            await client.start_workflow("Quick", id=f"quick-{n}", task_queue=QUEUE, rpc_timeout=PATIENCE)
            for n in range(20)
        ]
        assert [await other.result(rpc_timeout=PATIENCE) for other in others] == ["done"] * 20
        why = await parked(handle)
        assert why.code == "ODR-087"
        assert "test_deadlocks.py" in why.message
        assert "Spinning" in why.message


async def test_query_that_loops_is_refused_and_its_workflow_goes_on() -> None:
    async with served() as client:
        handle = await client.start_workflow("Spinning", "nowhere", id="asked", task_queue=QUEUE)
        with pytest.raises(RPCError, match="ODR-087"):
            await handle.query("loop", rpc_timeout=PATIENCE)
        assert await handle.query("seen", rpc_timeout=PATIENCE) == []
        await handle.signal("end")
        assert await handle.result(rpc_timeout=PATIENCE) == "nowhere"


async def test_update_whose_validator_loops_is_rejected() -> None:
    async with served() as client:
        handle = await client.start_workflow("Spinning", "nowhere", id="validated", task_queue=QUEUE)
        with pytest.raises(WorkflowUpdateFailedError) as failed:
            await handle.execute_update("change", rpc_timeout=PATIENCE)
        assert "ODR-087" in str(failed.value.cause)
        await handle.signal("end")
        assert await handle.result(rpc_timeout=PATIENCE) == "nowhere"


async def test_input_of_a_parked_workflow_is_not_lost() -> None:
    """What it was given when it was interrupted is given to the mended code by the next owner."""
    client = await Client.connect("memory://")
    settings = OrchestratorSettings(deadlock_timeout_seconds=LIMIT_SECONDS)
    worker: dict[str, Any] = {"task_queue": QUEUE, "workflows": WORKFLOWS, "orchestrator_settings": settings}
    async with Worker(client, **worker):
        handle = await client.start_workflow("Spinning", "nowhere", id="mended", task_queue=QUEUE)
        await handle.signal("hang")
        await parked(handle)
        await handle.signal("end")
    Gate.closed = False
    async with Worker(client, **worker):
        assert await handle.result(rpc_timeout=PATIENCE) == "nowhere"


async def test_debug_mode_interrupts_nothing() -> None:
    """With a debugger attached, code may take as long as it likes."""
    async with served(debug_mode=True) as client:
        threading.Timer(4 * LIMIT_SECONDS, setattr, (Gate, "closed", False)).start()
        handle = await client.start_workflow("Spinning", "main", id="debugged", task_queue=QUEUE)
        await handle.signal("end", rpc_timeout=PATIENCE)
        assert await handle.result(rpc_timeout=PATIENCE) == "main"


# ---------------------------------------------------------------------------------------------------- the main thread


@contextmanager
def watched() -> Iterator[DeadlockDetector]:
    """This thread, as an orchestrator on it would be."""
    detector = DeadlockDetector(LIMIT_SECONDS)
    detector.start()
    try:
        yield detector
    finally:
        detector.stop()


@pytest.mark.parametrize(
    ("workflow_type", "arguments"),
    [("Spinning", ["main"]), ("Spinning", ["yielding"]), ("SpinningWhenMade", []), ("Expression", ["a" * 40 + "b"])],
)
def test_timer_interrupts_the_main_thread(workflow_type: str, arguments: list[str]) -> None:
    """Regular expressions, too, which keep the interpreter to themselves."""
    partition = Partition(WORKFLOWS, replays_each_activation=False)
    owner = Owner(partition)
    partition.start("order-1", workflow_type, *arguments)
    with watched() as detector:
        owner.run()
        quick = partition.start("order-2", "Quick")
        owner.run()
        owner.pass_time(1)
    live = owner.shard.workflows["order-1"].live
    assert live is not None
    assert live.parked is not None
    assert live.parked.code == "ODR-087"
    assert [found.workflow_type for found in detector.found] == [workflow_type]
    assert partition.result(quick) == "done"
    Gate.closed = False
    owner.pass_time(61)
    assert live.parked is None, "the mended code goes on"


def test_each_activation_has_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many activations that together take longer than the limit are none that does not come back."""
    detector = DeadlockDetector(2.0)
    partition = Partition(WORKFLOWS, replays_each_activation=False)
    owner = Owner(partition)
    looks: list[object] = []

    class Looking:
        at = 0.0

    def look() -> bool:

        Looking.at += 0.5
        looks.append(detector.look(sys._getframe(), Looking.at))
        return False

    monkeypatch.setitem(globals(), "spin", look)
    partition.start("order-1", "Spinning", "nowhere")
    owner.run()
    for _ in range(20):
        partition.send("order-1", signal_of("hang"))
    owner.run()
    assert len(looks) == 20
    assert not any(looks)
    assert not detector.found


def signal_of(name: str) -> Any:
    return r.SignalWorkflow(name, ())


def test_application_that_uses_the_timer_keeps_it() -> None:
    """The detector then looks from a thread."""
    calls: list[int] = []
    before = signal.signal(signal.SIGVTALRM, lambda number, frame: calls.append(number))
    try:
        with watched() as detector:
            assert signal.getitimer(signal.ITIMER_VIRTUAL)[0] == 0
            partition = Partition(WORKFLOWS, replays_each_activation=False)
            owner = Owner(partition)
            partition.start("order-1", "Spinning", "main")
            owner.run()
        assert len(detector.found) == 1
    finally:
        signal.signal(signal.SIGVTALRM, before)


def test_code_that_is_not_a_workflows_is_not_interrupted() -> None:
    detector = DeadlockDetector(2.0)
    assert not any(detector.look(sys._getframe(), float(seconds)) for seconds in range(10))


def test_deadlock_is_no_exception_that_code_catches_by_habit() -> None:
    assert not issubclass(Deadlocked, Exception)
    assert issubclass(WorkflowDeadlock, Exception)
