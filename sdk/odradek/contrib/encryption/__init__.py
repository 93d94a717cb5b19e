"""Encrypts payloads with AES-GCM. Needs the extra ``odradek[encryption]``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from odradek.contrib.encryption.key_store import KeyStore, TopicKeyStore
from odradek.contrib.encryption.workflow_keys import WorkflowKeyCodec
from odradek.converter import KeyMismatch, KeyUnknown, Payload, PayloadCodec

__all__ = ["EncryptionCodec", "KeyStore", "TopicKeyStore", "WorkflowKeyCodec"]

ENCODING: Final = "binary/encrypted"
KEY_ID: Final = "key-id"
INNER: Final = "encoding"
_NONCE_BYTES: Final = 12


class EncryptionCodec(PayloadCodec):
    """AES-GCM with a key ring: encrypts with the key ``current``, decrypts with whichever key a payload names.

    ``keys``: 16, 24 or 32 bytes by key ID. To rotate, first give every process the new key, then make it ``current``;
    old keys stay as long as histories are kept. Encoding and key ID are bound to the data and cannot be exchanged.
    What is not encrypted is left as it is. Raises ``KeyUnknown``, and ``KeyMismatch`` where the key is another one or
    the payload was tampered with.
    """

    def __init__(self, keys: Mapping[str, bytes], current: str) -> None:
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}
        if current not in self._ciphers:
            raise KeyUnknown(current, sorted(self._ciphers))
        self.current = current

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [self._encrypted(payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [self._decrypted(payload) if payload.encoding == ENCODING else payload for payload in payloads]

    def _encrypted(self, payload: Payload) -> Payload:
        nonce = os.urandom(_NONCE_BYTES)
        inner, key_id = payload.encoding.encode(), self.current.encode()
        data = nonce + self._ciphers[self.current].encrypt(nonce, payload.data, _bound(inner, key_id))
        return Payload(ENCODING, data, {**payload.metadata, INNER: inner, KEY_ID: key_id})

    def _decrypted(self, payload: Payload) -> Payload:
        metadata = dict(payload.metadata)
        inner, key_id = metadata.pop(INNER, b""), metadata.pop(KEY_ID, b"")
        cipher = self._ciphers.get(key_id.decode())
        if cipher is None:
            raise KeyUnknown(key_id.decode(), sorted(self._ciphers))
        nonce, data = payload.data[:_NONCE_BYTES], payload.data[_NONCE_BYTES:]
        try:
            plain = cipher.decrypt(nonce, data, _bound(inner, key_id))
        except (InvalidTag, ValueError):
            raise KeyMismatch(key_id.decode()) from None
        return Payload(inner.decode(), plain, metadata)


def _bound(inner: bytes, key_id: bytes) -> bytes:
    return inner + b"\0" + key_id
