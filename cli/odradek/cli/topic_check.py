"""Topics as they are, against topics as they should be. Pure: what the log says is given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from odradek.schemas.topics import DAY_MS, HOUR_MS, TopicSpec

if TYPE_CHECKING:
    from odradek.log import TopicInfo

# What may be larger than asked for: history must be compacted late, and tombstones must stay.
_AT_LEAST: Final = frozenset({"min.compaction.lag.ms", "delete.retention.ms"})
# They change what compaction costs, not what it means.
_TUNING: Final = frozenset({"segment.bytes", "segment.ms", "min.cleanable.dirty.ratio", "max.compaction.lag.ms"})

LEAST_MS: Final = {
    # Clients wait for answers for ten minutes; a message between workflows is answered for a day.
    "replies": HOUR_MS // 4,
    "tasks": DAY_MS,
    "archive": HOUR_MS,
    "dead-letter": HOUR_MS,
}
"""For how long these are kept is for their operators to say, as long as it is this."""

OUTAGE_MS: Final = 7 * DAY_MS
"""What an inbox is to outlast where a cluster wants a limit."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One setting that is not as it should be. ``matters`` False: it costs something, and breaks nothing."""

    topic: str
    setting: str
    found: str
    wanted: str
    matters: bool = True
    chosen: bool = False
    """It is for operators to say."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def differences(specs: Iterable[TopicSpec], found: Mapping[str, TopicInfo | None]) -> list[Difference]:
    """All of them, topic by topic. Settings that a log does not tell are not compared."""
    return [difference for spec in specs for difference in _of_topic(spec, found.get(spec.name))]


def _of_topic(spec: TopicSpec, info: TopicInfo | None) -> list[Difference]:
    if info is None:
        return [Difference(spec.name, "topic", "missing", f"{spec.partitions} partitions")]
    found = []
    if info.partitions != spec.partitions:
        found.append(Difference(spec.name, "partitions", str(info.partitions), str(spec.partitions)))
    if spec.replication is not None and info.replication is not None and info.replication != spec.replication:
        found.append(Difference(spec.name, "replication", str(info.replication), str(spec.replication)))
    for setting, wanted in spec.settings().items():
        value = info.config.get(setting)
        if value is not None and not _suits(spec, setting, value, wanted):
            chosen = setting == "retention.ms" and int(value) >= _least_ms(spec.name)
            matters = setting not in _TUNING and not chosen and not _outlasts(spec.name, setting, value)
            found.append(Difference(spec.name, setting, value, wanted, matters, chosen))
    return found


def _outlasts(topic: str, setting: str, value: str) -> bool:
    return setting == "retention.ms" and topic.endswith(".inbox") and int(value) >= OUTAGE_MS


def _least_ms(topic: str) -> float:
    part = "tasks" if ".tasks." in topic else topic.rpartition(".")[2]
    return LEAST_MS.get(part, float("inf"))


def _suits(spec: TopicSpec, setting: str, value: str, wanted: str) -> bool:
    if setting == "cleanup.policy":
        return {part.strip() for part in value.split(",")} == {wanted}
    if setting == "retention.ms":
        return spec.policy == "compact" or value == wanted or (wanted != "-1" and _longer(value, wanted))
    if setting == "max.message.bytes":
        return int(value) >= int(wanted)
    return value == wanted or (setting in _AT_LEAST and int(value) >= int(wanted))


def _longer(value: str, wanted: str) -> bool:
    return value == "-1" or int(value) >= int(wanted)
