"""A connection to a Redis that nothing depends on: while it is away work goes on without, and one warning says so."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeVar

from prometheus_client import Gauge

T = TypeVar("T")
_logger = logging.getLogger("odradek.redis")

AWAY_SECONDS: Final = 2.0
"""How long it is left alone after an error."""
UP: Final = Gauge(
    "odradek_redis_up",
    "1 while Redis answers, 0 while it is away, and work goes on without; absent where none is configured",
    ["namespace", "used_by"],
)
_LOCK: Final = threading.Lock()
_LINKS: Final[Counter[tuple[str, str]]] = Counter()
"""That are open, by the labels of the gauge."""


def redis_at(url: str, answer_seconds: float) -> Any:
    """A client. Raises ``ImportError`` naming the extra, and ``ValueError`` for a URL that is none."""
    try:
        import redis
    except ImportError as error:
        raise ImportError(
            "ODR-145: Redis is configured, and its client is missing: pip install odradek[redis]"
        ) from error
    try:
        return redis.Redis.from_url(url, socket_timeout=answer_seconds, socket_connect_timeout=answer_seconds)
    except ValueError:  # which would quote a part of the URL, and that may be a part of its password
        raise ValueError(
            "ODR-210: the URL of Redis cannot be read: give redis://[user:password@]host:port/number, rediss:// or "
            "unix://, with /, @, : and % of a password percent-encoded"
        ) from None


class RedisLink:
    """Usable from any thread."""

    def __init__(self, url: str, without: str, *, answer_seconds: float, namespace: str, used_by: str) -> None:
        """``without``: what is different while it is away, for the warning. The last two are labels of the metric.

        Raises ``ImportError`` naming the extra, and ``ValueError`` for a URL that is none.
        """
        self.client = redis_at(url, answer_seconds)
        import redis

        self._error: type[Exception] = redis.RedisError
        self._shown = self.client.connection_pool.connection_kwargs.get("host", "its address")
        self._without = without
        self._labels = (namespace, used_by)
        with _LOCK:
            _LINKS[self._labels] += 1
        self._up = UP.labels(*self._labels)
        self._up.set(1)
        self._away_until = 0.0
        self._was_away = False

    @property
    def is_up(self) -> bool:
        """Whether it answered the last time, or is worth another try."""
        return time.monotonic() >= self._away_until

    def tried(self, call: Callable[[], T]) -> T | None:
        """What ``call`` returns; None while Redis is away."""
        if not self.is_up:
            return None
        try:
            value = call()
        except (self._error, OSError) as error:
            self._away_until = time.monotonic() + AWAY_SECONDS
            if not self._was_away:
                self._was_away = True
                self._up.set(0)
                _logger.warning(
                    "ODR-146: Redis at %s is away (%s): %s, until it is back", self._shown, error, self._without
                )
            return None
        self._up.set(1)
        if self._was_away:
            self._was_away = False
            _logger.info("Redis at %s is back", self._shown)
        return value

    def close(self) -> None:
        """Once. The gauge goes with the last of a process."""
        self.client.close()
        with _LOCK:
            _LINKS[self._labels] -= 1
            if not _LINKS[self._labels]:
                with suppress(KeyError):  # some versions of the library raise it
                    UP.remove(*self._labels)
