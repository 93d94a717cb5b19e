"""Which build of odradek a process runs, for its metrics and its leases."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from prometheus_client import Gauge

BUILD: Final = Gauge(
    "odradek_build_info", "1 for each role that this process has or had, with its version", ["version", "role"]
)


@cache
def build_version() -> str:
    """Empty where odradek is not installed as a package."""
    try:
        return version("odradek")
    except PackageNotFoundError:
        return ""


def note_role(role: str) -> None:
    """``orchestrator`` or ``worker``."""
    BUILD.labels(build_version(), role).set(1)
