"""What --converter and --interceptor name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from odradek.common import Payload
from odradek.converter import DataConverter, PayloadCodec
from odradek.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor


class Shifting(PayloadCodec):
    """No encryption, but nobody reads it by accident."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [
            Payload("binary/shifted", bytes(b + 1 & 255 for b in p.encoding.encode() + b"|" + p.data)) for p in payloads
        ]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [self._read(payload) if payload.encoding == "binary/shifted" else payload for payload in payloads]

    def _write(self, payload: Payload) -> bytes:
        return bytes(byte + 1 & 255 for byte in payload.encoding.encode() + b"|" + payload.data)

    def _read(self, payload: Payload) -> Payload:
        encoding, _, data = bytes(b - 1 & 255 for b in payload.data).partition(b"|")
        return Payload(encoding.decode(), data)


def shifting() -> DataConverter:
    return DataConverter(payload_codec=Shifting())


class Louder(Interceptor):
    """Activities answer in capital letters."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        class Activities(ActivityInboundInterceptor):
            async def execute_activity(self, input: ExecuteActivityInput) -> Any:
                return str(await super().execute_activity(input)).upper()

        return Activities(next)
