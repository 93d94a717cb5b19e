"""Plugins: one object that changes how clients are made and connected."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from odradek.client.connection import Connection
from odradek.service import ConnectConfig

if TYPE_CHECKING:
    from odradek.client.client import ClientConfig


class Plugin(ABC):
    """Given to ``Client.connect``. One that is also a ``worker.Plugin`` serves the workers of that client too."""

    def name(self) -> str:
        return f"{type(self).__module__}.{type(self).__qualname__}"

    @abstractmethod
    def configure_client(self, config: ClientConfig) -> ClientConfig:
        """The options that the client is to have, made of those that were given."""

    @abstractmethod
    async def connect_service_client(
        self, config: ConnectConfig, next: Callable[[ConnectConfig], Awaitable[Connection]]
    ) -> Connection:
        """Connect: usually ``await next(config)``, with something changed in ``config``."""
