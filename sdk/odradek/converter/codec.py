"""Codecs turn payloads into other payloads: encryption, compression. They see bytes, never values."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence

from odradek.converter.errors import CodecMismatch
from odradek.schemas.records import Failure, Payload

Transform = Callable[[Sequence[Payload]], Awaitable[list[Payload]]]


class PayloadCodec(ABC):
    """Encodes payloads before they leave this process and decodes them when they come back.

    One that computes costs what it computes. One that waits for something (a key service) may do so in clients and
    workers; for a workflow its whole partition waits with it, at most 10 s. Where payloads stand in named places it
    gets them one by one.
    """

    @abstractmethod
    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """One payload for each; the ones given are not to be changed."""

    @abstractmethod
    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """The reverse. Payloads that were never encoded must come back as they are."""

    async def encode_wrapper(self, payloads: Sequence[Payload]) -> list[Payload]:
        """The payloads of one argument list. May be overridden to return another number of them."""
        return await self._checked(self.encode, payloads)

    async def decode_wrapper(self, payloads: Sequence[Payload]) -> list[Payload]:
        """The reverse of ``encode_wrapper``."""
        return await self._checked(self.decode, payloads)

    async def encode_map(self, payloads: Mapping[str, Payload]) -> dict[str, Payload]:
        """The same names with encoded payloads."""
        encoded = await self._checked(self.encode, list(payloads.values()))
        return dict(zip(payloads, encoded, strict=True))

    async def decode_map(self, payloads: Mapping[str, Payload]) -> dict[str, Payload]:
        """The same names with decoded payloads."""
        decoded = await self._checked(self.decode, list(payloads.values()))
        return dict(zip(payloads, decoded, strict=True))

    async def encode_failure(self, failure: Failure) -> Failure:
        """A copy of the failure, causes included, with all its payloads encoded."""
        return await _failure(failure, self.encode_wrapper)

    async def decode_failure(self, failure: Failure) -> Failure:
        """A copy of the failure, causes included, with all its payloads decoded."""
        return await _failure(failure, self.decode_wrapper)

    async def _checked(self, transform: Transform, payloads: Sequence[Payload]) -> list[Payload]:
        if not payloads:
            return []
        transformed = await transform(payloads)
        if len(transformed) != len(payloads):
            raise CodecMismatch(type(self).__name__, len(payloads), len(transformed))
        return transformed


async def _failure(failure: Failure, transform: Transform) -> Failure:
    return dataclasses.replace(
        failure,
        details=await transform(failure.details) if failure.details else failure.details,
        encoded=(await transform([failure.encoded]))[0] if failure.encoded else None,
        cause=await _failure(failure.cause, transform) if failure.cause else None,
    )
