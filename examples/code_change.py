"""A safe change of code: runs that began before the change go on as they began, new ones take the new way.

The histories of runs that began before stand in ``examples/histories``; the test beside replays them.
"""

from __future__ import annotations

from datetime import timedelta

from odradek import activity, workflow

SOON = timedelta(minutes=1)


@activity.defn
async def post_letter(address: str) -> str:
    return f"letter to {address}"


@activity.defn
async def send_mail(address: str) -> str:
    return f"mail to {address}"


@workflow.defn
class Greeting:
    @workflow.run
    async def run(self, address: str) -> str:
        way = send_mail if workflow.patched("mail-instead-of-letters") else post_letter
        greeted: str = await workflow.execute_activity(way, address, start_to_close_timeout=SOON)
        return greeted
