"""A poller: asks an activity again and again until something is ready, with growing pauses and a last moment."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import datetime, timedelta

from odradek import activity, workflow
from odradek.exceptions import ApplicationError

POLLS_PER_RUN = 500
PAUSE_MAX = timedelta(minutes=10)


@dataclass
class Watch:
    job: str
    until: datetime
    pause_seconds: float = 5.0


@activity.defn
async def is_ready(job: str) -> bool:
    raise NotImplementedError("ask whoever runs the job")


@workflow.defn
class Monitor:
    """Returns when the job was seen to be ready. Raises ``ApplicationError`` (type ``NotReady``) if that is late."""

    @workflow.run
    async def run(self, watch: Watch) -> datetime:
        for poll in itertools.count():
            if poll == POLLS_PER_RUN:
                workflow.continue_as_new(watch)
            if await workflow.execute_activity(is_ready, watch.job, start_to_close_timeout=timedelta(seconds=30)):
                return workflow.now()
            if workflow.now() >= watch.until:
                raise ApplicationError(f"job {watch.job} was not ready by {watch.until}", type="NotReady")
            left = (watch.until - workflow.now()).total_seconds()
            await workflow.sleep(min(watch.pause_seconds, left), summary=f"before asking for {watch.job} again")
            watch.pause_seconds = min(watch.pause_seconds * 2, PAUSE_MAX.total_seconds())
        raise AssertionError("counting never ends")
