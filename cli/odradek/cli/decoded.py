"""Payloads of records as people can read them, through codec and storage of the converter that was named; or masked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from odradek.schemas.records import Payload

if TYPE_CHECKING:
    from odradek.converter import DataConverter

T = TypeVar("T")


async def decoded(records: T, converter: DataConverter) -> T:
    """The same with each payload decoded. Raises what codec and storage raise."""
    if converter.outer is None:
        return records
    payloads = list(_payloads(records))
    read = iter([(await converter.decode_payloads([payload]))[0] for payload in payloads])
    replaced: T = _replaced(records, lambda payload: next(read))
    return replaced


def masked(records: T) -> T:
    """The same with no value in it: of each payload the encoding and the size, which tables and JSON show alike."""
    replaced: T = _replaced(records, _mask)
    return replaced


def _mask(payload: Payload) -> Payload:
    size = f", {len(payload.data)} bytes" if payload.data else ""
    return Payload(f"{payload.encoding.removesuffix('/plain')}{size}", b"")


def _payloads(value: Any) -> Iterator[Payload]:
    if isinstance(value, Payload):
        yield value
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from _payloads(getattr(value, field.name))
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _payloads(one)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for one in value:
            yield from _payloads(one)


def _replaced(value: Any, read: Callable[[Payload], Payload]) -> Any:
    """In the order of ``_payloads``."""
    if isinstance(value, Payload):
        return read(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return dataclasses.replace(value, **{f.name: _replaced(getattr(value, f.name), read) for f in fields})
    if isinstance(value, Mapping):
        return {name: _replaced(one, read) for name, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_replaced(one, read) for one in value]
    return value
