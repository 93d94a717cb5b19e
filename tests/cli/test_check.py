"""``odradek check``: lines, exit codes, JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import run_command

UNSAFE = "tests.sdk.unsafe_code.workflows"
FILE = Path(__file__).parents[1] / "sdk" / "unsafe_code" / "workflows.py"


def line_of(text: str) -> int:
    return next(n for n, line in enumerate(FILE.read_text().splitlines(), 1) if text in line)


def test_what_is_deterministic_passes() -> None:
    done = run_command("check", "tests.histories.workflows")
    assert done.exit_code == 0
    assert done.stdout.endswith(": 0 errors, 0 warnings\n")


def test_findings_are_lines_and_fail() -> None:
    done = run_command("check", UNSAFE)
    assert done.exit_code == 1
    assert "1 left out (sandboxed=False)" in done.stdout
    assert (
        f"unsafe_code/workflows.py:{line_of('time.time()  # error')}: error: time.time() in Clocks.run: " in done.stdout
    )


@pytest.mark.parametrize("module", [UNSAFE, str(FILE)])
def test_one_class_whose_warnings_fail_only_if_asked(module: str) -> None:
    done = run_command("check", f"{module}:Order")
    assert (done.exit_code, done.stdout.count(": warning: ")) == (0, 4)
    assert done.stdout.endswith("1 workflows checked: 0 errors, 4 warnings\n")
    done = run_command("check", f"{module}:Order", "--strict")
    assert (done.exit_code, done.stdout.count(": error: ")) == (1, 4)


def test_json() -> None:
    done = run_command("check", f"{UNSAFE}:Clocks", "--json")
    assert done.exit_code == 1
    first = json.loads(done.stdout)[0]
    assert (first["line"], first["what"], first["is_error"]) == (line_of("time.time()  # error"), "time.time()", True)
    assert "workflow.now()" in first["instead"]


def test_a_class_that_is_not_there() -> None:
    done = run_command("check", f"{UNSAFE}:None")
    assert done.exit_code == 2
    assert "ODR-183" in done.stderr
    assert "workflows Clocks" in done.stderr
