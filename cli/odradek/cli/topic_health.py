"""Whether topics lose nothing when a broker dies, and are as they should be. Pure: what the log says is given."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from odradek.cli.findings import Finding, Level, Repair, some
from odradek.cli.topic_check import Difference
from odradek.log import TopicInfo

COPIES: Final = 3
IN_SYNC: Final = 2
_NOT_TO_REPAIR: Final = {
    "partitions": "Every key would be looked for elsewhere: a partition count is fixed; move to a new namespace.",
    "replication": "Move copies with kafka-reassign-partitions.sh, or your provider's tool.",
}
_CHOSEN: Final = 'Fine if you want it so; else "odradek topics retention --set" changes it.'
_FIX: Final = '"odradek doctor --fix" mends it.'


def drifted(differences: Iterable[Difference]) -> Iterator[Finding]:
    for difference in differences:
        level = Level.FAIL if difference.matters else Level.WARN
        text = f"{difference.topic}: {difference.setting} is {difference.found}, should be {difference.wanted}"
        advice = _NOT_TO_REPAIR.get(difference.setting, "")
        if difference.setting == "retention.ms" and difference.chosen:
            advice = _CHOSEN
        elif difference.setting == "retention.ms" and difference.found != "-1":
            text += f"; what waits longer than {_hours(difference.found)}, as in an outage, is lost"
        yield Finding("topics", level, text, advice or _FIX, None if advice else _repair(difference))


def _repair(difference: Difference) -> Repair:
    if difference.setting == "topic":
        return Repair(difference.topic)
    return Repair(difference.topic, difference.setting, difference.found, difference.wanted)


def _hours(milliseconds: str) -> str:
    return f"{int(milliseconds) / 3_600_000:.4g} h"


def copies(found: Mapping[str, TopicInfo | None]) -> Iterator[Finding]:
    """Of logs that keep copies."""
    infos = [info for info in found.values() if info is not None and info.replication is not None]
    troubled = [*_away(infos), *_few(infos), *_in_sync(infos), *_unclean(infos)]
    yield from troubled
    if infos and not troubled:
        yield Finding("replication", Level.OK, "3 copies or more, all in sync, and 2 of them for each append")


def _away(infos: Iterable[TopicInfo]) -> Iterator[Finding]:
    for info in infos:
        if info.leaderless:
            text = f"{info.name}: partitions {_numbers(info.leaderless)} have no leader: nothing is read or appended"
            yield Finding("replication", Level.FAIL, text, "Bring the brokers back that have their copies.")
        elif info.under_replicated:
            text = f"{info.name}: partitions {_numbers(info.under_replicated)} have copies that are not in sync"
            yield Finding("replication", Level.WARN, text, "Is a broker down, or behind? Look at its log.")


def _few(infos: Iterable[TopicInfo]) -> Iterator[Finding]:
    few = [info.name for info in infos if (info.replication or 0) < COPIES]
    if few:
        advice = f"Fine for trying out; for data to keep use --replication 3. {_NOT_TO_REPAIR['replication']}"
        yield Finding("replication", Level.WARN, f"fewer than 3 copies: {some(few)}", advice)


def _in_sync(infos: Iterable[TopicInfo]) -> Iterator[Finding]:
    for info in infos:
        if "min.insync.replicas" not in info.config:
            text = f"{info.name}: the log does not tell min.insync.replicas"
            yield Finding("replication", Level.WARN, text, "Ask who runs it: it should be 2.")
            continue
        least, many = int(info.config["min.insync.replicas"]), info.replication or 0
        if least > many:
            text = f"{info.name}: min.insync.replicas is {least}, and there are {many} copies: nothing can be appended"
            yield Finding("replication", Level.FAIL, text, "Give it more copies, or set min.insync.replicas lower.")
        elif least < IN_SYNC:
            # With copies that lag, nothing could be appended any more.
            safe = many >= COPIES and not info.under_replicated
            repair = Repair(info.name, "min.insync.replicas", str(least), str(IN_SYNC)) if safe else None
            text = f"{info.name}: min.insync.replicas is {least}: one lost broker may lose history"
            advice = _FIX if repair else "Set min.insync.replicas=2 once it has 3 copies, all in sync."
            yield Finding("replication", Level.WARN, text, advice, repair)
        elif least == many:
            text = (
                f"{info.name}: min.insync.replicas is {least} of {many} copies: without one broker nothing is appended"
            )
            yield Finding("replication", Level.WARN, text, "Give it one copy more.")


def _unclean(infos: Iterable[TopicInfo]) -> Iterator[Finding]:
    for info in infos:
        if info.config.get("unclean.leader.election.enable") == "true":
            text = f"{info.name}: unclean leader election is on, which can lose history"
            repair = Repair(info.name, "unclean.leader.election.enable", "true", "false")
            yield Finding("replication", Level.FAIL, text, _FIX, repair)


def _numbers(partitions: Iterable[int]) -> str:
    return some([str(number) for number in partitions])
