"""A child's result is under the child's key, and its parent reads it whenever its code is replayed."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from odradek import workflow
from odradek.client import Client
from odradek.service import RPCError
from odradek.worker import Worker
from tests.erasure.test_erasure import Place


@workflow.defn
class Telling:
    @workflow.run
    async def run(self, secret: str) -> str:
        return secret


@workflow.defn
class Hearing:
    """Knows what its child has told, and waits."""

    def __init__(self) -> None:
        self._may_end = False

    @workflow.run
    async def run(self, child_id: str) -> str:
        told = await workflow.execute_child_workflow(Telling.run, "a secret", id=child_id)
        await workflow.wait_condition(lambda: self._may_end)
        return told

    @workflow.signal
    def end(self) -> None:
        self._may_end = True


async def begun(client: Client, name: str) -> None:
    await client.start_workflow(Hearing.run, f"{name}-child", id=name, task_queue="q")
    child = client.get_workflow_handle_for(Telling.run, f"{name}-child")
    while True:
        with suppress(RPCError):  # it is begun by its parent, a moment later
            assert await child.result() == "a secret"
            return
        await asyncio.sleep(0.01)


async def test_a_child_is_erased_after_its_parent(tmp_path: Path) -> None:
    place = Place(f"sqlite:///{tmp_path}/log.db")
    async with place.client() as client, Worker(client, task_queue="q", workflows=[Hearing, Telling]):
        await begun(client, "one")
        with pytest.raises(RPCError, match=r'ODR-257.*"one"'):
            await client.erase_workflow("one-child", terminate=True)
        parent = client.get_workflow_handle_for(Hearing.run, "one")
        await parent.signal(Hearing.end)
        assert await parent.result() == "a secret"
        assert (await client.erase_workflow("one-child", terminate=True)).keys >= 1
        assert (await client.erase_workflow("one-child")).keys == 0
        assert await parent.result() == "a secret", "it is under the key of the parent now"
        await begun(client, "two")
        assert (await client.erase_workflow("two-child", terminate=True, despite_parent=True)).keys >= 1
