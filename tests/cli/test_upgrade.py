"""``odradek upgrade``: what is written before and after, with a build that knows one version more."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from odradek.client import Client
from odradek.log import Log, open_log
from odradek.log.namespace import create_namespace, open_namespace, read_facts, read_to_end
from odradek.schemas import codec as codec_module
from odradek.schemas import compiled, errors
from odradek.schemas import records as records_module
from odradek.schemas.topics import Topics
from odradek.worker import Worker
from tests.cli.conftest import run_command
from tests.cli.shop import Order, charge


@pytest.fixture
def address(tmp_path: Path) -> str:
    made = f"sqlite:///{tmp_path}/log.db"
    log = open_log(made)
    create_namespace(log, "shop", partitions=1, queues=("orders",))
    log.close()
    return made


@pytest.fixture
def newer(address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """From here on this is the build after: its version is 2, and the namespace was made by the one before."""
    real: Any = codec_module.source
    monkeypatch.setattr(codec_module, "source", lambda record_type, version: real(record_type, 1))
    for module in ("odradek.schemas.codec", "odradek.schemas.records", "odradek.log.namespace"):
        monkeypatch.setattr(f"{module}.SCHEMA_VERSION", 2)
    for record_type in codec_module.FILES:
        make: Any = vars(record_type)["__init__"]
        names = make.__code__.co_varnames[: make.__code__.co_argcount]
        at = names.index("schema_version") - len(names)
        defaults = list(make.__defaults__)
        defaults[at] = 2
        monkeypatch.setattr(make, "__defaults__", tuple(defaults))
    cached: Any = codec_module.schema
    cached.cache_clear()
    yield
    cached.cache_clear()


def order(address: str, workflow_id: str) -> None:
    async def run() -> None:
        async with (
            await Client.connect(address, namespace="shop") as client,
            Worker(client, task_queue="orders", workflows=[Order], activities=[charge]),
        ):
            handle = await client.start_workflow(Order.run, "A1", id=workflow_id, task_queue="orders")
            await handle.signal(Order.approve, "me")
            assert await asyncio.wait_for(handle.result(), 20) == "charged A1"

    asyncio.run(run())


def versions(address: str) -> dict[str, set[int]]:
    """Which versions stand in each topic, facts excluded."""
    log = open_log(address)
    found: dict[str, set[int]] = {}
    for topic in log.topics("shop."):
        info = log.topic(topic)
        assert info is not None
        for number in range(info.partitions):
            for record in read_to_end(log, topic, number):
                if record.value is not None and record.key != b"\0namespace":
                    found.setdefault(topic, set()).add(compiled.read_long(record.value, 0)[0])
    log.close()
    return found


def level(address: str) -> int:
    log: Log = open_log(address)
    facts = read_facts(log, Topics("shop"))
    log.close()
    assert facts is not None
    assert facts.partitions == 1
    return facts.feature_level


@pytest.mark.usefixtures("newer")
def test_new_forms_are_written_once_the_level_is_raised(address: str) -> None:
    """A build runs beside the one before it for as long as nobody raises the level."""
    order(address, "order-1")
    before = versions(address)
    assert set().union(*before.values()) == {1}
    assert {"shop.inbox", "shop.history", "shop.tasks.orders", "shop.replies", "shop.visibility"} <= before.keys()
    raised = run_command("--log", address, "--namespace", "shop", "upgrade", "--yes")
    assert (raised.exit_code, raised.stdout.splitlines()[-1]) == (0, "raised to 2"), raised.output
    assert level(address) == 2
    order(address, "order-2")
    after = versions(address)
    assert after["shop.history"] == {1, 2}
    assert set().union(*after.values()) == {1, 2}


@pytest.mark.usefixtures("newer")
def test_the_build_before_refuses_a_raised_namespace(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_command("--log", address, "--namespace", "shop", "upgrade", "--yes").exit_code == 0
    for module in ("odradek.schemas.codec", "odradek.schemas.records", "odradek.log.namespace"):
        monkeypatch.setattr(f"{module}.SCHEMA_VERSION", 1)
    log = open_log(address)
    with pytest.raises(errors.NewerSchema, match="ODR-003"):
        open_namespace(log, "shop")
    log.close()
    assert run_command("--log", address, "--namespace", "shop", "upgrade").exit_code == 5


@pytest.mark.usefixtures("newer")
def test_it_asks_and_never_lowers(address: str) -> None:
    where = ("--log", address, "--namespace", "shop", "upgrade")
    asked = run_command(*where)
    assert (asked.exit_code, "ODR-187" in asked.stderr) == (2, True)
    assert level(address) == 1
    unknown = run_command(*where, "--to", "3", "--yes")
    assert (unknown.exit_code, "ODR-190" in unknown.stderr, "up to 2" in unknown.stderr) == (2, True, True)
    assert json.loads(run_command(*where, "--yes", "--json").stdout)["raised_to"] == 2
    lowered = run_command(*where, "--to", "1", "--yes")
    assert (lowered.exit_code, "ODR-190" in lowered.stderr) == (2, True)
    assert level(address) == 2
    again = run_command(*where)
    assert (again.exit_code, again.stderr) == (0, "Nothing to raise.\n")


def test_it_names_who_is_at_work(address: str) -> None:
    async def run() -> dict[str, Any]:
        async with await Client.connect(address, namespace="shop") as client:
            worker = Worker(client, task_queue="orders", workflows=[Order], activities=[charge], identity="me@here")
            async with worker:
                where = ("--log", address, "--namespace", "shop")
                for _ in range(100):
                    shown = await asyncio.to_thread(run_command, *where, "upgrade", "--json")
                    found: dict[str, Any] = json.loads(shown.stdout)
                    if found["orchestrators"] and found["workers"]:
                        return found
                    await asyncio.sleep(0.05)
        raise AssertionError("not within 5 s")

    found = asyncio.run(run())
    assert found["workers"] == ["me@here (orders)"]
    assert found["feature_level"] == found["newest"] == records_module.SCHEMA_VERSION


def test_namespace_that_does_not_exist(address: str) -> None:
    found = run_command("--log", address, "--namespace", "shoop", "upgrade")
    assert (found.exit_code, "ODR-189" in found.stderr) == (3, True)
