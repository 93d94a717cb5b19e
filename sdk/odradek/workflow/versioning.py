"""How workflow code changes while runs of it are open: named sides of a change, recorded in each run's history."""

from __future__ import annotations

from enum import StrEnum

from odradek.workflow.runtime import DEFAULT_VERSION, current


class VersioningIntent(StrEnum):
    """Accepted where calls name it, and of no effect: new runs take the newest version of their type's code."""

    UNSPECIFIED = "unspecified"
    COMPATIBLE = "compatible"
    DEFAULT = "default"


class ContinueAsNewVersioningBehavior(StrEnum):
    """Which version a run begins with that continues a pinned one."""

    UNSPECIFIED = "unspecified"
    """The version of the run before."""
    AUTO_UPGRADE = "auto-upgrade"
    """The newest."""
    USE_RAMPING_VERSION = "use-ramping-version"
    """As AUTO_UPGRADE."""


def patched(id: str) -> bool:
    """Whether this run takes the new side of the change ``id``.

    True where the code runs for the first time, which is recorded, and wherever the history says so; False in a run
    that had passed this call before the change was made. A run keeps the side that it took at its first call.
    """
    return current().take_version(id, 1) != DEFAULT_VERSION


def deprecate_patch(id: str) -> None:
    """Say that no open run is on the old side of a change any more: the step between ``patched`` and nothing at all.

    Runs go on being marked, so that the code before this one can still replay them.
    """
    current().take_version(id, 1)


def get_version(change_id: str, min_supported: int, max_supported: int) -> int:
    """The side of a change that this run takes, for changes that have more than two.

    ``max_supported`` where the code runs for the first time, which is recorded; else what the history says, and
    ``DEFAULT_VERSION`` (-1) in a run that had passed this call before the change was made. Raises
    ``NondeterminismError`` when that is not between ``min_supported`` and ``max_supported``: the code of a side that an
    open run is on has been removed.
    """
    if not DEFAULT_VERSION <= min_supported <= max_supported:
        raise ValueError(
            f'ODR-152: change "{change_id}": min_supported {min_supported} and max_supported {max_supported} are no '
            f"range: {DEFAULT_VERSION} (DEFAULT_VERSION) is the lowest, and the first must not be above the second"
        )
    runtime = current()
    version = runtime.take_version(change_id, max_supported)
    if not min_supported <= version <= max_supported:
        raise runtime.nondeterminism(
            f'ODR-150: this run is on version {version} of change "{change_id}", and the code supports {min_supported} '
            f"to {max_supported}: bring back the code of version {version} until no open run is on it"
        )
    return version
