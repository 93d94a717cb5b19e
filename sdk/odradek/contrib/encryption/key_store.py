"""Keys of their own for each workflow, so that deleting a key makes all that was encrypted with it unreadable.

Whatever cannot be deleted, like a record of the archive or of a backup's copy, is as good as deleted then.
"""

from __future__ import annotations

import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from odradek.converter import KeyErased, KeyMismatch, KeyUnknown
from odradek.log import Log, LogUnavailable, Record, open_log
from odradek.log.data_keys import forget_keys, record_key
from odradek.log.namespace import Namespace, append_all, open_namespace
from odradek.schemas.errors import UnreadableRecord
from odradek.schemas.records import DataKeyRecord

KEY_BYTES: Final = 32
FRESH_SECONDS: Final = 1.0
"""A key that was read longer ago is used for new payloads only after a look whether it was erased meanwhile."""
ERASED_SECONDS: Final = 60.0
"""A key that is in memory is used to read for so long at most without a look whether it was erased meanwhile."""
_POLL_SECONDS: Final = 1.0


class KeyStore(ABC):
    """Where data keys are kept. ``subject`` is a workflow ID, as that of the run that an activity by itself is.

    Called from any thread, and may block.
    """

    @abstractmethod
    def current(self, subject: str) -> tuple[str, bytes]:
        """ID and bytes of the key to encrypt with; one is made, and is durable on return, where there is none."""

    @abstractmethod
    def find(self, key_id: str) -> bytes:
        """The key of this ID. Raises ``KeyErased`` where there is none any more."""

    @abstractmethod
    def erase(self, subject: str) -> int:
        """Forget all keys of this subject, for ever; returns how many."""


class TopicKeyStore(KeyStore):
    """Data keys in the compacted topic ``<namespace>.keys``, each wrapped (RFC 3394) by a master key that is not there.

    ``master_keys``: 16, 24 or 32 bytes by ID; new data keys are wrapped by ``current_master``. It keeps all keys in
    memory, some 300 bytes a workflow that was not erased. Two processes may make a key for one workflow at the same
    time: both hold. Raises ``KeyUnknown`` for a master key that it was not given.
    """

    def __init__(self, log: Log | str, namespace: str, master_keys: Mapping[str, bytes], current_master: str) -> None:
        if current_master not in master_keys:
            raise KeyUnknown(current_master, sorted(master_keys))
        self._masters = dict(master_keys)
        self._current_master = current_master
        self._log, self._name = log, namespace
        self._opened: Namespace | None = None
        self._lock = threading.RLock()
        self._at = 0
        self._read_at = self._looked_at = float("-inf")
        self._by_subject: dict[str, str] = {}
        self._keys: dict[str, bytes] = {}
        """As they are wrapped: what is not in use is not in the clear."""

    def current(self, subject: str) -> tuple[str, bytes]:
        with self._lock:
            if subject not in self._by_subject or time.monotonic() - self._read_at > FRESH_SECONDS:
                self._read_on()
            key_id = self._by_subject.get(subject)
            if key_id is None:
                key_id = self._make(subject)
            return key_id, self._unwrapped(key_id)

    def find(self, key_id: str) -> bytes:
        with self._lock:
            if key_id not in self._keys:
                self._read_on()
            elif time.monotonic() - max(self._read_at, self._looked_at) > ERASED_SECONDS:
                self._looked_at = time.monotonic()
                with suppress(LogUnavailable):  # nothing can have been erased now, either
                    self._read_on()
            if key_id not in self._keys:
                raise KeyErased(key_id)
            return self._unwrapped(key_id)

    def erase(self, subject: str) -> int:
        with self._lock:
            count = forget_keys(self._namespace(), subject)
            self._read_on()
            return count

    # ------------------------------------------------------------------------------------------ the topic

    def _namespace(self) -> Namespace:
        if self._opened is None:
            log = open_log(self._log) if isinstance(self._log, str) else self._log
            self._opened = open_namespace(log, self._name)
            log.create_topics([self._opened.topics.keys_spec()])
        return self._opened

    def _read_on(self) -> None:
        """What has been written since, to where the topic ends now."""
        namespace = self._namespace()
        topic = namespace.topics.keys
        begin, end = namespace.log.offsets(topic, 0)
        if self._at < end:
            reader = namespace.log.reader()
            try:
                reader.assign(topic, 0, max(begin, self._at))
                while reader.position(topic, 0) < end:
                    for record in reader.poll(_POLL_SECONDS):
                        self._take(namespace, record)
            finally:
                reader.close()
            self._at = end
        self._read_at = time.monotonic()

    def _take(self, namespace: Namespace, record: Record) -> None:
        subject, _, key_id = (record.key or b"").decode(errors="replace").rpartition("\0")
        if record.value is None:
            self._keys.pop(key_id, None)
            if self._by_subject.get(subject) == key_id:
                del self._by_subject[subject]
            return
        try:
            found = namespace.codec.decode(DataKeyRecord, record.value)
        except UnreadableRecord:
            return
        self._keys[key_id] = f"{found.master_key_id}\0".encode() + found.wrapped
        self._by_subject[subject] = key_id

    def _make(self, subject: str) -> str:
        namespace, key_id = self._namespace(), os.urandom(12).hex()
        wrapped = aes_key_wrap(self._masters[self._current_master], os.urandom(KEY_BYTES))
        record = DataKeyRecord(subject, key_id, self._current_master, wrapped, int(time.time() * 1000))
        value = namespace.codec.encode(record)
        append_all(namespace.log, namespace.topics.keys, 0, {record_key(subject, key_id): value})
        self._keys[key_id] = f"{self._current_master}\0".encode() + wrapped
        self._by_subject[subject] = key_id
        return key_id

    def _unwrapped(self, key_id: str) -> bytes:
        master_id, _, wrapped = self._keys[key_id].partition(b"\0")
        master = self._masters.get(master_id.decode())
        if master is None:
            raise KeyUnknown(master_id.decode(), sorted(self._masters))
        try:
            return aes_key_unwrap(master, wrapped)
        except InvalidUnwrap:
            raise KeyMismatch(master_id.decode()) from None
