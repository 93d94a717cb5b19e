"""The pytest plugin, in test runs of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

MODULE = '''
import itertools
from datetime import timedelta

from odradek import activity, workflow

calls = itertools.count()


@activity.defn
async def echo(word: str) -> str:
    return word


@workflow.defn
class Fickle:
    """Decides otherwise each time that its code runs; within one process nobody replays it."""

    @workflow.run
    async def run(self) -> str:
        first, second = ("a", "b") if next(calls) % 2 else ("b", "a")
        if first == "a":
            await workflow.sleep(3600)
        word = await workflow.execute_activity(echo, first, start_to_close_timeout=timedelta(seconds=20))
        await workflow.sleep(3600)
        return word


async def test_fickle(odradek_env, odradek_worker):
    async with odradek_worker(workflows=[Fickle], activities=[echo]) as worker:
        assert await odradek_env.client.execute_workflow(Fickle.run, id="w", task_queue=worker.task_queue) == "b"


environments = []


async def test_the_sessions_environment_is_one(odradek_session_env, odradek_env):
    environments.append(odradek_session_env)
    assert odradek_session_env is not odradek_env
    await odradek_session_env.sleep(86_400)


def test_the_sessions_environment_is_the_same_in_the_next_test(odradek_session_env):
    assert environments == [odradek_session_env]
    assert odradek_session_env.supports_time_skipping


class TestMethods:
    async def test_coroutine(self, odradek_env):
        await odradek_env.sleep(86_400)
'''


def run(folder: Path, *options: str) -> str:
    (folder / "test_it.py").write_text(MODULE)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    environment.pop("ODRADEK_REPLAY_EACH_ACTIVATION", None)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "odradek.testing.plugin", *options, "test_it.py"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.stdout


def test_fixtures_and_coroutines(tmp_path: Path) -> None:
    assert "4 passed" in run(tmp_path)


def test_replaying_each_activation_finds_what_decides_otherwise(tmp_path: Path) -> None:
    out = run(tmp_path, "--odradek-replay-each-activation")
    assert "1 failed, 3 passed" in out
    assert "ODR-070" in out


def test_the_plugin_imports_nothing_heavy() -> None:
    """pytest loads it in every run of a project that has odradek installed."""
    program = "import sys, odradek.testing.plugin; print([m for m in sys.modules if m.startswith('odradek.')])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['odradek.testing', 'odradek.testing.plugin']"


def test_the_plugin_is_installed_under_its_modules_name() -> None:
    """So that naming it with -p, or in a conftest, does not register it twice."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"odradek.testing.plugin": "odradek.testing.plugin"}
