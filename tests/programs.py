"""Programs that tests use and that no package of Python brings: made once, and kept where the broker's jars are."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final

FETCH_SECONDS_MAX: Final = 1500


class ProgramUnavailable(Exception):
    """A program cannot be had here; the message says what is missing."""


def kept(name: str, make: Callable[[Path], None]) -> Path:
    """The folder of this name in the cache, made in one step when it is not there. Raises ``ProgramUnavailable``."""
    folder = place(name)
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (
        _alone(folder.parent / f"{folder.name}.lock"),
        tempfile.TemporaryDirectory(dir=folder.parent, prefix="fetching-") as scratch,
    ):
        if not folder.is_dir():
            made = Path(scratch) / "made"
            made.mkdir()
            make(made)
            made.rename(folder)
    return folder


def place(name: str) -> Path:
    """Where it is kept, if it has been made."""
    cache = Path(os.environ.get("ODRADEK_CACHE") or Path.home() / ".cache" / "odradek")
    return cache / name.rpartition("/")[2]


def name_of(sources: Path) -> str:
    """Of a Go program of ours: another one as soon as its sources are."""
    first = [sources / name for name in ("main.go", "go.mod", "go.sum")]
    others = sorted(file for file in sources.rglob("*") if file.is_file() and file not in first)
    read = b"".join(file.read_bytes() for file in (*first, *others))
    return f"{sources.name}@{sha256(read).hexdigest()[:12]}"


def build(sources: Path, folder: Path) -> None:
    """A Go program of ours, named like the folder of its sources."""
    run([program("go"), "build", "-mod=readonly", "-o", str(folder / sources.name), "."], sources)


def program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise ProgramUnavailable(f'the program "{name}" is NOT INSTALLED')
    return path


def run(command: list[str], folder: Path, **variables: str) -> None:
    environment = {**os.environ, **variables}
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=FETCH_SECONDS_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ProgramUnavailable(f"{' '.join(command)} took more than {FETCH_SECONDS_MAX} s") from None
    if done.returncode != 0:
        raise ProgramUnavailable(f"{' '.join(command)} FAILED: {done.stderr[-500:]}")


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
