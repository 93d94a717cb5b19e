"""A codec that encrypts with a key of the workflow that a payload belongs to."""

from __future__ import annotations

import asyncio
import copy
import os
from asyncio import events
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Self, TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from odradek.common.standalone import workflow_id_of
from odradek.contrib.encryption.key_store import KeyStore
from odradek.converter import (
    ActivitySerializationContext,
    KeyMismatch,
    Payload,
    PayloadCodec,
    SerializationContext,
    SubjectUnknown,
    WithSerializationContext,
    WorkflowSerializationContext,
)

T = TypeVar("T")

ENCODING: Final = "binary/encrypted-by-workflow"
KEY_ID: Final = "key-id"
INNER: Final = "encoding"
_NONCE_BYTES: Final = 12


class WorkflowKeyCodec(PayloadCodec, WithSerializationContext):
    """AES-GCM with a data key for each workflow, from a ``KeyStore``. Decrypts whatever names a key of the store.

    ``odradek workflow erase`` deletes a workflow's keys; then nobody can read its payloads any more, wherever they
    are: ``KeyErased``. Encoding and key ID are bound to the data. What is not encrypted is left as it is.
    """

    def __init__(self, store: KeyStore) -> None:
        self._store = store
        self._subject: str | None = None

    def with_context(self, context: SerializationContext) -> Self:
        made = copy.copy(self)
        if isinstance(context, WorkflowSerializationContext):
            made._subject = context.workflow_id
        elif isinstance(context, ActivitySerializationContext):
            alone = workflow_id_of(context.activity_id) if context.activity_id else None
            made._subject = context.workflow_id or alone
        return made

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        subject = self._subject
        if subject is None:
            raise SubjectUnknown
        key_id, key = await _waited(partial(self._store.current, subject))
        return [_encrypted(payload, key_id.encode(), AESGCM(key)) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        named = {_key_id(payload) for payload in payloads if payload.encoding == ENCODING}
        keys = {key_id: await _waited(partial(self._store.find, key_id)) for key_id in named}
        return [
            _decrypted(payload, AESGCM(keys[_key_id(payload)])) if payload.encoding == ENCODING else payload
            for payload in payloads
        ]


async def _waited(ask: Callable[[], T]) -> T:
    """In a thread where there is a loop to be kept free; workflow code has none, and waits itself."""
    if events._get_running_loop() is None:
        return ask()
    return await asyncio.to_thread(ask)


def _key_id(payload: Payload) -> str:
    return payload.metadata.get(KEY_ID, b"").decode()


def _encrypted(payload: Payload, key_id: bytes, cipher: AESGCM) -> Payload:
    nonce, inner = os.urandom(_NONCE_BYTES), payload.encoding.encode()
    data = nonce + cipher.encrypt(nonce, payload.data, inner + b"\0" + key_id)
    return Payload(ENCODING, data, {**payload.metadata, INNER: inner, KEY_ID: key_id})


def _decrypted(payload: Payload, cipher: AESGCM) -> Payload:
    metadata = dict(payload.metadata)
    inner, key_id = metadata.pop(INNER, b""), metadata.pop(KEY_ID, b"")
    nonce, data = payload.data[:_NONCE_BYTES], payload.data[_NONCE_BYTES:]
    try:
        plain = cipher.decrypt(nonce, data, inner + b"\0" + key_id)
    except (InvalidTag, ValueError):
        raise KeyMismatch(key_id.decode()) from None
    return Payload(inner.decode(), plain, metadata)
