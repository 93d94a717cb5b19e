"""Avro in the form of the current schemas, compiled per record type to straight-line Python.

The general library builds a dict per record and a call per field, five to ten times the cost; these are the hottest
lines of every process. A test holds the bytes against fastavro's. See docs/decisions/0002-compiled-codec.md.
"""

from __future__ import annotations

import dataclasses
import functools
import struct
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any, Final, ParamSpec, TypeVar

from odradek.schemas.records import Chunk

P = ParamSpec("P")
T = TypeVar("T")
Write = Callable[[Any], bytes]
Read = Callable[[bytes, int], tuple[Any, int]]


def cached(make: Callable[P, T]) -> Callable[P, T]:
    """``functools.cache`` that keeps the signature for type checkers."""
    return typing.cast(Callable[P, T], functools.cache(make))


def _zigzag(number: int) -> bytes:
    if not _LONG_MIN <= number <= _LONG_MAX:
        raise OverflowError(f"{number} is no 64-bit integer")
    rest = (number << 1) ^ (number >> 63)
    if rest < 1 << 14:
        return bytes((rest & 0x7F | 0x80, rest >> 7)) if rest > 0x7F else bytes((rest,))
    if rest < 1 << 21:
        return bytes((rest & 0x7F | 0x80, rest >> 7 & 0x7F | 0x80, rest >> 14))
    if rest < 1 << 28:
        return bytes((rest & 0x7F | 0x80, rest >> 7 & 0x7F | 0x80, rest >> 14 & 0x7F | 0x80, rest >> 21))
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


_LONG_MIN: Final = -(1 << 63)
_LONG_MAX: Final = (1 << 63) - 1
_ONE_BYTE: Final = tuple((byte >> 1) ^ -(byte & 1) for byte in range(128))
_SMALL: Final = tuple(_zigzag(number) for number in range(4096))
_zigzag_cached: Final = functools.lru_cache(8192)(_zigzag)
_DOUBLE: Final = struct.Struct("<d")
_CHUNK_HEAD: Final = [kind for name, kind in typing.get_type_hints(Chunk).items() if name != "events"]
_BOOLEANS: Final = (False, True)


def encode_long(number: int) -> bytes:
    return _SMALL[number] if -1 < number < 4096 else _zigzag_cached(number)


def read_long(data: bytes, at: int) -> tuple[int, int]:
    byte = data[at]
    at += 1
    value, shift = byte & 0x7F, 7
    while byte > 0x7F and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
    if shift == 70 and byte > 1:
        raise ValueError("an integer of more than 64 bits")
    return (value >> 1) ^ -(value & 1), at


def order(record_type: type) -> list[str]:
    """Field names as the schema has them: the version stands first, wherever the dataclass must keep it."""
    names = [f.name for f in dataclasses.fields(record_type)]
    return sorted(names, key=lambda name: name != "schema_version")


@cached
def writer(record_type: type) -> Write:
    """``write(record)`` returns the record's bytes."""
    return typing.cast(Write, _Writer(record_type).compile())


@cached
def reader(record_type: type) -> Read:
    """``read(data, at)`` returns the record that begins there and the place after it."""
    return typing.cast(Read, _Reader(record_type).compile())


def chunk_head(data: bytes, at: int) -> tuple[Chunk, int]:
    """A chunk that begins at ``at``, without its events, and the place of those, its last field."""
    values: list[Any] = []
    for kind in _CHUNK_HEAD:
        if kind is bool:
            values.append(data[at] == 1)
            at += 1
            continue
        number, at = read_long(data, at)
        if kind is str:
            values.append(data[at : at + number].decode())
            at += number
        else:
            values.append(number)
    return Chunk(*values), at


def members(hint: Any) -> tuple[list[Any], bool]:
    """The types of a union without None, and whether None was among them."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        found = [t for t in typing.get_args(hint) if t is not type(None)]
        return found, len(found) < len(typing.get_args(hint))
    return [hint], False


def _no_such_branch(data: bytes, at: int) -> typing.NoReturn:
    raise ValueError(f"no branch {data[at - 1]} of a union")


class Compiler:
    """Collects the lines of one function; what it calls is bound by name."""

    signature = ""

    def __init__(self, record_type: type) -> None:
        self.record_type = record_type
        self.hints = typing.get_type_hints(record_type)
        self.lines: list[str] = []
        self.scope: dict[str, Any] = {
            "S": _SMALL,
            "B": _BOOLEANS,
            "zz": _zigzag_cached,
            "J": b"".join,
            "text": _text,
            "Z": _ONE_BYTE,
            "long": read_long,
            "pack": _DOUBLE.pack,
            "unpack": _DOUBLE.unpack_from,
            "no_such_branch": _no_such_branch,
        }
        self.depth = 1
        self.names = 0

    def compile(self) -> Callable[..., Any]:
        _under_way.add(self.record_type)
        try:
            self.body()
        finally:
            _under_way.discard(self.record_type)
        text = "\n".join([f"def f({self.signature}):", *self.lines])
        exec(text, self.scope)  # noqa: S102 - built from our own field names
        made: Callable[..., Any] = self.scope["f"]
        return made

    def body(self) -> None:
        raise NotImplementedError

    def line(self, text: str) -> None:
        self.lines.append("    " * self.depth + text)

    def name(self, thing: Any = None) -> str:
        self.names += 1
        name = f"v{self.names}"
        if thing is not None:
            self.scope[name] = thing
        return name


class _Writer(Compiler):
    """One expression per record: a join of its fields, so that no list is appended to piece by piece."""

    signature = "r"

    def body(self) -> None:
        elements = [
            part for name in order(self.record_type) for part in self.value(self.hints[name], f"r.{name}", name)
        ]
        self.line(f"return {self.joined(elements)}")

    @staticmethod
    def joined(elements: Sequence[str]) -> str:
        return elements[0] if len(elements) == 1 else f"J(({', '.join(elements)}))"

    def value(self, hint: Any, source: str, name: str = "") -> list[str]:
        kinds, optional = members(hint)
        if optional:
            local = self.name()
            inner = self.joined(self.value(kinds[0], local, name))
            return [f"(b'\\0' if ({local} := {source}) is None else b'\\2' + {inner})"]
        if len(kinds) > 1:
            return [f"{self.name(union_writer(hint))}({source})"]
        return self.plain(hint, source, name)

    def plain(self, hint: Any, source: str, name: str) -> list[str]:
        if hint is int:
            local = self.name()
            return [f"(S[{local}] if -1 < ({local} := {source}) < 4096 else zz({local}))"]
        if hint is str and name in _REPEATED_TEXTS:
            return [f"text({source})"]
        if hint is str or hint is bytes:
            local, size = self.name(), self.name()
            data = f"{source}.encode()" if hint is str else source
            return [f"(S[{size}] if ({size} := len({local} := {data})) < 4096 else zz({size}))", local]
        if hint is bool:
            return [f"(b'\\1' if {source} else b'\\0')"]
        if hint is float:
            return [f"pack({source})"]
        if dataclasses.is_dataclass(hint):
            kind = typing.cast(type, hint)
            write = _function(writer, kind)
            return [f"{self.name(_by_identity(write) if kind.__name__ in _SHARED else write)}({source})"]
        return [self.many(typing.get_args(hint), source)]

    def many(self, arguments: Sequence[Any], source: str) -> str:
        local = self.name()
        item = self.joined(self.value(arguments[-1], "i"))
        if len(arguments) == 2:
            each = f"[{self.joined([*self.value(str, 'k'), item])} for k, i in {local}.items()]"
        else:
            each = f"[{item} for i in {local}]"
        count = f"(S[len({local})] if len({local}) < 4096 else zz(len({local})))"
        return f"(b'\\0' if not ({local} := {source}) else J(({count}, *{each}, b'\\0')))"


def union_writer(hint: Any) -> Write:
    """Writes a member of a union of records, behind its branch's number."""
    kinds = members(hint)[0]
    table: dict[type, tuple[bytes, Write]] = {
        kind: (encode_long(i), _function(writer, kind)) for i, kind in enumerate(kinds)
    }

    def write(value: Any) -> bytes:
        tag, branch = table[type(value)]
        return tag + branch(value)

    return write


def _by_identity(write: Write) -> Write:
    """For small records that many others share: the same object is written once."""
    known: dict[int, tuple[Any, bytes]] = {}

    def written(value: Any) -> bytes:
        found = known.get(id(value))
        if found is None:
            if len(known) >= _SHARED_MANY:
                known.clear()
            found = known[id(value)] = (value, write(value))  # the object is kept, so that its identity stays its own
        return found[1]

    return written


_SHARED: Final = frozenset({"RetryPolicy", "ActivityTimeouts"})
_SHARED_MANY: Final = 1024
_REPEATED_TEXTS: Final = frozenset(
    {
        "encoding",
        "activity_type",
        "workflow_type",
        "task_queue",
        "cancellation_type",
        "kind",
        "status",
        "retry_state",
        "namespace",
        "worker",
        "recipient",
        "identity",
    }
)
"""Fields with few different values: their bytes are remembered."""


@functools.lru_cache(8192)
def _text(text: str) -> bytes:
    data = text.encode()
    return encode_long(len(data)) + data


class _Reader(Compiler):
    signature = "d, p"

    def body(self) -> None:
        targets = {name: self.name() for name in order(self.record_type)}
        for name, target in targets.items():
            self.value(self.hints[name], target)
        made = self.name(self.record_type)
        self.line(f"return {made}({', '.join(targets[f.name] for f in self.fields())}), p")

    def fields(self) -> tuple[dataclasses.Field[Any], ...]:
        return dataclasses.fields(typing.cast(Any, self.record_type))

    def value(self, hint: Any, target: str) -> None:
        kinds, optional = members(hint)
        if optional:
            self.line(f"{target} = None; p += 1")
            self.line("if d[p-1] == 2:")
            self.depth += 1
            self.value(kinds[0], target)
            self.depth -= 1
            self.line("elif d[p-1]: no_such_branch(d, p)")
        elif len(kinds) > 1:
            # A branch's number is zigzag too, so every other byte is none.
            table = self.name(tuple(entry for kind in kinds for entry in (_function(reader, kind), _no_such_branch)))
            self.line(f"p += 1; {target}, p = {table}[d[p-1]](d, p)")
        else:
            self.plain(hint, target)

    def plain(self, hint: Any, target: str) -> None:
        if hint is int:
            self.line(f"{target} = d[p]")
            self.line(f"if {target} < 128: {target} = Z[{target}]; p += 1")
            self.line(f"else: {target}, p = long(d, p)")
        elif hint is str or hint is bytes:
            self.text(target, hint is str)
        elif hint is bool:
            self.line(f"{target} = B[d[p]]; p += 1")
        elif hint is float:
            self.line(f"{target} = unpack(d, p)[0]; p += 8")
        elif dataclasses.is_dataclass(hint):
            self.line(f"{target}, p = {self.name(_function(reader, typing.cast(type, hint)))}(d, p)")
        else:
            self.many(typing.get_args(hint), target)

    def text(self, target: str, is_str: bool) -> None:
        size = self.name()
        self.plain(int, size)
        self.line(f"{target} = d[p:p+{size}]; p += {size}")
        self.line(f"if len({target}) != {size}: raise ValueError('cut off')")
        if is_str:
            self.line(f"{target} = {target}.decode()")

    def many(self, arguments: Sequence[Any], target: str) -> None:
        count, item = self.name(), self.name()
        key = self.name() if len(arguments) == 2 else None
        self.line(f"if not d[p]: {target} = {'{}' if key else '()'}; p += 1")
        self.line("else:")
        self.depth += 1
        self.plain(int, count)
        self.line(f"{target} = {'{}' if key else '[]'}")
        self.line(f"while {count}:")
        self.depth += 1
        self.line(f"if {count} < 0: {count} = -{count}; p = long(d, p)[1]")
        self.line(f"for _ in range({count}):")
        self.depth += 1
        if key:
            self.text(key, is_str=True)
        self.value(arguments[-1], item)
        self.line(f"{target}[{key}] = {item}" if key else f"{target}.append({item})")
        self.depth -= 1
        self.plain(int, count)
        self.depth -= 1
        if not key:
            self.line(f"{target} = tuple({target})")
        self.depth -= 1


_under_way: set[type] = set()


def _function(make: Callable[[type], Any], record_type: type) -> Any:
    """The compiled function of a record type; one that is being compiled now is looked up at its first use."""
    return _Late(make, record_type) if record_type in _under_way else make(record_type)


class _Late:
    """A function that is compiled at its first use, since record types refer to themselves and to each other."""

    __slots__ = ("made", "make", "record_type")

    def __init__(self, make: Callable[[type], Any], record_type: type) -> None:
        self.make, self.record_type = make, record_type
        self.made: Any = None

    def __call__(self, *arguments: Any) -> Any:
        if self.made is None:
            self.made = self.make(self.record_type)
        return self.made(*arguments)
