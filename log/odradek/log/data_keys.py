"""The topic of data keys: under which key each stands, and how they are forgotten. Knows nothing of what is in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from odradek.log.errors import LogUnavailable
from odradek.log.namespace import Namespace, read_to_end

_APPEND_SECONDS: Final = 30.0


def record_key(subject: str, key_id: str) -> bytes:
    """``subject``: a workflow ID."""
    return f"{subject}\0{key_id}".encode()


def forget_keys(namespace: Namespace, subjects: Iterable[str]) -> int:
    """Put tombstones on all keys of these; returns how many. Raises ``LogUnavailable``."""
    topic = namespace.topics.keys
    if namespace.log.topic(topic) is None:
        return 0
    prefixes = tuple(record_key(subject, "") for subject in subjects)
    last = {record.key: record.value for record in read_to_end(namespace.log, topic, 0) if record.key}
    found = [key for key, value in last.items() if value is not None and key is not None and key.startswith(prefixes)]
    append_all(namespace, topic, 0, dict.fromkeys(found))
    return len(found)


def append_all(namespace: Namespace, topic: str, partition: int, records: Mapping[bytes, bytes | None]) -> None:
    """Append these, and wait until all of them are durable. Raises ``LogUnavailable``."""
    failures: list[Exception | None] = []
    appender = namespace.log.appender()
    try:
        for key, value in records.items():
            appender.append(topic, partition, key, value, lambda _, error: failures.append(error))
    finally:
        appender.close(timeout_seconds=_APPEND_SECONDS)
    if failures != [None] * len(records):
        reason = next((error for error in failures if error), None) or f"no answer within {_APPEND_SECONDS:g} s"
        raise LogUnavailable(namespace.log.address, f"{topic} was not written: {reason}")
