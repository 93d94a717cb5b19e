"""Where the microseconds of a step go: an orchestrator's own CPU time, by what it is for.

One thread drives the orchestrator over a log in memory and answers its tasks, so that no broker, no network and no
other process has a part in it. Seconds are measured without a profiler; the shares come from a second pass with one,
which makes small calls look larger than they are.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import statistics
import sys
import tempfile
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks.app import echo
from odradek import workflow
from odradek.cli.collector import collect_rarely
from odradek.log import Log, Reader, open_log
from odradek.log.namespace import create_namespace, open_namespace
from odradek.orchestrator.host import Orchestrator
from odradek.orchestrator.registry import Registry
from odradek.orchestrator.settings import OrchestratorSettings
from odradek.schemas import records as r

QUEUE: Final = "cost"
VALUE: Final = r.Payload("json/plain", b'"' + b"x" * 98 + b'"')
READY_SECONDS_MAX: Final = 30

Function = tuple[str, int, str]
PARTS: Final = {
    "the log in memory": ("/odradek/log/",),
    "records and their codec": ("/odradek/schemas/", "<string>", "dataclasses.py"),
    "values": ("/odradek/converter/", "/json/"),
    "the workflow's code and its loop": (
        "/core/instance.py", "/core/loop.py", "/odradek/workflow/", "/asyncio/", "/benchmarks/", "/core/conversion.py",
    ),
    "the store": ("/orchestrator/rocks.py", "/core/store.py", "rocksdict"),
    "outputs": ("/orchestrator/outputs.py", "/orchestrator/abroad.py", "/orchestrator/blocked.py", "/core/effects.py"),
    "ownership: appends, watermarks, claims": (
        "/core/writer.py", "/core/keys.py", "/core/state.py", "/core/shard.py", "/core/intake.py",
        "/orchestrator/owned.py",
    ),
    "deciding, folding, writing transitions": ("/orchestrator/core/",),
    "the process's loop": ("",),
}  # fmt: skip
"""By what a file's path contains; the first that fits counts."""


@workflow.defn
class Steps:
    """So many activities, one after the other."""

    @workflow.run
    async def run(self, count: int, value: str) -> str:
        for _ in range(count):
            value = await workflow.execute_activity(echo, value, start_to_close_timeout=timedelta(seconds=60))
        return value


class Bench:
    """An orchestrator that is turned by hand, and a worker that answers at once."""

    def __init__(self, log: Log, folder: Path, partitions: int) -> None:
        create_namespace(log, "cost", partitions=partitions, queues=(QUEUE,))
        self.namespace = open_namespace(log, "cost")
        registry = Registry()
        registry.add([Steps])
        settings = OrchestratorSettings(store=folder, deadlock_timeout_seconds=0)
        self.orchestrator = Orchestrator(self.namespace, registry, settings=settings)
        self.orchestrator._open()
        deadline = time.monotonic() + READY_SECONDS_MAX
        while not self.orchestrator.ready.is_set():
            if time.monotonic() > deadline:
                raise TimeoutError("the orchestrator is not ready")
            self.orchestrator._turn()
        topics = self.namespace.topics
        self._tasks, self._replies = self._everything(topics.tasks(QUEUE)), self._everything(topics.replies)
        self._appender = log.appender()
        self._made = 0

    def _everything(self, topic: str) -> Reader:
        reader = self.namespace.log.reader()
        info = self.namespace.log.topic(topic)
        assert info is not None
        for partition in range(info.partitions):
            reader.assign(topic, partition, 0)
        return reader

    def run(self, workflows: int, steps: int, profiler: cProfile.Profile | None = None) -> float:
        """Seconds of CPU that the orchestrator took for them all."""
        for _ in range(workflows):
            self._start(steps)
        self._appender.flush(5)
        done, used = 0, 0.0
        while done < workflows:
            began = time.thread_time()
            if profiler is not None:
                profiler.enable()
            self.orchestrator._turn()
            if profiler is not None:
                profiler.disable()
            used += time.thread_time() - began
            done += self._answer()
        return used

    def close(self) -> None:
        self.orchestrator._close()

    def _start(self, steps: int) -> None:
        self._made += 1
        workflow_id, number = f"cost-{self._made}", r.Payload("json/plain", str(steps).encode())
        request = r.Request(f"start-{self._made}", _now_ms() + 600_000, "bench", 0)
        self._send(workflow_id, r.StartWorkflow(request, "Steps", QUEUE, (number, VALUE), wait_result=True))

    def _send(self, workflow_id: str, body: r.StartWorkflow | r.ActivityResult) -> None:
        value = self.namespace.codec.encode(r.InboxRecord(_now_ms(), body))
        partition = self.namespace.partition(workflow_id)
        self._appender.append(self.namespace.topics.inbox, partition, workflow_id.encode(), value)

    def _answer(self) -> int:
        """What a worker and a client would do; how many workflows have ended."""
        decode = self.namespace.codec.decode
        for record in self._tasks.poll(0, 100_000):
            task = decode(r.TaskRecord, record.value or b"")
            self._send(task.workflow_id, r.ActivityResult(task.run_id, task.seq, task.attempt, "w", _now_ms(), VALUE))
        self._appender.poll(0)
        replies = [decode(r.ReplyRecord, record.value or b"").body for record in self._replies.poll(0, 100_000)]
        return sum(isinstance(body, r.RunOutcome) for body in replies)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def part_of(path: str) -> str:
    return next(part for part, places in PARTS.items() if any(place in path for place in places))


def shares(profiler: cProfile.Profile) -> tuple[dict[str, float], int]:
    """Of each part, and how many calls there were; what is built into Python counts for whoever calls it."""
    stats = pstats.Stats(profiler)
    found: Counter[str] = Counter()
    for (path, _, _), (_, _, own, _, callers) in stats.stats.items():  # type: ignore[attr-defined]
        if path == "~":
            for (caller, _, _), timing in callers.items():
                found[part_of(caller) if caller != "~" else "the process's loop"] += timing[2]
        else:
            found[part_of(path)] += own
    total = sum(found.values())
    return {part: found[part] / total for part in PARTS}, stats.total_calls  # type: ignore[attr-defined]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workflows", type=int, default=500)
    parser.add_argument("--steps", type=int, default=5, help="activities of each, one after the other")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--partitions", type=int, default=8)
    options = parser.parse_args()
    count = options.workflows * options.steps
    with tempfile.TemporaryDirectory(prefix="odradek-cost-") as folder:
        bench = Bench(open_log("memory://cost"), Path(folder), options.partitions)
        bench.run(options.workflows, options.steps)
        collect_rarely()
        micros = sorted(bench.run(options.workflows, options.steps) / count * 1e6 for _ in range(options.repeats))
        profiler = cProfile.Profile()
        bench.run(options.workflows, options.steps, profiler)
        bench.close()
    found, calls = shares(profiler)
    median = statistics.median(micros)
    title = f"{options.workflows} workflows of {options.steps} activities: an orchestrator's CPU time for a step"
    table = Table("", "share", "µs", title=title)
    for part, share in sorted(found.items(), key=lambda item: -item[1]):
        table.add_row(part, f"{share:.0%}", f"{share * median:.1f}")
    table.add_row("all", "100%", f"{median:.1f} ({micros[0]:.1f} to {micros[-1]:.1f})")
    Console().print(table)
    print(f"{calls / count:,.0f} calls of functions a step, those built into Python included")
    return 0


if __name__ == "__main__":
    sys.exit(main())
