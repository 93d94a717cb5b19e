"""Processes that serve: how they start, say that they are well, and stop."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from odradek.log import open_log
from odradek.log.namespace import FACTS_KEY, create_namespace, open_namespace
from odradek.orchestrator.registry import workflows_in
from odradek.schemas.codec import Codec
from odradek.schemas.records import SCHEMA_VERSION, NamespaceFacts, WorkersRecord
from tests.cli import shop
from tests.cli.conftest import REPOSITORY, Process, get, run_command

Spawn = Callable[..., Process]
FREE = ("--health-port", "0", "--health-host", "127.0.0.1")


def test_dev_runs_a_workflow_and_stops_on_interrupt(spawn: Spawn, tmp_path: Path) -> None:
    dev = spawn("dev", str(REPOSITORY / "tests/cli/shop.py"), "--queue", "orders", "--json", cwd=tmp_path)
    dev.wait_for(lambda: dev.out.read_text().endswith("}\n"))
    where = json.loads(dev.out.read_text())
    assert (where["log"], where["namespace"], where["queue"]) == ("sqlite:///.odradek/dev.db", "default", "orders")
    assert where["workflows"] == [cls.__name__ for cls in workflows_in(shop)]
    assert get(f"{where['health']}/readyz")[0] == get(f"{where['health']}/healthz")[0] == 200
    assert "odradek_partitions_owned" in get(where["metrics"])[1]
    log = ("--log", f"sqlite:///{tmp_path}/.odradek/dev.db")
    done = run_command(*log, "workflow", "start", "Quick", "--queue", "orders", "--input", '"A1"', "--wait")
    assert (done.exit_code, done.stdout) == (0, '"charged A1"\n'), done.output
    assert dev.stop(signal.SIGINT) == 0
    assert "Stopped." in dev.err.read_text()


def test_several_orchestrators_share_the_folder_of_the_stores(spawn: Spawn, tmp_path: Path) -> None:
    where = ("--log", f"sqlite:///{tmp_path}/log.db", "orchestrator", "tests.cli.shop")
    parent = spawn(*where, "--processes", "2", "--store", str(tmp_path / "store"), "--session-timeout", "2", *FREE)
    urls = parent.await_ready(2)
    assert len(set(urls)) == 2
    with closing(open_log(f"sqlite:///{tmp_path}/log.db")) as log:
        stores = {f"partition-{number}" for number in range(open_namespace(log, "default").partitions)}
    parent.wait_for(lambda: {path.name for path in (tmp_path / "store").iterdir()} == stores)
    assert parent.stop() == 0
    assert all(get(f"{url}/healthz")[0] == 0 for url in urls)


def test_all_stop_when_one_of_several_orchestrators_ends(spawn: Spawn, tmp_path: Path) -> None:
    where = ("--log", f"sqlite:///{tmp_path}/log.db", "orchestrator", "tests.cli.shop")
    parent = spawn(*where, "--processes", "2", *FREE)
    parent.await_ready(2)
    started = next(message["message"] for message in parent.messages() if "processes:" in message["message"])
    os.kill(int(started.rpartition(" ")[2]), signal.SIGKILL)
    assert parent.popen.wait(20) == 1
    assert "ODR-186" in parent.err.read_text()


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (("orchestrator", "no.such.module"), 2, ("ODR-182", "no.such.module")),
        (("orchestrator", "no/such/file.py"), 2, ("ODR-182", "there is no such file")),
        (("orchestrator", "json"), 2, ("ODR-183", "no workflows", "nothing that is decorated")),
        (("worker", "json", "--queue", "q"), 2, ("ODR-183", "@activity.defn")),
        (("worker", "tests.cli.shop"), 2, ("--queue",)),
        (("worker", "tests.cli.shop", "--queue", "a b"), 2, ("ODR-001",)),
        (("orchestrator", "tests.cli.shop", "--health-port", "none"), 2, ("neither a port",)),
    ],
)
def test_what_cannot_be_run(tmp_path: Path, command: tuple[str, ...], code: int, words: tuple[str, ...]) -> None:
    found = run_command("--log", f"sqlite:///{tmp_path}/log.db", *command, *(() if "none" in command else FREE))
    assert found.exit_code == code, found.output
    assert found.stdout == ""
    for word in words:
        assert word in found.stderr


def test_module_with_only_the_other_kind_says_what_was_found(tmp_path: Path) -> None:
    module = tmp_path / "only_activities.py"
    module.write_text("from odradek import activity\n\n@activity.defn\ndef charge() -> None: ...\n")
    found = run_command("--log", f"sqlite:///{tmp_path}/log.db", "orchestrator", str(module))
    assert found.exit_code == 2
    assert "found: activities charge" in found.stderr


def test_broken_import_names_what_is_missing(tmp_path: Path) -> None:
    module = tmp_path / "broken_import.py"
    module.write_text("import no_such_library\n")
    found = run_command("--log", f"sqlite:///{tmp_path}/log.db", "orchestrator", str(module))
    assert (found.exit_code, "no_such_library" in found.stderr) == (2, True)
    module.write_text("nonsense =\n")
    broken = run_command("-v", "--log", f"sqlite:///{tmp_path}/log.db", "orchestrator", str(module))
    assert (broken.exit_code, "SyntaxError" in broken.stderr, "Traceback" in broken.stderr) == (2, True, True)


def test_a_taken_port_that_was_asked_for_is_an_error(spawn: Spawn, tmp_path: Path) -> None:
    where = ("--log", f"sqlite:///{tmp_path}/log.db", "worker", "tests.cli.shop", "--queue", "q")
    first = spawn(*where, *FREE)
    port = first.await_ready()[0].rpartition(":")[2]
    second = spawn(*where, "--health-port", port, "--health-host", "127.0.0.1")
    assert second.popen.wait(20) == 1
    assert "ODR-184" in second.err.read_text()
    assert first.stop() == 0


def test_newer_schema_has_its_own_exit_code(spawn: Spawn, tmp_path: Path) -> None:
    """An old build leaves partitions with newer records to newer processes, and its supervisor can tell."""
    log = open_log(f"sqlite:///{tmp_path}/log.db")
    create_namespace(log, "default", partitions=1)
    appender = log.appender()
    newer_version = bytes([(SCHEMA_VERSION + 1) * 2])  # as Avro writes it
    facts = Codec().encode(WorkersRecord(NamespaceFacts(1, SCHEMA_VERSION + 1)))
    appender.append("default.workers", 0, FACTS_KEY, newer_version + facts[1:])  # "odradek upgrade" was there
    appender.append("default.inbox", 0, b"order-77", newer_version * 20)
    appender.close()
    log.close()
    process = spawn("--log", f"sqlite:///{tmp_path}/log.db", "orchestrator", "tests.cli.shop", *FREE)
    assert process.popen.wait(20) == 5
    assert "ODR-003" in process.err.read_text()
