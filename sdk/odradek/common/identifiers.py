"""What may be a workflow ID: it is a key in topics, and a part of other keys."""

from __future__ import annotations

from typing import Final

WORKFLOW_ID_BYTES_MAX: Final = 1000


def checked_id(workflow_id: str) -> str:
    """Raises ``ValueError`` for what cannot be a workflow ID."""
    given: object = workflow_id
    is_text = isinstance(given, str) and "\0" not in given
    if not is_text or not 0 < len(workflow_id.encode(errors="replace")) <= WORKFLOW_ID_BYTES_MAX:
        raise ValueError(
            f"ODR-135: a workflow ID is a text of 1 to {WORKFLOW_ID_BYTES_MAX} bytes without NUL characters, "
            f"and {workflow_id!r:.80} is not"
        )
    return workflow_id
