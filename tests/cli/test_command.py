"""The command's frame: help, exit codes, options, errors."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from odradek.cli.errors import explain
from odradek.cli.exits import MEANINGS, ExitCode
from odradek.cli.messages import JsonFormatter
from odradek.envconfig import read_log_config
from odradek.log import LogUnavailable, TopicMissing
from odradek.schemas.errors import NewerSchema
from odradek.service import RPCError, RPCStatusCode
from tests.cli.conftest import run_command

COMMANDS = ("dev", "orchestrator", "worker", "workflow", "topics", "doctor", "upgrade")


def test_help_names_commands_examples_and_exit_codes() -> None:
    shown = run_command("--help").stdout
    for name in COMMANDS:
        assert f"\n  {name} " in shown
    for code in ExitCode:
        assert f"{int(code)}  {MEANINGS[code]}" in shown
    assert "Examples:" in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_worked_example(name: str) -> None:
    shown = run_command(name, "--help").stdout
    assert "Examples:\n  odradek" in shown.replace("    odradek", "  odradek").replace("  Examples", "Examples")


def test_starting_up_imports_nothing_heavy() -> None:
    code = (
        "import sys; from odradek.cli import main; import odradek.cli.workflow; "
        "heavy = {'confluent_kafka', 'fastavro', 'pydantic', 'rocksdict', 'prometheus_client', 'rich'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    paths = [path for path in sys.path if path]
    run = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {paths!r}; {code}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert run.stdout == "[]\n"


def test_a_log_must_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    missing = run_command("workflow", "list")
    assert (missing.exit_code, "ODR-180" in missing.stderr, "Traceback" in missing.stderr) == (2, True, False)
    (tmp_path / ".odradek").mkdir()
    (tmp_path / ".odradek/dev.db").touch()
    assert "--log sqlite:///.odradek/dev.db" in run_command("workflow", "list").stderr


@pytest.mark.parametrize(
    ("address", "code", "word"),
    [
        ("http://nowhere", 2, "ODR-010"),
        ("kafka://nowhere", 2, "ODR-010"),
        ("sqlite:///no/such/file.db", 3, "ODR-188"),
        ("kafka://127.0.0.1:1", 6, "ODR-011"),
        ("127.0.0.1:1", 6, "ODR-011"),
    ],
)
def test_wrong_addresses(address: str, code: int, word: str) -> None:
    for command in (["workflow", "list"], ["workflow", "show", "x"], ["topics", "check"]):
        found = run_command(*command, "--log", address)
        assert (found.exit_code, word in found.stderr, found.stdout) == (code, True, "")
    assert run_command("--log", address, "doctor").exit_code == 1


def test_options_come_from_the_environment_and_stand_anywhere(tmp_path: Path) -> None:
    environment = {"ODRADEK_LOG": f"sqlite:///{tmp_path}/log.db", "ODRADEK_NAMESPACE": "shop"}
    assert run_command("topics", "create", env=environment).exit_code == 0
    assert run_command("topics", "check", env=environment).exit_code == 0
    assert run_command("topics", "check", "--namespace", "other", env=environment).exit_code == 1


def test_log_config_from_files_and_pairs(tmp_path: Path) -> None:
    file = tmp_path / "client.properties"
    file.write_text("# for the cluster\nsasl.username = me\n\nsasl.password=a=b\n")
    assert read_log_config(str(file)) == {"sasl.username": "me", "sasl.password": "a=b"}
    assert read_log_config("security.protocol=SASL_SSL") == {"security.protocol": "SASL_SSL"}
    wrong = run_command("--log-config", str(tmp_path / "none"), "--log", "kafka://127.0.0.1:1", "workflow", "list")
    assert (wrong.exit_code, "ODR-181" in wrong.stderr) == (2, True)
    file.write_text("nonsense\n")
    assert '"=" in line 1' in run_command("--log-config", str(file), "doctor").stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NewerSchema("InboxRecord", 9, 1), ExitCode.NEWER_SCHEMA),
        (TopicMissing("shop.inbox"), ExitCode.NOT_FOUND),
        (LogUnavailable("kafka://k:1", "no answer"), ExitCode.UNREACHABLE),
        (RPCError("ODR-130: late", RPCStatusCode.DEADLINE_EXCEEDED), ExitCode.TIMEOUT),
        (RPCError("?", RPCStatusCode.UNKNOWN), ExitCode.FAILED),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED),
        (ValueError("ODR-001: no"), ExitCode.USAGE),
    ],
)
def test_exit_codes_of_errors(error: BaseException, code: ExitCode) -> None:
    explained = explain(error)
    assert (explained.exit_code, explained.expected) == (code, True)
    assert "\n" not in explained.text


def test_a_defect_says_how_to_see_more() -> None:
    explained = explain(ZeroDivisionError("division by zero"))
    assert not explained.expected
    assert "-v" in explained.text


def test_json_messages_carry_the_facts_of_extra() -> None:
    record = logging.LogRecord("odradek.workflow", logging.INFO, __file__, 1, "charged %s", ("A1",), None)
    record.workflow_id = "order-77"
    shown = JsonFormatter().format(record)
    assert '"message": "charged A1"' in shown
    assert '"workflow_id": "order-77"' in shown
    assert '"level": "info"' in shown
