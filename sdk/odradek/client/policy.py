"""How a client insists, and how large its requests may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PAYLOAD_BYTES_MAX: Final = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class RequestPolicy:
    """Limits and intervals of a connection's requests; the defaults suit production."""

    rpc_timeout_seconds: float = 10
    """How long a request waits for its answer when the call names no ``rpc_timeout``. Results have no limit."""
    retry_seconds: float = 2
    """A request without an answer is appended again after this long, then after twice as long, and so on …"""
    retry_seconds_max: float = 15
    """… up to this. A result is asked for again at this interval."""
    lifetime_seconds: float = 600
    """How long an orchestrator may take a request in, and remembers its ID; a longer ``rpc_timeout`` prolongs it."""
    payload_bytes_max: int = PAYLOAD_BYTES_MAX
    """Of one argument, or one other value, as encoded."""
    requests_max: int = 2_000
    """Requests of one connection that have no answer yet and may still be taken in, those included whose callers have
    given up; further calls wait for a place. Waiting for a result, or for the outcome of an update, takes none."""
    request_bytes_max: int = 64 * 1024 * 1024
    """The same in bytes."""
    waiting_max: int = 20_000
    """Calls that may wait for a place at a time. Further ones are refused at once, before they cost anything."""
    close_timeout_seconds: float = 5
    """How long closing waits until what was appended is durable."""

    def __post_init__(self) -> None:
        if self.requests_max < 1:
            raise ValueError(f"requests_max is {self.requests_max}: a connection needs room for 1 request at least")
        if self.waiting_max < 0:
            raise ValueError(f"waiting_max is {self.waiting_max}: 0, where no call is to wait, or more")
        if not 0 < self.retry_seconds <= self.retry_seconds_max:
            raise ValueError(
                f"retry_seconds is {self.retry_seconds} and retry_seconds_max {self.retry_seconds_max}: "
                f"the first must be above zero, and not above the second"
            )

    def intervals(self) -> tuple[float, ...]:
        """The waits before each further append; the last one repeats."""
        waits = [self.retry_seconds]
        while waits[-1] < self.retry_seconds_max:
            waits.append(min(waits[-1] * 2, self.retry_seconds_max))
        return tuple(waits)
