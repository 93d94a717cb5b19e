"""``odradek replay``: from files, from a running namespace, from the archive."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Fleet, run_command

HISTORIES = Path(__file__).parents[1] / "histories"
CODE = "tests.histories.workflows"
CHAINED = str(HISTORIES / "v0" / "chained.json")


def test_files_replay() -> None:
    files = [str(path) for path in sorted(HISTORIES.glob("v*/*.json"))]
    options = [option for file in files for option in ("--history", file)]
    done = run_command("replay", CODE, *options)
    assert (done.exit_code, done.stdout) == (0, f"{len(files)} of {len(files)} histories replay\n")


def changed_module(folder: Path) -> str:
    module = folder / "changed_workflows.py"
    text = (HISTORIES / "workflows.py").read_text()
    module.write_text(text.replace("execute_activity(double, value,", "execute_activity(flaky, value,"))
    return str(module)


def test_a_changed_workflow_is_refused_with_the_line(tmp_path: Path) -> None:
    module = changed_module(tmp_path)
    line = next(n for n, text in enumerate(Path(module).read_text().splitlines(), 1) if "(flaky, value" in text)
    done = run_command("replay", module, "--history", CHAINED)
    assert done.exit_code == 1
    assert "ODR-161" in done.stdout
    assert "event 2 of " in done.stdout
    assert f"made at {module}:{line}, in Chained.run" in done.stdout
    assert "workflow.patched" in done.stdout
    assert done.stdout.endswith("0 of 1 histories replay\n")
    shown = json.loads(run_command("replay", module, "--history", CHAINED, "--json").stdout)
    assert (shown[0]["workflow_id"], shown[0]["event"]) == ("chained", 2)


def test_runs_of_a_namespace_replay(fleet: Fleet) -> None:
    fleet.start("Order", "replayed-1", "--input", '"A1"')
    fleet.run("workflow", "signal", "replayed-1", "approve", "--input", '"Ada"')
    fleet.run("workflow", "result", "replayed-1")
    fleet.start("Waiting", "replayed-2")
    done = fleet.run("replay", "tests.cli.shop", "--id", "replayed-1", "--id", "replayed-2")
    assert (done.exit_code, done.stdout) == (0, "2 of 2 histories replay\n")
    archived = fleet.run("replay", "tests.cli.shop", "--archived", "--type", "Order", "--json")
    assert archived.exit_code == 0, archived.output
    assert "replayed-1" in [one["workflow_id"] for one in json.loads(archived.stdout)]
    assert "replayed-2" not in [one["workflow_id"] for one in json.loads(archived.stdout)]


def test_what_is_no_history_says_so(tmp_path: Path) -> None:
    file = tmp_path / "no.json"
    for text in ("nonsense", "[]", '{"events": []}', '{"odradek_history": 1, "events": [{"type": "Nothing"}]}'):
        file.write_text(text)
        done = run_command("replay", CODE, "--history", str(file))
        assert done.exit_code == 2, text
        assert "ODR-163" in done.stderr
    assert "ODR-163" in run_command("replay", CODE, "--history", "nowhere.json").stderr


def test_something_must_be_replayed() -> None:
    assert run_command("replay", CODE).exit_code == 2
    assert run_command("replay", CODE, "--run-id", "x").exit_code == 2
