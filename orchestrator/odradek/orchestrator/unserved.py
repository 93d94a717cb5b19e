"""Task queues that activities wait in and that no worker serves: found now and then, and told of."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from odradek.orchestrator import metrics
from odradek.orchestrator.core.shard import Shard

_log = logging.getLogger("odradek.orchestrator.queues")

WARN_AGAIN_SECONDS: Final = 300.0


@dataclass(slots=True)
class _Waiting:
    count: int = 0
    oldest_ms: int = 1 << 62
    workflow_id: str = ""
    activity_type: str = ""


class UnservedQueues:
    """``silence_ms`` says for how long no worker has served a queue, as the log's time has it; None: one does.

    Used by the watch, in its thread. What it sees of a partition at work may be a moment old.
    """

    def __init__(
        self,
        namespace: str,
        silence_ms: Callable[[str], int | None],
        now_ms: Callable[[], int],
        warn_seconds: float,
    ) -> None:
        self._namespace, self._silence_ms, self._now_ms = namespace, silence_ms, now_ms
        self._warn_ms = int(warn_seconds * 1000)
        self._warned: dict[str, float] = {}
        self._shown: set[str] = set()

    def look(self, shards: Iterable[Shard], backlogged: Iterable[str] = ()) -> None:
        """Set the gauge, and warn of what has lasted.

        ``backlogged``: queues whose topics hold tasks, of workflows that may not be in memory.
        """
        waiting = _waiting(shards)
        silent = {
            queue: silence_ms
            for queue in backlogged
            if queue not in waiting and (silence_ms := self._silence_ms(queue)) is not None
        }
        for queue, found in waiting.items():
            silence_ms = self._silence_ms(queue)
            if silence_ms is None:
                continue
            silent[queue] = silence_ms
            if min(silence_ms, self._now_ms() - found.oldest_ms) >= self._warn_ms:
                self._warn(queue, found, silence_ms)
        self._show(silent)

    def _warn(self, queue: str, waiting: _Waiting, silence_ms: int) -> None:
        now = time.monotonic()
        if now - self._warned.get(queue, -WARN_AGAIN_SECONDS) < WARN_AGAIN_SECONDS:
            return
        self._warned[queue] = now
        others = f" and {waiting.count - 1} more wait" if waiting.count > 1 else " waits"
        _log.warning(
            'ODR-205: no worker has served task queue "%s" for %d s: activity "%s" of workflow "%s"%s there, the '
            'oldest for %d s. Start one with "odradek worker MODULE --queue %s", or correct the name of the queue',
            queue, silence_ms // 1000, waiting.activity_type, waiting.workflow_id, others,
            (self._now_ms() - waiting.oldest_ms) // 1000, queue,
            extra={"task_queue": queue},
        )  # fmt: skip

    def _show(self, silent: dict[str, int]) -> None:
        for queue in self._shown - silent.keys():
            metrics.forget(metrics.QUEUE_UNSERVED, self._namespace, queue)
            self._warned.pop(queue, None)
        for queue, silence_ms in silent.items():
            metrics.QUEUE_UNSERVED.labels(self._namespace, queue).set(silence_ms / 1000)
        self._shown = set(silent)


def _waiting(shards: Iterable[Shard]) -> dict[str, _Waiting]:
    """The activities in memory whose current attempt is with nobody that we know of, by queue."""
    found: dict[str, _Waiting] = {}
    for shard in shards:
        # Copying is one step of the interpreter, so the loop cannot change the dict meanwhile.
        for workflow in list(shard.workflows.values()):
            live = workflow.live
            if live is None or not live.run.activities:
                continue
            for activity in list(live.run.activities.values()):
                progress = activity.progress
                if progress.holders or progress.retry_at_ms is not None or progress.paused_ms is not None:
                    continue
                one = found.setdefault(activity.options.task_queue, _Waiting())
                one.count += 1
                if progress.attempt_scheduled_ms < one.oldest_ms:
                    one.oldest_ms = progress.attempt_scheduled_ms
                    one.workflow_id, one.activity_type = live.run.workflow_id, activity.scheduled.activity_type
    return found
