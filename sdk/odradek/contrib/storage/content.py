"""A driver whose keys are the SHA-256 of what is stored: the same payload again is the same object."""

from __future__ import annotations

import asyncio
import re
from abc import abstractmethod
from collections.abc import Sequence
from typing import Final

from odradek.converter import (
    Payload,
    PayloadUnreadable,
    StorageDriver,
    StorageDriverClaim,
    StorageDriverRetrieveContext,
    StorageDriverStoreContext,
    StoredPayloadMissing,
)
from odradek.converter.storage import digest_of, from_stored, to_stored

SHA256: Final = "sha256"
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class ContentDriver(StorageDriver):
    """Reads and writes in threads: the clients of stores belong to no event loop."""

    def __init__(self, name: str) -> None:
        self._name = name

    def name(self) -> str:
        return self._name

    async def store(self, context: StorageDriverStoreContext, payloads: Sequence[Payload]) -> list[StorageDriverClaim]:
        digests = [digest_of(payload) for payload in payloads]
        writes = (
            asyncio.to_thread(self.write, digest, to_stored(payload))
            for digest, payload in zip(digests, payloads, strict=True)
        )
        await asyncio.gather(*writes)
        return [StorageDriverClaim({SHA256: digest}) for digest in digests]

    async def retrieve(
        self, context: StorageDriverRetrieveContext, claims: Sequence[StorageDriverClaim]
    ) -> list[Payload]:
        return await asyncio.gather(*(asyncio.to_thread(self._read, claim) for claim in claims))

    def _read(self, claim: StorageDriverClaim) -> Payload:
        digest = claim.claim_data.get(SHA256, "")
        if not _DIGEST.fullmatch(digest):  # it becomes a path or a key
            raise PayloadUnreadable("a claim", "json", 0, "what it names is no SHA-256")
        stored = self.read(digest)
        if stored is None:
            raise StoredPayloadMissing(self._name, self.place(digest))
        try:
            return from_stored(stored)
        except ValueError as error:
            reason = f"{self.place(digest)} was changed: {error}"
            raise PayloadUnreadable("a stored payload", "binary", 0, reason) from error

    @abstractmethod
    def place(self, digest: str) -> str:
        """Where it stands, for people."""

    @abstractmethod
    def write(self, digest: str, stored: bytes) -> None:
        """Returns when it is durable."""

    @abstractmethod
    def read(self, digest: str) -> bytes | None:
        """None: it is not there."""
