"""The source of live functions as syntax trees: one parse per file, and none where there is no source."""

from __future__ import annotations

import ast
import linecache
import re
import time
from collections.abc import Iterator
from functools import lru_cache
from types import FunctionType

Function = ast.FunctionDef | ast.AsyncFunctionDef
MUTATORS = frozenset((
    "append", "appendleft", "extend", "extendleft", "insert", "pop", "popleft", "popitem", "remove", "discard", "add",
    "clear", "update", "setdefault", "sort", "reverse", "rotate", "subtract", "difference_update",
    "intersection_update", "symmetric_difference_update",
))  # fmt: skip
"""Methods that change a list, a dict or a set."""
PARSED_AGAIN_MAX = 5
_MARK = re.compile(r"#\s*odradek:\s*deterministic\b")


class Source:
    """One file."""

    def __init__(self, text: str) -> None:
        self.tree = _parse(text)
        self._marked = {number for number, line in enumerate(text.splitlines(), 1) if _MARK.search(line)}
        self._functions = {_first_line(node): node for node in ast.walk(self.tree) if isinstance(node, Function)}
        self.mutated = {name for node in self._functions.values() for name in _mutated(node)}
        """Module-level names that functions of the file change."""

    def node(self, function: FunctionType) -> Function | None:
        """None if the file is no longer what the function was made of."""
        found = self._functions.get(function.__code__.co_firstlineno)
        return found if found is not None and found.name == function.__code__.co_name else None

    def is_marked(self, first: int, last: int) -> bool:
        """Whether ``# odradek: deterministic`` stands on one of the lines."""
        return any(first <= line <= last for line in self._marked)

    def is_marked_whole(self, node: Function) -> bool:
        return self.is_marked(_first_line(node), max(node.lineno, node.body[0].lineno - 1))


def _parse(text: str) -> ast.Module:
    """Python below 3.11.5 counts the depth of all threads' trees together, and may find that it does not add up."""
    for _ in range(PARSED_AGAIN_MAX):
        try:
            return ast.parse(text)
        except SystemError:
            time.sleep(0.01)
    return ast.parse(text)


def source_of(function: FunctionType) -> Source | None:
    lines = linecache.getlines(function.__code__.co_filename, function.__globals__)
    return _parsed("".join(lines)) if lines else None


@lru_cache(256)
def _parsed(text: str) -> Source | None:
    try:
        return Source(text)
    except (SyntaxError, ValueError):
        return None


def bound_names(node: ast.AST) -> Iterator[str]:
    """Names that a function binds anywhere in it, functions inside it included, but for those that are ``global``."""
    outside = {name for part in ast.walk(node) if isinstance(part, ast.Global) for name in part.names}
    for part in ast.walk(node):
        match part:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()) | ast.arg(arg=name) if name not in outside:
                yield name
            case ast.alias(name=name, asname=alias):
                yield alias or name.partition(".")[0]
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                if part is not node:
                    yield name
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield name
            case ast.MatchMapping(rest=str(name)):
                yield name


def _first_line(node: Function) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


def _mutated(function: Function) -> Iterator[str]:
    local = set(bound_names(function))
    for node in ast.walk(function):
        match node:
            case ast.Global(names=names):
                yield from names
            case ast.Subscript(value=ast.Name(id=name), ctx=ast.Store() | ast.Del()) if name not in local:
                yield name
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=attr)) if attr in MUTATORS:
                if name not in local:
                    yield name
