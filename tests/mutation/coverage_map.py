"""Which test executes which line, and how long it takes: measured once, and again for test files that changed."""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import coverage
import pytest
from coverage.exceptions import CoverageWarning

SUPPORT = "tests/orchestrator"
"""What stands here beside the tests is what they stand on."""


@dataclass
class Judge:
    """A test: its file's hash, the seconds that it takes, and the lines that it executes, as bits of a number."""

    file: str
    seconds: float
    passes: bool
    traced: bool = False
    lines: dict[str, int] = field(default_factory=dict)

    def executes(self, path: str, first: int, last: int) -> bool:
        return bool((self.lines.get(path, 0) >> first) & ((1 << (last - first + 1)) - 1))


def fingerprint(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


class CoverageMap:
    """The judges by node ID, kept in a file. When the code changes, or what tests stand on, all are measured again."""

    def __init__(self, file: Path, root: Path, sources: Sequence[Path]) -> None:
        self.file, self.root = file, root
        support = [path for path in (root / SUPPORT).glob("*.py") if not path.name.startswith("test_")]
        self.code = fingerprint([*sources, *support])
        self.judges: dict[str, Judge] = {}
        self.paths = sorted({str(path.relative_to(root)) for path in sources})

    def load(self) -> None:
        if not self.file.exists():
            return
        kept = json.loads(self.file.read_text())
        if kept["code"] == self.code:
            for name, (file, seconds, passes, traced, lines) in kept["judges"].items():
                bits = {path: int(number, 16) for path, number in lines.items()}
                self.judges[name] = Judge(file, seconds, passes, traced, bits)

    def save(self) -> None:
        judges = {
            name: (judge.file, judge.seconds, judge.passes, judge.traced, _hexadecimal(judge.lines))
            for name, judge in self.judges.items()
        }
        self.file.write_text(json.dumps({"code": self.code, "judges": judges}))

    def missing(self, items: Sequence[pytest.Item], *, traced: bool) -> list[pytest.Item]:
        """The tests that are new or changed, and have not been measured, or traced, since."""
        hashes = {path: fingerprint([path]) for path in {item.path for item in items}}
        known = {name for name, judge in self.judges.items() if judge.traced or not traced}
        return [
            item for item in items if item.nodeid not in known or self.judges[item.nodeid].file != hashes[item.path]
        ]

    def give_up(self, items: Sequence[pytest.Item]) -> None:
        """Their tests do not come back: they judge nobody."""
        for item in items:
            self.judges[item.nodeid] = Judge(fingerprint([item.path]), 0.0, passes=False, traced=True)
        self.save()

    def measure(self, items: Sequence[pytest.Item], run: Callable[[pytest.Item], bool]) -> None:
        """Who fails judges nobody."""
        for item in items:
            began = time.perf_counter()
            passes = run(item)
            self.judges[item.nodeid] = Judge(fingerprint([item.path]), time.perf_counter() - began, passes)

    def trace(self, items: Sequence[pytest.Item], run: Callable[[pytest.Item], bool]) -> None:
        """The lines that each test executes."""
        tracer = coverage.Coverage(
            data_file=None, config_file=False, include=[str(self.root / path) for path in self.paths]
        )
        tracer.start()
        for number, item in enumerate(items):
            tracer.switch_context(str(number))
            judge = self.judges[item.nodeid]
            judge.passes, judge.traced = judge.passes and run(item), True
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CoverageWarning)  # a file that executes nothing of it
            tracer.stop()
            data = tracer.get_data()
        for path in self.paths:
            for line, contexts in data.contexts_by_lineno(str(self.root / path)).items():
                for context in contexts:
                    if context:
                        lines = self.judges[items[int(context)].nodeid].lines
                        lines[path] = lines.get(path, 0) | (1 << line)


def _hexadecimal(lines: dict[str, int]) -> dict[str, str]:
    return {path: f"{bits:x}" for path, bits in lines.items()}
