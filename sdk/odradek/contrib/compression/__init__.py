"""Compresses large payloads with zstd. Needs the extra ``odradek[compression]``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import zstandard

from odradek.converter import Payload, PayloadCodec, PayloadUnreadable

__all__ = ["ComposedCodec", "CompressionCodec"]

ENCODING: Final = "binary/zstd"
INNER: Final = "encoding"
BYTES_MIN: Final = 1024
DECOMPRESSED_BYTES_MAX: Final = 64 * 1024 * 1024


class CompressionCodec(PayloadCodec):
    """Compresses payloads of ``bytes_min`` (1 KiB) or more that get smaller by it; others are left as they are."""

    def __init__(self, bytes_min: int = BYTES_MIN, level: int = 3) -> None:
        self.bytes_min = bytes_min
        self._level = level

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        compressor = zstandard.ZstdCompressor(level=self._level)
        return [self._compressed(payload, compressor) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        decoded, room = [], DECOMPRESSED_BYTES_MAX
        for payload in payloads:
            if payload.encoding == ENCODING:
                payload = _decompressed(payload, room)  # noqa: PLW2901 - the same payload, as it was
                room -= len(payload.data)
            decoded.append(payload)
        return decoded

    def _compressed(self, payload: Payload, compressor: zstandard.ZstdCompressor) -> Payload:
        if len(payload.data) < self.bytes_min:
            return payload
        data = compressor.compress(payload.data)
        if len(data) >= len(payload.data):
            return payload
        return Payload(ENCODING, data, {**payload.metadata, f"{ENCODING}/{INNER}": payload.encoding.encode()})


def _decompressed(payload: Payload, room: int) -> Payload:
    metadata = dict(payload.metadata)
    try:
        inner = metadata.pop(f"{ENCODING}/{INNER}", b"").decode()
        if zstandard.frame_content_size(payload.data) > room:
            why = f"what comes together would be larger than {DECOMPRESSED_BYTES_MAX:,} bytes when it is decompressed"
            raise PayloadUnreadable("a compressed payload", ENCODING, 0, why)
        data = zstandard.ZstdDecompressor().decompress(payload.data)
    except (zstandard.ZstdError, UnicodeDecodeError) as error:
        raise PayloadUnreadable("a compressed payload", ENCODING, 0, str(error)) from error
    return Payload(inner, data, metadata)


class ComposedCodec(PayloadCodec):
    """Several codecs in a row: ``ComposedCodec(CompressionCodec(), EncryptionCodec(…))`` compresses, then encrypts."""

    def __init__(self, *codecs: PayloadCodec) -> None:
        self.codecs = codecs

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        encoded = list(payloads)
        for codec in self.codecs:
            encoded = await codec.encode(encoded)
        return encoded

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        decoded = list(payloads)
        for codec in reversed(self.codecs):
            decoded = await codec.decode(decoded)
        return decoded
