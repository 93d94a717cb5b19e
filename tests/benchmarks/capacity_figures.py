"""Figures that the tests of the capacity page share: round numbers, made up."""

from __future__ import annotations

from benchmarks.capacity.figures import Figures, Line, Load, Run, Topic, Turn

TURNS = {"orchestrator": Turn(100e-6, 25e-6), "worker": Turn(50e-6, 20e-6), "log": Turn(0.0, 10e-6)}
NAMES = ("inbox", "history", "replies", "archive", "visibility", "tasks")


def figures(brokers: int = 3) -> Figures:
    return Figures(
        brokers=brokers,
        partitions=8,
        cpu={
            "broker": Line(100e-6, 80e-6),
            "orchestrator": Line(50e-6, 60e-6),
            "worker": Line(0.0, 25e-6),
            "client": Line(80e-6, 0.0),
        },
        idle_cores=dict.fromkeys(("broker", "orchestrator", "worker", "client"), 0.01),
        resident=dict.fromkeys(("broker", "orchestrator", "worker"), 100 * 2.0**20),
        turns=dict(TURNS),
        topics={name: Topic(Line(1, 1), Line(100, 200)) for name in NAMES},
        live_bytes=Line(200, 0),
        disk_factor=1.1,
        append_ms=[1.0, 2.0, 3.0],
        one=Load(500, 2, 3, 2, 1),
        limit=Load(5000, 30, 60, 2, 200),
        half=Load(2500, 5, 9, 2),
        quarter=Load(1250, 4, 7, 2),
    )


def run() -> Run:
    machine = {
        "cores": 2, "cpu": "a processor", "memory_gib": 8, "kernel": "Linux 6", "python": "3.12.1",
        "python_loop_ms": 9.0, "file_system": "ext4", "load_before": [0.1, 0.2, 0.3],
    }  # fmt: skip
    return Run("2026-11-21 12:00 UTC", 300, machine, figures(1), figures())
