"""Payloads in Redis. Needs the extra ``odradek[redis]``."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from odradek.contrib.storage.content import ContentDriver

if TYPE_CHECKING:
    import redis

URL_INVALID: Final = (
    "ODR-210: the URL of Redis cannot be read: give redis://[user:password@]host:port/number, rediss:// or unix://, with "
    "/, @, : and % of a password percent-encoded"
)
PREFIX: Final = "odradek:payload:"
TIMEOUT_SECONDS: Final = 5.0


class RedisStorageDriver(ContentDriver):
    """``address`` is a URL, ``redis://host:6379/0``, or a client of the redis package.

    ``ttl``: how long an object is kept after it was last stored; without it, for ever. It must be longer than a run and
    its history are kept. A Redis that may evict keys, or forgets them when it starts again, is no place for payloads.
    """

    def __init__(
        self,
        address: str | redis.Redis,
        *,
        name: str = "redis",
        ttl: timedelta | None = None,
        prefix: str = PREFIX,
    ) -> None:
        super().__init__(name)
        if isinstance(address, str):
            import redis

            timeouts = {"socket_timeout": TIMEOUT_SECONDS, "socket_connect_timeout": TIMEOUT_SECONDS}
            try:
                address = redis.Redis.from_url(address, **timeouts)
            except ValueError:  # which would quote a part of the URL, and that may be a part of its password
                raise ValueError(URL_INVALID) from None
        self._redis, self._prefix = address, prefix
        self._ttl_ms = None if ttl is None else max(1, ttl // timedelta(milliseconds=1))

    def place(self, digest: str) -> str:
        return self._prefix + digest

    def write(self, digest: str, stored: bytes) -> None:
        self._redis.set(self.place(digest), stored, px=self._ttl_ms)

    def read(self, digest: str) -> bytes | None:
        found = self._redis.get(self.place(digest))
        assert found is None or isinstance(found, bytes), "the client must not decode responses"
        return found
