"""Numbers that cost too much for the loop that serves partitions: a thread of its own looks at them now and then.

It only reads. What it sees of a partition at work may be a moment old, and decides nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Final

from odradek.log.namespace import Namespace
from odradek.orchestrator import metrics
from odradek.orchestrator.core.shard import Shard
from odradek.orchestrator.unserved import UnservedQueues

_log = logging.getLogger("odradek.orchestrator.watch")

QUEUES_SECONDS: Final = 300.0
JOIN_SECONDS: Final = 5.0
"""At the end; a log that does not answer must not hold the hand-over up."""


class Watch:
    """Sets the gauges of inbox lag and of what open runs wait for, until it is stopped.

    Both are called in this watch's thread. ``serving``: the partitions that are live here, with their shards.
    ``look_at_queues``: reads again what may have changed about the topics of task queues.
    """

    def __init__(
        self,
        namespace: Namespace,
        serving: Callable[[], Iterable[tuple[int, Shard]]],
        interval_seconds: float,
        unserved: UnservedQueues,
        look_at_queues: Callable[[], None],
    ) -> None:
        self._namespace = namespace
        self._serving = serving
        self._unserved = unserved
        self._look_at_queues = look_at_queues
        self._queues_due = time.monotonic() + QUEUES_SECONDS
        self._interval_seconds = interval_seconds
        self._shown: set[int] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="odradek-orchestrator-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(JOIN_SECONDS)

    def _run(self) -> None:
        while not self._stop.wait(self._interval_seconds):
            try:
                self.look()
            except Exception as error:  # metrics must stop nobody, whatever the log raises
                _log.debug("the gauges could not be set: %s", error, exc_info=True)
        self._show({})
        self._count([])
        self._unserved.look([])

    def look(self) -> None:
        """Set the gauges once."""
        serving = dict(self._serving())
        self._count(serving.values())
        self._unserved.look(serving.values())
        topics = self._namespace.topics
        lags = self._namespace.log.lag(topics.orchestrators, topics.inbox) if serving else {}
        self._show({partition: lag for partition, lag in lags.items() if partition in serving})
        if time.monotonic() >= self._queues_due:
            self._queues_due = time.monotonic() + QUEUES_SECONDS
            self._look_at_queues()

    def _count(self, shards: Iterable[Shard]) -> None:
        activities = timers = 0
        for shard in shards:
            # Copying is one step of the interpreter, so the loop cannot change the dict meanwhile.
            for workflow in list(shard.workflows.values()):
                live = workflow.live
                if live is not None:
                    activities += len(live.run.activities)
                    timers += len(live.run.timers)
        name = self._namespace.topics.namespace
        metrics.ACTIVITIES_PENDING.labels(name).set(activities)
        metrics.TIMERS_PENDING.labels(name).set(timers)

    def _show(self, lags: dict[int, int]) -> None:
        """One gauge for each partition served here, and none for those that others serve now."""
        name = self._namespace.topics.namespace
        for partition in self._shown - lags.keys():
            metrics.INBOX_LAG.remove(name, str(partition))
        for partition, lag in lags.items():
            metrics.INBOX_LAG.labels(name, str(partition)).set(lag)
        self._shown = set(lags)
