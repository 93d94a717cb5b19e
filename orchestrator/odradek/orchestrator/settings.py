"""Intervals and limits of an orchestrator process. The defaults are for production; tests shorten the intervals."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

REPLAY_VARIABLE: Final = "ODRADEK_REPLAY_EACH_ACTIVATION"


@dataclass(frozen=True, slots=True)
class OrchestratorSettings:
    """How long an orchestrator waits for things, and how much it holds."""

    store: Path | None = None
    """Where local stores are kept; None: in memory, rebuilt from the log at each start."""
    redis: str | None = field(default=None, repr=False)
    """``redis://host:6379/0``: where copies of the stores are, for machines that have none; None: nowhere."""
    session_timeout_seconds: float = 6.0
    """The least that brokers allow unless they are told otherwise (group.min.session.timeout.ms)."""
    poll_seconds: float = 0.05
    """The longest wait when nothing happens."""
    checkpoint_seconds: float = 1.0
    store_flush_seconds: float = 20.0
    delete_records_seconds: float = 30.0
    hand_over_timeout_seconds: float = 5.0
    watch_seconds: float = 15.0
    """How often inbox lag and pending activities and timers are looked at, for metrics and warnings only."""
    claim_again_seconds: float = 1.0
    """Before a partition is claimed again after trouble."""
    takeover_seconds_max: float = 1200.0
    """A takeover that takes longer starts again; well below min.compaction.lag.ms (1 h)."""
    store_age_seconds_max: float = 1800.0
    """Half of delete.retention.ms: an older store may have missed tombstones."""
    beacon_seconds: float = 2.0
    worker_lost_seconds: float = 7.0
    unserved_warn_seconds: float = 60.0
    """After how long without a worker, while activities wait there, a task queue is warned of."""
    workers_lost_max: int = 5
    """An activity that so many workers were lost with, one after the other, is not tried again; 0: always."""
    in_flight_max: int = 20_000
    """Appends and outputs on their way; above it the inbox is not read."""
    in_flight_bytes_max: int = 256 * 1024 * 1024
    """The same in bytes."""
    records_per_poll: int = 1000
    inbox_ahead_records_max: int = 200_000
    """Inbox records that wait in this process: for the turn of their workflow, or for its last append. One partition
    may have half of it to itself; a partition with more is not read on until some have been taken in."""
    inbox_ahead_bytes_max: int = 256 * 1024 * 1024
    """The same in bytes."""
    inputs_per_turn: int = 100
    """Inputs of one workflow that are taken in before the others of its partition have their turn."""
    due_per_turn: int = 100
    """Workflows with timers or other limits due that have their turn before new records are read."""
    workflows_in_memory_max: int = 50_000
    """Open and lately closed ones, about 6 KiB each; the partitions of the process have equal parts of it."""
    instances_in_memory_max: int = 20_000
    """Of them, those with running code."""
    steps_concurrent_max: int = 1000
    """Steps and local activities that run at a time; the others wait."""
    step_threads_max: int = 32
    """Of them, those that are not async."""
    summary_retention_seconds: float = 7 * 24 * 3600.0
    prune_seconds: float = 6 * 3600.0
    """How often listings are rid of runs that closed longer ago than that; the first time sooner after a start."""
    deadlock_timeout_seconds: float = 2.0
    """CPU time that the code of a run may use for one input before it is interrupted and parked; 0: any."""
    crashes_max: int = 3
    """A workflow whose code took so many processes down, one after the other, is parked; 0: none is."""
    retries_suspects: bool = False
    """Workflows that were parked for that are run again, and their count begins anew."""
    parked_runs_fail_waits: bool = False
    """For tests: who waits for the result of a parked run gets its error, instead of waiting for better code."""
    replays_each_activation: bool = field(default_factory=lambda: os.environ.get(REPLAY_VARIABLE) == "1")
    """For tests: after each activation the run (of up to 300 events) is replayed from its start and compared."""
    history_events_warned: int = 10_000
    history_events_max: int = 100_000
    """A run whose history grows beyond this is terminated."""
    history_bytes_max: int = 100 * 1024 * 1024
