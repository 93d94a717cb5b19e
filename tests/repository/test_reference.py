"""The generated parts of docs/reference are up to date; `make reference` makes them so."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
PAGES = ("records", "metrics", "acls", "helm")


@pytest.fixture(autouse=True)
def _scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(REFERENCE)
    for name in ("ODRADEK_LOG", "ODRADEK_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", PAGES)
def test_page_is_up_to_date(name: str) -> None:
    maker = importlib.import_module(f"make_{name}")
    page, made = maker.PAGE, maker.text()
    assert importlib.import_module("generated").spliced(page, made) == page.read_text(), "run: make reference"


def test_page_of_the_command_names_every_command_and_option() -> None:
    """The words of the page, and not its lines: versions of click break lines in different places."""
    page = REFERENCE / "cli.md"
    made = importlib.import_module("make_cli").text()
    assert _words(made) == _words(page.read_text().partition("<!-- generated")[2]), "run: make reference"


def _words(text: str) -> set[str]:
    return set(re.findall(r"^## .+$|--[a-z][a-z-]+|\bODRADEK_\w+", text, re.MULTILINE))


def test_links_inside_the_records_lead_somewhere() -> None:
    text = (REFERENCE / "records.md").read_text()
    wanted = set(re.findall(r"\]\(#([\w-]+)\)", text))
    there = {head.lower().replace(" ", "-") for head in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}
    assert wanted <= there


def test_metrics_named_on_the_page_exist() -> None:
    before, _, tables = (REFERENCE / "metrics.md").read_text().partition("<!-- generated")
    named = set(re.findall(r"`(odradek_\w+)`", before))
    assert named
    assert named <= set(re.findall(r"`(odradek_\w+)`", tables))
