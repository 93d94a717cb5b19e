"""Records as nobody should send them: of the right form with values that cannot be, and bytes of no form at all."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, Final

from odradek.schemas.compiled import cached, encode_long, members
from odradek.schemas.records import SCHEMA_VERSION

NOW_MS: Final = 1_800_000_000_000
INTEGERS: Final = (
    0, 1, -1, 2, 3, 5, 100, 4095, 4096, -2, -4096, 2**31 - 1, 2**31, -(2**31), 2**53, 2**62, 2**63 - 1, -(2**63),
    NOW_MS, NOW_MS - 1, NOW_MS + 1000, -NOW_MS, 2 * NOW_MS,
)  # fmt: skip
FLOATS: Final = (0.0, 1.0, -1.0, 1.5, 1e308, -1e308, 5e-324, float("inf"), float("-inf"), float("nan"))
TEXTS: Final = (
    "", " ", "a", "\0", "a\0b", "\n", "ä€🙂", "\uffff", "x" * 300, "y" * 70_000, "null", "-1", "1e999", "../../etc",
    "a:b", ":", "a/b", "default", "* * * * *", "@hourly", "{}", "%s", "__init__", "__temporal_x", "\u202e", "ODR-002",
)  # fmt: skip
BYTES: Final = (b"", b"\0", b"\xff", b"{}", b"[1", b'"text"', b"null", b"1" * 5000, b"[" * 3000, b'{"a":NaN}')
ENCODINGS: Final = (
    "json/plain",
    "json/pydantic",
    "binary/plain",
    "binary/null",
    "null",
    "json/protobuf",
    "",
    "none/such",
)
SPREAD: Final = 3
"""How many items a list or a map has at most."""


class Values:
    """Random values of a type hint. ``known`` has by field name what makes sense there, which is taken most often."""

    def __init__(self, chance: Random, known: Mapping[str, Sequence[Any]] | None = None, *, wild: float = 0.15) -> None:
        self.chance = chance
        self.known = known or {}
        self.wild = wild

    def of(self, hint: Any, name: str = "", depth: int = 0) -> Any:
        chance = self.chance
        kinds, optional = members(hint)
        if optional and chance.random() < (0.5 if depth < 4 else 0.97):
            return None
        if len(kinds) > 1 and depth > 6:
            kinds = kinds[:4]
        kind = chance.choice(kinds)
        if name in self.known and chance.random() > self.wild and not dataclasses.is_dataclass(kind):
            return chance.choice(self.known[name])
        return self._of_kind(kind, name, depth)

    def _of_kind(self, kind: Any, name: str, depth: int) -> Any:
        chance = self.chance
        if dataclasses.is_dataclass(kind):
            return self.record(typing.cast(type, kind), depth + 1)
        if kind is int:
            return chance.choice(INTEGERS) if chance.random() < 0.8 else chance.getrandbits(64) - 2**63
        if kind is str:
            return chance.choice(ENCODINGS if name == "encoding" else TEXTS)
        if kind is bytes:
            return chance.choice(BYTES) if chance.random() < 0.8 else chance.randbytes(chance.randrange(40))
        if kind is bool:
            return chance.random() < 0.5
        if kind is float:
            return chance.choice(FLOATS)
        arguments = typing.get_args(kind)
        count = chance.choice((0, 0, 1, SPREAD)) if depth < 6 else 0
        if len(arguments) == 2:
            return {self.of(str, "key", depth): self.of(arguments[1], "", depth + 1) for _ in range(count)}
        return tuple(self.of(arguments[0], name, depth + 1) for _ in range(count))

    def record(self, record_type: type, depth: int = 0) -> Any:
        """One record; about half of the fields that have a default keep it."""
        given = {}
        for f, hint in _fields(record_type):
            if f.name == "schema_version":
                continue
            has_default = f.default is not dataclasses.MISSING or f.default_factory is not dataclasses.MISSING
            if not has_default or self.chance.random() < 0.5:
                given[f.name] = self.of(hint, f.name, depth)
        return record_type(**given)

    def mutated(self, record: Any) -> Any:
        """The record with one or two of its fields, however deep, as they should not be."""
        for _ in range(self.chance.choice((1, 1, 2))):
            record = self._mutated(record)
        return record

    def _mutated(self, record: Any) -> Any:
        fields = [(f, hint) for f, hint in _fields(type(record)) if f.name != "schema_version"]
        f, hint = self.chance.choice(fields)
        value = getattr(record, f.name)
        if dataclasses.is_dataclass(value) and self.chance.random() < 0.7:
            return dataclasses.replace(record, **{f.name: self._mutated(value)})
        if (
            isinstance(value, (tuple, list))
            and value
            and dataclasses.is_dataclass(value[0])
            and self.chance.random() < 0.7
        ):
            at = self.chance.randrange(len(value))
            items = [*value]
            items[at] = self._mutated(items[at])
            return dataclasses.replace(record, **{f.name: tuple(items)})
        return dataclasses.replace(record, **{f.name: self.of(hint, f.name, 2)})


@cached
def _fields(record_type: type) -> list[tuple[dataclasses.Field[Any], Any]]:
    hints = typing.get_type_hints(record_type)
    return [(f, hints[f.name]) for f in dataclasses.fields(typing.cast(Any, record_type))]


# ------------------------------------------------------------------------------------------------------------- bytes


def damaged(chance: Random, value: bytes) -> bytes:
    """The bytes after an accident: cut off, longer, flipped, of another version, or of somebody else."""
    return chance.choice(_DAMAGES)(chance, value)


def _cut(chance: Random, value: bytes) -> bytes:
    return value[: chance.randrange(len(value) + 1)]


def _longer(chance: Random, value: bytes) -> bytes:
    return value + chance.randbytes(chance.choice((1, 8, 200)))


def _flipped(chance: Random, value: bytes) -> bytes:
    data = bytearray(value or b"\0")
    for _ in range(chance.choice((1, 1, 2, 8))):
        at = chance.randrange(len(data))
        data[at] ^= 1 << chance.randrange(8)
    return bytes(data)


def _spliced(chance: Random, value: bytes) -> bytes:
    """A part of it stands twice, or elsewhere."""
    at, begin = chance.randrange(len(value) + 1), chance.randrange(len(value) + 1)
    return value[:at] + value[begin : begin + chance.randrange(30)] + value[at:]


def _number_replaced(chance: Random, value: bytes) -> bytes:
    """A length or a number somewhere says something else."""
    at = chance.randrange(len(value) + 1)
    return value[:at] + encode_long(chance.choice(INTEGERS)) + value[at + 1 :]


def _foreign(chance: Random, value: bytes) -> bytes:
    return chance.choice(
        (b"", b"hello", b"{}", b'{"json": true}', b"\0\0\0\0\1" + value, b"\2\0\xff", chance.randbytes(64))
    )


def _other_version(chance: Random, value: bytes) -> bytes:
    """No newer one that could be true: of those the partition waits for a newer build."""
    return encode_long(chance.choice((0, -1, SCHEMA_VERSION + 9, 4711, 2**40))) + value[1:]


_DAMAGES: Final[Sequence[Callable[[Random, bytes], bytes]]] = (
    _cut, _longer, _flipped, _flipped, _spliced, _number_replaced, _foreign, _other_version,
)  # fmt: skip
