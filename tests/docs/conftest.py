"""Runs the Python of the documentation: the ``python`` blocks of a page are one module, in the page's order.

Functions named ``test_…`` in it are tests, coroutines too, with the fixtures of odradek's pytest plugin. A block that
is marked ``python no-run`` is only compiled. Which pages: see ``pages.txt`` beside this file.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, ModuleType
from typing import NamedTuple

import pytest

REPOSITORY = Path(__file__).parents[2]
LIST = "pages.txt"
FENCE = re.compile(
    r"^(?P<indent> *)(?P<fence>```+)(?P<info>[^\n`]*)\n(?P<code>.*?)^(?P=indent)(?P=fence) *$", re.MULTILINE | re.DOTALL
)


class Block(NamedTuple):
    """A block of Python, as it stands in its page."""

    code: str
    line: int
    """Of its first line of code, from 1."""
    runs: bool


def blocks_of(text: str) -> list[Block]:
    """The Python blocks of a page. Raises ``ValueError`` for a mark that nobody knows."""
    found: list[Block] = []
    for match in FENCE.finditer(text):
        language, *marks = match["info"].split() or [""]
        if language != "python":
            continue
        line = text.count("\n", 0, match.start("code")) + 1
        if marks not in ([], ["no-run"]):
            raise ValueError(f"line {line - 1}: ```{match['info']}: only ```python and ```python no-run are known")
        found.append(Block(textwrap.dedent(match["code"]), line, not marks))
    return found


def compiled(blocks: list[Block], path: Path) -> CodeType:
    """One module of those that run; its line numbers are the page's. Raises ``SyntaxError``."""
    source = ""
    for block in blocks:
        if block.runs:
            source += "\n" * (block.line - 1 - source.count("\n")) + block.code
        else:
            compile("\n" * (block.line - 1) + block.code, str(path), "exec", dont_inherit=True)
    return compile(source, str(path), "exec", dont_inherit=True)


class Page(pytest.Module):
    """A page as a test module."""

    def _getobj(self) -> ModuleType:
        name = "docs_" + re.sub(r"\W", "_", str(self.path.relative_to(REPOSITORY).with_suffix("")))
        module = ModuleType(name)
        module.__file__ = str(self.path)
        sys.modules[name] = module  # where types are looked up by their name
        exec(compiled(blocks_of(self.path.read_text()), self.path), vars(module))
        # Every page counts as a test, so that what it does at its top level is seen to have run.
        vars(module).setdefault("test_page", lambda: None)
        return module


class Pages(pytest.File):
    """The list of pages."""

    def collect(self) -> Iterator[Page]:
        for pattern in self.path.read_text().split():
            for path in sorted(REPOSITORY.glob(pattern)):
                if blocks_of(path.read_text()):
                    yield Page.from_parent(self, path=path)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> Pages | None:
    return Pages.from_parent(parent, path=file_path) if file_path.name == LIST else None


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a page writes, it does not write it into the repository."""
    monkeypatch.chdir(tmp_path)
