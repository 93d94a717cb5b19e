"""What workers share through Redis, where it is configured: the pace of a queue, and which attempts have finished.

Nothing depends on it: while Redis is away everything works on, each worker by itself, and one warning says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from odradek.common.redis_link import RedisLink
from odradek.workers.attempts import AttemptKey

ANSWER_SECONDS: Final = 0.5
_MOMENTS: Final = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local rate, wanted, burst = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local following = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now - burst)
local granted = math.min(wanted, math.floor((now - following) * rate) + 1)
if granted < 1 then return 0 end
redis.call('SET', KEYS[1], string.format('%.6f', following + granted / rate), 'EX', 60)
return granted
"""


class SharedState:
    """Of one namespace. Its methods block for a moment, and may be called from any thread."""

    def __init__(self, url: str, namespace: str, *, topic_id: str = "", finished_seconds: float = 3600.0) -> None:
        """``topic_id``: of the queue; what was finished for one of the same name that is gone says nothing of this one.

        Raises ``ImportError`` naming the extra, and ``ValueError`` for a URL that is none.
        """
        self._link = RedisLink(
            url,
            "limits of queues are divided by partitions, and repeated deliveries may run again",
            answer_seconds=ANSWER_SECONDS,
            namespace=namespace,
            used_by="worker",
        )
        self._redis = self._link.client
        self._prefix = f"odradek:{namespace}:"
        self._topic_id = topic_id
        self._finished_seconds = int(finished_seconds)
        self._moments = self._redis.register_script(_MOMENTS)

    @property
    def is_up(self) -> bool:
        """Whether it answered the last time, or is worth another try."""
        return self._link.is_up

    def moments(self, queue: str, per_second: float, wanted: int, burst_seconds: float) -> int | None:
        """How many of these may begin now; None while Redis is away."""
        key = f"{self._prefix}pace:{queue}"
        most = max(1, min(wanted, int(per_second * burst_seconds) or 1))
        return self._link.tried(lambda: int(self._moments(keys=[key], args=[per_second, most, burst_seconds])))

    def finished(self, attempts: Sequence[AttemptKey]) -> set[AttemptKey]:
        """Those of them that some worker has finished, and whose answer is durable."""
        keys = [self._key(attempt) for attempt in attempts]
        found = self._link.tried(lambda: self._redis.mget(keys))
        return (
            set() if found is None else {one for one, value in zip(attempts, found, strict=True) if value is not None}
        )

    def remember(self, attempts: Iterable[AttemptKey]) -> None:
        """Their answers are durable: whoever gets them again need not run them."""

        def put() -> None:
            with self._redis.pipeline(transaction=False) as pipe:
                for attempt in attempts:
                    pipe.set(self._key(attempt), b"1", ex=self._finished_seconds)
                pipe.execute()

        self._link.tried(put)

    def close(self) -> None:
        self._link.close()

    def _key(self, attempt: AttemptKey) -> str:
        return f"{self._prefix}done:{self._topic_id}:{':'.join(map(str, attempt))}"
