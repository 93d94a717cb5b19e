"""python -m tests.simulation FIRST [COUNT]: seeds from the first one on, on all cores; a single one is told in full."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.world import World, command

CHUNK = 20


def try_seeds(seeds: range) -> tuple[Counter[str], list[tuple[int, str]]]:
    happened: Counter[str] = Counter()
    failed: list[tuple[int, str]] = []
    for seed in seeds:
        world = World(seed)
        try:
            world.run()
        except Exception as error:
            failed.append((seed, f"{type(error).__name__}: {error}"))
        happened.update(world.hosts.happened)
        happened["seeds"] += 1
        happened["records"] += sum(world.witness.records.values())
    return happened, failed


def many(first: int, count: int) -> int:
    began = time.perf_counter()
    chunks = [range(at, min(at + CHUNK, first + count)) for at in range(first, first + count, CHUNK)]
    happened: Counter[str] = Counter()
    failures = 0
    with ProcessPoolExecutor(min(len(chunks), os.cpu_count() or 1)) as pool:
        for found, failed in pool.map(try_seeds, chunks):
            happened.update(found)
            failures += len(failed)
            for seed, error in failed:
                print(f"seed {seed}: {error[:400]}\n  {command(seed)}", flush=True)  # noqa: T201
    for what, times in sorted(happened.items()):
        print(f"{times:10d}  {what}")  # noqa: T201
    seconds = time.perf_counter() - began
    print(f"{count} seeds from {first}: {failures} failed, {seconds:.0f} s")  # noqa: T201
    return 1 if failures else 0


def one(seed: int) -> int:
    world = World(seed)
    try:
        world.run()
    except Exception as error:
        print("\n".join(world.hosts.trace.lines(1000)))  # noqa: T201
        print(f"seed {seed}: {type(error).__name__}: {error}")  # noqa: T201
        return 1
    print(f"seed {seed} holds: {dict(world.hosts.happened)}")  # noqa: T201
    return 0


if __name__ == "__main__":
    first, count = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1
    sys.exit(one(first) if count == 1 else many(first, count))
