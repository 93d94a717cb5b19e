"""Workflows that use asyncio in every way they may; each method of ``Ways`` is one. Also a script: see ``main``."""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import json
import sys
from datetime import timedelta
from typing import Any

from odradek import workflow
from odradek.exceptions import ApplicationError
from tests.orchestrator.partition import Owner, Partition

trace: contextvars.ContextVar[str] = contextvars.ContextVar("trace", default="none")


async def act(name: str, *args: Any) -> Any:
    return await workflow.execute_activity(name, args=args, **LIMITS)


LIMITS: dict[str, Any] = {"start_to_close_timeout": timedelta(seconds=60)}


async def slowly(seconds: float, value: Any, log: list[Any] | None = None) -> Any:
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        if log is not None:
            log.append(f"{value} cancelled")
        await act("undo", str(value))
        raise
    if log is not None:
        log.append(value)
    return value


async def refuse(seconds: float) -> None:
    await asyncio.sleep(seconds)
    raise ApplicationError("refused")


@workflow.defn
class Ways:
    @workflow.run
    async def run(self, way: str) -> Any:
        return await getattr(self, way)()

    async def gathered(self) -> Any:
        return await asyncio.gather(slowly(3, "c"), slowly(1, "a"), act("echo", "b"))

    async def gathered_with_failures(self) -> Any:
        found = await asyncio.gather(slowly(2, "a"), refuse(1), return_exceptions=True)
        return [str(item) for item in found]

    async def waited(self) -> Any:
        tasks = [asyncio.create_task(slowly(n, n), name=f"t{n}") for n in (3, 1, 2)]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        first = [task.result() for task in done]
        done, pending = await asyncio.wait(set(pending), timeout=1)
        return [first, sorted(task.result() for task in done), [task.get_name() for task in pending]]

    async def waited_in_order(self) -> Any:
        tasks = [asyncio.create_task(slowly(n, n)) for n in (3, 1, 2, 9)]
        done, pending = await workflow.wait(tasks, timeout=5)
        return [[task.result() for task in done], len(pending)]

    async def completed(self) -> Any:
        found = [await first for first in workflow.as_completed([slowly(3, "c"), slowly(1, "a"), slowly(2, "b")])]
        tasks = [asyncio.create_task(slowly(n, n)) for n in (2, 1)]
        return found + [await first for first in asyncio.as_completed(tasks)]

    async def completed_too_late(self) -> Any:
        found = []
        try:
            for first in workflow.as_completed([slowly(3, "c"), slowly(1, "a")], timeout=2):
                found.append(await first)  # noqa: PERF401 - what came before the time was up is the point
        except TimeoutError:
            found.append("late")
        return found

    async def grouped(self) -> Any:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(slowly(n, n)) for n in (2, 1)]
        return [task.result() for task in tasks]

    async def group_that_fails(self) -> Any:
        """Its tasks are cancelled in the order of asyncio's own set, and each then calls an activity."""
        log: list[Any] = []
        try:
            async with asyncio.TaskGroup() as group:
                for n in range(20):
                    group.create_task(slowly(100, n, log))
                    group.create_task(asyncio.sleep(0))
                group.create_task(refuse(1))
        except* ApplicationError as errors:
            log.insert(0, len(errors.exceptions))
        return log

    async def set_of_tasks(self) -> Any:
        tasks = {asyncio.create_task(slowly(100 + n, n)) for n in range(20)}
        await asyncio.sleep(1)
        order = [await act("echo", task.get_name()) for task in tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return order

    async def set_of_futures(self) -> Any:
        loop = asyncio.get_running_loop()
        futures = {loop.create_future(): n for n in range(20)}
        for future in set(futures):
            await act("echo", futures[future])
            future.set_result(None)
        await asyncio.wait(futures)
        return len(futures)

    async def timed_out(self) -> Any:
        found = []
        try:
            async with asyncio.timeout(2):
                await act("never")
        except TimeoutError:
            found.append("timeout")
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + 1) as limit:
                limit.reschedule(asyncio.get_running_loop().time() + 3)
                await asyncio.sleep(2)
                found.append("rescheduled")
                await asyncio.sleep(2)
        except TimeoutError:
            found.append("timeout_at")
        try:
            await asyncio.wait_for(act("never"), 1)
        except TimeoutError:
            found.append("wait_for")
        return [*found, await asyncio.wait_for(slowly(1, "in time"), 5)]

    async def synchronised(self) -> Any:
        lock, semaphore, event = asyncio.Lock(), asyncio.Semaphore(2), asyncio.Event()
        condition, barrier, log = asyncio.Condition(), asyncio.Barrier(3), []

        async def one(n: int) -> None:
            async with semaphore:
                await asyncio.sleep(1)
                log.append(f"s{n}")
            async with lock:
                await asyncio.sleep(1)
                log.append(f"l{n}")
            await barrier.wait()
            async with condition:
                await condition.wait_for(lambda: "go" in log)
                log.append(f"c{n}")
            await event.wait()

        tasks = [asyncio.create_task(one(n)) for n in range(3)]
        await asyncio.sleep(10)
        async with condition:
            log.append("go")
            condition.notify_all()
        event.set()
        await asyncio.gather(*tasks)
        return log

    async def queued(self) -> Any:
        queue: asyncio.Queue[int | None] = asyncio.Queue(maxsize=2)
        found: list[str] = []

        async def consume(name: str) -> None:
            while (item := await queue.get()) is not None:
                await asyncio.sleep(1)
                found.append(f"{name}{item}")
                queue.task_done()

        consumers = [asyncio.create_task(consume(name)) for name in "ab"]
        for n in range(6):
            await queue.put(n)
        await queue.join()
        for _ in consumers:
            await queue.put(None)
        await asyncio.gather(*consumers)
        order: asyncio.PriorityQueue[int] = asyncio.PriorityQueue()
        for n in (3, 1, 2):
            order.put_nowait(n)
        return [*found, [order.get_nowait() for _ in range(3)]]

    async def contexts(self) -> Any:
        trace.set("main")

        async def child() -> str:
            before = trace.get()
            trace.set("child")
            await asyncio.sleep(1)
            return f"{before} {trace.get()}"

        task = asyncio.create_task(child())
        current = asyncio.current_task()
        return [await task, trace.get(), current.get_name() if current else None, task.get_name()]

    async def shielded(self) -> Any:
        task = asyncio.create_task(slowly(5, "kept"))
        try:
            await asyncio.wait_for(asyncio.shield(task), 1)
        except TimeoutError:
            return ["outer gone", await task]

    async def clocks(self) -> Any:
        loop = asyncio.get_running_loop()
        began = loop.time()
        called: list[str] = []
        loop.call_later(2, called.append, "later")
        loop.call_soon(called.append, "soon")
        await asyncio.sleep(3)
        return [loop.time() - began, workflow.time() - began, called, loop.is_running(), loop.is_closed()]

    async def generator(self) -> Any:
        async def numbers() -> Any:
            for n in range(3):
                await asyncio.sleep(1)
                yield n

        found = [n async for n in numbers()]
        async for n in numbers():
            found.append(n)
            break
        return found


GOOD = [name for name, value in vars(Ways).items() if asyncio.iscoroutinefunction(value) and name != "run"]


def histories() -> dict[str, Any]:
    """Each way run to its end: its result, and a digest of its history."""
    found: dict[str, Any] = {}
    for way in GOOD:
        partition = Partition([Ways])
        owner = Owner(partition)
        owner.activities = {"echo": lambda value: value, "undo": lambda value: None}
        found[way] = run_to_the_end(partition, owner, way)
    return found


def run_to_the_end(partition: Partition, owner: Owner, way: str) -> Any:
    request = partition.start(way, "Ways", way)
    assert owner.activities is not None
    unknown = owner.work

    def work(task: Any) -> None:
        if task.activity_type != "never":
            unknown(task)

    owner.work = work  # type: ignore[method-assign]
    owner.run()
    for _ in range(300):
        if not partition.archive:
            owner.pass_time(1)
    assert partition.archive, f"{way} does not end: {list(owner.shard.parked.values())}"
    digest = hashlib.sha256(b"".join(blocks for _, blocks in partition.archive)).hexdigest()
    return [partition.result(request), digest]


if __name__ == "__main__":
    json.dump(histories(), sys.stdout)
