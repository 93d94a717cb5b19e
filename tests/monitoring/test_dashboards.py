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

from odradek.orchestrator.core.paused import TYPE_PAUSED
from odradek.schemas.records import RunStatus
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
def test_every_label_exists(path: Path) -> None:
    for title, expression, _ in expressions.targets(path):
        assert expressions.wrong_labels(expression) == set(), title


@by_name
def test_values_that_are_selected_are_those_that_metrics_have(path: Path) -> None:
    values = {
        "what": {*RunStatus, "started", "parked", "history-long", "retried", "activity-failed"},
        "code": {TYPE_PAUSED},
        "namespace": {"$namespace"},
    }
    for title, expression, _ in expressions.targets(path):
        for _, label, chosen in expressions.selections(expression):
            assert set(chosen.split("|")) <= values[label], title


@by_name
def test_a_graph_that_a_healthy_fleet_leaves_empty_says_so(path: Path) -> None:
    """Of metrics that are there only while something is wrong, or waits."""
    for panel in expressions.dashboard(path)["panels"]:
        asked = set[str]().union(*(expressions.metrics(target["expr"]) for target in panel.get("targets", ())))
        if panel["type"] == "timeseries" and asked & expressions.ABSENT_WHEN_WELL:
            assert panel["fieldConfig"]["defaults"].get("noValue"), panel["title"]


@by_name
def test_variables_choose_data_source_and_namespaces(path: Path) -> None:
    board = expressions.dashboard(path)
    assert [variable["name"] for variable in board["templating"]["list"]] == ["datasource", "namespace"]
    assert board["uid"] == f"odradek-{path.stem}"
    source, namespace = board["templating"]["list"]
    assert source["current"] == {"text": "default", "value": "default"}, "else it begins with the first by name"
    assert namespace["datasource"]["uid"] == "${datasource}"
    assert re.fullmatch(r"label_values\((.+),\s*namespace\)", namespace["query"]["query"])
    for panel in board["panels"]:
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}"


@by_name
def test_what_grafana_takes_for_granted_is_there(path: Path) -> None:
    """The fields that its schema demands; and what it draws differently, or not, where a panel does not say so."""
    board = expressions.dashboard(path)
    compose = yaml.safe_load((expressions.REPOSITORY / "docker-compose.yml").read_text())
    needed = {"asDropdown", "icon", "includeVars", "keepTime", "tags", "targetBlank", "title", "tooltip", "type"}
    assert [needed - link.keys() for link in board["links"]] == [set()]
    for panel in board["panels"]:
        if panel["type"] == "row":
            continue
        assert compose["services"]["grafana"]["image"] == f"grafana/grafana:{panel['pluginVersion']}"
        if panel["type"] == "timeseries":
            assert panel["options"]["legend"]["calcs"] == []
            custom = panel["fieldConfig"]["defaults"]["custom"]
            assert custom["showPoints"] == "auto", "never: a value between two gaps would not be seen"


@by_name
def test_a_number_that_is_not_known_is_not_green(path: Path) -> None:
    """Grafana paints what stands for no value in the colour of the lowest threshold, unless that is mapped."""
    numbers = [panel for panel in expressions.dashboard(path)["panels"] if panel["type"] == "stat"]
    for defaults in (panel["fieldConfig"]["defaults"] for panel in numbers):
        mapped = [one["options"] for one in defaults.get("mappings", ()) if one["type"] == "special"]
        neutral = {"match": "null", "result": {"color": "text", "index": 0}}
        assert mapped == ([neutral] if defaults["noValue"] == "-" else [])


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
