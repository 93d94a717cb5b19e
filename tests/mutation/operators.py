"""Every small change that could be made to a module: one at a time, as text, inside its functions.

What nobody's test should notice is left alone: log lines, asserts, texts, annotations, defaults, decorators.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import unified_diff
from typing import Any

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.Mod: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
    ast.LShift: ast.RShift,
}
CALLS = {
    "min": "max",
    "max": "min",
    "any": "all",
    "all": "any",
    "append": "appendleft",
    "appendleft": "append",
    "popleft": "pop",
    "sorted": "list",
    "reversed": "list",
}
BIG = 100
"""A number from here on is doubled: one more of it is one more millisecond or byte."""


@dataclass(frozen=True)
class Mutant:
    """One change. ``scope`` is the outermost function around it, ``nth`` of those that share its qualified name."""

    path: str
    scope: str
    nth: int
    first: int
    last: int
    operator: str
    before: str
    after: str
    number: int
    """Among those of the scope that read the same."""
    start: int
    end: int
    """Bytes of the source that ``after`` replaces."""

    @property
    def name(self) -> str:
        """The same for as long as the function says this: independent of line numbers."""
        module = self.path.rpartition("/")[2].removesuffix(".py")
        return f"{module}:{self.scope}: {_short(self.before)} ⟶ {_short(self.after)}" + (
            f" #{self.number}" if self.number else ""
        )

    def applied(self, source: bytes) -> bytes:
        return source[: self.start] + self.after.encode() + source[self.end :]

    def diff(self, source: bytes) -> str:
        old, new = source.decode().splitlines(), self.applied(source).decode().splitlines()
        return "\n".join(unified_diff(old, new, self.path, self.path, n=2, lineterm=""))


def _short(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def mutants(path: str, source: bytes) -> list[Mutant]:
    """All mutants of a module, in the order of its text."""
    return list(_Module(path, source).mutants())


class _Module:
    def __init__(self, path: str, source: bytes) -> None:
        self.path, self.source = path, source
        self.tree = ast.parse(source)
        self.starts = [0]
        for line in source.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))

    def mutants(self) -> Iterator[Mutant]:
        for scope, nth, function in _functions(self.tree):
            same: Counter[tuple[str, str]] = Counter()
            for change in _Changes(self, function).found():
                start, end, operator, after = change
                before = self.source[start:end].decode()
                mutant = Mutant(
                    self.path, scope, nth, self.line(start), self.line(max(start, end - 1)), operator, before, after,
                    same[before, after], start, end,
                )  # fmt: skip
                same[before, after] += 1
                yield mutant

    def line(self, at: int) -> int:
        return self.source.count(b"\n", 0, at) + 1

    def span(self, node: Any) -> tuple[int, int]:
        return (
            self.starts[node.lineno - 1] + node.col_offset,
            self.starts[node.end_lineno - 1] + node.end_col_offset,
        )

    def text(self, node: ast.AST) -> str:
        start, end = self.span(node)
        return self.source[start:end].decode()


def _functions(tree: ast.Module) -> Iterator[tuple[str, int, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """The outermost functions of a module with their qualified names; a property's setter shares its getter's."""
    names: Counter[str] = Counter()

    def of(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, int, ast.FunctionDef | ast.AsyncFunctionDef]]:
        for node in body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield prefix + node.name, names[prefix + node.name], node
                names[prefix + node.name] += 1
            elif isinstance(node, ast.ClassDef):
                yield from of(node.body, f"{prefix}{node.name}.")

    return of(tree.body, "")


Change = tuple[int, int, str, str]


class _Changes:
    """The changes of one function: (start, end, operator, text instead)."""

    def __init__(self, module: _Module, function: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.module = module
        self.function = function
        self.bound = {arg.arg for arg in ast.walk(function.args) if isinstance(arg, ast.arg)}

    def found(self) -> list[Change]:
        changes = [change for statement in self.function.body for change in self.of(statement)]
        return sorted(dict.fromkeys(changes))

    def replaced(self, node: ast.AST, operator: str, text: str) -> Change:
        return (*self.module.span(node), operator, text)

    def of(self, node: ast.AST) -> Iterator[Change]:
        if _is_left_alone(node):
            return
        if isinstance(node, ast.stmt):
            yield from self.statement(node)
        elif isinstance(node, ast.expr):
            yield from self.expression(node)
        elif isinstance(node, ast.comprehension):
            for test in node.ifs:
                yield from self.test(test)
        elif isinstance(node, ast.match_case):
            yield from self.case(node)
        elif isinstance(node, ast.ExceptHandler) and node.type is not None:
            yield self.replaced(node.type, "handler", "()")
        for child in _children(node):
            yield from self.of(child)

    # ------------------------------------------------------------------------------------------ statements

    def statement(self, node: ast.stmt) -> Iterator[Change]:
        match node:
            case ast.Expr(value=ast.Call() | ast.Await()) | ast.AugAssign() | ast.Delete() | ast.Raise() | ast.Return():
                yield self.replaced(node, "removed", f"if 0: {self.module.text(node)}")
            case ast.Assign(targets=targets):
                if all(self.can_stay(target) for target in targets):
                    yield self.replaced(node, "removed", f"if 0: {self.module.text(node)}")
                self.bound |= {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}
            case ast.Continue():
                yield self.replaced(node, "removed", "pass")
                yield self.replaced(node, "loop", "break")
            case ast.Break():
                yield self.replaced(node, "removed", "pass")
            case ast.If(test=test) | ast.While(test=test):
                yield from self.test(test)
            case _:
                pass
        if isinstance(node, ast.AugAssign) and type(node.op) in ARITHMETIC:
            changed = ast.AugAssign(node.target, ARITHMETIC[type(node.op)](), node.value)
            yield self.replaced(node, "arithmetic", ast.unparse(changed))

    def can_stay(self, target: ast.expr) -> bool:
        """Without the assignment there would still be a value."""
        if isinstance(target, ast.Tuple):
            return all(self.can_stay(part) for part in target.elts)
        if isinstance(target, ast.Name):
            return target.id in self.bound
        return self.function.name != "__init__"

    def test(self, test: ast.expr) -> Iterator[Change]:
        if not isinstance(test, (ast.Compare, ast.BoolOp, ast.UnaryOp, ast.Constant)):
            yield self.replaced(test, "negated", f"(not {_in_parentheses(test)})")

    def case(self, node: ast.match_case) -> Iterator[Change]:
        if isinstance(node.pattern, ast.MatchAs) and node.pattern.pattern is None and node.guard is None:
            return
        if node.guard is not None:
            yield self.replaced(node.guard, "guard", "True")
            yield self.replaced(node.guard, "guard", "False")
            return
        _, at = self.module.span(node.pattern)
        closing = re.match(rb"[\s)]*", self.module.source[at:])
        at += closing.end() if closing else 0
        yield at, at, "guard", " if False"

    # ------------------------------------------------------------------------------------------ expressions

    def expression(self, node: ast.expr) -> Iterator[Change]:
        match node:
            case ast.Compare():
                for place, operator in enumerate(node.ops):
                    for other in COMPARISONS[type(operator)]:
                        ops = [*node.ops[:place], other(), *node.ops[place + 1 :]]
                        yield self.changed(node, "comparison", ast.Compare(node.left, ops, node.comparators))
            case ast.BoolOp(op=op, values=values):
                yield self.changed(node, "and-or", ast.BoolOp(_other(op), values))
                for place in range(len(values)):
                    rest = values[:place] + values[place + 1 :]
                    yield self.changed(node, "operand", ast.BoolOp(op, rest) if len(rest) > 1 else rest[0])
            case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
                yield self.changed(node, "negated", operand)
            case ast.IfExp(test=test):
                yield from self.test(test)
            case ast.BinOp(left=left, op=operator, right=right) if type(operator) in ARITHMETIC:
                yield self.changed(node, "arithmetic", ast.BinOp(left, ARITHMETIC[type(operator)](), right))
            case ast.Constant(value=bool() | int() | float()):
                yield from self.constant(node)
            case ast.Call():
                yield from self.call(node)
            case _:
                pass

    def constant(self, node: ast.Constant) -> Iterator[Change]:
        match node.value:
            case bool(value):
                yield self.replaced(node, "constant", str(not value))
            case int(number) | float(number):
                for other in (number + 1, number - 1) if number < BIG else (number * 2,):
                    yield self.replaced(node, "constant", f"({other})" if other < 0 else str(other))

    def call(self, node: ast.Call) -> Iterator[Change]:
        match node.func:
            case ast.Name(id=name) | ast.Attribute(attr=name) if name in CALLS:
                _, end = self.module.span(node.func)
                yield end - len(name), end, "call", CALLS[name]
        for keyword in node.keywords:
            if isinstance(keyword.value, ast.Name | ast.Attribute) and keyword.arg:
                kept = [other for other in node.keywords if other is not keyword]
                yield self.changed(node, "argument", ast.Call(node.func, node.args, kept))

    def changed(self, node: ast.expr, operator: str, other: ast.expr) -> Change:
        return self.replaced(node, operator, _in_parentheses(other))


def _other(operator: ast.boolop) -> ast.boolop:
    return ast.Or() if isinstance(operator, ast.And) else ast.And()


def _in_parentheses(node: ast.expr) -> str:
    text = ast.unparse(ast.fix_missing_locations(node))
    return text if isinstance(node, (ast.Name, ast.Attribute, ast.Call, ast.Constant)) else f"({text})"


def _children(node: ast.AST) -> Iterator[ast.AST]:
    """What may be changed below a node."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "args") and not isinstance(node, ast.Call):
            continue
        yield from (item for item in (value if isinstance(value, list) else [value]) if isinstance(item, ast.AST))


def _is_left_alone(node: ast.AST) -> bool:
    match node:
        case ast.Assert() | ast.JoinedStr() | ast.Raise(exc=ast.Call(func=ast.Name(id="AssertionError"))):
            return True
        case ast.Expr(value=ast.Constant()) | ast.Call(func=ast.Name(id="cast")):
            return True
        case (
            ast.Call(func=ast.Attribute(value=ast.Name(id="_log")))
            | ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id="_log"))))
        ):
            return True
        case _:
            return False
