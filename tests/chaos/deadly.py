"""Workflows that do not come back, or take their process down; ``ODRADEK_TEST_MENDED`` is the fixed build."""

from __future__ import annotations

import asyncio
import ctypes
import os
import re

from odradek import workflow

MENDED = bool(os.environ.get("ODRADEK_TEST_MENDED"))


@workflow.defn
class Crashing:
    """Reads address 0, once it is told to or at once."""

    def __init__(self) -> None:
        self._told = False

    @workflow.run
    async def run(self, at_once: bool) -> str:
        if not at_once:
            await workflow.wait_condition(lambda: self._told)
        if not MENDED:
            ctypes.string_at(0)
        return "survived"

    @workflow.signal
    def crash(self) -> None:
        self._told = True


@workflow.defn
class Looping:
    @workflow.run
    async def run(self) -> str:
        while not MENDED:
            pass
        return "ended"


@workflow.defn
class Exploding:
    @workflow.run
    async def run(self) -> bool:
        return MENDED or re.match(r"(a+)+$", "a" * 40 + "b") is not None


@workflow.defn
class Plain:
    def __init__(self) -> None:
        self._count = 0

    @workflow.run
    async def run(self) -> int:
        await asyncio.sleep(0.01)
        await workflow.wait_condition(lambda: self._count > 0)
        return self._count

    @workflow.signal
    def go(self) -> None:
        self._count += 1
