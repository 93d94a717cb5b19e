"""The namespaces whose tasks this worker runs: its own, and those of others that use its queue, opened on demand."""

from __future__ import annotations

import time
import zlib
from collections import deque
from dataclasses import dataclass
from typing import Final

from odradek.log import LogUnavailable
from odradek.log.errors import LogError
from odradek.log.interface import Log
from odradek.log.namespace import Namespace, open_namespace
from odradek.schemas.errors import SchemaError

_RETRY_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Home:
    """A namespace, and the partition of its replies where this worker listens."""

    namespace: Namespace
    inbox: str
    reply_partition: int


class HomeUnknown(Exception):
    """No answer can reach this namespace."""


class Homes:
    """Used by the sender's thread; ``opened`` tells the fetcher where to listen."""

    def __init__(self, own: Namespace, worker: str) -> None:
        self._log: Log = own.log
        self._schema_registry = own.schema_registry or ""
        self._worker = worker
        self._homes: dict[str, Home] = {}
        self._unknown: dict[str, tuple[float, str]] = {}
        self.opened: deque[Home] = deque()
        self.own = self._add(own)

    def get(self, name: str) -> Home:
        """Raises ``HomeUnknown``, and ``LogUnavailable`` when it should be tried again."""
        found = self._homes.get(name)
        return found if found is not None else self._open(name)

    def all(self) -> list[Home]:
        return list(self._homes.values())

    def _open(self, name: str) -> Home:
        until, reason = self._unknown.get(name, (0.0, ""))
        if time.monotonic() < until:
            raise HomeUnknown(reason)
        try:
            return self._add(open_namespace(self._log, name, schema_registry=self._schema_registry))
        except LogUnavailable:
            raise
        except (LogError, SchemaError, ValueError) as error:
            self._unknown[name] = (time.monotonic() + _RETRY_SECONDS, str(error))
            raise HomeUnknown(str(error)) from error

    def _add(self, namespace: Namespace) -> Home:
        partition = zlib.crc32(self._worker.encode()) % namespace.reply_partitions
        home = Home(namespace, namespace.topics.inbox, partition)
        self._homes[namespace.topics.namespace] = home
        self.opened.append(home)
        return home
