"""A namespace is backed up, restored and repartitioned with the command, and goes on where it was."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from odradek.client import Client
from odradek.log import open_log
from odradek.log.namespace import append_all, create_namespace, open_namespace, read_facts
from odradek.orchestrator.transfer import copying
from odradek.orchestrator.transfer.cut import Cut
from odradek.schemas import records as r
from odradek.schemas.topics import Topics
from tests.cli.conftest import Process, everything, run_command
from tests.transfer.works import QUEUE, Chained, Collecting, Held, Parent, Sleeping

WORKS = "tests.transfer.works"
FREE = ("--health-port", "0", "--health-host", "127.0.0.1")
WITHIN_SECONDS = 40.0
SILENT = ("tasks.", "replies", "dead-letter")
INPUTS = 60
"""Of one workflow: enough for several chunks."""

Did = Callable[[Client], Awaitable[Any]]


class Site:
    """A log, and whoever is at work on it."""

    def __init__(self, address: str, folder: Path) -> None:
        self.address, self._folder = address, folder
        self._processes: list[Process] = []

    def run(self, namespace: str, *arguments: str) -> Result:
        return run_command("--log", self.address, "--namespace", namespace, *arguments)

    def done(self, namespace: str, *arguments: str) -> str:
        result = self.run(namespace, *arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    def serve(self, namespace: str) -> tuple[Process, Process]:
        where = ("--log", self.address, "--namespace", namespace)
        orchestrator = self._start(*where, "orchestrator", WORKS, *FREE, "--session-timeout", "3")
        worker = self._start(*where, "worker", WORKS, "--queue", QUEUE, *FREE)
        for process in (orchestrator, worker):
            process.await_ready()
        return orchestrator, worker

    def _start(self, *arguments: str) -> Process:
        self._processes.append(Process(self._folder, *arguments))
        return self._processes[-1]

    def asked(self, namespace: str, did: Did) -> Any:
        async def ask() -> Any:
            async with await Client.connect(self.address, namespace=namespace) as client:
                return await asyncio.wait_for(did(client), WITHIN_SECONDS)

        return asyncio.run(ask())

    def end(self) -> None:
        for process in self._processes:
            if process.popen.poll() is None:
                process.popen.kill()
                process.popen.wait()


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.kafka)])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    if request.param == "kafka":
        address = f"kafka://{request.getfixturevalue('kafka_broker')}"
    else:
        address = f"sqlite:///{tmp_path}/log.db"
    made = Site(address, tmp_path)
    yield made
    made.end()


async def begin_everything(client: Client) -> None:
    """Several are open, each in another state; one is closed."""

    async def start(run: Any, workflow_id: str, *arguments: Any) -> Any:
        return await client.start_workflow(run, *arguments, id=workflow_id, task_queue=QUEUE)

    await start(Held.run, "held")
    await start(Sleeping.run, "sleeping")
    await start(Chained.run, "chained", 0)
    parent = await start(Parent.run, "parent")
    collecting = await start(Collecting.run, "collecting", INPUTS + 2)
    for number in range(INPUTS):
        await collecting.signal(Collecting.take, f"{number}-{'x' * 100}")
    await collecting.execute_update(Collecting.hand, "updated", id="update-1")
    ended = await start(Collecting.run, "ended", 1)
    await ended.signal(Collecting.take, "all")
    assert await ended.result() == "all"
    await until(lambda: child_is_open(client), "the child")
    await client.get_workflow_handle("parent-child").signal("take", "one")
    assert parent.id == "parent"
    await until(lambda: third_attempt(client), "the third attempt to be held by a worker")


async def child_is_open(client: Client) -> bool:
    return (await client.count_workflows("WorkflowId = 'parent-child'")).count == 1


async def third_attempt(client: Client) -> bool:
    waits = (await client.get_workflow_handle("held").describe()).waits
    return any(wait.attempt == 3 and wait.state == "started" for wait in waits)


async def until(holds: Callable[[], Awaitable[bool]], what: str) -> None:
    deadline = time.monotonic() + WITHIN_SECONDS
    while not await holds():
        assert time.monotonic() < deadline, f"waited for {what}"
        await asyncio.sleep(0.1)


async def send_while_nobody_serves(client: Client) -> None:
    await client.get_workflow_handle("parent-child").signal("take", "two", wait=False)
    await client.get_workflow_handle("collecting").signal("take", "last", wait=False)


async def end_everything(client: Client) -> None:
    """Whatever was open completes, knowing all that had come before."""
    handle = client.get_workflow_handle
    assert await handle("held").result() == 3
    assert await handle("sleeping").result() == "awake"
    assert await handle("chained").result() == 2
    assert await handle("parent").result() == "one,two"
    texts = (await handle("collecting").result()).split(",")
    assert [text.partition("-")[0] for text in texts] == [*map(str, range(INPUTS)), "updated", "last"]
    assert await handle("ended").result() == "all"
    assert len((await handle("ended").fetch_history()).events) == 5
    assert {run.id async for run in client.list_workflows()} == {
        "held",
        "sleeping",
        "chained",
        "parent",
        "parent-child",
        "collecting",
        "ended",
    }


def stopped_with_everything_open(site: Site, name: str) -> None:
    with closing(open_log(site.address)) as log:
        create_namespace(log, name, partitions=3, queues=(QUEUE,))
    orchestrator, worker = site.serve(name)
    site.asked(name, begin_everything)
    site.done(name, "workflow", "pause-type", "Unused", "--reason", "not now")
    served = site.run(name, "backup", str(site._folder / "no.avro"))
    assert (served.exit_code, "ODR-246" in served.stderr) == (1, True), served.output
    assert not (site._folder / "no.avro").exists()
    worker.popen.kill()  # it says nothing of the attempt that it holds
    assert orchestrator.stop() == 0
    site.asked(name, send_while_nobody_serves)


@pytest.mark.timeout(240)
def test_a_restored_namespace_goes_on_when_it_is_promoted(site: Site, tmp_path: Path) -> None:
    """With as many open runs and the same states as before, on other partitions, and silent until then."""
    first, second = f"first-{secrets.token_hex(3)}", f"second-{secrets.token_hex(3)}"
    stopped_with_everything_open(site, first)
    before = json.loads(site.done(first, "replay", "--open", WORKS, "--json"))["open"]
    assert before >= 4  # two more sleep, but a slow machine may have seen them wake
    file = tmp_path / "backup.avro"
    saved = json.loads(site.done(first, "backup", str(file), "--json"))
    assert saved["bytes"] == file.stat().st_size
    assert site.run(first, "backup", str(file)).exit_code == 2  # it is there already
    made = json.loads(site.done(second, "restore", str(file), "--partitions", "5", "--json"))
    assert (made["open"], made["partitions"], made["left_out"]) == (before, 5, [])
    assert made["inputs"] == 2
    assert made["archived"] >= 3
    assert file.stat().st_mode & 0o077 == 0
    taken = site.run(second, "restore", str(file))
    assert (taken.exit_code, "ODR-247" in taken.stderr) == (1, True)

    with closing(open_log(site.address)) as log:
        stands = everything(log, second)
    silent = {topic for topic, _ in stands if topic.startswith(tuple(f"{second}.{part}" for part in SILENT))}
    assert len(silent) == 3
    refused = site._start("--log", site.address, "--namespace", second, "orchestrator", WORKS, *FREE)
    assert refused.popen.wait(20) == 1
    assert "ODR-245" in refused.err.read_text()
    with closing(open_log(site.address)) as log:
        assert everything(log, second) == stands
    assert {offsets.end for (topic, _), offsets in stands.items() if topic in silent} == {0}
    assert "standing by" in site.run(second, "doctor").output
    assert "ODR-187" in site.run(second, "namespace", "promote").stderr
    assert "may be served" in site.done(second, "namespace", "promote", "--yes")
    with closing(open_log(site.address)) as log:
        facts = read_facts(log, Topics(second))
        assert facts is not None
        assert (facts.partitions, facts.stands_by) == (5, False)

    assert site.done(second, "workflow", "resume-type", "Unused") != ""  # what operators had said went with it
    assert site.done(second, "replay", "--open", WORKS).startswith(
        f"{before} open runs, {before} replayed: 0 would park"
    )
    site.serve(second)
    site.asked(second, end_everything)


@pytest.mark.timeout(240)
def test_a_namespace_gets_more_partitions(site: Site) -> None:
    first, second = f"first-{secrets.token_hex(3)}", f"second-{secrets.token_hex(3)}"
    stopped_with_everything_open(site, first)
    before = json.loads(site.done(first, "replay", "--open", WORKS, "--json"))
    made = json.loads(site.done(first, "repartition", "--partitions", "8", "--to", second, "--json"))
    assert (made["open"], made["partitions"]) == (before["open"], 8)
    site.done(second, "namespace", "promote", "--yes")
    site.serve(second)
    site.asked(second, end_everything)


def test_what_is_no_backup_says_so(tmp_path: Path) -> None:
    where = ("--log", f"sqlite:///{tmp_path}/log.db", "--namespace", "new")
    with closing(open_log(f"sqlite:///{tmp_path}/log.db")) as log:
        create_namespace(log, "old", partitions=2)
    file = tmp_path / "backup.avro"
    assert run_command(*where[:2], "--namespace", "old", "backup", str(file)).exit_code == 0
    whole = file.read_bytes()
    for damaged in (b"", b"nonsense", whole[: len(whole) // 2], whole[:-30]):
        file.write_bytes(damaged)
        found = run_command(*where, "restore", str(file))
        assert (found.exit_code, "ODR-248" in found.stderr) == (2, True), found.output
        with closing(open_log(where[1])) as log:
            log.delete_topics(log.topics("new."))
    assert "ODR-248" in run_command(*where, "restore", str(tmp_path / "nowhere")).stderr
    file.write_bytes(whole)
    assert run_command(*where, "restore", str(file)).exit_code == 0


@pytest.mark.kafka
@pytest.mark.timeout(120)
def test_large_records_are_copied_within_what_a_client_may_hold(
    kafka_broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their number alone says little: ten thousand of the largest are 40 GB."""
    name = f"large-{secrets.token_hex(3)}"
    monkeypatch.setattr(copying, "IN_FLIGHT_BYTES_MAX", 2 * 1024 * 1024)
    with closing(open_log(f"kafka://{kafka_broker}", {"queue.buffering.max.kbytes": "8192"})) as log:
        create_namespace(log, name, partitions=1)
        opened = open_namespace(log, name)
        payload = r.Payload("binary/plain", secrets.token_bytes(1024 * 1024))
        for number in range(20):
            event = r.Event(1, 0, r.RunCompleted(payload))
            record = r.ArchiveRecord("wf", f"run-{number}", "T", "completed", 1, 1, 0, events=[event])
            append_all(log, f"{name}.archive", 0, {b"wf": opened.codec.encode(record)})
        assert copying.copy(Cut(opened, watch_seconds=0), log, f"{name}-copy").archived == 20
