"""Command lines, environments and files as nobody should write them: an exit code, and one line with the next step."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, Final

import click
from click.testing import CliRunner

from odradek.cli import main
from odradek.cli.exits import ExitCode
from odradek.client.history import WorkflowHistory
from odradek.envconfig import ClientConfig
from odradek.log import open_log
from odradek.log.namespace import create_namespace
from tests.fuzz.records import BYTES, TEXTS

SERVES: Final = {("dev",), ("orchestrator",), ("worker",), ("check",)}
"""These run until they are stopped, or load what they are told to."""
ADDRESSES: Final = (
    "", "x", "://", "sqlite://", "sqlite:///", "sqlite:////no/such/folder/x.db", "kafka://", "kafka://:0", "http://x",
    "kafka://127.0.0.1:1", "kafka://127.0.0.1:99999", "memory", "127.0.0.1:1", "\ud800", "a\0b",
)  # fmt: skip
WORDS: Final = (
    *TEXTS[:14], *TEXTS[16:], "-1", "0", "1", "999999999999999999999", "nan", "inf", "1e400", "--yes", "--json", "--",
    "order-77", "orders", "0-0", "0-99999999999999999999", "ODR-166", "[", "{", '{"a": ', "null", "Parked = ", "((((",
    "ExecutionStatus = 'Running' AND", "1h", "-5m", "2026-99-99", "odradek", "no.such.module", "a.py:b",
)  # fmt: skip
MISUSED: Final = {int(code) for code in ExitCode}


def commands(command: click.Command, path: tuple[str, ...], parent: click.Context | None) -> Iterator[Any]:
    """Every command that asks and goes, with its path."""
    context = click.Context(command, info_name=path[-1] if path else "odradek", parent=parent)
    if not isinstance(command, click.Group):
        yield path, command
        return
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        if found is not None and (*path, name) not in SERVES:
            yield from commands(found, (*path, name), context)


COMMANDS: Final = list(commands(main, (), None))


def word(chance: Random) -> str:
    return chance.choice(WORDS)


def arguments(chance: Random, command: click.Command) -> list[str]:
    made: list[str] = []
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            if chance.random() < 0.9:
                made.append(word(chance))
        elif chance.random() < 0.3 and parameter.opts[-1] not in ("--log", "--namespace", "--timeout", "--window"):
            made.append(parameter.opts[-1])
            is_flag = isinstance(parameter, click.Option) and parameter.is_flag
            if not is_flag or chance.random() < 0.05:
                made.append(word(chance))
    if any("--timeout" in parameter.opts for parameter in command.params):
        made += ["--timeout", "0.2"]
    if chance.random() < 0.2:
        made.insert(chance.randrange(len(made) + 1), word(chance))
    return made


def environment(chance: Random) -> dict[str, str]:
    names = (
        "ODRADEK_LOG_CONFIG",
        "ODRADEK_LOG_FORMAT",
        "ODRADEK_LOG_LEVEL",
        "ODRADEK_CONVERTER",
        "ODRADEK_INTERCEPTORS",
    )
    return {name: word(chance).replace("\0", "") for name in names if chance.random() < 0.1}


def check_line(line: list[str], env: dict[str, str]) -> None:
    result = CliRunner().invoke(main, line, prog_name="odradek", env=env, input="")
    said = f"{line} {env}: exit code {result.exit_code}, {result.output[-2000:]}"
    assert result.exception is None or isinstance(result.exception, SystemExit), said
    assert result.exit_code in MISUSED, said
    assert "ODR-199" not in result.output, said
    assert "Traceback" not in result.output or {"-v", "--verbose"} & {*line}, said
    if result.exit_code:
        assert result.output.strip(), said


def check_seed(seed: int) -> None:
    chance = Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        address = chance.choice(ADDRESSES)
        if chance.random() < 0.6:
            address = f"sqlite:///{folder}/log.db"
            log = open_log(address)
            create_namespace(log, "default", partitions=1, queues=("orders",))
            log.close()
        path, command = chance.choice(COMMANDS)
        namespace = chance.choice(("default", "default", "default", "none", *TEXTS))
        check_line(
            ["--log", address, "--namespace", namespace, *path, *arguments(chance, command)], environment(chance)
        )
        check_files(chance, Path(folder))


def check_files(chance: Random, folder: Path) -> None:
    """Configuration and histories from files."""
    data = chance.choice(
        (*BYTES, *(text.encode() for text in TEXTS), b"a=b\n=c\n", b"\xfe\xff", b'{"odradek_history": 1}')
    )
    file = folder / "given"
    file.write_bytes(data)
    before = os.environ.get("ODRADEK_LOG_CONFIG")
    try:
        ClientConfig.load_client_connect_config(override_env_vars={"ODRADEK_LOG_CONFIG": str(file)})
    except ValueError as error:
        if not str(error).startswith("ODR-181"):
            raise
    assert os.environ.get("ODRADEK_LOG_CONFIG") == before
    try:
        WorkflowHistory.from_json("w", data.decode(errors="replace"))
    except ValueError:
        return
