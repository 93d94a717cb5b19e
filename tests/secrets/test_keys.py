"""A process with a wrong key: what it cannot read waits, under a code with the key's name, until the right is back."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from odradek import activity, workflow
from odradek.client import Client
from odradek.common import RetryPolicy
from odradek.contrib.encryption import EncryptionCodec
from odradek.converter import DataConverter, KeyMismatch, KeyUnknown
from odradek.log import open_log
from odradek.worker import Worker

RIGHT, WRONG, NEW = os.urandom(32), os.urandom(32), os.urandom(32)
RETRIED: Any = {
    "start_to_close_timeout": timedelta(seconds=30),
    "retry_policy": RetryPolicy(initial_interval=timedelta(milliseconds=50), backoff_coefficient=1.0),
}


@activity.defn
async def shout(text: str) -> str:
    return text.upper()


@workflow.defn
class Collector:
    """Each note goes through an activity, so its result is read here, too."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    @workflow.run
    async def run(self, first: str, enough: int) -> list[str]:
        made = [await workflow.execute_activity(shout, first, **RETRIED)]
        while len(made) <= enough:
            await workflow.wait_condition(lambda: len(self.notes) >= len(made))
            made.append(await workflow.execute_activity(shout, self.notes[len(made) - 1], **RETRIED))
        return made

    @workflow.signal
    def note(self, text: str) -> None:
        self.notes.append(text)


def converter(keys: Mapping[str, bytes], current: str) -> DataConverter:
    return DataConverter(payload_codec=EncryptionCodec(keys, current))


@asynccontextmanager
async def served(address: str, keys: Mapping[str, bytes], current: str, *, parts: str) -> AsyncIterator[Client]:
    """``parts``: who has these keys, "w" for workflows and "a" for activities."""
    async with await Client.connect(address, data_converter=converter(keys, current)) as client:
        workflows = [Collector] if "w" in parts else []
        activities = [shout] if "a" in parts else []
        async with Worker(client, task_queue="q", workflows=workflows, activities=activities):
            yield client


@pytest.mark.parametrize(
    ("wrong", "current", "code"),
    [
        ({"k1": WRONG}, "k1", KeyMismatch.code),
        ({"k2": NEW}, "k2", KeyUnknown.code),
    ],
    ids=["another key under the same ID", "the key is missing"],
)
async def test_workflows_wait_for_the_right_key_and_lose_nothing(
    wrong: Mapping[str, bytes], current: str, code: str
) -> None:
    address = f"memory://{uuid.uuid4().hex}"
    keep, right = open_log(address), {"k1": RIGHT}
    async with served(address, right, "k1", parts="wa") as client:
        await client.start_workflow(Collector.run, args=["a", 3], id="c", task_queue="q")
        await client.get_workflow_handle_for(Collector.run, "c").signal(Collector.note, "b")
    async with (
        served(address, wrong, current, parts="w"),
        served(address, right, "k1", parts="a") as client,
    ):
        handle = client.get_workflow_handle_for(Collector.run, "c")
        await handle.signal(Collector.note, "c")
        await handle.signal(Collector.note, "d")
        while (parked := (await handle.describe()).parked) is None:  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert parked.code == code
        assert '"k1"' in parked.message, "it names the key"
    async with served(address, {"k1": RIGHT, "k2": NEW}, "k2", parts="wa") as client:
        assert await client.get_workflow_handle_for(Collector.run, "c").result() == ["A", "B", "C", "D"]
    keep.close()


async def test_activities_are_tried_again_until_the_right_key_is_back() -> None:
    address = f"memory://{uuid.uuid4().hex}"
    keep, right = open_log(address), {"k1": RIGHT}
    async with served(address, right, "k1", parts="w") as client:
        handle = await client.start_workflow(Collector.run, args=["a", 0], id="c", task_queue="q")
        async with served(address, {"k1": WRONG}, "k1", parts="a"):
            waits: list[Any] = []
            while not waits or waits[0].last_failure is None:
                waits = list((await handle.describe()).waits)
                await asyncio.sleep(0)
            assert 'ODR-155: a payload that names key "k1"' in str(waits[0].last_failure)
        async with served(address, right, "k1", parts="a"):
            assert await handle.result() == ["A"]
    keep.close()


async def test_old_payloads_stay_readable_and_new_ones_take_the_new_key() -> None:
    address = f"memory://{uuid.uuid4().hex}"
    keep, before, after = open_log(address), {"k1": RIGHT}, {"k1": RIGHT, "k2": NEW}
    async with served(address, before, "k1", parts="wa") as client:
        await client.start_workflow(Collector.run, args=["a", 1], id="c", task_queue="q")
    async with served(address, after, "k2", parts="wa") as client:
        handle = client.get_workflow_handle_for(Collector.run, "c")
        await handle.signal(Collector.note, "b")
        assert await handle.result() == ["A", "B"]
        events = (await handle.fetch_history()).events
    used = [
        payload.metadata["key-id"].decode()
        for event in events
        for payload in [*getattr(event.body, "input", ()), *filter(None, [getattr(event.body, "result", None)])]
    ]
    assert used[0] == "k1"
    assert used[-1] == "k2"
    assert used == sorted(used), "from the change on, all are written with the new key"
    keep.close()
