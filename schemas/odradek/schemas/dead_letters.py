"""Dead letters: records that could not be taken in, kept with the reason and with where they stood."""

from __future__ import annotations

from typing import Final

from odradek.schemas.records import DeadLetterRecord

REASON_CHARACTERS_MAX: Final = 4000
VALUE_BYTES_KEPT: Final = 64 * 1024
"""How much is kept of a value that does not fit as a whole."""
KEY_BYTES_KEPT: Final = 1000
"""And of a key, then. A longer one is no key of the letter's own record either."""
_SURROUNDINGS_BYTES: Final = 32 * 1024
"""What a letter says beside key and value, at most, and what its own record costs."""


def dead_letter(
    record_bytes_max: int,
    code: str,
    reason: str,
    topic: str,
    partition: int,
    offset: int,
    time_ms: int,
    key: bytes | None,
    value: bytes | None,
) -> DeadLetterRecord:
    """A letter that fits into a record of this size: of a value that does not, its beginning is kept."""
    reason = reason.encode(errors="replace").decode()
    if len(reason) > REASON_CHARACTERS_MAX:
        reason = reason[:REASON_CHARACTERS_MAX] + " …"
    room = max(0, record_bytes_max - _SURROUNDINGS_BYTES)
    value_bytes = None
    kept_key = key
    if len(key or b"") + len(value or b"") > room:
        kept_key = key[:KEY_BYTES_KEPT] if key is not None else None
        if value is not None:
            value_bytes, value = len(value), value[: min(VALUE_BYTES_KEPT, room // 2)]
    return DeadLetterRecord(code, reason, topic, partition, offset, time_ms, kept_key, value, value_bytes)
