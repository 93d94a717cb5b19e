"""How long a new owner takes until it serves: with the store, with a copy of it in Redis, with nothing but the log.

First, what callers notice: entities on all partitions of two orchestrators get one signal after the other; one of the
two hands over in order (SIGTERM), or is killed (SIGKILL). The longest time without a decision anywhere.

Then so many workflows wait. The orchestrator is killed, and the next one takes over what the case leaves to it.
Measured from its claims, since when a group notices a death is a setting (``--session-timeout``).
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import signal
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import timedelta

import redis
from rich.console import Console
from rich.table import Table

from benchmarks.app import Customer, Patient
from benchmarks.stage import QUEUE, Served, Stage, machine, positive, print_json, stage
from odradek.client import Client
from odradek.schemas.topics import Topics
from odradek.testing.redis import redis_server

PROBES = 20
OPEN = 500
PATIENCE = timedelta(minutes=1)
SHARING_SECONDS = 5
"""For the two to share out the partitions."""
GAP_SECONDS_MAX = 15
SETTLING_SECONDS = 30
"""For stores and copies to be brought up, which happens every 20 s."""


@dataclass
class Case:
    name: str
    live_seconds: float
    """From the claims until all partitions are served."""
    cpu_seconds: float
    """Of the whole process until then, its start included (about 1 s)."""
    records_read: int
    """At most: compaction may have removed some."""
    answered: int
    """Workflows of those that were asked which went on as they should."""


async def start(client: Client, workflows: int) -> float:
    numbers = iter(range(workflows))

    async def one_after_the_other() -> None:
        for number in numbers:
            await client.start_workflow(Patient.run, id=f"w{number}", task_queue=QUEUE, rpc_timeout=None)

    began = time.perf_counter()
    await asyncio.gather(*(one_after_the_other() for _ in range(OPEN)))
    return workflows / (time.perf_counter() - began)


async def ask(client: Client, ids: list[int], word: str) -> int:
    """How many of these go on when they are told to."""
    handles = [client.get_workflow_handle_for(Patient.run, f"w{number}") for number in ids]
    await asyncio.gather(*(handle.signal(Patient.say, word) for handle in handles))
    return sum(result == word for result in await asyncio.gather(*(handle.result() for handle in handles)))


def measured(where: Stage, served: Served, cpu: float, answered: int) -> Case:
    text = (where.folder / f"{served.name}.log").read_text()
    claims = re.findall(r"claimed at offset (\d+), restoring from (\d+)", text)
    seconds = max(float(seconds) for seconds in re.findall(r"live after ([\d.]+) s", text))
    return Case(served.name, seconds, cpu, sum(int(claim) - int(first) for claim, first in claims), answered)


async def longest_gap(client: Client, id: str, over: asyncio.Event) -> float:
    """Seconds between two decisions of an entity that is told something all the time."""
    handle = await client.start_workflow(Customer.run, id=id, task_queue=QUEUE)
    gap, last = 0.0, time.perf_counter()
    while not over.is_set():
        await handle.signal(Customer.order, "something", rpc_timeout=PATIENCE)
        gap, last = max(gap, time.perf_counter() - last), time.perf_counter()
        await asyncio.sleep(0.01)
    return gap


async def noticed(where: Stage, partitions: int, how: signal.Signals) -> float:
    """The longest gap anywhere when one of two orchestrators goes."""
    topics = where.namespace("gap", partitions)
    over = asyncio.Event()
    async with await Client.connect(where.address, namespace=topics.namespace) as client:
        with ExitStack() as stack:
            first, _ = (
                stack.enter_context(
                    where.serving("orchestrator", topics, ["benchmarks.app", "--store", str(where.folder / name)], name)
                )
                for name in (f"goes-{how.name}", f"stays-{how.name}")
            )
            await asyncio.sleep(SHARING_SECONDS)
            callers = [asyncio.create_task(longest_gap(client, f"e{n}", over)) for n in range(4 * partitions)]
            await asyncio.sleep(2)
            first.process.send_signal(how)
            await asyncio.sleep(GAP_SECONDS_MAX)
            over.set()
            return max(await asyncio.gather(*callers))


async def run(where: Stage, topics: Topics, url: str, options: argparse.Namespace) -> tuple[float, list[Case], float]:
    ids = random.Random(0).sample(range(options.workflows), 3 * PROBES)
    session = ["--session-timeout", "3"]
    first, second, third = (str(where.folder / name) for name in ("first", "second", "third"))
    cases = []
    async with await Client.connect(where.address, namespace=topics.namespace) as client:
        arguments = ["benchmarks.app", "--store", first, "--redis", url, *session]
        with where.serving("orchestrator", topics, arguments, "owner") as served:
            rate = await start(client, options.workflows)
            await asyncio.sleep(SETTLING_SECONDS)
            served.kill()
        for name, more in (
            ("store", ["--store", first]),
            ("copy", ["--store", second, "--redis", url]),
            ("log", ["--store", third]),
        ):
            with where.serving("orchestrator", topics, ["benchmarks.app", *more, *session], name) as served:
                cpu = served.cpu_seconds()
                asked, ids = ids[:PROBES], ids[PROBES:]
                cases.append(measured(where, served, cpu, await ask(client, asked, name)))
                served.kill()
    with redis.Redis.from_url(url) as connection:
        mib = sum(connection.memory_usage(key, samples=1000) for key in connection.scan_iter()) / 2**20
    return rate, cases, mib


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", default="kafka", help="kafka (starts a broker), or the address of one")
    parser.add_argument("--workflows", type=positive, default=100_000)
    parser.add_argument("--partitions", type=positive, default=4)
    options = parser.parse_args()
    with stage(options.log) as where, ExitStack() as stack:
        url = stack.enter_context(redis_server(where.folder / "redis"))
        gaps = {
            how.name: asyncio.run(noticed(where, options.partitions, how)) for how in (signal.SIGTERM, signal.SIGKILL)
        }
        topics = where.namespace("takeover", options.partitions)
        rate, cases, mib = asyncio.run(run(where, topics, url, options))
        history = sum(
            end - begin
            for begin, end in (where.log.offsets(topics.history, partition) for partition in range(options.partitions))
        )
    table = Table(
        "what is left", "s until live", "CPU s", "records read", title=f"{options.workflows:,} waiting workflows"
    )
    for case in cases:
        table.add_row(case.name, f"{case.live_seconds:.2f}", f"{case.cpu_seconds:.2f}", f"{case.records_read:,}")
    Console(width=120).print(table)
    print(", ".join(f"{how}: {gap:.2f} s without a decision" for how, gap in gaps.items()), "(sessions of 6 s)")
    print(f"{history:,} records of history; {rate:,.0f} starts/s; {mib:,.0f} MiB of copies in Redis")
    print(machine())
    print_json(
        {"takeover": [asdict(case) for case in cases], "records": history, "copies_mib": round(mib), "gaps": gaps}
    )
    if any(case.answered != PROBES for case in cases):
        print("workflows were lost", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
