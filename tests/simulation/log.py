"""The simulated broker and network: the memory log, with producers that resend and lose track, and late readers.

One ``Broker`` belongs to one seed; each process has a ``SimulatedLog`` of its own to it.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from odradek.log.errors import AppendFailed, RecordTooLarge, TopicMissing
from odradek.log.interface import Appender, Committed, MembershipListener, Offsets, OnAppended, Record
from odradek.log.memory import RECORD_OVERHEAD_BYTES, MemoryAppender, MemoryLog, MemoryMembership, MemoryReader
from odradek.schemas.topics import TopicSpec
from tests.simulation.host import EPOCH_MS, Hosts, Process

LAG_SECONDS: Final = 30
"""Compaction touches nothing younger; takeovers give up long before."""
DELETE_RETENTION_SECONDS: Final = 30
TASKS_KEPT_SECONDS: Final = 7 * 24 * 3600
TASKS_KEPT_BRIEFLY_SECONDS: Final = 40
LATENCY_SECONDS: Final = 0.002

TASKS: Final = ".tasks."
"""In the names of topics that hold tasks."""

ORPHANS: Final = 0.03
"""How likely it is that what arrives next is of a dead process: such records are late, mostly behind another claim."""

Landed = Callable[[Process, Record], None]


class Message(NamedTuple):
    key: bytes | None
    value: bytes | None
    on_appended: OnAppended | None


class Broker:
    """The topics, and what the network still carries for processes that are dead."""

    def __init__(self, hosts: Hosts) -> None:
        self.hosts = hosts
        self.appenders: dict[SimulatedAppender, None] = {}
        self.orphans: list[Lane] = []
        self.on_landed: Landed = lambda process, record: None
        self.on_commit: Callable[[str, str, Mapping[int, Committed]], None] = lambda group, topic, positions: None
        self.on_deleted: Callable[[str, Mapping[int, int]], None] = lambda topic, before: None
        self.tasks_kept_seconds = TASKS_KEPT_SECONDS
        self.traffic = 0
        """Rises with whatever moves."""
        self.high_water: dict[tuple[str, int], int] = {}
        """Up to where somebody has been told of records: no leader change may lose these."""
        self.leader_epochs: Counter[tuple[str, int]] = Counter()
        self.store = MemoryLog("", lambda: EPOCH_MS + int(hosts.now * 1000))._store
        self._appender = MemoryAppender(self.store)
        hosts.network = self.move

    def land(self, process: Process, topic: str, partition: int, key: bytes | None, value: bytes | None) -> int:
        found = self.store.partition(topic, partition)
        self._appender.append(topic, partition, key, value)
        self._appender.discard()
        record = found.records[-1]
        self.traffic += 1
        self.on_landed(process, record)
        return record.offset

    def expose(self, topic: str, partition: int, end: int) -> None:
        known = self.high_water
        if known.get((topic, partition), 0) < end:
            known[topic, partition] = end

    def move(self) -> bool:
        """One thing arrives somewhere; False if nothing was on its way."""
        self.hosts.now += LATENCY_SECONDS * self.hosts.chance.random()
        moving = [appender for appender in self.appenders if appender.process.runs]
        if self.orphans and self.hosts.chance.random() < ORPHANS:
            self._land_orphan()
            return True
        if not moving:
            return False
        self.hosts.chance.choice(moving).move()
        return True

    def _land_orphan(self) -> None:
        place = self.hosts.chance.randrange(len(self.orphans))
        lane = self.orphans[place]
        lane.land()
        self.hosts.happened["late record"] += lane.topic.endswith(".history")
        if not lane.pipe or self.hosts.chance.random() < 0.2:  # the rest is lost
            del self.orphans[place]

    def forget(self, lanes: Iterable[Lane]) -> None:
        """Nobody waits for these any more; some of them arrive yet."""
        for lane in lanes:
            if self.hosts.chance.random() < 0.3:
                lane.back(-1)  # its acknowledgements never came, and it had been sent again already
            if lane.pipe and self.hosts.chance.random() < 0.5:
                self.orphans.append(lane)

    def change_leader(self) -> bool:
        """Another replica leads a partition: the tail that nobody has been told of may be missing there."""
        places = [place for appender in self.appenders for place in appender.places]
        if not places:
            return False
        place = self.hosts.chance.choice(places)
        found = self.store.partition(*place)
        keep = max(self.high_water.get(place, 0), found.begin)
        if keep < found.end:
            keep = self.hosts.chance.randrange(keep, found.end + 1)
        self.leader_epochs[place] += 1
        self.hosts.note("A LEADER CHANGES, and records are lost:", *place, found.end - keep)
        self.hosts.happened["lost tail"] += keep < found.end
        while found.records and found.records[-1].offset >= keep:
            found.records.pop()
        found.end = keep
        for appender in self.appenders:
            appender.leader_changed(place, keep)
        return True

    def retire(self) -> bool:
        """Retention takes the oldest answers, and perhaps those that somebody has not read yet."""
        topic = next(name for name in self.store.topics if name.endswith(".replies"))
        partition = self.hosts.chance.choice(self.store.topic(topic).partitions)
        if partition.begin == partition.end:
            return False
        partition.drop_before(self.hosts.chance.randrange(partition.begin, partition.end) + 1)
        self.hosts.note("RETENTION has taken answers up to", partition.begin)
        return True

    def expire_tasks(self) -> list[Record]:
        """Retention takes tasks that are old enough, read by somebody or not."""
        oldest_ms = EPOCH_MS + int((self.hosts.now - self.tasks_kept_seconds) * 1000)
        taken: list[Record] = []
        for name, topic in self.store.topics.items():
            for partition in topic.partitions if TASKS in name else ():
                old = [record for record in partition.records if record.time_ms < oldest_ms]
                if old:
                    partition.drop_before(old[-1].offset + 1)
                    taken += old
        return taken

    def compact(self) -> None:
        for topic in self.store.topics.values():
            if topic.compacts:
                before = sum(len(partition.records) for partition in topic.partitions)
                MemoryLog.compact(self.any_log, topic.spec.name)
                after = sum(len(partition.records) for partition in topic.partitions)
                if topic.spec.name.endswith(".history") and after < before:
                    self.hosts.happened["compaction"] += 1

    @property
    def any_log(self) -> MemoryLog:
        log = MemoryLog()
        log._store = self.store
        return log


class Lane:
    """One producer's records for one partition: first in its pipe, then landed, then acknowledged."""

    def __init__(self, appender: SimulatedAppender, topic: str, partition: int) -> None:
        self.appender, self.topic, self.partition = appender, topic, partition
        self.pipe: deque[Message] = deque()
        self.landed: deque[tuple[Message, int]] = deque()

    def back(self, end: int) -> None:
        """What stands at ``end`` or beyond has to be sent again."""
        again = [message for message, offset in self.landed if offset >= end]
        self.landed = deque(pair for pair in self.landed if pair[1] < end)
        self.pipe.extendleft(reversed(again))

    def land(self) -> int:
        message = self.pipe.popleft()
        broker = self.appender.broker
        offset = broker.land(self.appender.process, self.topic, self.partition, message.key, message.value)
        self.landed.append((message, offset))
        return offset


class SimulatedAppender(Appender):
    """Lands and acknowledges when chance wants it: resends after lost acknowledgements, fails what may have landed."""

    def __init__(self, broker: Broker, process: Process) -> None:
        self.broker, self.process = broker, process
        self._lanes: dict[tuple[str, int], Lane] = {}
        self._due: deque[tuple[OnAppended | None, int | None, Exception | None]] = deque()
        self._count = 0
        self.doomed = False
        """It loses track of the next record."""

    @property
    def places(self) -> list[tuple[str, int]]:
        return [place for place, lane in self._lanes.items() if lane.pipe or lane.landed]

    def append(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, on_appended: OnAppended | None = None
    ) -> None:
        self.process.touch()
        self._count += 1
        store = self.broker.store
        try:
            store.partition(topic, partition)
        except TopicMissing as error:
            self._due.append((on_appended, None, error))
            return
        size, limit = len(key or b"") + len(value or b"") + RECORD_OVERHEAD_BYTES, store.topic(topic).spec
        if size > limit.record_bytes_max:
            self._count -= 1
            raise RecordTooLarge(topic, partition, size, limit.record_bytes_max)
        lane = self._lanes.get((topic, partition))
        if lane is None:
            lane = self._lanes[topic, partition] = Lane(self, topic, partition)
        lane.pipe.append(Message(key, value, on_appended))
        self.broker.appenders[self] = None

    def move(self) -> None:
        chance = self.broker.hosts.chance
        lanes = [lane for lane in self._lanes.values() if lane.pipe or lane.landed]
        if not lanes:
            self.broker.appenders.pop(self, None)
            return
        if self.doomed and self.lose_track():
            self.doomed = False
            return
        lane = chance.choice(lanes)
        if lane.pipe and (not lane.landed or chance.random() < 0.5):
            for _ in range(min(len(lane.pipe), chance.choice((1, 2, 5, 20)))):
                lane.land()
        else:
            for _ in range(min(len(lane.landed), chance.choice((1, 2, 5, 20)))):
                message, offset = lane.landed.popleft()
                self.broker.expose(lane.topic, lane.partition, offset + 1)
                self._due.append((message.on_appended, offset, None))
            self.broker.traffic += 1

    def resend(self) -> bool:
        """Acknowledgements are lost, and the window is sent again: what is there already lands twice."""
        windows = [lane for lane in self._lanes.values() if lane.landed]
        for lane in windows:
            self.process.note("RESENDS its window to", lane.topic, lane.partition, len(lane.landed))
            lane.back(-1)
        return bool(windows)

    def leader_changed(self, place: tuple[str, int], end: int) -> None:
        lane = self._lanes.get(place)
        if lane is not None:
            lane.back(end)

    def lose_track(self) -> bool:
        """The producer gives a record up, which may land all the same, or reports an offset of nobody knows where."""
        chance = self.broker.hosts.chance
        lanes = [lane for lane in self._lanes.values() if lane.pipe]
        if not lanes:
            return False
        lane = chance.choice(lanes)
        fatal = chance.random() < 0.3
        message = lane.pipe[0]
        if chance.random() < 0.5:
            lane.land()
            lane.landed.pop()
        else:
            lane.pipe.popleft()
        error = AppendFailed(lane.topic, lane.partition, "its fate is unknown", fatal)
        self.process.note("LOSES TRACK of a record of", lane.topic, lane.partition, "fatally" if fatal else "")
        self._due.append((message.on_appended, None, error))
        return True

    def poll(self, timeout_seconds: float = 0) -> int:
        self.process.touch()
        if not self._due and timeout_seconds > 0:
            self.move()
            self.broker.hosts.now += timeout_seconds * self.broker.hosts.chance.random()
        count = len(self._due)
        for _ in range(count):
            if not self._due:  # what was called gave this producer up
                break
            on_appended, offset, error = self._due.popleft()
            self._count -= 1
            if on_appended is not None:
                on_appended(offset, error)
        return count

    @property
    def in_flight(self) -> int:
        return self._count

    def flush(self, timeout_seconds: float) -> int:
        until = self.broker.hosts.now + timeout_seconds
        while self._count and self.broker.hosts.now < until:
            self.poll(0.005)
        return self._count

    def discard(self) -> None:
        self.broker.appenders.pop(self, None)
        self.broker.forget(self._lanes.values())
        self._lanes = {}
        self._due.clear()
        self._count = 0

    def close(self, timeout_seconds: float = 5) -> None:
        self.flush(timeout_seconds)
        self.discard()


class SimulatedReader(MemoryReader):
    """Delivers late, and in portions."""

    def __init__(self, broker: Broker, process: Process) -> None:
        super().__init__(broker.store)
        self._broker, self._hosts, self._process = broker, broker.hosts, process

    def poll(self, timeout_seconds: float, records_max: int = 1000) -> list[Record]:
        self._process.touch()
        chance = self._hosts.chance.random()
        if timeout_seconds < 1:
            if chance < (0.7 if self._process.slow else 0.15):
                return []
            if chance < 0.8:
                records_max = min(records_max, self._hosts.chance.choice((1, 2, 3, 10)))
        records = super().poll(0, records_max)
        for record in records:
            self._broker.expose(record.topic, record.partition, record.offset + 1)
        self._broker.traffic += bool(records)
        return records


class SimulatedMembership(MemoryMembership):
    def __init__(
        self,
        broker: Broker,
        process: Process,
        group: str,
        topic: str,
        listener: MembershipListener,
        session_timeout_seconds: float,
    ) -> None:
        super().__init__(broker.store, group, topic, listener, session_timeout_seconds)
        self._broker, self._process = broker, process
        self._deaf_until = 0.0
        process.on_pause.append(self._paused)
        process.on_death.append(self.fall_silent)

    def _paused(self, pauses: bool) -> None:
        """Who wakes up may go on for a while before the group tells what has happened."""
        if pauses:
            self.fall_silent()
        else:
            self._deaf_until = self._broker.hosts.now + self._broker.hosts.chance.choice((0, 3, 10))

    def poll(self) -> None:
        self._process.touch()
        if self._silent and self._broker.hosts.now >= self._deaf_until:
            self.fall_silent(False)
        super().poll()

    def commit(self, positions: Mapping[int, Committed]) -> None:
        self._process.touch()
        group, topic = self._key
        held = {p: position for p, position in positions.items() if self._group.holds(self._name, p)}
        self._broker.on_commit(group, topic, held)
        super().commit(held)


class SimulatedLog(MemoryLog):
    """What one process sees of the broker."""

    def __init__(self, broker: Broker, process: Process) -> None:
        super().__init__()
        self._store = broker.store
        self.broker, self.process = broker, process
        self.appenders: list[SimulatedAppender] = []
        process.on_death.append(self._died)

    def _died(self) -> None:
        for appender in self.appenders:
            appender.discard()

    def appender(self) -> Any:
        appender = SimulatedAppender(self.broker, self.process)
        self.appenders.append(appender)
        return appender

    def reader(self) -> SimulatedReader:
        return SimulatedReader(self.broker, self.process)

    def membership(
        self, group: str, topic: str, listener: MembershipListener, *, session_timeout_seconds: float = 10
    ) -> SimulatedMembership:
        return SimulatedMembership(self.broker, self.process, group, topic, listener, session_timeout_seconds)

    def offsets(self, topic: str, partition: int) -> Offsets:
        found = super().offsets(topic, partition)
        self.broker.expose(topic, partition, found.end)
        return found

    def leader_epoch(self, topic: str, partition: int) -> int:
        return self.broker.leader_epochs[topic, partition]

    def create_topics(self, specs: Iterable[TopicSpec]) -> None:
        """With times so short that compaction and retention have their say within the seconds of a seed."""
        quick = {
            "min.compaction.lag.ms": str(LAG_SECONDS * 1000),
            "delete.retention.ms": str(DELETE_RETENTION_SECONDS * 1000),
        }

        def changed(spec: TopicSpec) -> TopicSpec:
            if TASKS in spec.name:
                return dataclasses.replace(spec, retention_ms=self.broker.tasks_kept_seconds * 1000)
            return dataclasses.replace(spec, config={**spec.config, **quick}) if spec.policy == "compact" else spec

        super().create_topics(changed(spec) for spec in specs)

    def delete_records(self, topic: str, before: Mapping[int, int]) -> None:
        self.broker.on_deleted(topic, before)
        super().delete_records(topic, before)
