"""One task of an hour among many short ones on the same partition, a slow key, and a worker that comes and goes.

Tasks are written straight into the queue's topic and answers are read from the inbox, so that nothing but the workers,
and beside them the raw loop that only passes records on, is measured. The hour is simulated: that task ends with the
benchmark. Columns:

  raw loop   reads the topic and answers each record, in order: no activity, no commit
  short      only short tasks, one worker, one partition
  blocked    the same with a task of an hour at the front, and one in a thousand that takes two seconds
  rolling    the same on two partitions, with a second worker that joins, stays for five seconds, leaves, and so on
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

from confluent_kafka import Consumer, TopicPartition
from rich.console import Console
from rich.table import Table

from benchmarks.stage import QUEUE, Curves, Stage, machine, positive, print_json, sparkline, stage
from odradek.converter import DataConverter
from odradek.log import Log, Record
from odradek.log.namespace import open_namespace
from odradek.schemas.codec import Codec
from odradek.schemas.records import ActivityResult, ActivityStarted, ActivityTimeouts, InboxRecord, TaskRecord
from odradek.schemas.topics import Topics

HOUR_MS = 3_600_000
SLOW_SECONDS = 2.0
SLOW_EVERY = 1000
STAY_SECONDS = 5.0
SILENT_SECONDS_MAX = 60.0


@dataclass
class Measured:
    """One column. ``lag`` is read twice a second, in records over all partitions."""

    name: str
    tasks: int
    seconds: float = 0.0
    """From the first append to the answer of the last short task."""
    cpu_ms_per_1000: dict[str, float] = field(default_factory=dict)
    lag: list[float] = field(default_factory=list)
    duplicates: int = 0
    """Answers beyond one for each task."""
    handed_over: int = 0
    joined: int = 0
    """How often a worker came and left again."""
    committed: dict[int, tuple[int, int, str]] = field(default_factory=dict)
    """By partition, in the end: position, end of the partition, metadata."""
    metadata_chars_max: int = 0

    @property
    def per_second(self) -> float:
        return self.tasks / self.seconds


class Commits:
    """What a group has committed, read without joining it."""

    def __init__(self, address: str, group: str, topic: str, partitions: int) -> None:
        settings = {"bootstrap.servers": address.removeprefix("kafka://"), "group.id": group}
        self._consumer = Consumer(settings)
        self._asked = [TopicPartition(topic, number) for number in range(partitions)]

    def read(self) -> dict[int, tuple[int, str]]:
        found = self._consumer.committed(self._asked, timeout=10)
        return {tp.partition: (max(0, tp.offset), tp.metadata or "") for tp in found}

    def close(self) -> None:
        self._consumer.close()


class Tasks:
    """Writes the tasks of one run, and counts their answers."""

    def __init__(self, log: Log, topics: Topics, partitions: int) -> None:
        self._namespace = open_namespace(log, topics.namespace)
        self._log, self._topics, self._partitions = log, topics, partitions
        self._converter = DataConverter.default.payload_converter
        self._inbox = log.reader()
        for partition in range(partitions):
            self._inbox.assign(topics.inbox, partition, 0)
        self.answers: Counter[str] = Counter()
        self.started: Counter[str] = Counter()

    def encoded(self, count: int, *, blocked: bool = False, name: str = "short") -> list[tuple[int, bytes, bytes]]:
        """(partition, key, record) of each: long ones first, then short ones, and among them the slow key."""
        found = [self._task(p, f"hour-{p}", "wait", 3600.0) for p in range(self._partitions)] if blocked else []
        for number in range(count):
            partition = number % self._partitions
            if blocked and number % SLOW_EVERY == SLOW_EVERY - 1:
                found.append(self._task(partition, f"slow-{number}", "wait", SLOW_SECONDS))
            else:
                found.append(self._task(partition, f"{name}-{number}", "echo", "x" * 98))
        return found

    def _task(self, partition: int, run_id: str, activity_type: str, value: object) -> tuple[int, bytes, bytes]:
        workflow_id = run_id.partition("-")[0] if run_id.startswith("slow") else run_id
        now_ms = time.time_ns() // 1_000_000
        task = TaskRecord(
            namespace=self._topics.namespace,
            workflow_id=workflow_id,
            run_id=run_id,
            workflow_type="Blocking",
            inbox_partition=partition,
            seq=1,
            attempt=1,
            activity_id="1",
            activity_type=activity_type,
            task_queue=QUEUE,
            scheduled_ms=now_ms,
            attempt_scheduled_ms=now_ms,
            expires_ms=now_ms + HOUR_MS,
            input=tuple(self._converter.to_payloads([value])),
            timeouts=ActivityTimeouts(start_to_close_ms=2 * HOUR_MS),
        )
        return partition, workflow_id.encode(), self._namespace.codec.encode(task)

    def append(self, encoded: list[tuple[int, bytes, bytes]]) -> None:
        topic, appender = self._topics.tasks(QUEUE), self._log.appender()
        for number, (partition, key, value) in enumerate(encoded):
            appender.append(topic, partition, key, value)
            if number % 1000 == 0:
                appender.poll(0)
        appender.close(60)

    def until_answered(self, count: int, codec: Codec | None) -> None:
        """Return when so many different tasks have their answer; without a codec, when so many records are there."""
        heard, got = time.monotonic(), 0
        while (got if codec is None else len(self.answers)) < count:
            records = self._inbox.poll(0.05, 10_000)
            got += len(records)
            if codec is not None:
                self._count(records, codec)
            if records:
                heard = time.monotonic()
            elif time.monotonic() - heard > SILENT_SECONDS_MAX:
                raise TimeoutError(f"{got} answers to {count} tasks, and none for {SILENT_SECONDS_MAX:g} s")

    def drain(self, codec: Codec) -> None:
        """Count what has come behind the last answer that was waited for."""
        while records := self._inbox.poll(1.0, 10_000):
            self._count(records, codec)

    def _count(self, records: list[Record], codec: Codec) -> None:
        for record in records:
            body = codec.decode(InboxRecord, record.value or b"").body
            if isinstance(body, ActivityResult) and not body.run_id.startswith("hour"):
                assert body.failure is None, body.failure
                self.answers[body.run_id] += 1
            elif isinstance(body, ActivityStarted):
                self.started[body.run_id] += 1


@contextmanager
def coming_and_going(where: Stage, topics: Topics, found: Measured) -> Iterator[None]:
    """A second worker that joins and leaves until the block ends."""
    over = threading.Event()

    def turn() -> None:
        while not over.is_set():
            with where.working(topics, f"guest-{found.joined}"):
                over.wait(STAY_SECONDS)
            found.joined += 1

    thread = threading.Thread(target=turn, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def measure_raw(where: Stage, count: int) -> Measured:
    topics, found = where.namespace("raw", 1), Measured("raw loop", count)
    with where.raw("worker", topics):
        tasks = Tasks(where.log, topics, 1)
        tasks.append(tasks.encoded(1000))
        tasks.until_answered(1000, None)
        encoded = tasks.encoded(count)
        meter, began = where.meter(), time.perf_counter()
        tasks.append(encoded)
        tasks.until_answered(count, None)
        found.seconds = time.perf_counter() - began
        found.cpu_ms_per_1000 = {name: cpu * 1e6 / count for name, cpu in meter.read().items()}
    return found


def measure(where: Stage, name: str, count: int) -> Measured:
    partitions, blocked = (2 if name == "rolling" else 1), name != "short"
    topics, found = where.namespace(name, partitions), Measured(name, count)
    topic, group = topics.tasks(QUEUE), topics.queue_group(QUEUE)
    commits = Commits(where.address, group, topic, partitions)

    def read() -> dict[str, float]:
        position = commits.read()
        chars = max(len(metadata) for _, metadata in position.values())
        found.metadata_chars_max = max(found.metadata_chars_max, chars)
        ends = {p: where.log.offsets(topic, p).end for p in position}
        return {"lag": sum(ends[p] - offset for p, (offset, _) in position.items())}

    with where.working(topics):
        tasks = Tasks(where.log, topics, partitions)
        codec = open_namespace(where.log, topics.namespace).codec
        tasks.append(tasks.encoded(1000, name="warm"))
        tasks.until_answered(1000, codec)
        tasks.answers.clear()
        encoded = tasks.encoded(count, blocked=blocked)
        with Curves(read, 0.5) as curves:
            meter, began = where.meter(), time.perf_counter()
            if name == "rolling":
                with coming_and_going(where, topics, found):
                    tasks.append(encoded)
                    tasks.until_answered(count, codec)
                    found.seconds = time.perf_counter() - began
            else:
                tasks.append(encoded)
                tasks.until_answered(count, codec)
                found.seconds = time.perf_counter() - began
            found.cpu_ms_per_1000 = {name: cpu * 1e6 / count for name, cpu in meter.read().items()}
            tasks.drain(codec)
            time.sleep(2.5)  # two commits
        found.lag = curves.points["lag"]
        ends = {p: where.log.offsets(topic, p).end for p in range(partitions)}
        found.committed = {p: (offset, ends[p], text) for p, (offset, text) in commits.read().items()}
    commits.close()
    found.duplicates = sum(tasks.answers.values()) - len(tasks.answers)
    found.handed_over = len(tasks.started)
    return found


def check(found: Measured) -> list[str]:
    """What is not as it must be."""
    wrong = [
        f"{found.name}: partition {p} is committed up to {offset} of {end}, with {metadata!r}"
        for p, (offset, end, metadata) in found.committed.items()
        if offset != end
    ]
    if found.metadata_chars_max > 4096:
        wrong.append(f"{found.name}: {found.metadata_chars_max} characters of metadata")
    return wrong


def report(raw: Measured, rest: list[Measured]) -> None:
    every = [raw, *rest]
    table = Table("", *(m.name for m in every), title=f"{raw.tasks:,} short tasks")
    table.add_row("tasks/s", *(f"{m.per_second:,.0f}" for m in every))
    table.add_row("ratio to the raw loop", *(f"{m.per_second / raw.per_second:.2f}" for m in every))
    table.add_row("seconds", *(f"{m.seconds:.1f}" for m in every))
    for process in ("broker", "raw-worker", "worker"):
        cells = (f"{m.cpu_ms_per_1000[process]:.1f}" if process in m.cpu_ms_per_1000 else "" for m in every)
        table.add_row(f"CPU ms per 1,000 tasks: {process}", *cells)
    table.add_row("repeated", *(f"{m.duplicates:,}" for m in every))
    table.add_row("handed over", *("" if m is raw else f"{m.handed_over:,}" for m in every))
    table.add_row("joined and left", *("" if m is raw else str(m.joined) for m in every))
    table.add_row("longest metadata, characters", *("" if m is raw else f"{m.metadata_chars_max:,}" for m in every))
    ends = ("; ".join(f"{o:,} of {e:,} {t!r}" for o, e, t in m.committed.values()) for m in every)
    table.add_row("committed in the end", *ends)
    table.add_row("lag", *(sparkline(m.lag, 20) for m in every))
    table.add_row("highest lag", *("" if m is raw else f"{max(m.lag):,.0f}" for m in every))
    Console().print(table)
    print(machine())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", default="kafka", help="kafka (starts a broker), or the address of one")
    parser.add_argument("--tasks", type=positive, default=100_000)
    parser.add_argument("--rolling-tasks", type=positive, help="default: four times as many, to last for some turns")
    options = parser.parse_args()
    rolling = options.rolling_tasks or 4 * options.tasks
    with stage(options.log) as where:
        measure_raw(where, min(20_000, options.tasks))  # a broker that has just started still compiles itself
        raw = measure_raw(where, options.tasks)
        rest = [measure(where, name, options.tasks) for name in ("short", "blocked")]
        rest.append(measure(where, "rolling", rolling))
    report(raw, rest)
    print_json({"blocking": [{**asdict(m), "per_second": m.per_second} for m in (raw, *rest)]})
    wrong = [text for m in rest for text in check(m)]
    print(*wrong, sep="\n", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
