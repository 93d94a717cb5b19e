"""Activities that count their calls."""

from __future__ import annotations

import asyncio
from collections import Counter

from odradek import activity


class Site:
    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.release = asyncio.Event()

    @activity.defn
    async def hold(self, name: str) -> str:
        """Waits to be let go."""
        self.calls[name] += 1
        await self.release.wait()
        return name

    @activity.defn
    async def quick(self, name: str) -> str:
        self.calls[name] += 1
        return name

    @activity.defn
    async def failing(self) -> None:
        self.calls["failing"] += 1
        raise ValueError("as always")
