"""Intervals and limits of an activity worker. The defaults are for production; tests shorten the intervals."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """How long an activity worker waits for things, and how much it holds."""

    hand_over_seconds: float = 1.0
    """An attempt that runs longer is handed over: the orchestrator watches it, and its offset is done."""
    sweep_seconds: float = 0.1
    """How often running attempts are looked at: hand-over, pending heartbeats, start-to-close."""
    lease_seconds: float = 2.0
    commit_seconds: float = 0.25
    poll_seconds: float = 0.05
    """The longest wait for new tasks; a cancellation is heard of at most this late."""
    session_timeout_seconds: float = 6.0
    """The least that brokers allow unless they are told otherwise (group.min.session.timeout.ms)."""
    prefetch_count_max: int | None = None
    """Tasks that wait in this process; None: ten times the number that may run."""
    look_ahead_count_max: int = 50_000
    """The same, once tasks name priorities or fairness keys: those that wait for their turn stand in it too."""
    prefetch_bytes_max: int = 32 * MIB
    unacknowledged_max: int = 10_000
    """Answers on their way to the log; above it nothing is fetched, so that an outage does not fill memory."""
    unacknowledged_bytes_max: int = 64 * MIB
    """The same in bytes."""
    payload_bytes_max: int = 2 * MIB
    """A larger result fails its activity."""
    repeats_remembered: int = 10_000
    """Finished attempts whose repeated delivery is noticed."""
    redis: str | None = field(default=None, repr=False)
    """``redis://host:6379/0``: what workers share; None: each keeps to its share of the partitions, see ``pace``."""
    finished_seconds: float = 3600.0
    """How long Redis remembers finished attempts."""
    heartbeat_seconds_max: float = 30.0
    heartbeat_seconds_min: float = 0.5
    """Heartbeats are sent every 0.8 of their timeout, within these bounds."""
    retry_seconds: float = 0.5
    """Before something that the log refused is tried again."""
    hand_over_timeout_seconds: float = 5.0
    """How long giving up a partition may wait for the answers and notices that belong to it."""
    cancel_grace_seconds: float = 10.0
    """At shutdown: how long cancelled attempts may take to end before they are left behind."""
