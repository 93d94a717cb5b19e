"""Alerts ask for what exists, fire when they should, and say where to read on."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.monitoring import cases, expressions

by_alert = pytest.mark.parametrize("rule", expressions.alerts(), ids=lambda rule: rule["alert"])


@by_alert
def test_every_metric_exists(rule: dict[str, Any]) -> None:
    asked = expressions.metrics(rule["expr"])
    assert asked
    assert asked <= expressions.known()


@by_alert
def test_every_label_exists(rule: dict[str, Any]) -> None:
    assert expressions.wrong_labels(rule["expr"]) == set()
    groups = expressions.groupings(rule["expr"])
    told = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
    assert told <= groups, "what an expression does not group by its alert has not"


def test_a_label_that_does_not_exist_is_noticed() -> None:
    wrong = 'sum by (namespace, queue) (odradek_activity_running{namespace="a", workflow_type="b"})'
    assert expressions.wrong_labels(wrong) == {"queue", "workflow_type"}
    assert expressions.metrics('odradek_no_such_total{namespace="odradek_in_a_text"}') - expressions.known()


@by_alert
def test_it_says_how_bad_what_and_where_to_read_on(rule: dict[str, Any]) -> None:
    assert rule["alert"].startswith("Odradek")
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    page, _, section = rule["annotations"]["runbook_url"].partition("#")
    assert page == str(expressions.RUNBOOKS.relative_to(expressions.REPOSITORY))
    assert rule["alert"] in _sections()[section], "the section does not name the alert"


def _sections() -> dict[str, str]:
    """By the name that a link to it has."""
    parts = re.split(r"^## (.+)$", expressions.RUNBOOKS.read_text(), flags=re.MULTILINE)[1:]
    return {head.lower().replace(" ", "-"): text for head, text in zip(parts[::2], parts[1::2], strict=True)}


def test_every_section_belongs_to_an_alert() -> None:
    told = {rule["annotations"]["runbook_url"].partition("#")[2] for rule in expressions.alerts()}
    assert set(_sections()) == told


def test_runbooks_link_to_sections_that_exist() -> None:
    assert set(re.findall(r"\]\(#([\w-]+)\)", expressions.RUNBOOKS.read_text())) <= set(_sections())


@pytest.mark.slow
@pytest.mark.timeout(1800)  # where promtool has to be built first
def test_promtool_reads_the_rules_and_the_configuration(promtool: Path) -> None:
    checked(promtool, "check", "rules", expressions.ALERTS)
    checked(promtool, "check", "config", "--syntax-only", expressions.REPOSITORY / "deploy" / "prometheus.yml")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_alerts_fire_when_they_should_and_rest_before(promtool: Path, tmp_path: Path) -> None:
    assert list(dict.fromkeys(case.alert for case in cases.CASES)) == [rule["alert"] for rule in expressions.alerts()]
    file = tmp_path / "cases.yaml"
    file.write_text(yaml.safe_dump(cases.promtool_file()))
    checked(promtool, "test", "rules", file)


def checked(*command: str | Path) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
