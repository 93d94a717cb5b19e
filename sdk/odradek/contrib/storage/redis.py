"""Payloads in Redis. Needs the extra ``odradek[redis]``."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from odradek.common.redis_link import redis_at
from odradek.contrib.storage.content import ContentDriver

if TYPE_CHECKING:
    import redis

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
        self._redis: redis.Redis = redis_at(address, TIMEOUT_SECONDS) if isinstance(address, str) else address
        self._prefix = prefix
        self._ttl_ms = None if ttl is None else max(1, ttl // timedelta(milliseconds=1))

    def place(self, digest: str) -> str:
        return self._prefix + digest

    def write(self, digest: str, stored: bytes) -> None:
        self._redis.set(self.place(digest), stored, px=self._ttl_ms)

    def read(self, digest: str) -> bytes | None:
        found = self._redis.get(self.place(digest))
        assert found is None or isinstance(found, bytes), "the client must not decode responses"
        return found
