"""Callers that come at a rate, whether or not earlier ones are done; and what the topics say of each afterwards."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import Final

from benchmarks.app import Child
from benchmarks.stage import QUEUE, Stage
from odradek.client import Client, WorkflowFailureError
from odradek.log.namespace import open_namespace, read_to_end
from odradek.schemas.records import ActivityCompleted, ActivityScheduled, ArchiveRecord, RunCompleted
from odradek.schemas.topics import Topics
from odradek.service import RPCError

TRIES_MAX: Final = 3
CALLERS_MAX: Final = 50_000
"""At once; as many as there is memory for beside what is measured."""
NO_ROOM: Final = "ODR-154"
GROWTH_MAX: Final = 1.25
GROWTH_FREE_MIB: Final = 30.0


class Fate(IntEnum):
    """What a caller of the storm has heard last."""

    NOTHING = 0
    RESULT = 1
    NOT_SENT = 2
    """That there was no room, as often as it tried."""
    UNKNOWN = 3
    """Another error: its workflow may be, or may not be."""


async def start_one(client: Client, id: str) -> bool:
    """Whether a workflow of one activity came to its end; raises what a caller would see."""
    return await client.execute_workflow(Child.run, args=[1, "x" * 100], id=id, task_queue=QUEUE) == 1


class Storm:
    """So many callers per second for so long. Whoever finds no room comes back when told to, so many times."""

    def __init__(self, client: Client, per_second: float) -> None:
        self._client, self._per_second = client, per_second
        self._open: set[asyncio.Task[None]] = set()
        self.fates = bytearray()
        self.told: Counter[str] = Counter()
        self.callers_max = self.calls = self.stayed_away = 0
        self.without_advice = 0
        """Errors of no room that did not say when to come back."""

    @property
    def offered(self) -> int:
        return len(self.fates)

    def count(self, fate: Fate) -> int:
        return self.fates.count(fate)

    async def rage(self, seconds: float) -> None:
        began = time.perf_counter()
        while (passed := time.perf_counter() - began) < seconds:
            due = int(passed * self._per_second) - self.offered - self.stayed_away
            coming = min(due, CALLERS_MAX - len(self._open))
            self.stayed_away += due - coming
            for _ in range(coming):
                task = asyncio.create_task(self._caller(self.offered))
                self.fates.append(Fate.NOTHING)
                self._open.add(task)
                task.add_done_callback(self._open.discard)
            self.callers_max = max(self.callers_max, len(self._open))
            await asyncio.sleep(0.005)

    async def pass_over(self) -> None:
        """Until everybody has been told something for good."""
        while self._open:
            await asyncio.wait(set(self._open), timeout=5)

    async def _caller(self, number: int) -> None:
        for _ in range(TRIES_MAX):
            self.fates[number], pause_seconds = await self._try(number)
            if self.fates[number] != Fate.NOT_SENT:
                return
            await asyncio.sleep(pause_seconds)

    async def _try(self, number: int) -> tuple[Fate, float]:
        """What came of it, and when to come back."""
        self.calls += 1
        try:
            await start_one(self._client, workflow_id(number))
        except WorkflowFailureError as error:
            self.told[type(error).__name__] += 1
            return Fate.UNKNOWN, 0.0
        except RPCError as error:
            self.told[error.code or type(error).__name__] += 1
            if error.code != NO_ROOM:
                return Fate.UNKNOWN, 0.0
            self.without_advice += not error.retry_after_seconds
            return Fate.NOT_SENT, error.retry_after_seconds or 0.0
        return Fate.RESULT, 0.0


def workflow_id(number: int) -> str:
    return f"storm-{number}"


def lost_or_twice(where: Stage, topics: Topics, fates: Sequence[int]) -> Iterator[str]:
    """Where the archive of closed runs and what callers heard do not go together."""
    runs = Counter[str]()
    namespace = open_namespace(where.log, topics.namespace)
    seen: set[str] = set()
    for partition in range(namespace.partitions):
        for record in read_to_end(where.log, topics.archive, partition):
            run = namespace.codec.decode(ArchiveRecord, record.value or b"")
            if run.run_id in seen:  # what an owner archives again is the same
                continue
            seen.add(run.run_id)
            runs[run.workflow_id] += 1
            kinds = Counter(type(event.body) for event in run.events)
            if [kinds[kind] for kind in (ActivityScheduled, ActivityCompleted, RunCompleted)] != [1, 1, 1]:
                yield f"storm: {run.workflow_id} is not a workflow that did its one activity: {kinds}"
    for number, fate in enumerate(fates):
        count = runs[workflow_id(number)]
        if count > 1:
            yield f"storm: {workflow_id(number)} ran {count} times"
        elif fate == Fate.RESULT and not count:
            yield f"storm: {workflow_id(number)} was answered, and is lost"
        elif fate == Fate.NOT_SENT and count:
            yield f"storm: {workflow_id(number)} was refused as not sent, and ran"
        elif fate == Fate.NOTHING:
            yield f"storm: the caller of {workflow_id(number)} was told nothing"


def growing(resident_mib: dict[str, list[float]], points: int) -> Iterator[str]:
    """Processes whose memory still grew towards the end of a storm of so many points: its last third, by its second."""
    for name, curve in resident_mib.items():
        second, last = (curve[points * n // 3 : points * (n + 1) // 3] for n in (1, 2))
        if second and last and max(last) > max(second) * GROWTH_MAX + GROWTH_FREE_MIB:
            yield f"storm: {name} grew from {max(second):g} to {max(last):g} MiB in the last third of the storm"
