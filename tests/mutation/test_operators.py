"""The tool that tests the tests: what it changes, and what it leaves alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tests.mutation.judging import outermost
from tests.mutation.operators import mutants

SOURCE = b"""
LIMIT = 3

class Window:
    size: int = 1

    @property
    def last(self) -> int:
        return self._last

    @last.setter
    def last(self, value: int = 7) -> None:
        assert value > 0, "a text"
        _log.info("it is %d", value)
        if value <= LIMIT and not self.closed:
            self._last = value

def kind(thing):
    match thing:
        case (int() | None):
            found = "few"
        case _:
            raise AssertionError(thing)
    return found
"""


def test_every_change_of_a_function() -> None:
    changes = {(m.scope, m.nth, m.operator, m.before, m.after) for m in mutants("folder/window.py", SOURCE)}
    setter = ("Window.last", 1)
    condition = "value <= LIMIT and not self.closed"
    assert changes == {
        ("Window.last", 0, "removed", "return self._last", "if 0: return self._last"),
        (*setter, "comparison", "value <= LIMIT", "(value < LIMIT)"),
        (*setter, "comparison", "value <= LIMIT", "(value > LIMIT)"),
        (*setter, "and-or", condition, "(value <= LIMIT or not self.closed)"),
        (*setter, "operand", condition, "(not self.closed)"),
        (*setter, "operand", condition, "(value <= LIMIT)"),
        (*setter, "negated", "not self.closed", "self.closed"),
        (*setter, "removed", "self._last = value", "if 0: self._last = value"),
        ("kind", 0, "guard", "", " if False"),
        ("kind", 0, "removed", "return found", "if 0: return found"),
    }


def test_a_mutant_is_the_source_with_its_change() -> None:
    swap = next(m for m in mutants("folder/window.py", SOURCE) if m.after == "(value < LIMIT)")
    assert swap.applied(SOURCE) == SOURCE.replace(b"value <= LIMIT", b"(value < LIMIT)")
    assert swap.name == "window:Window.last: value <= LIMIT ⟶ (value < LIMIT)"
    assert "-        if value <= LIMIT and not self.closed:\n" in swap.diff(SOURCE)
    assert "+        if (value < LIMIT) and not self.closed:\n" in swap.diff(SOURCE)


def test_the_code_of_a_scope_is_found() -> None:
    """The setter's, which shares its name with the getter."""
    mutant = next(m for m in mutants("window.py", SOURCE) if m.after.startswith("if 0: self._last"))
    module = compile(mutant.applied(SOURCE), "window.py", "exec")
    names: dict[str, Any] = {}
    exec(compile(SOURCE, "window.py", "exec"), names)
    setter = names["Window"].last.fset
    setter.__code__ = outermost(module)[mutant.scope, mutant.nth]
    names["_log"] = SimpleNamespace(info=lambda *_: None)
    window = names["Window"]()
    window.closed, window._last = False, 0
    window.last = 2
    assert window._last == 0


def test_names_do_not_depend_on_lines() -> None:
    moved = [m.name for m in mutants("window.py", b"\n\n" + SOURCE)]
    assert moved == [m.name for m in mutants("window.py", SOURCE)]
    assert len(moved) == len(set(moved))
