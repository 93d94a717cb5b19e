"""What the simulation itself promises to those that run in it."""

from __future__ import annotations

import asyncio
import gc
import warnings

from tests.simulation.host import Hosts, Process


def test_a_loop_that_ends_leaves_nothing_that_never_ran() -> None:
    """The end of one task may begin another one: closed as well, it cannot warn in the middle of another test."""
    loop = Process(Hosts(seed=1), "dying").loop

    async def next_one() -> None: ...

    async def first() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            asyncio.create_task(next_one())  # noqa: RUF006

    task = loop.create_task(first())
    loop.turn()
    assert not task.done()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        loop.end()
        del task
        gc.collect()
    assert not warned
