"""What a role lacks is found out when it begins, by asking the brokers what its principal may do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from odradek.log.errors import AccessDenied
from odradek.log.interface import Log
from odradek.schemas.access import Right, Role, rights_of
from odradek.schemas.topics import Topics

ANONYMOUS: Final = "User:ANONYMOUS"
"""Whom Kafka takes for this who does not say who it is."""


def check_access(log: Log, role: Role, topics: Topics, queues: Iterable[str] = ()) -> None:
    """Raises ``AccessDenied`` naming every right that is missing.

    Nobody asks where brokers do not know who it is, or where the settings say so.
    """
    if not log.checks_access or log.principal in ("", ANONYMOUS):
        return
    missing = log.missing_rights([right for right in rights_of(role, topics, queues) if not right.without])
    if missing:
        raise denied(log.address, log.principal, missing)


def denied(address: str, principal: str, missing: list[Right]) -> AccessDenied:
    words = ", ".join(right.words for right in missing)
    servers = address.removeprefix("kafka://")
    return AccessDenied(address, words, tuple(right.command(servers, principal) for right in missing))
