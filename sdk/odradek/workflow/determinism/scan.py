"""One function, read: which lines of it no replay can repeat, and which functions it calls."""

from __future__ import annotations

import ast
import asyncio
import builtins
import collections
import contextlib
import inspect
import os
import pathlib
import sys
from dataclasses import dataclass
from functools import cached_property, lru_cache
from types import FunctionType, MethodType, ModuleType
from typing import Any, Final, NamedTuple

from odradek.workflow.calls import unsafe, wait_condition
from odradek.workflow.determinism.findings import Finding
from odradek.workflow.determinism.source import MUTATORS, Function, Source, bound_names, source_of
from odradek.workflow.determinism.table import ENVIRONMENT, SHARED, WITHOUT_ARGUMENTS, Rule, refused

_UNKNOWN: Final = object()
_MUTABLE: Final = (list, dict, set, bytearray, collections.deque, collections.defaultdict, collections.OrderedDict,
                   collections.Counter)  # fmt: skip
_LOOPS: Final = (asyncio.get_running_loop, asyncio.get_event_loop)
_ORDERING: Final = (list, tuple, enumerate, iter, zip, map, filter, reversed)
"""They hand on the order of what they are given; of other calls it is not known, or it does not matter."""
_ANY_ORDER: Final = (sorted, sum, min, max, any, all, set, frozenset)
_UNORDERED: Final = Rule(
    "the order of a set of texts or objects differs from process to process",
    "write sorted(…), or keep a list or a dict",
    "",
)
_ADDRESS: Final = Rule("its value differs from process to process", "compare or key by a value of your own", "")


class Called(NamedTuple):
    """A function that a workflow calls, and what its ``self`` is."""

    function: Any
    """A ``FunctionType``, which a type checker takes for a descriptor here."""
    cls: type | None


@dataclass(frozen=True)
class Scanned:
    """What one function came to."""

    findings: tuple[Finding, ...] = ()
    calls: tuple[Called, ...] = ()


class _Of:
    """Some instance of a class."""

    def __init__(self, cls: type) -> None:
        self.cls = cls


def scan(called: Called) -> Scanned:
    """Read one function; nothing comes of one whose source is not there."""
    source = source_of(called.function)
    node = source.node(called.function) if source is not None else None
    if source is None or node is None or source.is_marked_whole(node):
        return Scanned()
    reader = _Reader(called, source, node)
    for statement in node.body:
        reader.visit(statement)
    return Scanned(tuple(reader.findings), tuple(reader.calls))


class _Names:
    """What the names of one function stand for, as far as that can be known."""

    def __init__(self, called: Called, node: Function, *, knows_attributes: bool = True) -> None:
        function = called.function
        self._knows_attributes = knows_attributes
        self._globals = function.__globals__
        self.bound = set(bound_names(node))
        self.enclosing: dict[str, Any] = {}
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            with contextlib.suppress(ValueError):  # not bound yet
                self.enclosing[name] = cell.cell_contents
        self.inner: dict[str, ast.AST] = {}
        self._assigned: dict[str, ast.expr | None] = {}
        self._annotated: dict[str, ast.expr] = {}
        self._imported: dict[str, Any] = {}
        self._self: dict[str, _Of] = {}
        self._learn(node, called.cls)

    def _learn(self, node: Function, cls: type | None) -> None:
        first = next(iter([*node.args.posonlyargs, *node.args.args]), None)
        if cls is not None and first is not None:
            self._self[first.arg] = _Of(cls)
        for part in ast.walk(node):
            match part:
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    self._assigned[name] = None if name in self._assigned else value
                    if isinstance(value, ast.Lambda):
                        self.inner[name] = value
                case ast.Name(id=name, ctx=ast.Store()):
                    self._assigned.setdefault(name, None)
                case ast.AnnAssign(target=ast.Name(id=name), annotation=hint) | ast.arg(arg=name, annotation=hint):
                    if hint is not None:
                        self._annotated[name] = hint
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if part is not node:
                    self.inner[name] = part
                case ast.Import() | ast.ImportFrom():
                    self._imported |= _imported(part)

    def is_global(self, name: str) -> bool:
        return name not in self.bound and name not in self.enclosing and name in self._globals

    def of(self, node: ast.AST) -> Any:
        """The live object that an expression stands for, an ``_Of`` if only its type is known, else ``_UNKNOWN``."""
        match node:
            case ast.Name(id=name):
                return self._of_name(name)
            case ast.Attribute(value=inner, attr=attr):
                return self._of_attribute(self.of(inner), attr)
            case ast.Call(func=function):
                return _result(self.of(function), self)
            case ast.Await(value=ast.Call(func=function)):
                return _UNKNOWN
            case ast.Subscript(value=inner) if isinstance(cls := self.of(inner), type):
                return cls  # set[str] in an annotation
            case ast.Set(elts=parts):
                numbers = all(isinstance(part, ast.Constant) and isinstance(part.value, int) for part in parts)
                return _UNKNOWN if numbers else _Of(set)
            case ast.SetComp():
                return _Of(set)
            case ast.BinOp(left=left, right=right):
                return self._of_operation(self.of(left), self.of(right))
        return _UNKNOWN

    def _of_attribute(self, base: Any, attr: str) -> Any:
        found = _attribute(base, attr)
        if found is _UNKNOWN and isinstance(base, _Of) and self._knows_attributes:
            return _made_in_init(base.cls).get(attr, _UNKNOWN)
        return found

    def _of_operation(self, left: Any, right: Any) -> Any:
        for side in (left, right):
            if isinstance(side, _Of) and issubclass(side.cls, set | frozenset | pathlib.PurePath):
                return side
        return _UNKNOWN

    def _of_name(self, name: str) -> Any:
        if name in self._self:
            return self._self[name]
        if name in self._imported:
            return self._imported[name]
        if name in self._annotated and isinstance(cls := self.of(self._annotated[name]), type):
            return _Of(cls)
        if name in self.bound:
            value = self._assigned.pop(name, None)  # out of the way while it is looked at: it may name itself
            known = _UNKNOWN if value is None else self.of(value)
            self._assigned[name] = value
            return known if isinstance(known, _Of) else _UNKNOWN
        if name in self.enclosing:
            return self.enclosing[name]
        if name == "super" and "__class__" in self.enclosing:
            return builtins.super
        return self._globals.get(name, getattr(builtins, name, _UNKNOWN))


def _imported(node: ast.Import | ast.ImportFrom) -> dict[str, Any]:
    """What is imported already; nothing is imported for the check."""
    found: dict[str, Any] = {}
    for alias in node.names:
        if isinstance(node, ast.Import):
            path = alias.name if alias.asname else alias.name.partition(".")[0]
            found[alias.asname or path] = sys.modules.get(path, _UNKNOWN)
        elif not node.level:
            found[alias.asname or alias.name] = getattr(sys.modules.get(node.module or ""), alias.name, _UNKNOWN)
    return found


@lru_cache(1024)
def _made_in_init(cls: type) -> dict[str, _Of]:
    """Attributes whose type ``__init__`` shows: ``self.names = set()``."""
    function = cls.__init__  # type: ignore[misc]
    source = source_of(function) if isinstance(function, FunctionType) else None
    node = source.node(function) if source is not None and isinstance(function, FunctionType) else None
    if node is None or not node.args.args:
        return {}
    names = _Names(Called(function, cls), node, knows_attributes=False)
    found: dict[str, _Of] = {}
    for part in ast.walk(node):
        match part:
            case (
                ast.Assign(targets=[ast.Attribute(value=ast.Name(id=name), attr=attr)], value=ast.expr() as value)
                | ast.AnnAssign(target=ast.Attribute(value=ast.Name(id=name), attr=attr), value=ast.expr() as value)
            ) if name == node.args.args[0].arg:
                known = names.of(value)
                if isinstance(known, _Of):
                    found[attr] = known
    return found


def _attribute(base: Any, attr: str) -> Any:
    if base is _UNKNOWN or not isinstance(base, ModuleType | type | _Of):
        return _UNKNOWN
    if isinstance(base, ModuleType):
        return vars(base).get(attr, _UNKNOWN)
    try:
        value = getattr(base.cls if isinstance(base, _Of) else base, attr, _UNKNOWN)
    except Exception:
        return _UNKNOWN
    # Of an object, its methods only: what stands in the class under an attribute's name is but its default.
    return value if isinstance(base, type) or callable(value) or isinstance(value, property) else _UNKNOWN


def _result(function: Any, names: _Names) -> Any:
    if function is builtins.super:
        return _Of(names.enclosing["__class__"].__base__) if "__class__" in names.enclosing else _UNKNOWN
    if isinstance(function, type):
        return _Of(function)
    return _Of(asyncio.AbstractEventLoop) if any(function is loop for loop in _LOOPS) else _UNKNOWN


class _Reader(ast.NodeVisitor):
    def __init__(self, called: Called, source: Source, node: Function) -> None:
        self.findings: list[Finding] = []
        self.calls: list[Called] = []
        self._source = source
        self._file = called.function.__code__.co_filename
        self._function = called.function.__qualname__.rpartition("<locals>.")[2]
        self._names = _Names(called, node)
        self._refused = refused()
        self._lines = (0, 0)
        self._read: set[ast.AST] = set()

    # ------------------------------------------------------------------------------------------ what is found

    def _report(self, node: ast.expr | ast.stmt, what: str, rule: Rule, *, is_error: bool = True) -> None:
        if not self._is_marked(node):
            place = (self._file, node.lineno, self._function)
            finding = Finding(*place, what, rule.reason, rule.instead, is_error)
            if finding not in self.findings:
                self.findings.append(finding)

    def _is_marked(self, node: ast.expr | ast.stmt) -> bool:
        first, last = min(self._lines[0], node.lineno), max(self._lines[1], node.end_lineno or node.lineno)
        return self._source.is_marked(first, last)

    def visit(self, node: ast.AST) -> Any:
        if isinstance(node, ast.stmt):
            simple = not hasattr(node, "body")
            self._lines = (node.lineno, (node.end_lineno if simple else None) or node.lineno)
        return super().visit(node)

    # ------------------------------------------------------------------------------------------ calls

    def visit_Call(self, node: ast.Call) -> None:
        function = self._names.of(node.func)
        found = self._rule(function)
        if found is not None:
            name, rule = found
            if not (name in WITHOUT_ARGUMENTS and (node.args or node.keywords)):
                self._report(node, f"{name}()", rule)
        elif function is builtins.hash or function is builtins.id:
            self._report(node, f"{function.__name__}()", _ADDRESS, is_error=False)
        elif isinstance(node.func, ast.Name) and node.func.id in self._names.inner:
            self._read_inner(self._names.inner[node.func.id])
        elif function is not _UNKNOWN:
            self._follow(node, function)
        self._mutation(node)
        if any(function is one for one in _ORDERING):
            for argument in node.args:
                self._order(argument)
        elif isinstance(node.func, ast.Attribute) and node.func.attr == "join":
            self._order(*node.args)
        self._visit_arguments(node, function)

    def _visit_arguments(self, node: ast.Call, function: Any) -> None:
        # A function that is handed to the API becomes a step or an activity, but for a condition that is waited for.
        ours = str(getattr(function, "__module__", "")).startswith("odradek.") and function is not wait_condition
        runs_here = function is not _UNKNOWN and not ours
        any_order = any(function is one for one in _ANY_ORDER)
        self.visit(node.func)
        for argument in [*node.args, *(keyword.value for keyword in node.keywords)]:
            if isinstance(argument, ast.Lambda):
                if runs_here:
                    self._read_inner(argument)
            elif any_order and isinstance(argument, ast.GeneratorExp | ast.ListComp):
                self.generic_visit(argument)
            else:
                self.visit(argument)

    def _rule(self, function: Any) -> tuple[str, Rule] | None:
        return self._refused.get(function) if function is not _UNKNOWN and _hashable(function) else None

    def _follow(self, node: ast.Call | ast.Attribute, function: Any) -> None:
        if self._is_marked(node):
            return
        cls: type | None = None
        at = node.func if isinstance(node, ast.Call) else node
        if isinstance(at, ast.Attribute) and isinstance(base := self._names.of(at.value), _Of):
            cls = base.cls
        if isinstance(function, type):
            for name in ("__init__", "__post_init__", "__new__"):
                self._call(vars(function).get(name), function if name != "__new__" else None)
        elif isinstance(function, MethodType):
            self._call(function.__func__, None)
        else:
            self._call(function, cls)

    def _call(self, function: Any, cls: type | None) -> None:
        function = function.__func__ if isinstance(function, staticmethod) else function
        if callable(function):
            with contextlib.suppress(ValueError):  # wraps itself
                inner = inspect.unwrap(function)
                if isinstance(inner, FunctionType):
                    self.calls.append(Called(inner, cls))

    def _read_inner(self, inner: ast.AST) -> None:
        """A function inside this one: read when it is called, since one that is only passed on may be a step."""
        if inner in self._read:
            return
        self._read.add(inner)
        lines = self._lines
        if isinstance(inner, ast.Lambda):
            self.visit(inner.body)
        elif isinstance(inner, Function) and not self._source.is_marked_whole(inner):
            for statement in inner.body:
                self.visit(statement)
        self._lines = lines

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None: ...

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None: ...

    def visit_ClassDef(self, node: ast.ClassDef) -> None: ...

    def visit_Lambda(self, node: ast.Lambda) -> None: ...

    # ------------------------------------------------------------------------------------------ state that is shared

    def visit_Global(self, node: ast.Global) -> None:
        self._report(node, f"global {', '.join(node.names)}", SHARED)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if isinstance(node.ctx, ast.Store | ast.Del) and self._is_shared(node.value):
            self._report(node, f"a change of {ast.unparse(node.value)}", SHARED)
        self.generic_visit(node)

    def _mutation(self, node: ast.Call) -> None:
        match node.func:
            case ast.Attribute(value=value, attr=attr) if attr in MUTATORS and self._is_shared(value):
                self._report(node, f"{ast.unparse(node.func)}()", SHARED)

    def _is_shared(self, node: ast.expr) -> bool:
        """A mutable value of a module or of a class."""
        return self._begins_outside(node) and type(self._names.of(node)) in _MUTABLE

    def _begins_outside(self, node: ast.expr) -> bool:
        while isinstance(node, ast.Attribute):
            node = node.value
        return isinstance(node, ast.Name) and self._names.is_global(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        base = self._names.of(node.value)
        if isinstance(node.ctx, ast.Store | ast.Del):
            if isinstance(base, ModuleType | type) and self._begins_outside(node):
                self._report(node, f"a change of {ast.unparse(node)}", SHARED)
        elif isinstance(base, _Of):
            found = inspect.getattr_static(base.cls, node.attr, None)
            if isinstance(found, property | cached_property):
                self._call(found.fget if isinstance(found, property) else found.func, base.cls)
        self._environment(node)
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        self._environment(node)
        if isinstance(node.ctx, ast.Load) and self._names.is_global(node.id) and node.id in self._source.mutated:
            value = self._names.of(node)
            if isinstance(value, (*_MUTABLE, int, float, str)) or value is None:
                self._report(node, f"{node.id}, which code of this module changes", SHARED, is_error=False)

    def _environment(self, node: ast.Name | ast.Attribute) -> None:
        if any(self._names.of(node) is one for one in (os.environ, getattr(os, "environb", os.environ))):
            self._report(node, "os.environ", ENVIRONMENT)

    # ------------------------------------------------------------------------------------------ order, and ways out

    def visit_With(self, node: ast.With) -> None:
        calls = [item.context_expr for item in node.items if isinstance(item.context_expr, ast.Call)]
        if not any(self._names.of(call.func) is unsafe.sandbox_unrestricted for call in calls):
            self.generic_visit(node)

    def visit_For(self, node: ast.For) -> None:
        self._order(node.iter)
        self.generic_visit(node)

    def visit_Starred(self, node: ast.Starred) -> None:
        self._order(node.value)
        self.generic_visit(node)

    def visit_ListComp(self, node: ast.ListComp | ast.GeneratorExp | ast.DictComp) -> None:
        self._order(*(generator.iter for generator in node.generators))
        self.generic_visit(node)

    visit_GeneratorExp = visit_DictComp = visit_ListComp  # noqa: N815 - ast's names

    def _order(self, *iterated: ast.expr) -> None:
        for node in iterated:
            known = self._names.of(node)
            if isinstance(known, _Of) and issubclass(known.cls, set | frozenset):
                self._report(node, f"the order of {ast.unparse(node)}", _UNORDERED, is_error=False)


def _hashable(value: Any) -> bool:
    try:
        hash(value)
    except Exception:
        return False
    return True
