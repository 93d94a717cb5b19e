"""``promtool``: the one on the path, else one that is built with Go and kept beside the broker of the tests."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

VERSION: Final = "v0.314.0"
MODULE: Final = "github.com/prometheus/prometheus/cmd/promtool"
TAGS: Final = "remove_all_sd,enable_dns_sd"
"""Without the clients of a dozen clouds it builds in a tenth of the time; ours are found by DNS."""
BUILD_SECONDS_MAX: Final = 1500


class PromtoolMissing(Exception):
    """There is none, and none could be built."""


def promtool() -> Path:
    """Its path. Raises ``PromtoolMissing``."""
    found = shutil.which("promtool")
    if found is not None:
        return Path(found)
    cache = Path(os.environ.get("ODRADEK_CACHE") or Path.home() / ".cache" / "odradek")
    built = cache / f"promtool-{VERSION}-{TAGS}"
    if built.exists():
        return built
    go = shutil.which("go")
    if go is None:
        raise PromtoolMissing("NEITHER promtool NOR go is installed: the alerts are not tested")
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "promtool.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not built.exists():
            _build(go, built)
    return built


def _build(go: str, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="building-") as folder:
        for command in (
            (go, "mod", "init", "promtool"),
            (go, "get", f"{MODULE}@{VERSION}"),
            (go, "build", "-tags", TAGS, "-o", "promtool", MODULE),
        ):
            done = subprocess.run(
                command, cwd=folder, check=False, capture_output=True, text=True, timeout=BUILD_SECONDS_MAX
            )
            if done.returncode != 0:
                raise PromtoolMissing(f"promtool COULD NOT BE BUILT, the alerts are not tested: {done.stderr[-500:]}")
        (Path(folder) / "promtool").rename(target)
