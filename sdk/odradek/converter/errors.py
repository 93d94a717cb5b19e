"""What can go wrong between a value and a payload.

ConverterError
├── ValueNotConvertible     ODR-040  also a TypeError: no converter takes this value
├── EncodingUnknown         ODR-041  no converter reads this encoding
├── PayloadUnreadable       ODR-042  also a ValueError: the payload is not what the type hint says
├── CodecMismatch           ODR-043  a codec gave back another number of payloads
├── SearchAttributeInvalid  ODR-044  also a TypeError: the value does not fit the attribute's type
├── ExternalStorageInvalid  ODR-053  also a ValueError: the external storage is not set up as it must be
└── ConverterNotReady                the payload may be as it should: a workflow that needs it waits, parked
    ├── CodecTooSlow          ODR-045  a codec made workflow code wait for too long
    ├── KeyUnknown            ODR-046  a payload is encrypted with a key that is not there
    ├── KeyMismatch           ODR-155  a payload does not open with the key that it names
    ├── KeyErased             ODR-254  the key of a workflow's payloads was deleted
    ├── SubjectUnknown        ODR-255  a payload belongs to no workflow whose key could be taken
    └── StorageError
        ├── StoredPayloadMissing  ODR-049  the store does not have what a reference names
        ├── StorageDriverUnknown  ODR-050  this process has no driver of the name that a reference names
        ├── StorageUnavailable    ODR-051  the store does not answer, or not in time
        └── StoredPayloadDamaged  ODR-052  what the store has is not what was stored
"""

from __future__ import annotations

from typing import Any, ClassVar, Final, get_args, get_type_hints

from pydantic import ValidationError
from pydantic_core.core_schema import ErrorType

from odradek.exceptions import OdradekError

_SHOWN_CHARACTERS_MAX = 200
_SAFE_TO_QUOTE: Final = frozenset(get_args(ErrorType)) - {"union_tag_invalid", "value_error", "assertion_error"}
"""Kinds of pydantic's errors whose message speaks of the type, and not of the value."""


class ConverterError(OdradekError):
    """A value, exception or payload could not be converted."""


class ValueNotConvertible(ConverterError, TypeError):
    """No payload converter takes this value. ``index`` is its place among the values that were converted together."""

    code: ClassVar[str] = "ODR-040"

    def __init__(self, value_type: str, index: int, reason: str = "") -> None:
        super().__init__(
            f"{self.code}: the value at position {index}, of type {value_type}, cannot be converted to a payload"
            + (f": {shortened(reason)}" if reason else "")
            + ". Pass a dataclass, a pydantic model or another type that JSON can hold, or give the client a converter."
        )
        self.value_type, self.index, self.reason = value_type, index, reason

    def at(self, index: int) -> ValueNotConvertible:
        """The same complaint about the value at another position."""
        return ValueNotConvertible(self.value_type, index, self.reason)


class EncodingUnknown(ConverterError):
    """No payload converter reads this encoding."""

    code: ClassVar[str] = "ODR-041"

    def __init__(self, encoding: str, known: list[str], index: int) -> None:
        super().__init__(
            f'{self.code}: the payload at position {index} has the encoding "{encoding}", and the converter reads only '
            f"{', '.join(known)}. Use the data converter (and its codec) that the payload was written with."
        )
        self.encoding, self.known, self.index = encoding, known, index


class PayloadUnreadable(ConverterError, ValueError):
    """A payload's data is no value of the type that the hint asks for."""

    code: ClassVar[str] = "ODR-042"

    def __init__(self, wanted: str, encoding: str, index: int, reason: str) -> None:
        super().__init__(
            f"{self.code}: the {encoding} payload at position {index} cannot be read as {wanted}: {shortened(reason)}. "
            f"Compare the type hints of the code that wrote it with those of the code that reads it."
        )
        self.wanted, self.encoding, self.index, self.reason = wanted, encoding, index, reason

    def at(self, index: int) -> PayloadUnreadable:
        """The same complaint about the payload at another position."""
        return PayloadUnreadable(self.wanted, self.encoding, index, self.reason)


class CodecMismatch(ConverterError):
    """A payload codec returned another number of payloads than it was given, where each must stay in its place."""

    code: ClassVar[str] = "ODR-043"

    def __init__(self, codec: str, given: int, returned: int) -> None:
        super().__init__(
            f"{self.code}: {codec} was given {given} payload(s) and returned {returned}: "
            f"encode and decode must return one payload for each that they get"
        )
        self.codec, self.given, self.returned = codec, given, returned


class ConverterNotReady(ConverterError):
    """A payload cannot be written or read here and now, through no fault of its own. Worth another try."""


class CodecTooSlow(ConverterNotReady):
    """A codec that waits for something did not come to its end in time."""

    code: ClassVar[str] = "ODR-045"

    def __init__(self, codec: str, seconds: float) -> None:
        super().__init__(
            f"{self.code}: {codec} took longer than {seconds:g} s to encode or decode for a workflow, which waits with "
            "its whole partition meanwhile: fetch keys ahead, or keep large data elsewhere"
        )
        self.codec, self.seconds = codec, seconds


class KeyUnknown(ConverterNotReady):
    """A payload was encrypted with a key that this process does not have."""

    code: ClassVar[str] = "ODR-046"

    def __init__(self, key_id: str, known: list[str]) -> None:
        super().__init__(
            f'{self.code}: a payload is encrypted with key "{key_id}", and the key ring has {", ".join(known)}: '
            "give every process of the namespace the old keys, too, for as long as histories are kept"
        )
        self.key_id, self.known = key_id, known


class KeyMismatch(ConverterNotReady):
    """A payload names a key that this process has, and does not open with it."""

    code: ClassVar[str] = "ODR-155"

    def __init__(self, key_id: str) -> None:
        super().__init__(
            f'{self.code}: a payload that names key "{key_id}" does not open with the key of that ID which this '
            "process has: it is another key, or the payload was changed. Give the process the key that the payload was "
            "written with; what waits for it goes on then"
        )
        self.key_id = key_id


class KeyErased(ConverterNotReady):
    """The key of the workflow that a payload belongs to is not in the key store."""

    code: ClassVar[str] = "ODR-254"

    def __init__(self, key_id: str) -> None:
        super().__init__(
            f'{self.code}: a payload is encrypted with key "{key_id}" of its workflow, and the key store has none of '
            "that ID: the workflow was erased, and nobody can read what it was about; or this is the key store of "
            "another namespace"
        )
        self.key_id = key_id


class SubjectUnknown(ConverterNotReady):
    """A payload is to be encrypted with the key of its workflow, and does not say which that is."""

    code: ClassVar[str] = "ODR-255"

    def __init__(self) -> None:
        super().__init__(
            f"{self.code}: a payload is to be encrypted with the key of its workflow, and belongs to none: take the "
            'converter "in_context(converter, WorkflowSerializationContext(namespace, workflow_id))"'
        )


class StorageError(ConverterNotReady):
    """External storage did not give or take a payload."""


class StoredPayloadMissing(StorageError):
    """The store does not have a payload that a record refers to."""

    code: ClassVar[str] = "ODR-049"

    def __init__(self, driver: str, key: str) -> None:
        super().__init__(
            f'{self.code}: storage driver "{driver}" has no object {key}: it was deleted, or its time ran out. Restore '
            "it, and what waits goes on; let the store keep objects for longer than runs and their histories are kept"
        )
        self.driver, self.key = driver, key


class StorageDriverUnknown(StorageError):
    """A record refers to a driver that this process's data converter does not have."""

    code: ClassVar[str] = "ODR-050"

    def __init__(self, driver: str, known: list[str]) -> None:
        has = f"has {', '.join(known)}" if known else "has no external storage"
        super().__init__(
            f'{self.code}: a payload is kept by storage driver "{driver}", and the data converter {has}: '
            "give every process of the namespace the same ExternalStorage, old drivers included"
        )
        self.driver, self.known = driver, known


class StorageUnavailable(StorageError):
    """A store does not answer."""

    code: ClassVar[str] = "ODR-051"

    def __init__(self, driver: str, reason: str) -> None:
        super().__init__(
            f'{self.code}: storage driver "{driver}" cannot reach its store: {shortened(reason)}. It is tried again; '
            "check that the store is up and that this process may use it"
        )
        self.driver, self.reason = driver, reason


class StoredPayloadDamaged(StorageError):
    """What a store returns is not what was stored."""

    code: ClassVar[str] = "ODR-052"

    def __init__(self, driver: str, key: str) -> None:
        super().__init__(
            f'{self.code}: storage driver "{driver}" returned for {key} something else than was stored: its SHA-256 '
            "is another. Restore the object as it was"
        )
        self.driver, self.key = driver, key


class ExternalStorageInvalid(ConverterError, ValueError):
    """The parts of an ``ExternalStorage`` do not fit together."""

    code: ClassVar[str] = "ODR-053"

    def __init__(self, reason: str) -> None:
        super().__init__(f"{self.code}: ExternalStorage: {reason}")
        self.reason = reason


class SearchAttributeInvalid(ConverterError, TypeError):
    """The value of a search attribute does not fit its type."""

    code: ClassVar[str] = "ODR-044"

    def __init__(self, name: str, wanted: str, value: str) -> None:
        super().__init__(f'{self.code}: search attribute "{name}" must be {wanted}, and {shortened(value)} is not')
        self.name, self.wanted, self.value = name, wanted, value


def without_values(error: Exception, hint: Any) -> str:
    """What is wrong with a payload, in words that quote nothing of it: errors reach logs, histories and screens."""
    if not isinstance(error, ValidationError):
        return type(error).__name__
    names = set(get_type_hints(hint)) if isinstance(hint, type) else set[str]()
    parts = []
    for one in error.errors(include_url=False, include_context=False, include_input=False):
        place = ".".join(str(step) if isinstance(step, int) or step in names else "…" for step in one["loc"])
        words = one["msg"] if one["type"] in _SAFE_TO_QUOTE else one["type"].replace("_", " ")
        parts.append(f"{place}: {words}" if place else words)
    return "; ".join(parts)


def name_of(hint: Any) -> str:
    """A type or type hint as a reader knows it."""
    if not isinstance(hint, type):
        return str(hint).replace("typing.", "")
    return hint.__qualname__ if hint.__module__ == "builtins" else f"{hint.__module__}.{hint.__qualname__}"


def shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN_CHARACTERS_MAX else text[: _SHOWN_CHARACTERS_MAX - 1] + "…"
