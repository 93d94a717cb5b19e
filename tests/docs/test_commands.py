"""Every `odradek` command that a page names exists, with its options: nobody looks them up at three in the morning."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from odradek.cli import main

REPOSITORY = Path(__file__).parents[2]
PAGES = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
COMMAND = re.compile(r"^(?: {4}|\$ )odradek (.+)$|`odradek (?!… |on )([^`]+)`", re.MULTILINE)
"""The benchmarks' page calls what it measures so."""


def commands(page: Path) -> list[str]:
    """Without comments; " / " between words lists several of them."""
    found = (" ".join((a_line or in_text).split()) for a_line, in_text in COMMAND.findall(page.read_text()))
    return [command.partition(" #")[0] for command in found if " / " not in command]


def options(of: click.Command) -> dict[str, click.Option]:
    found = [one for one in of.params if isinstance(one, click.Option)]
    return {name: one for one in found for name in (*one.opts, *one.secondary_opts)}


def problem(command: str) -> str:
    """What does not exist of it; empty: all does."""
    found: click.Command = main
    words = shlex.split(command)
    while words:
        word = words.pop(0)
        if word.startswith("-"):
            name = word.partition("=")[0]
            if name not in options(found):
                return f"{command}: {found.name} has no {name}"
            if not options(found)[name].is_flag and "=" not in word and words:
                words.pop(0)
        elif isinstance(found, click.Group) and word != "…":
            named = found.get_command(click.Context(found), word)
            if named is None:
                return f"{command}: {found.name} has no {word}"
            found = named
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_a_page_exists(page: Path) -> None:
    assert [wrong for command in commands(page) if (wrong := problem(command))] == []


def test_commands_are_found() -> None:
    assert len([command for page in PAGES for command in commands(page)]) > 200


@pytest.mark.parametrize("command", ["topics mend", "task-queue describe payments --al", "--logs x doctor", "doktor"])
def test_a_command_that_does_not_exist_is_noticed(command: str) -> None:
    assert problem(command)
