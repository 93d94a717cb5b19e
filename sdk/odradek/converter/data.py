"""The data converter: values to payloads, then through the codec, and the same for failures."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

from odradek.converter.codec import PayloadCodec
from odradek.converter.coded import CodedPayloadConverter
from odradek.converter.contexts import SerializationContext, in_context, takes_context
from odradek.converter.failures import DefaultFailureConverter, FailureConverter
from odradek.converter.payloads import DefaultPayloadConverter, PayloadConverter
from odradek.converter.storage import ExternalStorage
from odradek.converter.stored import StoringCodec
from odradek.schemas.records import Failure, Payload


@dataclass(frozen=True)
class DataConverter:
    """How a client and a worker write values. Both sides, and every process of a namespace, need equal ones.

    The payload and failure converters run inside workflows, and so do codec and storage: see ``in_workflows``.
    ``default`` has neither.
    """

    payload_converter_class: type[PayloadConverter] = DefaultPayloadConverter
    """Made once, without arguments."""
    payload_codec: PayloadCodec | None = None
    failure_converter_class: type[FailureConverter] = DefaultFailureConverter
    """Made once, without arguments."""
    external_storage: ExternalStorage | None = None
    """Where payloads from a size on are kept, instead of in the log: after the codec, so it sees what that made."""
    payload_converter: PayloadConverter = field(init=False)
    failure_converter: FailureConverter = field(init=False)

    default: ClassVar[DataConverter]

    def __post_init__(self) -> None:
        object.__setattr__(self, "payload_converter", self.payload_converter_class())
        object.__setattr__(self, "failure_converter", self.failure_converter_class())

    @cached_property
    def outer(self) -> PayloadCodec | None:
        """What payloads go through on their way out, and back: the codec, then the external storage; None: nothing."""
        if self.external_storage is None:
            return self.payload_codec
        return StoringCodec(self.payload_codec, self.external_storage)

    @cached_property
    def in_workflows(self) -> PayloadConverter:
        """The payload converter with codec and storage behind it, for where nothing can be awaited."""
        if self.outer is None:
            return self.payload_converter
        return CodedPayloadConverter(self.payload_converter, self.payload_codec, self.external_storage)

    @cached_property
    def takes_context(self) -> bool:
        """Whether any part wants to know whose values it converts."""
        return any(map(takes_context, (self.payload_converter, self.outer, self.failure_converter)))

    def with_context(self, context: SerializationContext) -> DataConverter:
        """The data converter for values of this workflow or activity; this one, if no part takes a context."""
        if not self.takes_context:
            return self
        made = copy.copy(self)
        made.__dict__["outer"] = in_context(self.outer, context)
        made.__dict__["in_workflows"] = in_context(self.in_workflows, context)
        for name in ("payload_converter", "failure_converter", "payload_codec"):
            object.__setattr__(made, name, in_context(getattr(self, name), context))
        return made

    async def encode(self, values: Sequence[Any]) -> list[Payload]:
        """The values as payloads, encoded and stored as they are to be."""
        return await self.encode_payloads(self.payload_converter.to_payloads(values))

    async def decode(self, payloads: Sequence[Payload], type_hints: Sequence[Any] | None = None) -> list[Any]:
        """The reverse of ``encode``; see ``PayloadConverter.from_payloads`` for the hints."""
        return self.payload_converter.from_payloads(await self.decode_payloads(payloads), type_hints)

    async def encode_wrapper(self, values: Sequence[Any]) -> tuple[Payload, ...]:
        """An argument list as records hold it."""
        return tuple(await self.encode(values)) if values else ()

    async def decode_wrapper(
        self, payloads: Sequence[Payload] | None, type_hints: Sequence[Any] | None = None
    ) -> list[Any]:
        """The reverse of ``encode_wrapper``; nothing becomes an empty list."""
        return await self.decode(payloads, type_hints) if payloads else []

    async def encode_failure(self, exception: BaseException) -> Failure:
        """An exception, causes included, as a record."""
        failure = self.failure_converter.to_failure(exception, self.payload_converter)
        return await self.outer.encode_failure(failure) if self.outer else failure

    async def decode_failure(self, failure: Failure) -> BaseException:
        """The exception that a record stands for. It is returned, not raised."""
        decoded = await self.outer.decode_failure(failure) if self.outer else failure
        return self.failure_converter.from_failure(decoded, self.payload_converter)

    async def encode_payloads(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Only what the codec and the storage do: for payloads that were made already, inside a workflow for one."""
        if self.outer is None or not payloads:
            return list(payloads)
        return await self.outer.encode_wrapper(payloads)

    async def decode_payloads(self, payloads: Sequence[Payload]) -> list[Payload]:
        """The reverse of ``encode_payloads``."""
        if self.outer is None or not payloads:
            return list(payloads)
        return await self.outer.decode_wrapper(payloads)

    async def encode_map(self, values: Mapping[str, Any]) -> dict[str, Payload]:
        """Named values, as in a memo."""
        payloads = {name: self.payload_converter.to_payload(value) for name, value in values.items()}
        return await self.outer.encode_map(payloads) if self.outer else payloads

    async def decode_map(self, payloads: Mapping[str, Payload]) -> dict[str, Any]:
        """The reverse of ``encode_map``, as plain values."""
        decoded = await self.outer.decode_map(payloads) if self.outer else payloads
        return {name: self.payload_converter.from_payload(payload) for name, payload in decoded.items()}


DataConverter.default = DataConverter()


def default() -> DataConverter:
    """The data converter of clients that name none."""
    return DataConverter.default
