"""What bad input is aimed at, and what must go on beside it."""

from __future__ import annotations

from datetime import timedelta

from odradek import workflow
from odradek.common import RetryPolicy
from odradek.exceptions import ActivityError, ChildWorkflowError

AN_HOUR = timedelta(hours=1)


@workflow.defn
class Healthy:
    """Does an activity, waits for a signal and for a timer, and says what it got."""

    def __init__(self) -> None:
        self.told: list[str] = []

    @workflow.run
    async def run(self, name: str) -> list[str]:
        first = await workflow.execute_activity("echo", name, start_to_close_timeout=AN_HOUR)
        await workflow.wait_condition(lambda: bool(self.told))
        await workflow.sleep(timedelta(seconds=1))
        return [first, *self.told]

    @workflow.signal
    def tell(self, word: str) -> None:
        self.told.append(word)


@workflow.defn
class Kid:
    @workflow.run
    async def run(self, name: str) -> str:
        await workflow.sleep(AN_HOUR)
        return name


@workflow.defn
class Victim:
    """Has everything open that an input can be about: activities, a timer, a child, handlers of all kinds."""

    def __init__(self) -> None:
        self.notes: list[object] = []

    @workflow.run
    async def run(self, name: str) -> int:
        policy = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=3)
        limits = {"schedule_to_close_timeout": 2 * AN_HOUR, "start_to_close_timeout": AN_HOUR}
        for _ in range(3):
            work = [
                workflow.start_activity("work", number, heartbeat_timeout=AN_HOUR, retry_policy=policy, **limits)
                for number in range(2)
            ]
            kid = await workflow.start_child_workflow("Kid", name, id=f"{name}-kid-{workflow.uuid4()}")
            for waited in (*work, kid):
                try:
                    self.notes.append(await waited)
                except (ActivityError, ChildWorkflowError) as error:
                    self.notes.append(str(error))
            await workflow.sleep(timedelta(minutes=1))
        return len(self.notes)

    @workflow.signal
    def note(self, value: int) -> None:
        self.notes.append(value)

    @workflow.update
    async def rename(self, name: str, times: int = 1) -> str:
        await workflow.sleep(timedelta(seconds=1))
        return name * times

    @rename.validator
    def _named(self, name: str, times: int = 1) -> None:
        if not name or times > 3:
            raise ValueError("no name")

    @workflow.query
    def noted(self, at: int = 0) -> object:
        return self.notes[at]


WORKFLOWS = (Healthy, Kid, Victim)
