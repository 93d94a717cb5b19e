"""What the chain benchmark runs: a workflow of sequential no-op activities."""

from __future__ import annotations

from datetime import timedelta

from odradek import activity, workflow

STEPS = 5
LIMIT = timedelta(seconds=60)


@activity.defn
async def echo(value: str) -> str:
    return value


@workflow.defn
class Chain:
    @workflow.run
    async def run(self, value: str) -> str:
        for _ in range(STEPS):
            value = await workflow.execute_activity(echo, value, start_to_close_timeout=LIMIT)
        return value
