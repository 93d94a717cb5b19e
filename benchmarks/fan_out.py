"""One workflow that starts N activities at once and waits for all: time, history, and the largest record of each topic.

With small payloads and with 1 KiB ones; no record may be above what a broker takes by default (1 MiB). Shows the
quickest, middle and slowest of some rounds, after one in which all processes and the broker are new.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from dataclasses import asdict, dataclass, field

from rich.console import Console
from rich.table import Table

from benchmarks.app import FanOut
from benchmarks.peers.results import spread
from benchmarks.stage import QUEUE, Stage, machine, positive, print_json, stage
from odradek.client import Client
from odradek.log.namespace import read_to_end
from odradek.schemas.topics import Topics

MESSAGE_BYTES_MAX = 1024 * 1024
"""What a broker takes by default, for a whole batch; a little above this (``message.max.bytes``)."""


@dataclass
class Measured:
    activities: int
    payload_bytes: int
    seconds: list[float] = field(default_factory=list)
    """Of each round."""
    events: int = 0
    cpu_seconds: dict[str, list[float]] = field(default_factory=dict)
    records: dict[str, int] = field(default_factory=dict)
    """How many there are in each topic, of all rounds."""
    largest_bytes: dict[str, int] = field(default_factory=dict)
    history_bytes: int = 0
    """All events of the run, once, as the archive holds them."""


def look(where: Stage, topics: Topics, found: Measured) -> None:
    """Number and largest size of the records in each topic of the namespace."""
    counts, largest = found.records, found.largest_bytes
    for name in (topics.inbox, topics.history, topics.archive, topics.tasks(QUEUE), topics.visibility, topics.replies):
        info = where.log.topic(name)
        assert info is not None
        short = name.removeprefix(f"{topics.namespace}.")
        for partition in range(info.partitions):
            for record in read_to_end(where.log, name, partition):
                counts[short] = counts.get(short, 0) + 1
                size = len(record.key or b"") + len(record.value or b"")
                largest[short] = max(largest.get(short, 0), size)
                if name == topics.archive and record.key == fan_out_id(found.payload_bytes).encode():
                    found.history_bytes += len(record.value or b"")


def fan_out_id(payload_bytes: int) -> str:
    return f"fan-out-{payload_bytes}"


async def run(where: Stage, topics: Topics, rounds: int, found: Measured) -> None:
    width, payload_bytes = found.activities, found.payload_bytes
    async with await Client.connect(where.address, namespace=topics.namespace) as client:
        name = fan_out_id(payload_bytes)
        for number in range(rounds + 1):
            meter, began = where.meter(), time.perf_counter()
            handle = await client.start_workflow(FanOut.run, args=[width, payload_bytes], id=name, task_queue=QUEUE)
            whole = await handle.result(rpc_timeout=None)
            seconds, cpu = time.perf_counter() - began, meter.read()
            assert whole == width, f"{whole} of {width} came back whole"
            if number:
                found.seconds.append(seconds)
                for process, used in cpu.items():
                    found.cpu_seconds.setdefault(process, []).append(used)
                found.events = (await handle.describe()).history_length


def measure(where: Stage, width: int, payload_bytes: int, options: argparse.Namespace) -> Measured:
    topics, found = where.namespace("fanout", options.partitions), Measured(width, payload_bytes)
    with where.orchestrating(topics), where.working(topics):
        asyncio.run(run(where, topics, options.rounds, found))
        look(where, topics, found)
    found.history_bytes //= options.rounds + 1
    return found


def shown(figures: list[float]) -> str:
    return " / ".join(f"{figure:.2f}" for figure in spread(figures))


def report(found: list[Measured]) -> None:
    table = Table("", *(f"{m.payload_bytes:,} B payloads" for m in found), title=f"{found[0].activities:,} activities")
    table.add_row("seconds, start to result", *(shown(m.seconds) for m in found))
    table.add_row("activities/s", *(f"{m.activities / spread(m.seconds)[1]:,.0f}" for m in found))
    table.add_row("events", *(f"{m.events:,}" for m in found))
    table.add_row("history, MiB", *(f"{m.history_bytes / 2**20:.1f}" for m in found))
    for process in found[0].cpu_seconds:
        table.add_row(f"CPU s, {process}", *(shown(m.cpu_seconds[process]) for m in found))
    for topic in sorted({topic for m in found for topic in m.largest_bytes}):
        cells = (f"{m.largest_bytes.get(topic, 0):,} of {m.records.get(topic, 0):,}" for m in found)
        table.add_row(f"largest record, bytes: {topic}", *cells)
    Console().print(table)
    print(machine())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", default="kafka", help="kafka (starts a broker), or an address")
    parser.add_argument("--activities", type=positive, default=10_000)
    parser.add_argument("--payload-bytes", type=positive, nargs="+", default=[100, 1024])
    parser.add_argument("--partitions", type=positive, default=8)
    parser.add_argument("--rounds", type=positive, default=5)
    options = parser.parse_args()
    with stage(options.log) as where:
        found = [measure(where, options.activities, size, options) for size in options.payload_bytes]
    report(found)
    print_json({"fan_out": [asdict(m) for m in found]})
    largest = max(size for m in found for size in m.largest_bytes.values())
    if largest > MESSAGE_BYTES_MAX:
        print(f"a record of {largest:,} bytes is above the {MESSAGE_BYTES_MAX:,} that a broker takes by default")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
