"""Connections of commands that ask and go: they soon find out whether log and namespace are there, and make neither."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from odradek.cli.errors import LogFileMissing, NamespaceMissing
from odradek.cli.options import Common

if TYPE_CHECKING:
    from odradek.client import Client
    from odradek.log import Log

REACH_SECONDS: Final = 3.0


def check_reachable(common: Common) -> None:
    """Raises ``LogFileMissing``, ``LogUnavailable`` within seconds, and ``AddressInvalid``."""
    scheme, _, rest = common.address.partition("://")
    if scheme == "sqlite" and rest.startswith("/") and len(rest) > 1 and not Path(rest[1:]).is_file():
        raise LogFileMissing(common.address)
    if scheme == "kafka":
        _reach(common.address, rest)


def _reach(address: str, servers: str) -> None:
    """One of the brokers takes a connection; the client itself would go on trying for half a minute."""
    from odradek.log import LogUnavailable

    reasons = []
    for server in servers.rstrip("/").split(","):
        host, _, port = server.rpartition(":")
        if not host or not port.isdigit() or "@" in host:  # opening it says what is wrong with it
            return
        try:
            socket.create_connection((host.strip("[]"), int(port)), REACH_SECONDS).close()
        except OSError as error:
            reasons.append(f"{server}: {error.strerror or error}")
        else:
            return
    raise LogUnavailable(address, "; ".join(reasons))


@contextmanager
def existing_log(common: Common) -> Iterator[Log]:
    """The log, which must be there already."""
    check_reachable(common)
    log = common.open_log()
    try:
        yield log
    finally:
        log.close()


@asynccontextmanager
async def connected(common: Common) -> AsyncIterator[Client]:
    """A client of a namespace that exists. Raises ``NamespaceMissing`` too."""
    import asyncio

    from odradek.client import Client
    from odradek.client.connection import Connection

    check_reachable(common)
    log = common.open_log()
    connection = Connection(log, owns_log=True, schema_registry=common.schema_registry)
    try:
        await asyncio.to_thread(check_namespace, log, common)
        yield Client(connection, **common.client_options())
    finally:
        await connection.close()


def check_namespace(log: Log, common: Common) -> None:
    """Raises ``NamespaceMissing``, with the namespaces that there are."""
    from odradek.schemas.topics import Topics

    if log.topic(Topics(common.namespace).inbox) is None:
        raise NamespaceMissing(common.namespace, common.address, namespaces(log))


def namespaces(log: Log) -> list[str]:
    """Names of what looks like a namespace of ours."""
    names = set(log.topics(""))
    inboxes = (name.removesuffix(".inbox") for name in names if name.endswith(".inbox"))
    return sorted(name for name in inboxes if {f"{name}.history", f"{name}.replies"} <= names)
