"""Numbers that cost too much for the loop that serves partitions: a thread of its own looks at them now and then.

What it sees of a partition at work may be a moment old, and decides nothing. It only reads, but for the listings: from
them it takes, seldom, what the owner of the partition has forgotten.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from odradek.log.listings import TooManyListings, prune_listings
from odradek.log.namespace import Namespace
from odradek.orchestrator import metrics
from odradek.orchestrator.backlogs import Backlogs
from odradek.orchestrator.core.shard import Shard
from odradek.orchestrator.rocks import stores_of
from odradek.orchestrator.settings import OrchestratorSettings
from odradek.orchestrator.unserved import UnservedQueues

_log = logging.getLogger("odradek.orchestrator.watch")

QUEUES_SECONDS: Final = 300.0
SELDOM: Final = 4
"""Only each fourth look is at what is slow to read and slow to change: ages, task queues, copies of topics, disks."""
PRUNED_RECORDS_MAX: Final = 100_000
"""Of a partition: more take seconds of Python's lock, and hundreds of MiB."""
PRUNE_FIRST: Final = 1 / 24
"""After a start, listings are pruned after this part of the time."""
JOIN_SECONDS: Final = 5.0
"""At the end; a log that does not answer must not hold the hand-over up."""


class Watch:
    """Sets the gauges of lag, of what waits where, and of what open runs wait for, until it is stopped.

    ``serving``: the partitions that are live here, with their shards. ``look_at_queues``: reads again what may have
    changed about the topics of task queues. Both are called in this watch's thread.
    """

    def __init__(
        self,
        namespace: Namespace,
        serving: Callable[[], Iterable[tuple[int, Shard]]],
        settings: OrchestratorSettings,
        unserved: UnservedQueues,
        look_at_queues: Callable[[], None],
        now_ms: Callable[[], int],
    ) -> None:
        self._namespace = namespace
        self._serving = serving
        self._unserved = unserved
        self._look_at_queues = look_at_queues
        self._queues_due = time.monotonic() + QUEUES_SECONDS
        self._interval_seconds, self._store = settings.watch_seconds, settings.store
        self._prune_seconds, self._retention_seconds = settings.prune_seconds, settings.summary_retention_seconds
        self._prune_due = time.monotonic() + settings.prune_seconds * PRUNE_FIRST
        self._now_ms = now_ms
        self._backlogs = Backlogs(namespace, now_ms)
        self._looks = 0
        self._shown: set[int] = set()
        name = namespace.topics.namespace
        self._activities = metrics.Share(metrics.ACTIVITIES_PENDING, name)
        self._timers = metrics.Share(metrics.TIMERS_PENDING, name)
        self._parked: dict[str, metrics.Share] = {}
        """By the code of the error."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="odradek-orchestrator-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(JOIN_SECONDS)

    def _run(self) -> None:
        while not self._stop.wait(self._interval_seconds):
            self._guarded(self.look)
        self._show({})
        self._count([])
        self._unserved.look([])
        self._backlogs.clear()

    @staticmethod
    def _guarded(look: Callable[[], None]) -> None:
        """Metrics must stop nobody, whatever the log raises; what one may not read must not hide the rest."""
        try:
            look()
        except Exception as error:
            _log.debug("the gauges could not be set: %s", error, exc_info=True)

    def look(self) -> None:
        """Set the gauges once."""
        serving = dict(self._serving())
        self._count(serving.values())
        self._unserved.look(serving.values(), self._backlogs.waiting)
        topics = self._namespace.topics
        standing = self._namespace.log.standing(topics.orchestrators, topics.inbox) if serving else {}
        standing = {partition: one for partition, one in standing.items() if partition in serving}
        self._show({partition: one.lag for partition, one in standing.items()})
        if self._looks % SELDOM == 0:
            metrics.STORE_BYTES.labels(topics.namespace).set(_size(self._store, serving))
            self._guarded(lambda: self._backlogs.inbox(standing))
            self._guarded(lambda: self._backlogs.queues(serving.keys()))
            self._guarded(lambda: self._backlogs.replication(serving.keys()))
        self._looks += 1
        self._guarded(lambda: self._prune(serving))
        if time.monotonic() >= self._queues_due:
            self._queues_due = time.monotonic() + QUEUES_SECONDS
            self._look_at_queues()

    def _prune(self, partitions: Iterable[int]) -> None:
        """Of the listings: what closed so long ago that its summary is forgotten."""
        if time.monotonic() < self._prune_due:
            return
        self._prune_due = time.monotonic() + self._prune_seconds
        closed_before_ms = self._now_ms() - int(self._retention_seconds * 1000)
        for partition in partitions:
            if self._stop.is_set():
                return
            try:
                done = prune_listings(self._namespace, closed_before_ms, [partition], PRUNED_RECORDS_MAX)
            except TooManyListings:
                _log.warning(
                    "partition %d has more than %d records of listings, too many to look through beside other work: "
                    'let a job run "odradek namespace prune-listings" now and then',
                    partition,
                    PRUNED_RECORDS_MAX,
                )
                continue
            _log.debug("partition %d: %d runs are listed no more, %d are", partition, done.runs, done.left)

    def _count(self, shards: Iterable[Shard]) -> None:
        activities = timers = 0
        parked: Counter[str] = Counter()
        for shard in shards:
            parked.update(why.code for live in list(shard.parked.values()) if (why := live.parked) is not None)
            # Copying is one step of the interpreter, so the loop cannot change the dict meanwhile.
            for workflow in list(shard.workflows.values()):
                live = workflow.live
                if live is not None:
                    activities += len(live.run.activities)
                    timers += len(live.run.timers)
        self._activities.set(activities)
        self._timers.set(timers)
        for code in parked.keys() - self._parked.keys():
            self._parked[code] = metrics.Share(metrics.PARKED, self._namespace.topics.namespace, code)
        for code, share in self._parked.items():  # one that nobody is parked for any more says so
            share.set(parked[code])

    def _show(self, lags: dict[int, int]) -> None:
        """One gauge for each partition served here, and none for those that others serve now."""
        name = self._namespace.topics.namespace
        for partition in self._shown - lags.keys():
            metrics.forget(metrics.INBOX_LAG, name, str(partition))
        for partition, lag in lags.items():
            metrics.INBOX_LAG.labels(name, str(partition)).set(lag)
        self._shown = set(lags)


def _size(folder: Path | None, partitions: Iterable[int]) -> int:
    """Of the files in the stores of these partitions: other processes may have theirs beside them."""
    total = 0
    for path in () if folder is None else stores_of(folder, partitions):
        for root, _, names in os.walk(path):
            for name in names:
                with suppress(OSError):  # RocksDB has just replaced it
                    total += os.stat(os.path.join(root, name)).st_size  # noqa: PTH116, PTH118 - walked by the thousand
    return total
