"""The workflows that are open while builds change: parcels that take a while, and depots that stay for all of it.

``ROLLOUT_BUILD`` says which build of this code a process is: each one does more than the one before, guarded by
``patched``. Build 0 is a mistake: it asks for something else than build 1 did, unguarded.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Final

from odradek import activity, workflow

BUILD_VARIABLE: Final = "ROLLOUT_BUILD"
BUILD: Final = int(os.environ.get(BUILD_VARIABLE, "1"))
QUEUE: Final = "parcels"
SOON: Final = timedelta(minutes=2)


@activity.defn
async def label(parcel: str) -> str:
    return f"label of {parcel}"


@activity.defn
async def weigh(parcel: str) -> int:
    return len(parcel)


@workflow.defn
class Parcel:
    """Is labelled, stamped by a signal, addressed by an update, and sent."""

    def __init__(self) -> None:
        self._stamps = 0
        self._address = ""

    @workflow.run
    async def run(self, parcel: str) -> str:
        if BUILD == 0:
            await workflow.execute_activity(weigh, parcel, start_to_close_timeout=SOON)
        text = await workflow.execute_activity(label, parcel, start_to_close_timeout=SOON)
        for build in range(2, BUILD + 1):
            if workflow.patched(f"build-{build}"):
                await workflow.execute_activity(weigh, parcel, start_to_close_timeout=SOON)
        await workflow.wait_condition(lambda: self._stamps == 2 and bool(self._address))
        await workflow.sleep(0.2)
        return f"{text} to {self._address}"

    @workflow.signal
    def stamp(self) -> None:
        self._stamps += 1

    @workflow.update
    async def send_to(self, address: str) -> str:
        await workflow.execute_activity(weigh, address, start_to_close_timeout=SOON)
        self._address = address
        return address


@workflow.defn
class Depot:
    """Open from the first build to the last: takes in what signals and updates bring, each piece once."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._closes = False

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.execute_activity(label, "depot", start_to_close_timeout=SOON)
        await workflow.wait_condition(lambda: self._closes)
        return self._pieces

    @workflow.signal
    def drop(self, piece: str) -> None:
        self._pieces.append(piece)

    @workflow.update
    def hand_in(self, piece: str) -> int:
        self._pieces.append(piece)
        return len(self._pieces)

    @workflow.signal
    def close(self) -> None:
        self._closes = True
