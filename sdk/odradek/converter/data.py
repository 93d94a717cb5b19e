"""The data converter: values to payloads, then through the codec, and the same for failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

from odradek.converter.codec import PayloadCodec
from odradek.converter.coded import CodedPayloadConverter
from odradek.converter.failures import DefaultFailureConverter, FailureConverter
from odradek.converter.payloads import DefaultPayloadConverter, PayloadConverter
from odradek.schemas.records import Failure, Payload


@dataclass(frozen=True)
class DataConverter:
    """How a client and a worker write values. Both sides, and every process of a namespace, need equal ones.

    The payload and failure converters run inside workflows, and so does the codec: see ``in_workflows``. ``default``
    has no codec.
    """

    payload_converter_class: type[PayloadConverter] = DefaultPayloadConverter
    """Made once, without arguments."""
    payload_codec: PayloadCodec | None = None
    failure_converter_class: type[FailureConverter] = DefaultFailureConverter
    """Made once, without arguments."""
    payload_converter: PayloadConverter = field(init=False)
    failure_converter: FailureConverter = field(init=False)

    default: ClassVar[DataConverter]

    def __post_init__(self) -> None:
        object.__setattr__(self, "payload_converter", self.payload_converter_class())
        object.__setattr__(self, "failure_converter", self.failure_converter_class())

    @cached_property
    def in_workflows(self) -> PayloadConverter:
        """The payload converter with the codec behind it, for where nothing can be awaited."""
        codec = self.payload_codec
        return self.payload_converter if codec is None else CodedPayloadConverter(self.payload_converter, codec)

    async def encode(self, values: Sequence[Any]) -> list[Payload]:
        """The values as payloads, encoded by the codec if there is one."""
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
        return await self.payload_codec.encode_failure(failure) if self.payload_codec else failure

    async def decode_failure(self, failure: Failure) -> BaseException:
        """The exception that a record stands for. It is returned, not raised."""
        decoded = await self.payload_codec.decode_failure(failure) if self.payload_codec else failure
        return self.failure_converter.from_failure(decoded, self.payload_converter)

    async def encode_payloads(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Only the codec's part: for payloads that were made already, inside a workflow for one."""
        if self.payload_codec is None or not payloads:
            return list(payloads)
        return await self.payload_codec.encode_wrapper(payloads)

    async def decode_payloads(self, payloads: Sequence[Payload]) -> list[Payload]:
        """The reverse of ``encode_payloads``."""
        if self.payload_codec is None or not payloads:
            return list(payloads)
        return await self.payload_codec.decode_wrapper(payloads)

    async def encode_map(self, values: Mapping[str, Any]) -> dict[str, Payload]:
        """Named values, as in a memo."""
        payloads = {name: self.payload_converter.to_payload(value) for name, value in values.items()}
        return await self.payload_codec.encode_map(payloads) if self.payload_codec else payloads

    async def decode_map(self, payloads: Mapping[str, Payload]) -> dict[str, Any]:
        """The reverse of ``encode_map``, as plain values."""
        decoded = await self.payload_codec.decode_map(payloads) if self.payload_codec else payloads
        return {name: self.payload_converter.from_payload(payload) for name, payload in decoded.items()}


DataConverter.default = DataConverter()


def default() -> DataConverter:
    """The data converter of clients that name none."""
    return DataConverter.default
