"""The dashboards ask for what exists, and are those that the generator makes."""

from __future__ import annotations

import importlib
import itertools
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.monitoring import expressions

NAMES = ("fleet", "partitions", "task-queues", "workers", "workflows")
by_name = pytest.mark.parametrize("path", expressions.DASHBOARDS, ids=lambda path: path.stem)


def test_there_are_five() -> None:
    assert tuple(path.stem for path in expressions.DASHBOARDS) == NAMES


@by_name
def test_it_is_up_to_date(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(expressions.REPOSITORY / "deploy")
    made = importlib.import_module("make_dashboards").text(path.stem)
    assert made == path.read_text(), "run: python deploy/make_dashboards.py"


@by_name
def test_every_metric_exists(path: Path) -> None:
    known = expressions.known()
    for title, expression, _ in expressions.targets(path):
        asked = expressions.metrics(expression)
        assert asked, title
        assert asked <= known, title


@by_name
def test_legends_name_labels_that_their_metrics_have(path: Path) -> None:
    labels = expressions.labels()
    of_target = {"job", "instance"}
    for title, expression, legend in expressions.targets(path):
        names = {re.sub(r"_(bucket|sum|count)$", "", name) for name in expressions.metrics(expression)}
        there = of_target.union(*(labels.get(name, set()) for name in names))
        assert set(re.findall(r"{{(\w+)}}", legend)) <= there, title


@by_name
def test_variables_choose_data_source_and_namespaces(path: Path) -> None:
    board = expressions.dashboard(path)
    assert [variable["name"] for variable in board["templating"]["list"]] == ["datasource", "namespace"]
    assert board["uid"] == f"odradek-{path.stem}"
    for panel in board["panels"]:
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}"


@by_name
def test_panels_do_not_overlap(path: Path) -> None:
    def cells(panel: Any) -> set[tuple[int, int]]:
        at = panel["gridPos"]
        return set(itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])))

    taken: set[tuple[int, int]] = set()
    for panel in expressions.dashboard(path)["panels"]:
        assert not taken & cells(panel), panel["title"]
        taken |= cells(panel)
    assert max(x for x, _ in taken) < 24


@pytest.mark.slow
@pytest.mark.timeout(1800)  # where promtool has to be built first
def test_every_expression_is_promql(promtool: Path, tmp_path: Path) -> None:
    """As rules with the variables filled in, which Prometheus' own parser reads."""
    rules = []
    for path, number in zip(expressions.DASHBOARDS, itertools.count()):
        for place, (_, expression, _) in enumerate(expressions.targets(path)):
            filled = expression.replace("$__rate_interval", "5m").replace("$namespace", ".*")
            rules.append({"record": f"d{number}:p{place}", "expr": filled})
    assert len(rules) > 60
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run([promtool, "check", "rules", file], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
