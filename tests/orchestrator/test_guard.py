"""The guard: what workflow code reaches for while it runs parks its run, and no other."""

from __future__ import annotations

import asyncio
import builtins
import importlib
import logging
import os
import pickle
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
import warnings
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from odradek import activity, workflow
from odradek.client import Client
from odradek.schemas import records as r
from odradek.worker import Replayer, Worker
from odradek.worker.workflow_sandbox import RestrictedWorkflowAccessError
from odradek.workflow.determinism import guard
from tests.orchestrator.partition import Owner, Partition

guard.install()

REACHING: dict[str, Callable[[], Any]] = {
    "open": Path(__file__).read_bytes,
    "os.listdir": partial(os.listdir, "/"),
    "os.remove": partial(os.remove, "/none"),
    "os.mkdir": partial(os.mkdir, "/none/none"),
    "socket.__new__": lambda: socket.socket().close(),
    "socket.getaddrinfo": partial(socket.getaddrinfo, "localhost", 1),
    "subprocess.Popen": partial(subprocess.run, ["true"]),
    "os.system": partial(os.system, "true"),
    "sqlite3.connect": lambda: sqlite3.connect(":memory:").close(),
    "_thread.start_new_thread": lambda: threading.Thread(target=print).start(),
    "time.sleep": partial(time.sleep, 0.001),
    "os.putenv": partial(os.environ.__setitem__, "ODRADEK_NONE", "1"),
}


def reach(what: str) -> None:
    REACHING[what]()


@workflow.defn
class Reaching:
    @workflow.run
    async def run(self, what: str) -> str:
        reach(what)
        return "reached"


@workflow.defn(failure_exception_types=[Exception])
class Swallowing:
    @workflow.run
    async def run(self, what: str) -> str:
        try:
            reach(what)
        except Exception:
            return "swallowed"
        return "reached"


@workflow.defn(sandboxed=False)
class Free:
    @workflow.run
    async def run(self, what: str) -> str:
        reach(what)
        return "reached"


@workflow.defn
class Unrestricted:
    @workflow.run
    async def run(self, what: str) -> list[bool]:
        before = workflow.unsafe.is_sandbox_unrestricted()
        with workflow.unsafe.sandbox_unrestricted():
            await asyncio.sleep(0)
            reach(what)
            return [before, workflow.unsafe.is_sandbox_unrestricted()]


@workflow.defn
class Asked:
    def __init__(self) -> None:
        self.is_done = False

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: self.is_done)
        return "done"

    @workflow.signal
    def end(self) -> None:
        self.is_done = True

    @workflow.query
    def read(self) -> str:
        reach("open")
        return "read"


@workflow.defn
class Harmless:
    """What reads files on the way, and brings nothing of them back to the code."""

    @workflow.run
    async def run(self) -> str:
        logging.getLogger("tests.guard").info("begins")
        try:
            raise ValueError("x")
        except ValueError:
            logging.getLogger("tests.guard").exception("it failed")
        warnings.warn("of a workflow", UserWarning, stacklevel=1)
        print("printed")  # noqa: T201 - people do
        sys.modules.pop("this", None)
        importlib.import_module("colorsys")
        return str(workflow.now().astimezone(ZoneInfo("Europe/Amsterdam")).tzinfo)


def parked(partition: Partition, owner: Owner, workflow_id: str) -> r.Parked | None:
    request = partition.request()
    partition.send(workflow_id, r.DescribeWorkflow(request))
    owner.run()
    (description,) = partition.replies(request)
    assert isinstance(description, r.Description)
    return description.parked


@pytest.mark.parametrize("what", REACHING)
@pytest.mark.parametrize("code", ["Reaching", "Swallowing"])
def test_what_reaches_out_is_parked_even_if_it_catches_everything(code: str, what: str) -> None:
    partition = Partition([Reaching, Swallowing, Asked])
    owner = Owner(partition)
    request = partition.start("reaching", code, what)
    other = partition.start("other", "Asked")
    owner.run()
    partition.send("other", r.SignalWorkflow("end", request=partition.request()))
    owner.run()
    shown = parked(partition, owner, "reaching")
    assert shown is not None
    assert shown.code == "ODR-081"
    assert f"cannot use {what}" in shown.message
    assert not [one for one in partition.replies(request) if isinstance(one, r.RunOutcome)]
    assert partition.result(other) == "done"


@pytest.mark.parametrize(("code", "result"), [("Free", "reached"), ("Unrestricted", [False, True])])
def test_ways_out(code: str, result: Any) -> None:
    partition = Partition([Free, Unrestricted])
    owner = Owner(partition)
    request = partition.start("w", code, "open")
    owner.run()
    assert partition.result(request) == result


def test_logging_warnings_imports_and_time_zones_are_let_pass(tmp_path: Path) -> None:
    handler = logging.FileHandler(tmp_path / "of.log", delay=True)
    log = logging.getLogger("tests.guard")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    sys.modules.pop("colorsys", None)
    ZoneInfo.clear_cache()
    try:
        partition = Partition([Harmless])
        owner = Owner(partition)
        request = partition.start("w", "Harmless")
        with pytest.warns(UserWarning, match="of a workflow"):
            owner.run()
        assert partition.result(request) == "Europe/Amsterdam"
        assert "ValueError: x" in (tmp_path / "of.log").read_text()
    finally:
        log.removeHandler(handler)
        handler.close()


def test_a_query_that_reaches_out_is_answered_with_the_error_and_the_run_goes_on() -> None:
    partition = Partition([Asked])
    owner = Owner(partition)
    request = partition.start("w", "Asked")
    owner.run()
    query = partition.request()
    partition.send("w", r.QueryWorkflow(query, "read"))
    owner.run()
    (answer,) = partition.replies(query)
    assert isinstance(answer, r.QueryAnswer)
    assert answer.failure is not None
    assert "ODR-081" in answer.failure.message
    partition.send("w", r.SignalWorkflow("end", request=partition.request()))
    owner.run()
    assert parked(partition, owner, "w") is None
    assert partition.result(request) == "done"


def test_outside_of_workflows_nothing_is_refused() -> None:
    for reaching in REACHING.values():
        try:
            reaching()
        except OSError:
            continue


def test_the_error_names_the_file_and_what_to_write() -> None:
    error = RestrictedWorkflowAccessError("open", "'x'", guard.REFUSED["open"])
    assert str(error).startswith("ODR-081: workflow code cannot use open ('x'), which no replay could repeat: files")
    assert "workflow.step" in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@activity.defn
async def shout(text: str) -> str:
    assert Path(__file__).read_text()  # noqa: ASYNC240
    return text.upper()


def lower(text: str) -> str:
    assert Path(__file__).read_text()
    return text.lower()


@workflow.defn
class Working:
    @workflow.run
    async def run(self, text: str) -> list[str]:
        limit = timedelta(seconds=20)
        shouted = await workflow.execute_activity(shout, text, start_to_close_timeout=limit)
        return [
            shouted,
            await workflow.step(lower, shouted),
            await workflow.step(lower, shouted, inline=True),
            await workflow.execute_local_activity(shout, text, start_to_close_timeout=limit),
        ]


def test_one_worker_hosts_both_and_steps_and_activities_do_as_they_like() -> None:
    async def body() -> None:
        client = await Client.connect(f"memory://{uuid.uuid4().hex}")
        worker = Worker(client, task_queue="q", workflows=[Working, Reaching], activities=[shout])
        async with client, worker:
            reaching = await client.start_workflow(Reaching.run, "open", id="reaching", task_queue="q")
            result = await client.execute_workflow(Working.run, "Ann", id="w", task_queue="q")
            assert result == ["ANN", "ann", "ann", "ANN"]
            shown = (await reaching.describe()).parked
            assert shown is not None
            assert shown.code == "ODR-081"
            history = await client.get_workflow_handle("w").fetch_history()
            await Replayer(workflows=[Working]).replay_workflow(history)

    asyncio.run(body())


def test_modules_are_imported_once_whatever_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module with a model in it, and many runs, replays included: its top level runs once."""
    (tmp_path / "imported_once.py").write_text(
        "import builtins\n"
        "from pydantic import BaseModel\n"
        "from odradek import workflow\n"
        "builtins.imports_of_it = getattr(builtins, 'imports_of_it', 0) + 1\n"
        "class Order(BaseModel):\n"
        "    goods: list[str]\n"
        "@workflow.defn\n"
        "class Taking:\n"
        "    @workflow.run\n"
        "    async def run(self, goods: list[str]) -> str:\n"
        "        from imported_once import Order as Again\n"
        "        order = Again(goods=goods)\n"
        "        await workflow.sleep(1)\n"
        "        return order.model_dump_json()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    taking = importlib.import_module("imported_once").Taking
    try:
        partition = Partition([taking])
        owner = Owner(partition)
        requests = [partition.start(f"w{number}", "Taking", ["a"]) for number in range(20)]
        owner.run()
        owner.pass_time(2)
        assert {partition.result(request) for request in requests} == {'{"goods":["a"]}'}
        assert vars(builtins)["imports_of_it"] == 1
    finally:
        del sys.modules["imported_once"], vars(builtins)["imports_of_it"]
