"""From an address to a log. The three kinds are imported only when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping

from odradek.log.errors import AddressInvalid
from odradek.log.interface import Log


def open_log(address: str, config: Mapping[str, str] | None = None) -> Log:
    """A connection to the log at ``address``; nothing is contacted yet.

    ``kafka://host:9092,host2:9092``: ``config`` holds any librdkafka settings (``sasl.*``, ``ssl.*``, …).
    ``sqlite:///relative/path`` and ``sqlite:////absolute/path``: a file on this host, for several processes.
    ``memory://name``: the same log for the same name in this process; ``memory://`` is a new one each time.
    The embedded logs ignore ``config``. Raises ``AddressInvalid`` and ``SettingsInvalid``.
    """
    scheme, separator, rest = address.partition("://")
    if not separator:
        raise AddressInvalid(shown(address), "it has no scheme")
    if scheme == "kafka":
        return _open_kafka(rest, config or {})
    if scheme == "sqlite":
        return _open_sqlite(address, rest)
    if scheme == "memory":
        from odradek.log.memory import MemoryLog

        return MemoryLog(rest)
    raise AddressInvalid(shown(address), "nobody knows its scheme")


def shown(address: str) -> str:
    """The same for people: without what may be credentials, which are no part of any address."""
    scheme, separator, rest = address.partition("://")
    if scheme in ("sqlite", "memory") and rest.startswith("/"):
        return address
    if not separator:
        scheme, rest = "", address
    rest, question, _ = rest.partition("?")
    rest = "…@…" if "@" in rest else rest
    scheme = scheme if scheme.isalpha() or not separator else "…"
    return f"{scheme}{separator}{rest}{question and '?…'}"


def _open_kafka(rest: str, config: Mapping[str, str]) -> Log:
    if "@" in rest:
        problem = "credentials belong in the config (sasl.username, sasl.password)"
        raise AddressInvalid(shown(f"kafka://{rest}"), problem)
    servers = [server for server in rest.rstrip("/").split(",") if server]
    if not servers:
        raise AddressInvalid(f"kafka://{rest}", "it names no broker")
    for server in servers:
        host, colon, port = server.rpartition(":")
        if not (colon and host and port.isdigit()):
            raise AddressInvalid(shown(f"kafka://{rest}"), f'"{shown(server)}" is not host:port')
    from odradek.log.kafka import KafkaLog
    from odradek.log.kafka_security import check_security

    check_security(config)
    return KafkaLog(",".join(servers), config)


def _open_sqlite(address: str, rest: str) -> Log:
    if not rest.startswith("/") or len(rest) < 2:
        raise AddressInvalid(shown(address), "a file needs three slashes, four when its path is absolute")
    from odradek.log.sqlite import SqliteLog

    return SqliteLog(rest[1:])
