"""What a scrape shows of the partitions at work: collected once a second from what their shards have counted."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client import Histogram

from odradek.common.build import note_role
from odradek.common.labels import Names
from odradek.orchestrator import metrics
from odradek.orchestrator.admission import REFUSED_FOR
from odradek.orchestrator.core.decide import HISTORY_LONG, MISMATCH
from odradek.orchestrator.core.shard import Shard
from odradek.orchestrator.outputs import Outputs
from odradek.orchestrator.owned import OwnedPartition, Phase
from odradek.schemas.topics import Topics

_log = logging.getLogger("odradek.orchestrator")

_HISTOGRAMS: Final[dict[str, Histogram]] = {
    "workflow": metrics.WORKFLOW_SECONDS,
    "activity": metrics.ACTIVITY_SECONDS,
    "step": metrics.STEP_SECONDS,
}


class Gauges:
    """Of one orchestrator. Belongs to its thread."""

    def __init__(self, topics: Topics, partitions: int, workflow_types: Iterable[str] = ()) -> None:
        """Counters that alerts look at begin at zero: the first rise of one that begins at one is not seen."""
        self._namespace = topics.namespace
        self._types = Names()
        """Starts may name any workflow type, and workflow code any activity type."""
        self._partitions = partitions
        self._shares = {
            gauge: metrics.Share(gauge, self._namespace)
            for gauge in (metrics.OWNED, metrics.IN_FLIGHT, metrics.IN_MEMORY, metrics.OUTPUTS_BLOCKED)
        }
        self._by_phase = {
            phase: metrics.Share(metrics.PHASES, self._namespace, phase.name.lower().replace("_", "-"))
            for phase in Phase
            if phase is not Phase.VOID
        }
        note_role("orchestrator")
        metrics.CLAIMS.labels(self._namespace)
        metrics.FENCED.labels(self._namespace)
        for topic in (topics.inbox, topics.history):
            metrics.DEAD_LETTERS.labels(self._namespace, topic)
        for code in REFUSED_FOR:
            metrics.REFUSED_RECORDS.labels(self._namespace, code)
        for kind in map(self._types.shown, workflow_types):
            metrics.MISMATCHES.labels(self._namespace, kind)
            metrics.DEADLOCKS.labels(self._namespace, kind)

    def collect(self, owned: Iterable[OwnedPartition], appends_in_flight: int, outputs: Outputs, now_ms: int) -> None:
        name, partitions = self._namespace, list(owned)
        metrics.PARTITIONS.labels(name).set(self._partitions)
        self._shares[metrics.IN_FLIGHT].set(appends_in_flight)
        self._shares[metrics.OUTPUTS_BLOCKED].set(outputs.blocked_count)
        self._phases(partitions, now_ms)
        for one in partitions:
            self._waited(one)
        shards = [one.shard for one in partitions if one.phase is Phase.LIVE and one.shard is not None]
        self._shares[metrics.IN_MEMORY].set(sum(len(shard.workflows) for shard in shards))
        for shard in shards:
            self._counted(shard)
        due_ms = min((shard.due_heap[0][0] for shard in shards if shard.due_heap), default=now_ms)
        metrics.OVERDUE_SECONDS.labels(name).set(max(0, now_ms - due_ms) / 1000)
        refusals, outputs.refusals = outputs.refusals, Counter()
        for code, count in refusals.items():
            metrics.REFUSALS.labels(name, code).inc(count)

    def clear(self) -> None:
        """This process serves nothing any more, and goes on with something else, perhaps."""
        self._phases([], 0)
        for share in self._shares.values():
            share.set(0)
        metrics.OVERDUE_SECONDS.labels(self._namespace).set(0)
        metrics.forget(metrics.PARTITIONS, self._namespace)

    def _phases(self, partitions: list[OwnedPartition], now_ms: int) -> None:
        name, phases = self._namespace, Counter(one.phase for one in partitions)
        for phase, share in self._by_phase.items():
            share.set(phases[phase])
        self._shares[metrics.OWNED].set(phases[Phase.LIVE])
        under_way = [now_ms - one.began_ms for one in partitions if one.phase not in (Phase.LIVE, Phase.VOID)]
        metrics.TAKEOVER_SECONDS.labels(name).set(max(under_way, default=0) / 1000)
        ages = [now_ms - one.checkpointed_ms for one in partitions if one.phase is Phase.LIVE]
        metrics.CHECKPOINT_SECONDS.labels(name).set(max(0, *ages, 0) / 1000)

    def _waited(self, one: OwnedPartition) -> None:
        waits_ms, one.waits_ms = one.waits_ms, []
        observe = metrics.INBOX_WAIT_SECONDS.labels(self._namespace).observe
        for wait_ms in waits_ms:
            observe(wait_ms / 1000)

    def _counted(self, shard: Shard) -> None:
        """What it has counted since the last time."""
        name = self._namespace
        metrics.TRANSITIONS.labels(name).inc(shard.transitions)
        metrics.REPLAYS.labels(name).inc(shard.replays)
        metrics.REPLAYED_EVENTS.labels(name).inc(shard.replayed_events)
        shard.transitions = shard.replays = shard.replayed_events = 0
        counts, shard.counts = shard.counts, {}
        for (what, kind), count in counts.items():
            self._count(what, self._types.shown(kind), count)
        durations, shard.durations = shard.durations, []
        observe: dict[tuple[str, str], Callable[[float], None]] = {}
        for what, kind, seconds in durations:
            if (what, kind) not in observe:
                observe[what, kind] = _HISTOGRAMS[what].labels(name, self._types.shown(kind)).observe
            observe[what, kind](seconds)

    def _count(self, what: str, kind: str, count: int) -> None:
        name = self._namespace
        if what in ("retried", "activity-failed"):
            metrics.ACTIVITY_EVENTS.labels(name, kind, what).inc(count)
        elif what == MISMATCH:
            metrics.MISMATCHES.labels(name, kind).inc(count)
        else:
            metrics.WORKFLOWS.labels(name, kind, what).inc(count)
        if what == HISTORY_LONG:
            _log.warning(
                'ODR-114: the history of a workflow of type "%s" is long, and each replay reads it whole: let the '
                "code continue as new when workflow.info().is_continue_as_new_suggested() says so", kind
            )  # fmt: skip
