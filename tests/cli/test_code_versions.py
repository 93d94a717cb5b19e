"""``odradek versions``: which versions of the code open runs are on."""

from __future__ import annotations

import json
from pathlib import Path

from odradek.log import open_log
from odradek.log.namespace import create_namespace, open_namespace
from odradek.schemas.records import RunStatus, VisibilityRecord
from tests.cli.conftest import run_command


def shown(folder: Path, *runs: tuple[str, str, str]) -> str:
    """A log in which runs of (type, version, status) are shown."""
    address = f"sqlite:///{folder}/log.db"
    log = open_log(address)
    create_namespace(log, "shop", partitions=2, queues=("orders",))
    namespace = open_namespace(log, "shop")
    appender = log.appender()
    for number, (kind, version, status) in enumerate(runs):
        record = VisibilityRecord(f"w-{number}", f"r-{number}", 1, 1, kind, "orders", status, 0, version=version)
        appender.append(namespace.topics.visibility, 0, f"r-{number}".encode(), namespace.codec.encode(record))
    appender.close()
    log.close()
    return address


def test_open_runs_are_counted_by_type_and_version(tmp_path: Path) -> None:
    address = shown(
        tmp_path,
        ("Order", "1.9", RunStatus.RUNNING),
        ("Order", "1.10", RunStatus.RUNNING),
        ("Order", "1.10", RunStatus.RUNNING),
        ("Order", "1.2", RunStatus.COMPLETED),
        ("Trial", "", RunStatus.RUNNING),
    )
    result = run_command("--log", address, "--namespace", "shop", "versions", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == [
        {"workflow_type": "Order", "version": "1.9", "open": 1},
        {"workflow_type": "Order", "version": "1.10", "open": 2},
        {"workflow_type": "Trial", "version": "", "open": 1},
    ]
    table = run_command("--log", address, "--namespace", "shop", "versions", "--type", "Order").stdout
    assert [line.split() for line in table.splitlines() if "Order" in line] == [
        ["Order", "1.9", "1"],
        ["Order", "1.10", "2"],
    ]
    assert "Trial" not in table


def test_no_open_runs_are_no_error(tmp_path: Path) -> None:
    address = shown(tmp_path, ("Order", "1", RunStatus.FAILED))
    result = run_command("--log", address, "--namespace", "shop", "versions")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "No open runs." in result.stderr
