"""The open runs of a namespace through the code of a new build: what would park if it were rolled out now.

Each partition of history is read once, to where it ends now, by nobody's member: nothing is joined, nothing is written.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from odradek.cli.options import Common

if TYPE_CHECKING:
    from odradek.log import Log
    from odradek.log.namespace import Namespace
    from odradek.orchestrator.image import SeenWorkflow
    from odradek.orchestrator.registry import Registry
    from odradek.worker import Replayer

EXAMPLES_MAX: Final = 10
GROUPS_MAX: Final = 1_000
DAMAGED: Final = "ODR-079"
_LOOK_SECONDS: Final = 0.2

Progress = Callable[[int], None]
"""Told how many more offsets have been read."""


@dataclass(frozen=True)
class Wanted:
    """Which modules, and which runs."""

    modules: Sequence[str]
    workflow_type: str | None = None
    per_type: int | None = None
    """So many runs of each type and version in each partition; None: all."""


@dataclass(frozen=True)
class OpenRun:
    """One run that would park."""

    workflow_id: str
    run_id: str
    event: int | None
    """The first event that differs, counted from 1; None where the trouble is another."""
    message: str


@dataclass
class Trouble:
    """Runs that would park for one reason."""

    code: str
    workflow_type: str
    version: str
    recorded: str = ""
    made: str = ""
    place: str = ""
    runs: int = 0
    examples: list[OpenRun] = field(default_factory=list)

    def key(self) -> tuple[str, ...]:
        return self.code, self.workflow_type, self.version, self.recorded, self.made, self.place


@dataclass
class Findings:
    """What came of one partition, or of all."""

    partitions: int = 0
    records: int = 0
    open: int = 0
    replayed: int = 0
    events: int = 0
    seconds: float = 0.0
    troubles: dict[tuple[str, ...], Trouble] = field(default_factory=dict)
    more: int = 0
    """Runs that would park for reasons of which there are too many to keep apart."""

    @property
    def failed(self) -> int:
        """Runs that the code does not fit."""
        return self.more + sum(trouble.runs for trouble in self.troubles.values()) - self.damaged

    @property
    def damaged(self) -> int:
        """Runs that no code fits, since their histories cannot be read."""
        return sum(trouble.runs for trouble in self.troubles.values() if trouble.code == DAMAGED)

    def note(self, trouble: Trouble) -> None:
        """One more reason, or more runs for a known one."""
        known = self.troubles.get(trouble.key())
        if known is not None:
            known.runs += trouble.runs
            known.examples = (known.examples + trouble.examples)[:EXAMPLES_MAX]
        elif len(self.troubles) < GROUPS_MAX:
            self.troubles[trouble.key()] = trouble
        else:
            self.more += trouble.runs

    def add(self, other: Findings) -> None:
        self.partitions += other.partitions
        self.records += other.records
        self.open += other.open
        self.replayed += other.replayed
        self.events += other.events
        self.more += other.more
        for trouble in other.troubles.values():
            self.note(trouble)

    def as_json(self) -> dict[str, Any]:
        shown = {name: getattr(self, name) for name in ("partitions", "records", "open", "replayed", "events")}
        troubles = [asdict(trouble) for trouble in self.troubles.values()]
        counts = {"failed": self.failed, "damaged": self.damaged}
        return {**shown, **counts, "seconds": round(self.seconds, 3), "troubles": troubles}


class _Hosts:
    """The code of the new build, as an orchestrator would have it."""

    def __init__(self, namespace: str, registry: Registry) -> None:
        self.namespace = namespace
        self.definition = registry.find
        self.hosted = registry.hosted
        self.versions = registry.versions


class Gate:
    """Replays what stands in the partitions of one namespace; belongs to one process."""

    def __init__(self, common: Common, log: Log, wanted: Wanted) -> None:
        from odradek.cli.modules import load
        from odradek.log.namespace import open_namespace
        from odradek.worker import Replayer

        found = load(wanted.modules)
        found.need("workflows")
        self._wanted = wanted
        self._namespace: Namespace = open_namespace(log, common.namespace, schema_registry=common.schema_registry)
        self._replayer: Replayer = Replayer(
            workflows=found.workflows,
            data_converter=common.data_converter(),
            interceptors=common.worker_interceptors(),
            namespace=common.namespace,
        )
        self._hosts = _Hosts(common.namespace, self._replayer._registry)

    def look(self, partition: int, progress: Progress) -> Findings:
        """One partition."""
        from odradek.orchestrator.image import PartitionImage, read_partition

        found = Findings(partitions=1)
        image = PartitionImage(self._namespace.codec, closed=False)

        def take(record: Any) -> None:
            found.records += 1
            image.take(record)

        read_partition(self._namespace.log, self._namespace.topics.history, partition, take, progress)
        taken: dict[tuple[str, str], int] = {}
        for seen in image.workflows():
            self._judge(seen, found, taken)
        return found

    def _judge(self, seen: SeenWorkflow, found: Findings, taken: dict[tuple[str, str], int]) -> None:
        from odradek.client import WorkflowHistory
        from odradek.orchestrator.core.versions import UnknownWorkflowType, code_of

        workflow = seen.workflow
        for run_id, reason in workflow.damaged.items():
            self._note_damaged(found, workflow.id, run_id, reason)
        live = workflow.live
        if live is None or live.run.started is None:
            return
        run = live.run
        kind, version = live.run.started.workflow_type, run.version
        if self._wanted.workflow_type not in (None, kind):
            return
        found.open += 1
        try:
            definition = code_of(self._hosts, run)
        except UnknownWorkflowType as error:
            code, _, _ = str(error).partition(":")
            message = f'{error} (workflow "{workflow.id}", run {run.run_id})'
            example = OpenRun(workflow.id, run.run_id, None, message)
            found.note(Trouble(code, kind, version, runs=1, examples=[example]))
            return
        number = taken[kind, version] = taken.get((kind, version), 0) + 1
        if self._wanted.per_type is not None and number > self._wanted.per_type:
            return
        history = WorkflowHistory(workflow.id, seen.events(live), run_id=run.run_id)
        failure = self._replayer._failure_of(history, definition)
        found.replayed += 1
        found.events += len(history.events)
        if failure is not None:
            found.note(_trouble(failure, kind, version, history))

    def _note_damaged(self, found: Findings, workflow_id: str, run_id: str, reason: str) -> None:
        if self._wanted.workflow_type is None:
            found.open += 1
            message = (
                f'{DAMAGED}: a history record of workflow "{workflow_id}" (run {run_id}) cannot be read, so it is '
                f'parked with any build: {reason}. Terminate it ("odradek workflow terminate {workflow_id}"), or '
                "leave such runs out of account (--skip-damaged)"
            )
            found.note(Trouble(DAMAGED, "", "", runs=1, examples=[OpenRun(workflow_id, run_id, None, message)]))


def _trouble(failure: Exception, kind: str, version: str, history: Any) -> Trouble:
    event = getattr(failure, "event", None)
    example = OpenRun(history.workflow_id, history.run_id, event, str(failure))
    recorded, made, place = (getattr(failure, name, "") for name in ("recorded", "made", "place"))
    return Trouble(getattr(failure, "code", ""), kind, version, recorded, made, place, 1, [example])


# ------------------------------------------------------------------------------------------------- all partitions


def look_at_open_runs(common: Common, log: Log, wanted: Wanted, processes: int, progress: Progress) -> Findings:
    """All partitions, in this process or shared out among others."""
    from odradek.schemas.topics import Topics

    info = log.topic(Topics(common.namespace).history)
    partitions = list(range(info.partitions if info else 0))
    began = time.monotonic()
    total = Findings()
    gate = Gate(common, log, wanted)  # what is wrong with the modules is said here, once
    alone = processes == 1 or len(partitions) == 1
    each = (gate.look(partition, progress) for partition in partitions)
    for found in each if alone else _apart(common, wanted, partitions, processes, progress):
        total.add(found)
    total.seconds = time.monotonic() - began
    return total


_gate: Gate | None = None
_read: Any = None


def _apart(
    common: Common, wanted: Wanted, partitions: Sequence[int], processes: int, progress: Progress
) -> Iterator[Findings]:
    # Not forked: a broker's client does not survive that.
    context = multiprocessing.get_context("spawn")
    read = context.Value("q", 0)
    told = 0
    count = min(processes, len(partitions))
    with ProcessPoolExecutor(count, context, _begin_process, (common, wanted, read)) as pool:
        open_futures: set[Future[Findings]] = {pool.submit(_look, partition) for partition in partitions}
        try:
            while open_futures:
                done, open_futures = wait(open_futures, _LOOK_SECONDS)
                progress(read.value - told)
                told = read.value
                for future in done:
                    yield future.result()
        finally:
            for future in open_futures:
                future.cancel()


def _begin_process(common: Common, wanted: Wanted, read: Any) -> None:
    global _gate, _read
    from odradek.cli import messages

    messages.set_up(common, quiet=True)
    _gate, _read = Gate(common, common.open_log(), wanted), read


def _look(partition: int) -> Findings:
    assert _gate is not None

    def progress(more: int) -> None:
        with _read.get_lock():
            _read.value += more

    return _gate.look(partition, progress)
