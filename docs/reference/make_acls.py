"""The rights in how-to/secure-kafka.md, as the tests give them: ``python docs/reference/make_acls.py``."""

from __future__ import annotations

from pathlib import Path

from generated import table, write

from odradek.schemas.access import Right, Role, rights_of
from odradek.schemas.topics import Topics

PAGE = Path(__file__).parents[1] / "how-to" / "secure-kafka.md"
TOPICS = Topics("shop")
QUEUES = ["orders"]
SERVERS = "k1:9093"


def text() -> str:
    parts = [_part(str(role), str(role), rights_of(role, TOPICS, QUEUES)) for role in Role]
    without = rights_of(Role.CLIENT, TOPICS)
    keys = [right for right in rights_of(Role.CLIENT, TOPICS, keys=True) if right not in without]
    parts.append(_part("with keys of workflows: client, orchestrator and worker, too", "NAME", keys))
    return "\n\n".join(parts)


def _part(title: str, user: str, rights: list[Right]) -> str:
    rows = [_row(right) for right in rights]
    commands = "\n".join(f"    {right.command(SERVERS, f'User:{user}')}" for right in rights)
    return f"### {title}\n\n{table(['resource', 'operation', 'else'], rows)}\n\n{commands}"


def _row(right: Right) -> tuple[str, str, str]:
    named = f"`{right.name}`" + (" and all that begins so" if right.prefixed else "")
    without = f"it cannot {right.without}" if right.without else "it ends at start (ODR-229)"
    return f"{right.resource} {named}", right.operation, without


if __name__ == "__main__":
    write(PAGE, text())
