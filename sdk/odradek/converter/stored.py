"""The codec and the external storage as one codec: encode, then store; retrieve, then decode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from odradek.converter.codec import PayloadCodec
from odradek.converter.contexts import (
    ActivitySerializationContext,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
    in_context,
)
from odradek.converter.storage import (
    ExternalStorage,
    StorageDriverActivityInfo,
    StorageDriverWorkflowInfo,
    StorageTarget,
    is_reference,
)
from odradek.schemas.records import Payload


class StoringCodec(PayloadCodec, WithSerializationContext):
    """A payload that is a reference already, passed on as a ``RawValue``, is left as it is."""

    def __init__(
        self, codec: PayloadCodec | None, storage: ExternalStorage, target: StorageTarget | None = None
    ) -> None:
        self.codec, self.storage, self.target = codec, storage, target

    def with_context(self, context: SerializationContext) -> StoringCodec:
        codec = None if self.codec is None else in_context(self.codec, context)
        return StoringCodec(codec, self.storage, target_of(context))

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return await self.encode_wrapper(payloads)

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return await self.decode_wrapper(payloads)

    async def encode_wrapper(self, payloads: Sequence[Payload]) -> list[Payload]:
        if self.codec is None:
            return await self.storage.store(payloads, self.target)
        if not any(map(is_reference, payloads)):
            return await self.storage.store(await self.codec.encode_wrapper(payloads), self.target)
        inline = await self.codec.encode_wrapper([payload for payload in payloads if not is_reference(payload)])
        encoded = iter(await self.storage.store(inline, self.target))
        return [payload if is_reference(payload) else next(encoded) for payload in payloads]

    async def decode_wrapper(self, payloads: Sequence[Payload]) -> list[Payload]:
        retrieved = await self.storage.retrieve(payloads)
        return retrieved if self.codec is None else await self.codec.decode_wrapper(retrieved)

    async def encode_map(self, payloads: Mapping[str, Payload]) -> dict[str, Payload]:
        """A memo stays in its record, since listings read it."""
        return dict(payloads) if self.codec is None else await self.codec.encode_map(payloads)

    async def decode_map(self, payloads: Mapping[str, Payload]) -> dict[str, Payload]:
        retrieved = dict(zip(payloads, await self.storage.retrieve(list(payloads.values())), strict=True))
        return retrieved if self.codec is None else await self.codec.decode_map(retrieved)


def target_of(context: SerializationContext) -> StorageTarget | None:
    """Whom a payload belongs to, as drivers are told."""
    match context:
        case WorkflowSerializationContext():
            return StorageDriverWorkflowInfo(namespace=context.namespace, id=context.workflow_id)
        case ActivitySerializationContext():
            return StorageDriverActivityInfo(
                namespace=context.namespace, id=context.activity_id, type=context.activity_type
            )
        case _:
            return None
