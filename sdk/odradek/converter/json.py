"""JSON by pydantic's core: dataclasses, models, enums, dates, UUIDs, decimals, unions and generics just work.

Without a type hint the plain JSON value comes back. The commonest types take a short way that asks no schema.
"""

from __future__ import annotations

import functools
import json
import types
import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from json.encoder import encode_basestring
from typing import Any, ClassVar, Final

from pydantic import ConfigDict, PydanticUserError, TypeAdapter
from pydantic_core import PydanticSerializationError, from_json, to_json, to_jsonable_python

from odradek.converter.errors import PayloadUnreadable, ValueNotConvertible, name_of, without_values
from odradek.converter.one import EncodingPayloadConverter
from odradek.converter.typed_dicts import with_typed_dicts
from odradek.schemas.records import Payload

# Bytes inside a value are base64 both ways. A pydantic model decides for itself, by its own configuration.
_BYTES: Final = "base64"
_CONFIG: Final = ConfigDict(val_json_bytes=_BYTES, ser_json_bytes=_BYTES)
_PLAIN: Final = frozenset({str, int, float, bool, dict, list})
_CONSTANTS: Final = {True: b"true", False: b"false"}


class AdvancedJSONEncoder(json.JSONEncoder):
    """A JSON encoder for what the default converter takes. Override ``default`` for types of your own."""

    def default(self, o: Any) -> Any:
        if is_dataclass(o) and not isinstance(o, type):
            return {field.name: getattr(o, field.name) for field in fields(o)}  # what is inside comes here again
        if isinstance(o, set | frozenset):
            return list(o)
        try:
            return to_jsonable_python(o, bytes_mode=_BYTES)
        except PydanticSerializationError:
            return super().default(o)


class JSONTypeConverter(ABC):
    """Reads JSON values of types that need help, see ``JSONPlainPayloadConverter``."""

    Unhandled: ClassVar[object] = object()

    @abstractmethod
    def to_typed_value(self, hint: Any, value: Any) -> Any:
        """The plain JSON ``value`` as ``hint`` wants it, or ``JSONTypeConverter.Unhandled``."""


class JSONPlainPayloadConverter(EncodingPayloadConverter):
    """JSON. ``encoder`` and ``decoder`` replace pydantic; ``custom_type_converters`` are asked before it in reading."""

    def __init__(
        self,
        *,
        encoder: type[json.JSONEncoder] | None = AdvancedJSONEncoder,
        decoder: type[json.JSONDecoder] | None = None,
        encoding: str = "json/plain",
        custom_type_converters: Sequence[JSONTypeConverter] = (),
    ) -> None:
        self.encoding = encoding
        self._write: Callable[[Any], bytes] = _to_json
        if encoder is not AdvancedJSONEncoder:
            self._write = functools.partial(_written_by, encoder)
        self._decoder = decoder
        self._custom = tuple(custom_type_converters)

    def to_payload(self, value: Any) -> Payload | None:
        if type(value) is str:
            try:
                return Payload(self.encoding, encode_basestring(value).encode())
            except UnicodeEncodeError as error:
                raise ValueNotConvertible("str", 0, str(error)) from error
        try:
            return Payload(self.encoding, self._write(value))
        except Exception as error:  # an encoder or a model of the user's raises what it likes
            raise ValueNotConvertible(name_of(type(value)), 0, str(error)) from error

    def from_payload(self, payload: Payload, type_hint: Any = None) -> Any:
        try:
            if self._decoder is None and not self._custom:
                return _from_json(payload.data, type_hint)
            value = json.loads(payload.data, cls=self._decoder) if self._decoder else from_json(payload.data)
            return value if type_hint is None else value_to_type(type_hint, value, self._custom)
        except Exception as error:  # the same for validators
            reason = without_values(error, type_hint)
            raise PayloadUnreadable(name_of(type_hint), payload.encoding, 0, reason) from None


def value_to_type(hint: Any, value: Any, custom_converters: Sequence[JSONTypeConverter] = ()) -> Any:
    """A plain JSON value as the type that ``hint`` names. Custom converters are asked first, at every level.

    Raises ``ValueError`` or ``TypeError`` when it does not fit.
    """
    if not custom_converters:
        return _from_json(_to_json(value), hint)
    for converter in custom_converters:
        made = converter.to_typed_value(hint, value)
        if made is not JSONTypeConverter.Unhandled:
            return made
    return _by_structure(hint, value, functools.partial(value_to_type, custom_converters=custom_converters))


# ---------------------------------------------------------------------------------------------------------- writing


def _to_json(value: Any) -> bytes:
    kind = type(value)
    if kind is bool:
        return _CONSTANTS[value]
    if kind is int:
        return b"%d" % value
    return to_json(value, bytes_mode=_BYTES)


def _written_by(encoder: type[json.JSONEncoder] | None, value: Any) -> bytes:
    return json.dumps(value, cls=encoder, separators=(",", ":"), sort_keys=True).encode()


# ---------------------------------------------------------------------------------------------------------- reading


def _from_json(data: bytes, hint: Any) -> Any:
    if hint is None or hint is Any or hint is object:
        return from_json(data)
    if type(hint) is type and hint in _PLAIN:
        value = from_json(data)
        if type(value) is hint:
            return value
    return _reader(hint)(data)


def _reader(hint: Any) -> Callable[[bytes], Any]:
    try:
        return _cached_reader(hint)
    except TypeError:  # a hint that has no hash, such as Annotated with a list
        return _made_reader(hint)


def _made_reader(hint: Any) -> Callable[[bytes], Any]:
    if is_dataclass(hint) or typing.is_typeddict(hint):
        return _reader_with_own_config(hint)
    return _adapter(hint).validate_json


def _adapter(hint: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(hint, config=_CONFIG)
    except PydanticUserError as error:
        if error.code == "typed-dict-version":
            return TypeAdapter(with_typed_dicts(hint), config=_CONFIG)
        if error.code == "type-adapter-config-unused":
            return TypeAdapter(hint)
        raise


_cached_reader = functools.lru_cache(maxsize=4096)(_made_reader)


def _reader_with_own_config(hint: Any) -> Callable[[bytes], Any]:
    """Pydantic takes our configuration for such a type only where it is a part of another one."""
    validate = _adapter(list[hint]).validate_json
    return lambda data: validate(b"[%b]" % data)[0]


def _by_structure(hint: Any, value: Any, convert: Callable[[Any, Any], Any]) -> Any:
    """Converts what stands inside containers with ``convert``, and the rest as if there were no custom converter."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return convert(arguments[0], value)
    if origin in (typing.Union, types.UnionType):
        return _first_that_fits(arguments, value, convert)
    if origin is tuple and isinstance(value, list):
        return _as_tuple(arguments, value, convert)
    if isinstance(origin, type) and arguments and isinstance(value, list):
        items = [convert(arguments[0], item) for item in value]
        return origin(items) if origin in (set, frozenset) else items
    if isinstance(origin, type) and issubclass(origin, Mapping) and isinstance(value, dict):
        return {_from_json(_to_json(key), arguments[0]): convert(arguments[1], item) for key, item in value.items()}
    if is_dataclass(hint) and isinstance(hint, type) and isinstance(value, dict):
        hints = typing.get_type_hints(hint)
        return hint(**{name: convert(hints[name], item) for name, item in value.items() if name in hints})
    return _from_json(_to_json(value), hint)


def _as_tuple(arguments: Sequence[Any], value: list[Any], convert: Callable[[Any, Any], Any]) -> tuple[Any, ...]:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(convert(arguments[0], item) for item in value)
    if len(arguments) != len(value):
        raise TypeError(f"{len(arguments)} values are wanted, and there are {len(value)}")
    return tuple(convert(argument, item) for argument, item in zip(arguments, value, strict=True))


def _first_that_fits(members: Sequence[Any], value: Any, convert: Callable[[Any, Any], Any]) -> Any:
    if value is None and type(None) in members:
        return None
    for member in members:
        try:
            return convert(member, value)
        except (TypeError, ValueError):
            continue
    raise TypeError(f"a {name_of(type(value))} is none of {', '.join(name_of(member) for member in members)}")
