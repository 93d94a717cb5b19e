"""Judges mutants by tests: a pytest that has collected everything is forked for each mutant.

The child exchanges the code of one function, and runs tests that execute the line, those first that have found others
near it and are quick, until one fails.
"""

from __future__ import annotations

import gc
import os
import resource
import selectors
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

from tests.mutation.coverage_map import CoverageMap, Judge
from tests.mutation.operators import Mutant

CPU_SECONDS = 2
"""Of its own, on top of five times what it takes, that a test may use before the mutant counts as an endless loop."""
WALL_FACTOR = 10
WALL_SECONDS = 30
MEASURED_SECONDS = 150
"""How long the tests of one file may take while they are measured."""
MEMORY_BYTES = 6 << 30


@dataclass(frozen=True)
class Verdict:
    """``outcome``: killed, endless, survived, or unexecuted; ``judges``: how many tests ran, of ``able``."""

    mutant: str
    path: str
    line: int
    operator: str
    outcome: str
    by: str = ""
    judges: int = 0
    able: int = 0
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Trial:
    """A child at work."""

    mutant: Mutant
    tests: list[pytest.Item]
    able: int
    pid: int
    pipe: int
    folder: str
    began: float
    ends: float
    told: bytes = b""
    late: bool = False


class Judging:
    """A pytest plugin: instead of running the collected tests, it judges ``mutants`` by them."""

    def __init__(
        self,
        mutants: Sequence[Mutant],
        sources: dict[str, bytes],
        coverage_map: CoverageMap,
        on_verdict: Callable[[Verdict], None],
        *,
        jobs: int,
        budget_seconds: float,
        own_tests: Mapping[str, str],
    ) -> None:
        """``own_tests``: the test file that is about a module first of all."""
        self.mutants, self.sources, self.map, self.on_verdict = mutants, sources, coverage_map, on_verdict
        self.jobs, self.budget_seconds, self.own_tests = jobs, budget_seconds, own_tests
        self.items: dict[str, pytest.Item] = {}
        self.order: dict[str, int] = {}
        self.failed = False
        self.found_in_scope: dict[tuple[str, str], Counter[str]] = {}
        self.found_in_path: dict[str, Counter[str]] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self.items = {item.nodeid: item for item in session.items}
        self.order = {nodeid: place for place, nodeid in enumerate(self.items)}
        self.map.load()
        for measure, traced in ((self.map.measure, False), (self.map.trace, True)):
            missing = self.map.missing(session.items, traced=traced)
            for file, items in groupby(missing, key=lambda item: item.path):
                sys.stderr.write(f"{measure.__name__}: {file.name}\n")
                tests = list(items)
                if self._in_child(partial(self._measure, measure, tests)):
                    self.map.load()
                else:
                    self.map.give_up(tests)
        self.functions = _functions()
        gc.collect()
        gc.freeze()
        self._judge_all()
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.failed = self.failed or report.failed

    def run(self, item: pytest.Item, following: pytest.Item | None = None) -> bool:
        """Run one test; False if it failed."""
        self.failed = False
        for report in runtestprotocol(item, log=False, nextitem=following):
            self.failed = self.failed or report.failed
        return not self.failed

    # ------------------------------------------------------------------------------------------ the map

    def _measure(self, measure: Callable[..., None], items: Sequence[pytest.Item]) -> None:
        measure(items, self.run)
        self.map.save()

    @staticmethod
    def _in_child(action: Callable[[], None]) -> bool:
        """Whether it came back in time."""
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(MEASURED_SECONDS)
            try:
                action()
            except BaseException as error:
                sys.stderr.write(f"{error!r}\n")
                os._exit(1)
            os._exit(0)
        return os.waitpid(pid, 0)[1] == 0

    # ------------------------------------------------------------------------------------------ trials

    def _judge_all(self) -> None:
        waiting = iter(self.mutants)
        with selectors.DefaultSelector() as selector:
            exhausted = False
            while True:
                while not exhausted and len(selector.get_map()) < self.jobs:
                    mutant = next(waiting, None)
                    if mutant is None:
                        exhausted = True
                        break
                    self._begin(mutant, selector)
                if not selector.get_map():
                    return
                self._turn(selector)

    def _begin(self, mutant: Mutant, selector: selectors.BaseSelector) -> None:
        able = [
            (nodeid, judge)
            for nodeid, judge in self.map.judges.items()
            if nodeid in self.items and judge.passes and judge.executes(mutant.path, mutant.first, mutant.last)
        ]
        if not able:
            self.on_verdict(Verdict(mutant.name, mutant.path, mutant.first, mutant.operator, "unexecuted"))
            return
        chosen, seconds = self._chosen(mutant, able)
        folder = tempfile.mkdtemp(prefix="mutant-")
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            self._child(mutant, chosen, folder, writing)
        os.close(writing)
        now = time.monotonic()
        trial = Trial(mutant, chosen, len(able), pid, reading, folder, now, now + WALL_SECONDS + WALL_FACTOR * seconds)
        selector.register(reading, selectors.EVENT_READ, trial)

    def _chosen(self, mutant: Mutant, able: Sequence[tuple[str, Judge]]) -> tuple[list[pytest.Item], float]:
        """Within the budget: those that have found others near it, and tests of this module; of the rest the quickest,
        and those that execute most of the file.
        """
        near = self.found_in_scope.get((mutant.path, mutant.scope), Counter())
        far = self.found_in_path.get(mutant.path, Counter())
        own = self.own_tests.get(Path(mutant.path).stem, "-")

        def is_proven(item: tuple[str, Judge]) -> bool:
            return bool(near[item[0]] or far[item[0]] or item[0].partition("::")[0].endswith(own))

        def merit(item: tuple[str, Judge]) -> tuple[float, float]:
            seconds = item[1].seconds + 0.01
            return -near[item[0]] / seconds, -(far[item[0]] + 1) / seconds

        proven = sorted(filter(is_proven, able), key=merit)
        rest = sorted((item for item in able if not is_proven(item)), key=lambda item: item[1].seconds)
        richest = sorted(rest, key=lambda item: -item[1].lines[mutant.path].bit_count())
        spent, chosen = 0.0, list[str]()
        for share, ranked in ((0.5, proven), (0.75, rest), (1.0, richest), (1.0, proven), (1.0, rest)):
            for nodeid, judge in ranked:
                if nodeid not in chosen and (not chosen or spent + judge.seconds <= share * self.budget_seconds):
                    chosen.append(nodeid)
                    spent += judge.seconds
        return [self.items[nodeid] for nodeid in chosen], spent

    def _turn(self, selector: selectors.BaseSelector) -> None:
        now = time.monotonic()
        for key, _ in selector.select(timeout=1.0):
            trial: Trial = key.data
            told = os.read(trial.pipe, 65536)
            trial.told += told
            if not told:
                selector.unregister(trial.pipe)
                self._end(trial)
        for key in list(selector.get_map().values()):
            if now > key.data.ends and not key.data.late:
                key.data.late = True
                os.killpg(key.data.pid, signal.SIGKILL)

    def _end(self, trial: Trial) -> None:
        os.close(trial.pipe)
        _, status = os.waitpid(trial.pid, 0)
        with suppress(ProcessLookupError):
            os.killpg(trial.pid, signal.SIGKILL)
        shutil.rmtree(trial.folder, ignore_errors=True)
        mutant, lines = trial.mutant, trial.told.decode().split("\n")
        told = [line for line in lines if line]
        begun = int(told[-1].split()[1]) if told else 0
        by = trial.tests[begun].nodeid
        if told and told[-1].startswith("survived"):
            outcome, by = "survived", ""
        elif os.WIFSIGNALED(status) and (trial.late or os.WTERMSIG(status) == signal.SIGXCPU):
            outcome = "endless"
        else:
            outcome = "killed"
        if by:
            self.found_in_scope.setdefault((mutant.path, mutant.scope), Counter())[by] += 1
            self.found_in_path.setdefault(mutant.path, Counter())[by] += 1
        seconds = round(time.monotonic() - trial.began, 2)
        ran = begun + 1
        self.on_verdict(
            Verdict(mutant.name, mutant.path, mutant.first, mutant.operator, outcome, by, ran, trial.able, seconds)
        )

    # ------------------------------------------------------------------------------------------ in the child

    def _child(self, mutant: Mutant, tests: Sequence[pytest.Item], folder: str, pipe: int) -> None:
        code = 1
        try:
            os.setsid()
            os.environ["PYTEST_DEBUG_TEMPROOT"] = folder
            nowhere = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(nowhere, stream)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
            self.exchange(mutant)
            code = self._try(tests, pipe)
        finally:
            os._exit(code)

    def _try(self, tests: Sequence[pytest.Item], pipe: int) -> int:
        for place, item in enumerate(tests):
            os.write(pipe, b"begun %d\n" % place)
            used = resource.getrusage(resource.RUSAGE_SELF)
            allowed = used.ru_utime + used.ru_stime + CPU_SECONDS + 5 * self.map.judges[item.nodeid].seconds
            resource.setrlimit(resource.RLIMIT_CPU, (int(allowed) + 1, resource.RLIM_INFINITY))
            if not self.run(item, tests[place + 1] if place + 1 < len(tests) else None):
                return 1
        os.write(pipe, b"survived %d\n" % (len(tests) - 1))
        return 0

    def exchange(self, mutant: Mutant) -> None:
        """Give the function the mutant's code, wherever it is referred to."""
        file = str(self.map.root / mutant.path)
        changed = compile(mutant.applied(self.sources[mutant.path]), file, "exec", dont_inherit=True)
        code = outermost(changed)[mutant.scope, mutant.nth]
        for function in self.functions[file, mutant.scope, mutant.nth]:
            function.__code__ = code


def outermost(module: CodeType) -> dict[tuple[str, int], CodeType]:
    """The code of a module's outermost functions, by qualified name and place among those that share it."""
    names: Counter[str] = Counter()
    found: dict[tuple[str, int], CodeType] = {}

    def walk(code: CodeType) -> None:
        for inner in code.co_consts:
            if not isinstance(inner, CodeType) or inner.co_name.startswith("<"):
                continue
            if inner.co_flags & 0x2:  # CO_NEWLOCALS: a function, and not the body of a class
                found[inner.co_qualname, names[inner.co_qualname]] = inner
                names[inner.co_qualname] += 1
            else:
                walk(inner)

    walk(module)
    return found


def _functions() -> dict[tuple[str, str, int], list[FunctionType]]:
    """The functions that exist, by file, qualified name, and place among those of the file that share it."""
    by_code: dict[CodeType, list[FunctionType]] = {}
    for thing in gc.get_objects():
        if isinstance(thing, FunctionType):
            by_code.setdefault(thing.__code__, []).append(thing)
    by_name: dict[tuple[str, str], list[CodeType]] = {}
    for code in by_code:
        by_name.setdefault((code.co_filename, code.co_qualname), []).append(code)
    return {
        (file, name, nth): by_code[code]
        for (file, name), codes in by_name.items()
        for nth, code in enumerate(sorted(codes, key=lambda code: code.co_firstlineno))
    }
