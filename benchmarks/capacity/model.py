"""From what a step costs to a fleet: arithmetic on measured figures and stated assumptions, no measuring."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from benchmarks.capacity.figures import Figures, Turn
from odradek.orchestrator.settings import OrchestratorSettings
from odradek.schemas.topics import PARTITIONS_DEFAULT

DAY, HOUR = 86_400, 3600
INBOX_SEGMENT = 1 << 30
"""Kafka's default; an inbox is deleted in whole segments."""
WORKFLOW_BYTES = 6 * 1024
"""In memory, as ``odradek orchestrator --help`` says."""
RETENTION_DAYS = (7.0, 3.0, 2.0, 1.0, 0.5, 0.25)
"""To choose from: the first is what topics are made with."""
SUMMARY_DAYS_MIN = 2.0
"""Messages between workflows live for a day, and summaries must live longer; the archive as long as they do."""
HISTORY_LAG_SECONDS = 2 * HOUR
"""min.compaction.lag.ms and segment.ms: so much history is not compacted yet."""
HISTORY_KEYS = 2
"""Of a short workflow: its chunk of events, and its summary."""
CLEANER_BYTES = 24 / 0.9
"""Of a key in the buffer that compaction works with, at Kafka's load factor."""
CLEANER_THREADS = 4
CLEANER_DEFAULT = 128 << 20
"""Kafka's log.cleaner.dedupe.buffer.size, of all threads together."""
INBOX_SHARE_MAX = 0.1
"""Of the disks, before smaller segments are worth it."""
REPLY_PARTITIONS = 32
"""At most. Each client and worker reads all of one, and shares it with others."""


@dataclass(frozen=True)
class Assumptions:
    """What no benchmark knows."""

    steps: float = 5
    """Of a workflow."""
    open_seconds: float = 60
    """How long a workflow is open."""
    load: float = 0.6
    """Of what a process can do when all its turns are full."""
    growth: float = 2
    """By which the load may grow before partitions are too few."""
    partitions_per_process: int = 4
    """At least, after that growth."""
    copies: int = 3
    broker_cores: float = 8
    broker_load: float = 0.5
    broker_mb_in: float = 100
    broker_mb_out: float = 200
    broker_disk_tb: float = 10


@dataclass(frozen=True)
class Needs:
    """Of one rate of steps."""

    rate: float
    orchestrators: int
    workers: int
    brokers: int
    partitions: int
    task_partitions: int
    cores: dict[str, float]
    """By role; what activities themselves do comes on top."""
    brokers_by: dict[str, float]
    """How many each of their resources asks for."""
    mb_in: float
    """Of all brokers together, copies included."""
    mb_out: float
    disk_tb: dict[str, float]
    """All copies, by topic, with the retention chosen; visibility aside, which keeps runs as long as summaries."""
    visibility_tb_a_day: float
    retention_days: float
    disk_tb_default: float
    """With the retention that topics are made with."""
    open_workflows: float
    memory_gib: dict[str, float]

    @property
    def first(self) -> str:
        """The resource that decides how many brokers there are."""
        return max(self.brokers_by, key=lambda name: self.brokers_by[name])

    @property
    def most_cores(self) -> str:
        """The role that takes most of them."""
        return max(self.cores, key=lambda role: self.cores[role])

    @property
    def workflows_per_process(self) -> float:
        return self.open_workflows / self.orchestrators


def steps_max(turn: Turn, passes: float) -> float:
    """Steps per second of one process when all its turns are full; a step passes through it so often."""
    return 1 / (turn.per_record * passes)


def orchestrator_steps_max(figures: Figures, steps: float) -> float:
    return steps_max(figures.turns["orchestrator"], 2 * (steps + 1) / steps)


def needs(rate: float, figures: Figures, given: Assumptions) -> Needs:
    """With the longest retention that asks for no more brokers than all else does."""
    longest = _needs(rate, figures, given, RETENTION_DAYS[0])
    for days in RETENTION_DAYS:
        found = _needs(rate, figures, given, days)
        if found.first != "disk" or found.brokers_by["disk"] <= given.copies or days == RETENTION_DAYS[-1]:
            return replace(found, disk_tb_default=sum(longest.disk_tb.values()))
    raise AssertionError(RETENTION_DAYS)


def _needs(rate: float, figures: Figures, given: Assumptions, days: float) -> Needs:
    orchestrators = _whole(rate / orchestrator_steps_max(figures, given.steps) / given.load)
    workers = _whole(rate / steps_max(figures.turns["worker"], 1) / given.load)
    partitions = _up(orchestrators * given.growth * given.partitions_per_process)
    disk = disk_tb(rate, figures, given, partitions, days)
    cpu = {role: rate * line.a_step(given.steps) for role, line in figures.cpu.items()}
    readers = reply_readers(workers + _whole(cpu["client"] / given.load), partitions)
    mb_in, mb_out = traffic_mb(rate, figures, given, readers)
    by = {
        "CPU": cpu["broker"] / given.broker_cores / given.broker_load,
        "network in": mb_in / given.broker_mb_in,
        "network out": mb_out / given.broker_mb_out,
        "disk": sum(disk.values()) / given.broker_disk_tb,
    }
    brokers = max(given.copies, _whole(max(by.values())))
    opened = rate / given.steps * given.open_seconds
    held = min(1.0, _workflows_max(opened / orchestrators) / max(1.0, opened / orchestrators))
    return Needs(
        rate,
        orchestrators,
        workers,
        brokers,
        partitions,
        _up(workers * given.partitions_per_process),
        {
            "orchestrators": orchestrators
            + max(0.0, cpu["orchestrator"] - rate / orchestrator_steps_max(figures, given.steps)),
            "workers": workers + max(0.0, cpu["worker"] - rate / steps_max(figures.turns["worker"], 1)),
            "brokers": brokers * given.broker_cores,
            "clients": cpu["client"],
        },
        by,
        mb_in,
        mb_out,
        disk,
        visibility_tb(rate, figures, given),
        days,
        0.0,
        opened,
        {
            "orchestrators": (opened * held * WORKFLOW_BYTES + orchestrators * figures.resident["orchestrator"])
            / 2**30,
            "workers": workers * figures.resident["worker"] / 2**30,
        },
    )


def reply_readers(processes: int, partitions: int) -> float:
    """How often an answer is read where there are so many workers and clients."""
    return max(1.0, processes / min(REPLY_PARTITIONS, partitions))


def traffic_mb(rate: float, figures: Figures, given: Assumptions, replies_read: float = 1) -> tuple[float, float]:
    """MB per second into and out of all brokers, copies included; in normal work nobody reads the other topics."""
    size = {name: topic.bytes.a_step(given.steps) * figures.disk_factor for name, topic in figures.topics.items()}
    once = rate * sum(size.values()) / 1e6
    read = rate * (size["inbox"] + size["tasks"] + size["replies"] * replies_read) / 1e6
    return once * given.copies, read + once * (given.copies - 1)


def disk_tb(rate: float, figures: Figures, given: Assumptions, partitions: int, days: float) -> dict[str, float]:
    size = {name: topic.bytes.a_step(given.steps) * figures.disk_factor for name, topic in figures.topics.items()}
    live = figures.live_bytes.a_step(given.steps) * figures.disk_factor
    seconds = {"tasks": days * DAY, "archive": max(SUMMARY_DAYS_MIN, days) * DAY, "replies": HOUR / 2}
    found = {name: rate * size[name] * kept for name, kept in seconds.items()}
    found["history"] = rate * (size["history"] * HISTORY_LAG_SECONDS + live * max(SUMMARY_DAYS_MIN, days) * DAY)
    found["inbox"] = float(partitions * INBOX_SEGMENT)
    return {name: amount * given.copies / 1e12 for name, amount in found.items()}


def visibility_tb(rate: float, figures: Figures, given: Assumptions) -> float:
    """By which all copies of it grow in a day: of the records of a run compaction leaves the last."""
    topic = figures.topics["visibility"]
    last = topic.bytes.of(given.steps) / max(1.0, topic.records.of(given.steps))
    return rate / given.steps * last * figures.disk_factor * given.copies * DAY / 1e12


def settings(need: Needs, given: Assumptions) -> Iterator[tuple[str, str, str]]:
    """Which to change, to what, and why: (where, setting, reason)."""
    default, days = OrchestratorSettings(), need.retention_days
    if need.partitions != PARTITIONS_DEFAULT:
        yield "`odradek topics create`", f"`--partitions {need.partitions}`", "for ever: inbox, history, archive"
    if need.task_partitions != need.partitions:
        more = "may be raised later" if need.task_partitions > need.partitions else "fewer are enough"
        yield "`<ns>.tasks.<queue>`", f"{need.task_partitions} partitions", f"a queue that gets all of it; {more}"
    if need.orchestrators > 1:
        yield "`odradek orchestrator`", f"`--processes`, {need.orchestrators} in all", "one thread serves a partition"
    held = _workflows_max(need.workflows_per_process)
    if held > default.workflows_in_memory_max:
        yield "`odradek orchestrator`", f"`--max-workflows {held}`", "what is put aside is replayed when it is needed"
    if days < RETENTION_DAYS[0]:
        kept, topics = max(SUMMARY_DAYS_MIN, days), "`odradek topics retention`"
        yield "`odradek orchestrator`", f"`--retention {kept:g}`", "summaries of closed runs: history, stores, restarts"
        yield topics, f"`--set archive={kept:g}`", f"7 days would take {need.disk_tb_default:,.0f} TB"
        yield topics, f"`--set tasks.QUEUE={days:g}`", "twice the longest outage of workers, or more"
    if need.disk_tb["inbox"] > INBOX_SHARE_MAX * sum(need.disk_tb.values()):
        yield "`<ns>.inbox`", f"`segment.bytes={INBOX_SEGMENT // 8}`", "what was taken in is deleted in whole segments"
    if need.first.startswith("network") and need.brokers > given.copies:
        reason = "the network decides how many brokers there are; see what your payloads give"
        yield "all processes", "`--log-config compression.type=lz4`", reason
    cleaner = _cleaner_bytes(need, given)
    if cleaner > 128 << 20:
        yield (
            "brokers",
            f"`log.cleaner.dedupe.buffer.size={_mib(cleaner)}`",
            "a partition's dirty keys",
        )
    if need.brokers_by["CPU"] > given.copies:
        yield "brokers", "`log.cleaner.threads=4`, `num.replica.fetchers=4`", "compaction and copying keep up"
        yield "brokers", f"`num.io.threads={2 * given.broker_cores:.0f}`", "twice the cores; the default is 8"


def _workflows_max(per_process: float) -> int:
    """With a quarter to spare, in tens of thousands."""
    default = OrchestratorSettings().workflows_in_memory_max
    return max(default, math.ceil(per_process * 1.25 / 10_000) * 10_000)


def _cleaner_bytes(need: Needs, given: Assumptions) -> float:
    """For all threads, when each compacts a partition of which so much is not compacted."""
    keys = need.rate / given.steps / need.partitions * HISTORY_KEYS * HISTORY_LAG_SECONDS
    return keys * CLEANER_BYTES * CLEANER_THREADS


def _whole(count: float) -> int:
    """So many at least; what is too small to be more than rounding is none."""
    return math.ceil(round(count, 6))


def _mib(size: float) -> int:
    return math.ceil(size / 2**20) << 20


def _up(partitions: float) -> int:
    """To a multiple of 32, which many numbers of processes share out evenly."""
    return max(PARTITIONS_DEFAULT, math.ceil(partitions / 32) * 32)
