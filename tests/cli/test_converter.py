"""--converter and --interceptor: the same for those who host code and those who ask."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.cli.conftest import Process, run_command

HERE = "tests.cli.surroundings"
SHOP = "tests.cli.shop"


def test_payloads_are_shown_to_those_who_have_the_converter(spawn: Callable[..., Process], tmp_path: Path) -> None:
    log = f"sqlite:///{tmp_path}/dev.db"
    named = ("--log", log, "--converter", f"{HERE}:shifting", "--interceptor", f"{HERE}:Louder")
    health = ("--health-port", "0", "--health-host", "127.0.0.1")
    run_command("--log", log, "topics", "create", "--queue", "orders")
    spawn(*named, "orchestrator", SHOP, *health).await_ready()
    spawn(*named, "worker", SHOP, "--queue", "orders", *health).await_ready()
    done = run_command(
        *named, "workflow", "start", "Quick", "--id", "q", "--queue", "orders", "--input", '"a1"', "--wait"
    )
    assert done.stdout == '"CHARGED A1"\n', done.stderr
    assert "CHARGED A1" in run_command(*named, "workflow", "history", "q", "--values").stdout
    assert run_command(*named, "workflow", "result", "q").stdout == '"CHARGED A1"\n'
    unread = run_command("--log", log, "workflow", "history", "q")
    assert "CHARGED" not in unread.stdout
    assert "binary/shifted" in unread.stdout
    blind = run_command("--log", log, "workflow", "result", "q")
    assert blind.exit_code != 0
    assert "binary/shifted" in blind.stderr


def test_what_cannot_be_used() -> None:
    for place, problem in (
        (HERE, "give MODULE:NAME"),
        (f"{HERE}:Missing", "is not a DataConverter"),
        (f"{SHOP}:charge", "is not a DataConverter"),
        ("no.such.module:x", "there is none of that name"),
    ):
        wrong = run_command("--log", "memory://x", "--converter", place, "dev", SHOP)
        assert wrong.exit_code == 2, wrong.stderr
        assert "ODR-182" in wrong.stderr
        assert problem in wrong.stderr
