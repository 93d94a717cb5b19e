"""Where bad input can come from, by name; each takes a seed and raises what it finds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tests.fuzz import commands, everywhere, history, inbox, replays, tasks

TARGETS: Final[dict[str, Callable[[int], None]]] = {
    "commands": commands.check_seed,
    "everywhere": everywhere.check_seed,
    "history": history.check_seed,
    "inbox": inbox.check_seed,
    "replays": replays.check_seed,
    "tasks": tasks.check_seed,
}


def command(target: str, seed: int) -> str:
    return f"python -m tests.fuzz {target} {seed}"
