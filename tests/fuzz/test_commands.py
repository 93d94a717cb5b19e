"""What is typed, set in the environment or put into files: an exit code and one line, and never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from odradek.cli.exits import ExitCode
from odradek.client.history import WorkflowHistory
from tests.cli.conftest import run_command
from tests.fuzz.commands import check_seed
from tests.fuzz.test_inbox import FUZZED


@settings(FUZZED, max_examples=60)
@given(seed=st.integers(0, 10**9))
@example(23)
@example(206)
def test_any_command_line(seed: int) -> None:
    check_seed(seed)


@pytest.mark.parametrize("given", ["inf", "nan", "1e999", "-1", "1e12", "soon"])
def test_durations_that_are_none(given: str) -> None:
    result = run_command("--log", "sqlite:///no.db", "workflow", "result", "w", "--timeout", given)
    assert result.exit_code == ExitCode.USAGE
    assert "--timeout" in result.output


def test_a_file_that_is_nested_without_end(tmp_path: Path) -> None:
    file = tmp_path / "nested.json"
    file.write_text("[" * 100_000)
    result = run_command("--log", "sqlite:///no.db", "workflow", "signal", "w", "s", "--input", f"@{file}")
    assert "ODR-185" in result.output
    with pytest.raises(ValueError, match="nested"):
        WorkflowHistory.from_json("w", file.read_text())
