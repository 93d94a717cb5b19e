"""What a run knows of itself and says about itself: memo, search attributes, details, the runs before it, chance."""

from __future__ import annotations

import uuid as _uuid
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, Final

from odradek.common import MetricMeter, SearchAttributes, SearchAttributeUpdate
from odradek.workflow.runtime import current

_MISSING: Final = object()


def memo() -> dict[str, Any]:
    """The run's memo as plain values, what was upserted included."""
    runtime = current()
    return {key: runtime.converter.from_payload(value) for key, value in runtime.memo_payloads.items()}


def memo_value(key: str, default: Any = _MISSING, *, type_hint: type | None = None) -> Any:
    """One value of the memo. Raises ``KeyError`` when it is missing and no default is given."""
    runtime = current()
    payload = runtime.memo_payloads.get(key)
    if payload is not None:
        return runtime.converter.from_payload(payload, type_hint)
    if default is _MISSING:
        raise KeyError(f"Memo does not have a value for key {key}")
    return default


def upsert_memo(updates: Mapping[str, Any]) -> None:
    """Set these fields of the memo; None takes a field away, and the others stay. Recorded."""
    if updates:
        current().upsert_memo(updates)


def upsert_search_attributes(attributes: SearchAttributes | Sequence[SearchAttributeUpdate[Any]]) -> None:
    """Set or remove search attributes: updates from ``key.value_set(…)`` and ``key.value_unset()``. Recorded.

    Those that are not named stay. The untyped form, a list of values for each name, is taken too; an empty list
    removes. Raises ``SearchAttributeInvalid``.
    """
    if attributes:
        current().upsert_search_attributes(attributes)


def get_current_details() -> str:
    """What ``set_current_details`` said last."""
    return current().current_details


def set_current_details(description: str) -> None:
    """Say for people where the run stands; shown where it is described. Kept in memory, and made again by a replay."""
    runtime = current()
    runtime.may_change()
    runtime.current_details = description


def has_last_completion_result() -> bool:
    """Whether a run before this one, of the same cron schedule, has completed."""
    lineage = current().lineage
    return lineage is not None and lineage.last_result is not None


def get_last_completion_result(type_hint: type | None = None) -> Any | None:
    """The result of the last run of the chain that completed; None if there is none, or it was None."""
    runtime = current()
    lineage = runtime.lineage
    if lineage is None or lineage.last_result is None:
        return None
    return runtime.converter.from_payload(lineage.last_result, type_hint)


def get_last_failure() -> BaseException | None:
    """How the run before this one failed, if it did: of a retry, of a cron schedule."""
    return current().last_failure()


def random() -> Random:
    """This run's random numbers: the same in every replay."""
    return current().random


def random_seed() -> int:
    """What ``random`` was seeded with: a run has one seed, made of its run ID."""
    return current().random_seed


def new_random(name: str | None = None) -> Random:
    """A generator of its own, by the run's seed: drawing from it does not move ``random()``.

    All without a name draw the same numbers; each name has its own.
    """
    return Random(random_seed() if name is None else f"{random_seed()}:{name}")


def register_random_seed_callback(callback: Callable[[int], None]) -> None:
    """Accepted, and never called: the seed of a run does not change."""
    current()


def uuid4() -> _uuid.UUID:
    """A UUID from ``random()``."""
    return _uuid.UUID(bytes=current().random.getrandbits(128).to_bytes(16, "big"), version=4)


def uuid7() -> _uuid.UUID:
    """A UUID of ``time_ns()`` and ``random()``: those made later sort behind."""
    runtime = current()
    bits = (runtime.time_ms & (1 << 48) - 1) << 80 | 7 << 76 | 2 << 62
    return _uuid.UUID(int=bits | runtime.random.getrandbits(12) << 64 | runtime.random.getrandbits(62))


def metric_meter() -> MetricMeter:
    """Makes counters, histograms and gauges for Prometheus, labelled with namespace, task queue and workflow type.

    Nothing is counted while the run is replayed.
    """
    return current().metric_meter


def is_failure_exception(err: BaseException) -> bool:
    """Whether this exception would fail the run, rather than park it."""
    return current().fails_with(err)
