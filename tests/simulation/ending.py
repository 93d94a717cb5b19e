"""What must hold at the end of a seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.world import World


def check_end(world: World) -> None: ...
