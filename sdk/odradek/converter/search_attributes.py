"""Search attributes as payloads: JSON, with the type beside it. They never go through a codec: the index reads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from pydantic_core import from_json, to_json

from odradek.common.search_attributes import (
    SearchAttributeIndexedValueType,
    SearchAttributeKey,
    SearchAttributePair,
    SearchAttributes,
    SearchAttributeValues,
    TypedSearchAttributes,
)
from odradek.converter.errors import SearchAttributeInvalid
from odradek.schemas.records import Payload

ENCODING: Final = "json/plain"
TYPE: Final = "type"
_T = SearchAttributeIndexedValueType


def encode_search_attributes(attributes: SearchAttributes | TypedSearchAttributes) -> dict[str, Payload]:
    """As records hold them. Raises ``SearchAttributeInvalid``."""
    if isinstance(attributes, TypedSearchAttributes):
        return {pair.key.name: encode_search_attribute(pair.key, pair.value) for pair in attributes}
    return {name: _untyped(name, values) for name, values in attributes.items()}


def encode_search_attribute(key: SearchAttributeKey[Any], value: Any) -> Payload:
    """One value as a payload; None, which removes the attribute, is JSON's null."""
    wanted, fits = _FITS[key.indexed_value_type]
    if value is not None and not fits(value):
        raise SearchAttributeInvalid(key.name, wanted, repr(value))
    return Payload(ENCODING, to_json(value), {TYPE: key.indexed_value_type.encode()})


def decode_typed_search_attributes(payloads: Mapping[str, Payload]) -> TypedSearchAttributes:
    """Attributes that name no type, or one that this build does not know, are left out."""
    pairs = []
    for name, payload in payloads.items():
        value_type = _type_of(payload)
        value = None if value_type is None else _value(value_type, from_json(payload.data))
        if value_type is not None and value is not None:
            pairs.append(SearchAttributePair(SearchAttributeKey.for_type(name, value_type), value))
    return TypedSearchAttributes(pairs)


def decode_search_attributes(payloads: Mapping[str, Payload]) -> SearchAttributes:
    """The untyped form: a list for every attribute."""
    found: dict[str, SearchAttributeValues] = {}
    for name, payload in payloads.items():
        value = from_json(payload.data)
        values = value if isinstance(value, list) else [] if value is None else [value]
        found[name] = [_value(_type_of(payload), item) for item in values]
    return found


def _untyped(name: str, values: Any) -> Payload:
    if not isinstance(values, list):
        raise SearchAttributeInvalid(name, "a list of values", repr(values))
    if not values:
        return Payload(ENCODING, b"null")
    value_type = _INFERRED.get(type(values[0]))
    if value_type is None or any(type(value) is not type(values[0]) for value in values):
        raise SearchAttributeInvalid(name, "a list of strings, numbers, booleans or dates, not mixed", repr(values))
    if len(values) == 1:
        return encode_search_attribute(SearchAttributeKey.for_type(name, value_type), values[0])
    if value_type is not _T.KEYWORD:
        raise SearchAttributeInvalid(name, "a list of one value (only strings can be several)", repr(values))
    return encode_search_attribute(SearchAttributeKey.for_type(name, _T.KEYWORD_LIST), values)


def _type_of(payload: Payload) -> SearchAttributeIndexedValueType | None:
    try:
        return _T(payload.metadata.get(TYPE, b"").decode())
    except ValueError:
        return None


def _value(value_type: SearchAttributeIndexedValueType | None, value: Any) -> Any:
    return datetime.fromisoformat(value) if value_type is _T.DATETIME and isinstance(value, str) else value


def _is_number(value: Any, *kinds: type) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)


_FITS: Final[Mapping[SearchAttributeIndexedValueType, tuple[str, Callable[[Any], bool]]]] = {
    _T.TEXT: ("a string", lambda value: isinstance(value, str)),
    _T.KEYWORD: ("a string", lambda value: isinstance(value, str)),
    _T.INT: ("an integer", lambda value: _is_number(value, int)),
    _T.DOUBLE: ("a number", lambda value: _is_number(value, int, float)),
    _T.BOOL: ("a boolean", lambda value: isinstance(value, bool)),
    _T.DATETIME: (
        "a datetime with a time zone",
        lambda value: isinstance(value, datetime) and bool(value.tzinfo),
    ),
    _T.KEYWORD_LIST: (
        "a list of strings",
        lambda value: isinstance(value, list | tuple) and all(isinstance(item, str) for item in value),
    ),
}
_INFERRED: Final[Mapping[type, SearchAttributeIndexedValueType]] = {
    str: _T.KEYWORD,
    int: _T.INT,
    float: _T.DOUBLE,
    bool: _T.BOOL,
    datetime: _T.DATETIME,
}
