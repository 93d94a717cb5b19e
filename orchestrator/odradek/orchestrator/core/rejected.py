"""Inbox records that are not taken in: their copies, and what is told to those who sent them."""

from __future__ import annotations

from typing import Any

from odradek.orchestrator.core import children
from odradek.orchestrator.core import effects as fx
from odradek.schemas import records as r
from odradek.schemas.dead_letters import dead_letter
from odradek.schemas.limits import problem
from odradek.schemas.topics import Topics


def rejected(
    namespace: str, partition: int, offset: int, time_ms: int, key: bytes | None, value: bytes | None,
    code: str, reason: str, record_bytes_max: int, body: Any = None, now_ms: int = 0,
) -> fx.DeadLetter:  # fmt: skip
    """``body``: what the record says, where it can be read."""
    inbox = Topics(namespace).inbox
    letter = dead_letter(record_bytes_max, code, reason, inbox, partition, offset, time_ms, key, value)
    return fx.DeadLetter(record=letter, answers=_answers(body, r.Refused(code, reason), now_ms))


def _answers(body: Any, refusal: r.Refused, now_ms: int) -> list[fx.Reply | fx.SendMessage]:
    """As far as the record says who asked, in values that can be."""
    answers: list[fx.Reply | fx.SendMessage] = []
    request, origin = getattr(body, "request", None), getattr(body, "origin", None)
    if request is not None and problem(request) is None and request.reply_partition >= 0:
        answers.append(fx.Reply(None, request.reply_partition, request.recipient, request.id, refusal))
    if origin is not None and problem(origin) is None and origin.number < children.PARENT_CLOSED:
        answers.append(children.answer(now_ms, origin, refusal))
    return answers
