"""Batching: many small items arrive as signals and leave together: when enough have come, or after half a minute."""

from __future__ import annotations

from datetime import timedelta

from odradek import activity, workflow

BATCH_MAX = 100
AGE_MAX = timedelta(seconds=30)


@activity.defn
async def write_rows(rows: list[str]) -> int:
    """One call instead of a hundred."""
    print(f"INSERT of {len(rows)} rows")
    return len(rows)


@workflow.defn
class Batcher:
    """Runs until it is told to finish; returns how many rows were written. What is not written yet goes along."""

    @workflow.init
    def __init__(self, waiting: list[str], written: int = 0) -> None:
        self.waiting = waiting
        self.written = written
        self.finishing = False

    @workflow.run
    async def run(self, waiting: list[str], written: int = 0) -> int:
        while not (self.finishing and not self.waiting):
            await workflow.wait_condition(lambda: bool(self.waiting) or self.finishing)
            if not self.finishing:
                await self._fill()
            if self.waiting:
                batch = self.waiting[:BATCH_MAX]
                self.written += await workflow.execute_activity(
                    write_rows, batch, start_to_close_timeout=timedelta(minutes=1)
                )
                del self.waiting[: len(batch)]
            if workflow.info().is_continue_as_new_suggested() and not self.finishing:
                workflow.continue_as_new(args=[self.waiting, self.written])
        return self.written

    async def _fill(self) -> None:
        try:
            await workflow.wait_condition(lambda: len(self.waiting) >= BATCH_MAX or self.finishing, timeout=AGE_MAX)
        except TimeoutError:
            return

    @workflow.signal
    def add(self, row: str) -> None:
        self.waiting.append(row)

    @workflow.signal
    def finish(self) -> None:
        self.finishing = True
