"""Facts about the machine that a figure means nothing without."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import psutil


def facts(folder: Path) -> dict[str, Any]:
    """``folder`` is where the contestants keep their data."""
    return {
        "cores": os.cpu_count(),
        "cpu": _cpu_model(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "file_system": _file_system(folder),
        "load_before": [round(load, 2) for load in os.getloadavg()],
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "unknown")


def _file_system(folder: Path) -> str:
    at = str(folder.resolve())
    mounts = [part for part in psutil.disk_partitions(all=True) if at.startswith(part.mountpoint)]
    return max(mounts, key=lambda part: len(part.mountpoint)).fstype if mounts else "unknown"
