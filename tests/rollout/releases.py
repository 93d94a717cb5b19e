"""The next release of the library, made as CONTRIBUTING.md says that one is: a new schema version with a new field."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from odradek.schemas.records import SCHEMA_VERSION

REPOSITORY: Final = Path(__file__).parents[2]
NEXT_VERSION: Final = SCHEMA_VERSION + 1


def make_next_release(folder: Path) -> Path:
    """A root that stands before the repository's own in PYTHONPATH; returns it."""
    root = folder / "next-release" / "schemas"
    shutil.copytree(REPOSITORY / "schemas", root, ignore=shutil.ignore_patterns("__pycache__"))
    package = root / "odradek" / "schemas"
    shutil.copytree(package / f"v{SCHEMA_VERSION}", package / f"v{NEXT_VERSION}")
    records = package / "records.py"
    text = records.read_text()
    for before, after in (
        (f"SCHEMA_VERSION = {SCHEMA_VERSION}\n", f"SCHEMA_VERSION = {NEXT_VERSION}\n"),
        (
            "    priority: TaskPriority | None = None\n\n\n@record\nclass Lineage:",
            '    priority: TaskPriority | None = None\n    tariff: str = "standard"\n\n\n@record\nclass Lineage:',
        ),
    ):
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    records.write_text(text)
    subprocess.run([sys.executable, root / "make_schemas.py"], check=True, env=with_library(root))
    assert '"tariff"' in (package / f"v{NEXT_VERSION}" / "history.avsc").read_text()
    return root


def with_library(root: Path | None) -> dict[str, str]:
    """The environment of a process that runs this release; None: the one of the repository."""
    roots = [
        str(REPOSITORY),
        *(str(REPOSITORY / name) for name in ("schemas", "log", "sdk", "orchestrator", "workers", "cli")),
    ]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*([str(root)] if root else []), *roots])}
