"""The topic of data keys: under which key each stands, and how they are forgotten. Knows nothing of what is in them."""

from __future__ import annotations

from collections.abc import Iterable

from odradek.log.namespace import Namespace, append_all, read_to_end


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
    append_all(namespace.log, topic, 0, dict.fromkeys(found))
    return len(found)
