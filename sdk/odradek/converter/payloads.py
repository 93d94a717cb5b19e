"""Payload converters: a value to a payload by the first converter that takes it, back by the payload's encoding."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Self

from odradek.common.raw import RawValue
from odradek.converter.contexts import SerializationContext, WithSerializationContext, in_context, takes_context
from odradek.converter.errors import (
    EncodingUnknown,
    PayloadUnreadable,
    StorageDriverUnknown,
    ValueNotConvertible,
    name_of,
)
from odradek.converter.json import JSONPlainPayloadConverter
from odradek.converter.one import EncodingPayloadConverter
from odradek.converter.protobuf import BinaryProtoPayloadConverter, JSONProtoPayloadConverter
from odradek.converter.storage import is_reference, read_reference
from odradek.schemas.records import Payload

__all__ = [
    "BinaryNullPayloadConverter",
    "BinaryPlainPayloadConverter",
    "CompositePayloadConverter",
    "DefaultPayloadConverter",
    "EncodingPayloadConverter",
    "PayloadConverter",
]


class PayloadConverter(ABC):
    """Converts values to payloads and back. Runs inside workflows, so it must be deterministic and do no I/O."""

    default: ClassVar[PayloadConverter]

    @abstractmethod
    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        """One payload for each value; raises ``ValueNotConvertible``."""

    @abstractmethod
    def from_payloads(self, payloads: Sequence[Payload], type_hints: Sequence[Any] | None = None) -> list[Any]:
        """One value for each payload; a payload without a hint becomes what its encoding says (plain JSON values).

        Raises ``EncodingUnknown`` and ``PayloadUnreadable``.
        """

    def to_payload(self, value: Any) -> Payload:
        """One value as a payload."""
        return self.to_payloads((value,))[0]

    def from_payload(self, payload: Payload, type_hint: Any = None) -> Any:
        """One payload as a value, of this type if a hint is given."""
        return self.from_payloads((payload,), None if type_hint is None else (type_hint,))[0]


class CompositePayloadConverter(PayloadConverter, WithSerializationContext):
    """Tries the given converters in their order. ``RawValue`` passes through, as a value and as a type hint."""

    converters: Mapping[str, EncodingPayloadConverter]

    def __init__(self, *converters: EncodingPayloadConverter) -> None:
        self.converters = {converter.encoding: converter for converter in converters}
        self._order()

    def _order(self) -> None:
        self._in_order = tuple(self.converters.values())
        self._for_plain = tuple(converter for converter in self._in_order if type(converter) not in _NEVER_PLAIN)

    @property
    def takes_context(self) -> bool:
        overridden = type(self).with_context is not CompositePayloadConverter.with_context
        return overridden or any(takes_context(converter) for converter in self._in_order)

    def with_context(self, context: SerializationContext) -> Self:
        """A copy with those of its converters that take a context in this one."""
        made = copy.copy(self)
        made.converters = {name: in_context(converter, context) for name, converter in self.converters.items()}
        made._order()
        return made

    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        return [self._written(value, index) for index, value in enumerate(values)]

    def from_payloads(self, payloads: Sequence[Payload], type_hints: Sequence[Any] | None = None) -> list[Any]:
        hints = type_hints or ()
        return [
            self._read(payload, hints[index] if index < len(hints) else None, index)
            for index, payload in enumerate(payloads)
        ]

    def to_payload(self, value: Any) -> Payload:
        return self._written(value, 0)

    def from_payload(self, payload: Payload, type_hint: Any = None) -> Any:
        return self._read(payload, type_hint, 0)

    def _written(self, value: Any, index: int) -> Payload:
        if type(value) is RawValue:
            return value.payload
        try:
            for converter in self._for_plain if type(value) in _PLAIN else self._in_order:
                payload = converter.to_payload(value)
                if payload is not None:
                    return payload
        except ValueNotConvertible as error:
            raise error.at(index) from error.__cause__
        raise ValueNotConvertible(name_of(type(value)), index)

    def _read(self, payload: Payload, type_hint: Any, index: int) -> Any:
        if type_hint is RawValue:
            return RawValue(payload)
        converter = self.converters.get(payload.encoding)
        if converter is None and is_reference(payload):
            raise StorageDriverUnknown(read_reference(payload)[0], [])
        if converter is None:
            raise EncodingUnknown(payload.encoding, list(self.converters), index)
        try:
            return converter.from_payload(payload, type_hint)
        except PayloadUnreadable as error:
            raise error.at(index) from error.__cause__


class BinaryNullPayloadConverter(EncodingPayloadConverter):
    """None, as no bytes at all."""

    encoding = "binary/null"

    def to_payload(self, value: Any) -> Payload | None:
        return Payload(self.encoding, b"") if value is None else None

    def from_payload(self, payload: Payload, type_hint: Any = None) -> Any:
        if payload.data:
            raise PayloadUnreadable("None", payload.encoding, 0, f"it has {len(payload.data)} bytes of data")
        return None


class BinaryPlainPayloadConverter(EncodingPayloadConverter):
    """``bytes``, as they are."""

    encoding = "binary/plain"

    def to_payload(self, value: Any) -> Payload | None:
        return Payload(self.encoding, bytes(value)) if isinstance(value, bytes | bytearray) else None

    def from_payload(self, payload: Payload, type_hint: Any = None) -> Any:
        return bytearray(payload.data) if type_hint is bytearray else payload.data


_PLAIN: Final = frozenset({str, int, float, bool, dict, list})
_NEVER_PLAIN: Final = frozenset(
    {
        BinaryNullPayloadConverter,
        BinaryPlainPayloadConverter,
        JSONProtoPayloadConverter,
        BinaryProtoPayloadConverter,
    }
)
"""Converters that need not be asked about the commonest types."""


class DefaultPayloadConverter(CompositePayloadConverter):
    """None, bytes, protobuf messages, and everything that JSON can hold."""

    default_encoding_payload_converters: ClassVar[tuple[EncodingPayloadConverter, ...]] = (
        BinaryNullPayloadConverter(),
        BinaryPlainPayloadConverter(),
        JSONProtoPayloadConverter(),
        BinaryProtoPayloadConverter(),
        JSONPlainPayloadConverter(),
    )

    def __init__(self) -> None:
        super().__init__(*type(self).default_encoding_payload_converters)


PayloadConverter.default = DefaultPayloadConverter()
