"""Which version of its type's code a run goes on with. Pure.

A run stays on the version that it began with. A class that says AUTO_UPGRADE lets its runs go on with the newest one,
PINNED keeps also the runs that follow on theirs. A run whose version is not here waits for it, unless its code has not
seen anything yet.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from odradek.common import VersioningBehavior
from odradek.orchestrator.core.run import Run
from odradek.schemas import records as r
from odradek.workflow.definition import Definition

_NUMBER = re.compile(r"(\d+)")


class Hosts(Protocol):
    """Who runs workflow code, and of which namespace; see ``ShardConfig``."""

    @property
    def namespace(self) -> str: ...

    @property
    def definition(self) -> Callable[[str, str, str | None], Definition | None]: ...

    @property
    def hosted(self) -> Callable[[], Sequence[str]]: ...

    @property
    def versions(self) -> Callable[[str, str], Sequence[str]]: ...


class UnknownWorkflowType(Exception):
    """No code of this type, or not of the version that the run is on, is here."""


def natural(version: str) -> list[tuple[int, int, str]]:
    """A sort key: digits within a version count as numbers, so 1.9 < 1.10 < 2; no version at all is the oldest."""
    parts = _NUMBER.split(version) if version else []
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts if part]


def newest_version(config: Hosts, task_queue: str, workflow_type: str) -> str:
    """What a new run begins with; empty where the code names no version, or is not here."""
    found = config.definition(task_queue, workflow_type, None)
    return "" if found is None else found.version


def code_of(config: Hosts, run: Run) -> Definition:
    """The class that the run goes on with in this process. Raises ``UnknownWorkflowType``."""
    started = run.started
    assert started is not None
    queue, kind, version = started.task_queue, started.workflow_type, run.version
    own = config.definition(queue, kind, version)
    if own is not None and own.versioning_behavior != VersioningBehavior.AUTO_UPGRADE:
        return own
    newest = config.definition(queue, kind, None)
    if newest is None:
        raise UnknownWorkflowType(
            f'ODR-072: no orchestrator of namespace "{config.namespace}" hosts workflow type "{kind}" '
            f"(hosted: {', '.join(config.hosted()) or 'none'}): load its module too, or give that service a "
            "namespace of its own"
        )
    moves = own is not None or not run.begun or newest.versioning_behavior == VersioningBehavior.AUTO_UPGRADE
    if moves and natural(newest.version) > natural(version):
        return newest
    if own is not None:
        return own
    raise UnknownWorkflowType(
        f"ODR-151: this orchestrator does not host {_shown(version)} of workflow type "
        f'"{kind}" (hosted: {", ".join(map(_shown, config.versions(queue, kind)))}): keep the class of a version '
        'until "odradek versions" shows no open run of it'
    )


def _shown(version: str) -> str:
    return f'version "{version}"' if version else "the class without a version"


def following_version(config: Hosts, run: Run, closing: Any, following: r.RunStarted) -> str:
    """The version that the run begins with which follows ``run``: the newest, unless the code is pinned."""
    if isinstance(closing, r.RunContinued):
        pinned = following.version  # the code itself said so
    else:
        before = config.definition(following.task_queue, following.workflow_type, run.version)
        is_pinned = before is not None and before.versioning_behavior == VersioningBehavior.PINNED
        pinned = run.version if is_pinned else ""
    return pinned or newest_version(config, following.task_queue, following.workflow_type)
