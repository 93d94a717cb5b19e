"""Mutation tests of the orchestrator's core and ownership: docs/reference/mutants.md.

python -m tests.mutation                          all mutants of what ownership rests on, a sample of the rest
python -m tests.mutation --module writer          all of one module
python -m tests.mutation --again survivors        those that survived the last run
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

os.environ.setdefault("ODRADEK_SEEDS", "40")
os.environ.setdefault("ODRADEK_PROPERTY_SEEDS", "100")

import pytest

from tests.mutation.coverage_map import CoverageMap
from tests.mutation.judging import Judging, Verdict
from tests.mutation.operators import Mutant, mutants

ROOT = Path(__file__).parents[2]
ORCHESTRATOR = ROOT / "orchestrator/odradek/orchestrator"
OWNERSHIP = (
    "core/writer.py",
    "core/transitions.py",
    "core/workflow.py",
    "core/shard.py",
    "core/state.py",
    "core/closing.py",
    "core/careful.py",
    "core/intake.py",
    "core/keys.py",
    "core/store.py",
    "owned.py",
)
"""Every mutant of these: claims, chunks, the reader's rule, watermarks, checkpoints, takeovers."""
OTHERS = ("core/*.py", "outputs.py")
"""Of these as many as ``--count`` says."""
JUDGES = ("tests/orchestrator", "tests/histories")
NO_JUDGES = ("tests/orchestrator/test_deadlocks.py",)
"""Endless loops, which are interrupted in other ways while they are traced."""
OWN_TESTS = {
    "writer": "test_writer.py",
    "workflow": "test_resolve.py",
    "transitions": "test_chunks.py",
    "shard": "test_takeover.py",
    "state": "test_memory.py",
    "closing": "test_memory.py",
    "careful": "test_careful.py",
    "owned": "test_owned.py",
}
"""Which tests are about a module first of all."""
FOLDER = ROOT / ".mutants"
PAGE = ROOT / "docs/reference/mutants.md"
"""It names the survivors that nothing is to be done about, each on a line of its own."""


def main() -> int:
    options = _options()
    paths = [ORCHESTRATOR / name for name in OWNERSHIP]
    others = [path for pattern in OTHERS for path in sorted(ORCHESTRATOR.glob(pattern)) if path not in paths]
    sources = {str(path.relative_to(ROOT)): path.read_bytes() for path in [*paths, *others]}
    chosen = _chosen(options, [str(path.relative_to(ROOT)) for path in paths], sources)
    FOLDER.mkdir(exist_ok=True)
    known = _known() if options.resume or options.again else {}
    if options.resume:
        chosen = [mutant for mutant in chosen if mutant.name not in known]
    began = time.monotonic()
    done: list[Verdict] = []
    with (FOLDER / "verdicts.jsonl").open("a" if known else "w") as file:

        def note(verdict: Verdict) -> None:
            known[verdict.mutant] = verdict
            done.append(verdict)
            file.write(json.dumps(verdict.as_dict()) + "\n")
            file.flush()
            if len(done) % 50 == 0:
                counts = Counter(verdict.outcome for verdict in done)
                sys.stderr.write(f"{time.monotonic() - began:6.0f} s  {len(done)}/{len(chosen)}  {dict(counts)}\n")

        coverage_map = CoverageMap(FOLDER / "map.json", ROOT, [ROOT / path for path in sources])
        judging = Judging(
            chosen, sources, coverage_map, note, jobs=options.jobs, budget_seconds=options.budget, own_tests=OWN_TESTS
        )
        arguments = [
            "-q", "-s", "-m", "not kafka and not slow", "-p", "no:cacheprovider", "--timeout=0", *JUDGES,
            *(f"--ignore={name}" for name in NO_JUDGES),
        ]  # fmt: skip
        status = pytest.main([*arguments], plugins=[judging])
    if status not in (0, 5):
        return int(status)
    _report(known, sources)
    return 0


def _known() -> dict[str, Verdict]:
    """The last verdict on each mutant, by its name."""
    verdicts = [Verdict(**json.loads(line)) for line in (FOLDER / "verdicts.jsonl").read_text().splitlines()]
    return {verdict.mutant: verdict for verdict in verdicts}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--module", action="append", help="all mutants of this module, and of no other")
    parser.add_argument("--count", type=int, default=600, help="how many of the modules beside ownership")
    parser.add_argument("--seed", type=int, default=1, help="which ones")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--budget", type=float, default=5.0, help="seconds of tests for one mutant")
    parser.add_argument("--resume", action="store_true", help="only those that no verdict is known of")
    parser.add_argument("--again", type=Path, help="only the mutants named in this file, one in a line")
    return parser.parse_args()


def _chosen(options: argparse.Namespace, whole: list[str], sources: dict[str, bytes]) -> list[Mutant]:
    if options.again:
        names = set(options.again.read_text().splitlines())
        return [mutant for path, source in sources.items() for mutant in mutants(path, source) if mutant.name in names]
    if options.module:
        named = [path for path in sources if Path(path).stem in options.module]
        return [mutant for path in named for mutant in mutants(path, sources[path])]
    rest = [mutant for path, source in sources.items() if path not in whole for mutant in mutants(path, source)]
    sample = random.Random(options.seed).sample(rest, min(options.count, len(rest)))
    return [*(mutant for path in whole for mutant in mutants(path, sources[path])), *sample]


def _report(known: dict[str, Verdict], sources: dict[str, bytes]) -> None:
    """The survivors that the page does not explain are written out; the totals are of all."""
    by_name = {mutant.name: mutant for path, source in sources.items() for mutant in mutants(path, source)}
    verdicts = [verdict for name, verdict in known.items() if name in by_name]
    explained = {line.strip() for line in PAGE.read_text().splitlines()}
    alive = [verdict for verdict in verdicts if verdict.outcome in ("survived", "unexecuted")]
    alive.sort(key=lambda verdict: (verdict.path, verdict.line, verdict.mutant))
    new = [verdict for verdict in alive if verdict.mutant not in explained]
    with (FOLDER / "survivors.diff").open("w") as file:
        for verdict in new:
            mutant = by_name[verdict.mutant]
            file.write(f"# {verdict.mutant}  ({verdict.outcome}, {verdict.judges} of {verdict.able} tests)\n")
            file.write(mutant.diff(sources[mutant.path]) + "\n\n")
    (FOLDER / "survivors.txt").write_text("".join(f"{verdict.mutant}\n" for verdict in alive))
    for path in dict.fromkeys(verdict.path for verdict in verdicts):
        sys.stdout.write(f"{path:<60} {_counts(verdict for verdict in verdicts if verdict.path == path)}\n")
    sys.stdout.write(f"all{_counts(verdicts):>70}\n")
    sys.stdout.write(f"{len(alive) - len(new)} survivors are explained in {PAGE.relative_to(ROOT)}, ")
    sys.stdout.write(f"{len(new)} are not: {(FOLDER / 'survivors.diff').relative_to(ROOT)}\n")


def _counts(verdicts: Iterable[Verdict]) -> str:
    counts = Counter(verdict.outcome for verdict in verdicts)
    return f"{counts.total():5} mutants: " + ", ".join(
        f"{number} {outcome}" for outcome, number in counts.most_common()
    )


if __name__ == "__main__":
    raise SystemExit(main())
