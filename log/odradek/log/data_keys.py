"""The topic of data keys: under which key each stands, and how they are forgotten. Knows nothing of what is in them."""

from __future__ import annotations

from odradek.log.namespace import Namespace, append_all, each_to_end


def record_key(subject: str, key_id: str) -> bytes:
    """``subject``: a workflow ID."""
    return f"{subject}\0{key_id}".encode()


def keys_of(namespace: Namespace, subject: str) -> list[bytes]:
    """Under which its keys stand; none where there is no such topic."""
    topic = namespace.topics.keys
    if namespace.log.topic(topic) is None:
        return []
    prefix = record_key(subject, "")
    found: dict[bytes, bytes | None] = {}
    for record in each_to_end(namespace.log, topic, 0):
        if record.key is not None and record.key.startswith(prefix):
            found[record.key] = record.value
    return [key for key, value in found.items() if value is not None]


def forget_keys(namespace: Namespace, subject: str) -> int:
    """Put tombstones on all of its keys; returns how many. Raises ``LogUnavailable``."""
    found = keys_of(namespace, subject)
    if found:
        append_all(namespace.log, namespace.topics.keys, 0, dict.fromkeys(found))
    return len(found)
