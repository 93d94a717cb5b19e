"""Protobuf messages. The package is asked for only where a message is written or read: who has none pays nothing."""

from __future__ import annotations

import sys
from abc import abstractmethod
from typing import Any, Final

from odradek.converter.errors import PayloadUnreadable, ValueNotConvertible, name_of
from odradek.converter.one import EncodingPayloadConverter
from odradek.schemas.records import Payload

MESSAGE_TYPE: Final = "messageType"


class _ProtoPayloadConverter(EncodingPayloadConverter):
    def to_payload(self, value: Any) -> Payload | None:
        module = sys.modules.get("google.protobuf.message")
        if module is None or not isinstance(value, module.Message):
            return None
        try:
            data = self._written(value)
        except Exception as error:  # a required field is missing, an Any holds what is not registered
            raise ValueNotConvertible(name_of(type(value)), 0, str(error)) from error
        return Payload(self.encoding, data, {MESSAGE_TYPE: value.DESCRIPTOR.full_name.encode()})

    def from_payload(self, payload: Payload, type_hint: Any = None) -> Any:
        name = payload.metadata.get(MESSAGE_TYPE, b"").decode()
        try:
            message = self._class(name, type_hint)()
            self._read(payload.data, message)
        except Exception as error:
            wanted = f"protobuf message {name}" if type_hint is None else name_of(type_hint)
            quotes = type(error).__module__.startswith("google.")  # the parser says what it has found
            reason = type(error).__name__ if quotes else str(error)
            raise PayloadUnreadable(wanted, payload.encoding, 0, reason) from None
        return message

    def _class(self, name: str, hint: Any) -> Any:
        try:
            from google.protobuf import descriptor_pool, message, message_factory
        except ImportError:
            raise TypeError('it is a protobuf message: install "odradek[protobuf]"') from None
        if isinstance(hint, type) and issubclass(hint, message.Message) and hint is not message.Message:
            if name and hint.DESCRIPTOR.full_name != name:
                raise TypeError(f"it is a {name}")
            return hint
        try:
            descriptor = descriptor_pool.Default().FindMessageTypeByName(name)
        except KeyError:
            raise TypeError(
                f'no message "{name}" is known here: import its module, or give its class as hint'
            ) from None
        return message_factory.GetMessageClass(descriptor)

    @abstractmethod
    def _written(self, message: Any) -> bytes: ...

    @abstractmethod
    def _read(self, data: bytes, message: Any) -> None: ...


class JSONProtoPayloadConverter(_ProtoPayloadConverter):
    """Protobuf messages as protobuf's JSON. ``ignore_unknown_fields``: in reading, rather than refuse them."""

    encoding = "json/protobuf"

    def __init__(self, ignore_unknown_fields: bool = False) -> None:
        self._ignore_unknown_fields = ignore_unknown_fields

    def _written(self, message: Any) -> bytes:
        from google.protobuf import json_format

        return json_format.MessageToJson(message, indent=None, sort_keys=True).encode()

    def _read(self, data: bytes, message: Any) -> None:
        from google.protobuf import json_format

        json_format.Parse(data, message, ignore_unknown_fields=self._ignore_unknown_fields)


class BinaryProtoPayloadConverter(_ProtoPayloadConverter):
    """Protobuf messages in their binary form. Behind the JSON one, as by default, it only reads."""

    encoding = "binary/protobuf"

    def _written(self, message: Any) -> bytes:
        return bytes(message.SerializeToString(deterministic=True))

    def _read(self, data: bytes, message: Any) -> None:
        message.ParseFromString(data)
