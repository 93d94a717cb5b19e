"""asyncio in workflows: what works gives the same in every process, and what cannot is refused with what to write."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import socket
import subprocess
import sys
import threading
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest

from odradek import workflow
from odradek.exceptions import ApplicationError
from odradek.orchestrator.core.state import Room
from odradek.schemas import records as r
from tests.orchestrator.asyncio_workflows import GOOD, Ways, histories, run_to_the_end
from tests.orchestrator.partition import Owner, Partition

EXPECTED: dict[str, Any] = {
    "gathered": ["c", "a", "b"],
    "gathered_with_failures": ["a", "refused"],
    "waited": [[1], [2], ["t3"]],
    "waited_in_order": [[3, 1, 2], 1],
    "completed": ["a", "b", "c", 1, 2],
    "completed_too_late": ["a", "late"],
    "grouped": [2, 1],
    "group_that_fails": [1, *(f"{n} cancelled" for n in range(20))],
    "set_of_tasks": None,
    "set_of_futures": 20,
    "timed_out": ["timeout", "rescheduled", "timeout_at", "wait_for", "in time"],
    "synchronised": ["s0", "s1", "l0", "s2", "l1", "l2", "go", "c2", "c0", "c1"],
    "queued": ["a0", "b1", "a2", "b3", "a4", "b5", [1, 2, 3]],
    "contexts": ["main child", "main", "main", "task-2"],
    "shielded": ["outer gone", "kept"],
    "clocks": [3.0, 3.0, ["soon", "later"], True, False],
    "generator": [0, 1, 2, 0],
}


@pytest.mark.parametrize("way", GOOD)
@pytest.mark.parametrize("kept", [True, False], ids=["in memory", "replayed each time"])
def test_a_way_of_asyncio(way: str, kept: bool) -> None:
    partition = Partition([Ways], **({} if kept else {"room": Room(instances=0)}))
    owner = Owner(partition)
    owner.activities = {"echo": lambda value: value, "undo": lambda value: None}
    result, _ = run_to_the_end(partition, owner, way)
    if way == "group_that_fails":
        assert sorted(map(str, result)) == sorted(map(str, EXPECTED[way]))
    elif EXPECTED[way] is not None:
        assert result == EXPECTED[way]


def test_histories_are_the_same_in_processes_with_other_hash_seeds() -> None:
    """Nothing depends on the hashes of strings, or on where objects happen to lie in memory."""
    here = json.loads(json.dumps(histories()))
    root = Path(__file__).parents[2]
    for seed in ("1", "77"):
        ballast = f"ballast = [object() for _ in range({seed}0000)]"
        script = (
            f"{ballast}\nimport runpy\nrunpy.run_module('tests.orchestrator.asyncio_workflows', run_name='__main__')"
        )
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        told = subprocess.run(
            [sys.executable, "-c", script], cwd=root, env=environment, capture_output=True, text=True, check=True
        )
        assert json.loads(told.stdout) == here


@workflow.defn
class Wrong:
    @workflow.run
    async def run(self, way: str) -> Any:
        return await getattr(self, way)()

    async def executor(self) -> None:
        await asyncio.get_running_loop().run_in_executor(None, print)

    async def to_thread(self) -> None:
        await asyncio.to_thread(print)

    async def connection(self) -> None:
        await asyncio.open_connection("localhost", 1)

    async def server(self) -> None:
        await asyncio.start_server(print, "localhost", 1)

    async def names(self) -> None:
        await asyncio.get_running_loop().getaddrinfo("localhost", 1)

    async def sockets(self) -> None:
        with socket.socket() as opened:
            await asyncio.get_running_loop().sock_recv(opened, 1)

    async def process(self) -> None:
        await asyncio.create_subprocess_exec("true")

    async def shell(self) -> None:
        await asyncio.create_subprocess_shell("true")

    async def threadsafe(self) -> None:
        asyncio.get_running_loop().call_soon_threadsafe(print)

    async def from_a_thread(self) -> None:
        coroutine = asyncio.sleep(0)
        try:
            asyncio.run_coroutine_threadsafe(coroutine, asyncio.get_running_loop())
        finally:
            coroutine.close()

    async def until_complete(self) -> None:
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().run_until_complete(future)

    async def forever(self) -> None:
        asyncio.get_running_loop().run_forever()

    async def signals(self) -> None:
        asyncio.get_running_loop().add_signal_handler(15, print)

    async def all_tasks(self) -> None:
        for task in asyncio.all_tasks():
            task.cancel()

    async def unordered(self) -> None:
        coroutines = [asyncio.sleep(n) for n in (1, 2)]
        try:
            for first in asyncio.as_completed(coroutines):
                await first
        finally:
            for coroutine in coroutines:
                coroutine.close()

    async def run_inside(self) -> None:
        coroutine = asyncio.sleep(0)
        try:
            asyncio.run(coroutine)
        finally:
            coroutine.close()


WRONG = [name for name, value in vars(Wrong).items() if asyncio.iscoroutinefunction(value) and name != "run"]
INSTEAD = {
    "executor": "workflow.step",
    "to_thread": "workflow.step",
    "threadsafe": "signal",
    "from_a_thread": "signal",
    "until_complete": "await the coroutine",
    "forever": "await the coroutine",
    "all_tasks": "in a list",
    "unordered": "workflow.as_completed",
}


WHERE: ContextVar[str] = ContextVar("where", default="outside")
ENDED_IN: list[str] = []


@workflow.defn
class Dropped:
    @workflow.run
    async def run(self) -> None:
        await asyncio.gather(self.waits("first"), self.waits("second"))

    async def waits(self, name: str) -> None:
        token = WHERE.set(name)
        try:
            await workflow.wait_condition(lambda: False)
        finally:
            before = WHERE.get()
            WHERE.reset(token)
            ENDED_IN.append(f"{before}, then {WHERE.get()}")


def test_cleanup_of_a_dropped_run_has_the_context_of_its_task() -> None:
    """So it can reset what it set, as tracers do."""
    partition = Partition([Dropped])
    owner = Owner(partition)
    partition.start("dropped", "Dropped")
    owner.run()
    ENDED_IN.clear()
    owner.shard.drop_instance(owner.shard.workflow("dropped").live)  # type: ignore[arg-type]
    assert ENDED_IN == ["first, then outside", "second, then outside"]
    assert WHERE.get() == "outside"


@pytest.mark.parametrize("way", WRONG)
def test_what_a_replay_cannot_repeat_is_refused_and_the_message_says_what_to_write(way: str) -> None:
    partition = Partition([Wrong])
    owner = Owner(partition)
    partition.start("wrong", "Wrong", way)
    owner.run()
    request = partition.request()
    partition.send("wrong", r.DescribeWorkflow(request))
    owner.run()
    (description,) = partition.replies(request)
    parked = description.parked
    assert parked is not None
    if way == "run_inside":
        assert "cannot be called from a running event loop" in parked.message
    else:
        assert parked.code == "ODR-081" or "ODR-143" in parked.message  # where a guard stands, it is the first to see
        assert INSTEAD.get(way, "activities") in parked.message


def test_tasks_of_a_workflow_do_not_disturb_other_loops() -> None:
    """``asyncio.run`` looks through the tasks of the whole process when it ends."""
    partition = Partition([Ways])
    owner = Owner(partition)
    partition.start("waits", "Ways", "gathered")
    owner.activities = None
    owner.run()
    found: list[int] = []

    def elsewhere() -> None:
        async def main() -> None:
            asyncio.create_task(asyncio.sleep(100))  # noqa: RUF006 - the end of the loop cancels it
            found.append(len(asyncio.all_tasks()))

        asyncio.run(main())

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join(30)
    assert found == [2]


@workflow.defn
class Careless:
    @workflow.run
    async def run(self) -> str:
        for _ in range(40):  # so many that the loop forgets those that are done
            asyncio.create_task(fail())  # noqa: RUF006 - that nobody keeps it is the point
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        gc.collect()
        await asyncio.sleep(1)
        await asyncio.sleep(1)
        return "done"


async def fail() -> None:
    raise ApplicationError("nobody hears of it")


def test_a_failure_that_nobody_awaits_does_not_park_the_run_when_the_collector_finds_it() -> None:
    """It would at a moment that differs from process to process."""
    partition = Partition([Careless])
    owner = Owner(partition)
    request = partition.start("careless", "Careless")
    owner.run()
    owner.pass_time(1)
    owner.pass_time(1)
    assert partition.result(request) == "done"
