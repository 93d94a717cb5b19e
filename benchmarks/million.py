"""A million short activities through one queue, with two worker processes: throughput, CPU, memory over time.

Workflows of 100 activities each (10 rounds of 10 at once), so many of them open at a time that the queue never runs
dry. Every activity gives back what it was given, and its workflow counts; the workers count what they have started.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from dataclasses import asdict, dataclass, field

from rich.console import Console
from rich.table import Table

from benchmarks.app import Batches
from benchmarks.stage import QUEUE, Curves, Stage, machine, positive, print_json, resident_mib, sparkline, stage
from odradek.client import Client
from odradek.schemas.topics import Topics

ROUNDS, WIDTH = 10, 10
EACH = ROUNDS * WIDTH


@dataclass
class Measured:
    activities: int
    seconds: float = 0.0
    right: int = 0
    """Activities whose workflow got back what it had sent."""
    started: int = 0
    """Attempts that workers have started."""
    dropped: int = 0
    """Repeated deliveries that workers have noticed, and not run."""
    cpu_ms_per_1000: dict[str, float] = field(default_factory=dict)
    resident_mib: dict[str, list[float]] = field(default_factory=dict)
    per_second: list[float] = field(default_factory=list)
    """Activities finished per second, between one reading and the next."""
    every_seconds: float = 0.0


async def feed(client: Client, workflows: int, open_max: int, prefix: str, done: list[int]) -> int:
    """Run so many workflows, ``open_max`` at a time; how many activities came back right."""
    numbers = iter(range(workflows))

    async def one_after_the_other() -> int:
        right = 0
        for number in numbers:
            got = await client.execute_workflow(
                Batches.run, args=[ROUNDS, WIDTH], id=f"{prefix}-{number}", task_queue=QUEUE, rpc_timeout=None
            )
            right += got
            done[0] += EACH
        return right

    return sum(await asyncio.gather(*(one_after_the_other() for _ in range(open_max))))


async def run(where: Stage, topics: Topics, options: argparse.Namespace) -> Measured:
    workflows = max(1, options.activities // EACH)
    found = Measured(workflows * EACH, every_seconds=options.every)
    done, seen = [0], [0]
    async with await Client.connect(where.address, namespace=topics.namespace) as client:
        await feed(client, 20, 20, "warm", [0])

        def read() -> dict[str, float]:
            finished, seen[0] = done[0] - seen[0], done[0]
            return {**resident_mib(where.pids), "per second": finished / options.every}

        with Curves(read, options.every) as curves:
            meter, began = where.meter(), time.perf_counter()
            found.right = await feed(client, workflows, options.open, "run", done)
            found.seconds = time.perf_counter() - began
            found.cpu_ms_per_1000 = {name: cpu * 1e6 / found.activities for name, cpu in meter.read().items()}
    found.per_second = curves.points.pop("per second", [])
    found.resident_mib = curves.points
    return found


def report(found: Measured) -> None:
    table = Table("", "", title=f"{found.activities:,} activities through one queue")
    table.add_row("seconds", f"{found.seconds:.1f}")
    table.add_row("activities/s", f"{found.activities / found.seconds:,.0f}")
    table.add_row("came back right", f"{found.right:,}")
    table.add_row("attempts started", f"{found.started:,} ({found.started - found.activities:,} more than needed)")
    table.add_row("repeated deliveries dropped", f"{found.dropped:,}")
    for name, cpu in found.cpu_ms_per_1000.items():
        table.add_row(f"CPU ms per 1,000 activities: {name}", f"{cpu:.1f}")
    table.add_row("activities/s over time", sparkline(found.per_second))
    for name, points in found.resident_mib.items():
        table.add_row(f"MiB over time: {name}", f"{sparkline(points)} {min(points):,.0f} to {max(points):,.0f}")
    Console(width=120).print(table)
    print(machine())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", default="kafka", help="kafka (starts a broker), or the address of one")
    parser.add_argument("--activities", type=positive, default=1_000_000, help=f"in workflows of {EACH}")
    parser.add_argument("--open", type=positive, default=200, help="workflows at the same time")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two readings of memory")
    parser.add_argument("--partitions", type=positive, default=8)
    options = parser.parse_args()
    with stage(options.log) as where:
        topics = where.namespace("million", options.partitions)
        with (
            where.orchestrating(topics),
            where.working(topics, "worker-1") as first,
            where.working(topics, "worker-2") as second,
        ):
            found = asyncio.run(run(where, topics, options))
            workers = (first, second)
            found.started = round(sum(w.metric("odradek_activity_started_total") for w in workers)) - 20 * EACH
            found.dropped = round(sum(w.metric("odradek_activity_duplicates_total") for w in workers))
    report(found)
    print_json({"million": asdict(found)})
    if found.right != found.activities:
        print(f"{found.activities - found.right:,} activities were lost", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
