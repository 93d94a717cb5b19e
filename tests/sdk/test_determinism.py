"""The static check: what it finds in which line, what it lets pass, and what it says."""

from __future__ import annotations

import ast
import importlib
import logging
import pickle
import re
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest

from odradek import workflow
from odradek.orchestrator.registry import Registry, workflows_in
from odradek.worker import Replayer, UnsandboxedWorkflowRunner
from odradek.workflow.determinism import NondeterministicCode, check
from odradek.workflow.determinism.source import Source
from odradek.workflow.determinism.table import NAMES
from tests.sdk.unsafe_code import helpers, workflows

REPOSITORY = Path(__file__).parents[2]
MARK = re.compile(r"(error|warning): ([^,#]+)")
Found = set[tuple[str, int, str, str]]


def marked(path: Path) -> Found:
    return {
        (path.name, number, kind, what.strip())
        for number, line in enumerate(path.read_text().splitlines(), 1)
        for kind, what in MARK.findall(line.partition("  # ")[2])
    }


def found_in(*classes: type) -> Found:
    return {
        (Path(one.file).name, one.line, "error" if one.is_error else "warning", one.what.partition(",")[0])
        for cls in classes
        for one in check(cls)
    }


CLASSES = [cls for cls in workflows_in(workflows) if cls is not workflows.Unguarded]


def test_every_marked_line_is_found_and_no_other() -> None:
    module, other = Path(str(workflows.__file__)), Path(str(helpers.__file__))
    assert found_in(*CLASSES) == marked(module) | marked(other)


def test_a_finding_says_where_why_and_what_to_write() -> None:
    with pytest.raises(NondeterministicCode, match="ODR-080") as caught:
        Registry().add([workflows.Clocks])
    line = next(
        n for n, text in enumerate(Path(str(workflows.__file__)).read_text().splitlines(), 1) if "time.time()" in text
    )
    assert f"workflows.py:{line}: time.time() in Clocks.run: the clock" in str(caught.value)
    assert "workflow.now()" in str(caught.value)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.workflow, again.findings, str(again)) == ("Clocks", caught.value.findings, str(caught.value))


def test_warnings_are_logged_once_and_refuse_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "odradek.workflow"):
        Registry().add([workflows.Order])
        Registry().add([workflows.Order])
    assert len([one for one in caplog.messages if "ODR-082" in one]) == len(check(workflows.Order)) == 4


def test_ways_out() -> None:
    Registry().add([workflows.Unguarded, workflows.Excused])
    Registry().add([workflows.Clocks], sandboxed=False)
    Replayer(workflows=[workflows.Clocks], workflow_runner=UnsandboxedWorkflowRunner())
    Replayer(workflows=[workflows.Clocks], debug_mode=True)
    with pytest.raises(NondeterministicCode):
        Replayer(workflows=[workflows.Clocks])


def test_code_without_source_is_let_pass() -> None:
    space = {"workflow": workflow, "time": time, "__name__": "made"}
    exec(
        "@workflow.defn\nclass Made:\n    @workflow.run\n    async def run(self) -> None:\n        time.sleep(1)\n",
        space,
    )
    made = space["Made"]
    assert isinstance(made, type)
    assert check(made) == []


def test_every_name_of_the_table_that_python_has_is_found() -> None:
    """A misspelt name would never be refused."""
    from odradek.workflow.determinism.table import refused

    of_packages = {"requests", "httpx", "aiohttp", "urllib3", "boto3", "redis", "psycopg", "psycopg2", "asyncpg"}
    later = {"uuid.uuid6", "uuid.uuid7", "uuid.uuid8", "random.binomialvariate", "pathlib.Path.walk"}
    for name in {name.partition(".")[0] for name in NAMES} - of_packages - {"pymongo", "sqlalchemy"}:
        importlib.import_module(name)
    for name in ("urllib.request", "http.client", "concurrent.futures.thread", "concurrent.futures.process"):
        importlib.import_module(name)
    assert ThreadPoolExecutor is not ProcessPoolExecutor  # concurrent.futures imports them when they are asked for
    found = {shown for shown, _ in refused().values()}
    missing = {
        name
        for name in (name.removesuffix("()").removeprefix("builtins.") for name in NAMES)
        if name not in found and name.partition(".")[0] not in {*of_packages, "pymongo", "sqlalchemy"}
    }
    aliases = {name for name in missing if name.startswith(("io.", "os.", "random.", "secrets.", "_thread."))}
    assert missing - aliases - later == set()


def test_the_examples_and_recorded_workflows_pass_quickly() -> None:
    names = ["examples." + path.stem for path in sorted((REPOSITORY / "examples").glob("*.py"))]
    modules = [
        importlib.import_module(name) for name in [*names, "examples.orders.workflows", "tests.histories.workflows"]
    ]
    classes = {cls for module in modules for cls in workflows_in(module)}
    assert len(classes) > 10
    assert [finding for cls in classes for finding in check(cls)] == []


def test_checking_imports_nothing() -> None:
    code = (
        "import sys, examples.approval as module\n"
        "from odradek.orchestrator.registry import Registry, workflows_in\n"
        "before = set(sys.modules)\n"
        "Registry().add(workflows_in(module))\n"
        "assert set(sys.modules) <= before, set(sys.modules) - before\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_parser_that_loses_count_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    parse = ast.parse

    def lost(text: str) -> ast.Module:
        asked.append(text)
        if len(asked) < 3:
            raise SystemError("AST constructor recursion depth mismatch")
        return parse(text)

    monkeypatch.setattr(ast, "parse", lost)
    assert Source("def first() -> None: ...").mutated == set()
    assert len(asked) == 3
