"""What ``odradek doctor`` looks at, one finding each: what is so, whether it is well, and what to do."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Final

from odradek.cli.asking import check_reachable, namespaces
from odradek.cli.errors import explain
from odradek.cli.findings import Finding, Level, some
from odradek.cli.options import Common
from odradek.cli.standing import duration
from odradek.cli.topic_check import differences
from odradek.cli.topic_health import copies, drifted
from odradek.cli.topics import wanted_topics
from odradek.cli.versions import librdkafka_version, odradek_version
from odradek.log import ClusterInfo, Log, LogUnavailable, Record, TopicInfo
from odradek.log.backlog import oldest_waiting_ms, read_backlog
from odradek.log.controls import Controls
from odradek.log.kafka_security import mechanism_of, protocol_of, risks_of
from odradek.log.namespace import FACTS_KEY, SCHEMA_REGISTRY_VARIABLE, is_embedded, read_to_end
from odradek.schemas.access import Right, Role, rights_of
from odradek.schemas.codec import Codec
from odradek.schemas.errors import SchemaError
from odradek.schemas.records import SCHEMA_VERSION, Beacon, NamespaceFacts, WorkerLease, WorkersRecord
from odradek.schemas.topics import Topics

DOCTOR_KEY: Final = b"\0doctor"
SILENT_SECONDS: Final = 10.0
"""Leases and beacons are repeated every two seconds; older ones are of processes that ended without a word."""
SKEW_SECONDS_WARN: Final = 1.0
SKEW_SECONDS_FAIL: Final = 30.0
LAG_RECORDS_WARN: Final = 10_000
APPEND_SECONDS: Final = 10.0
OFFSETS_MINUTES: Final = 7 * 24 * 60
GENERATIONS: Final = (
    ("3.7", "group.coordinator.rebalance.protocols"),
    ("2.8", "node.id"),
)
"""Which setting came with which version."""


def check_up(common: Common, role: Role | None = None) -> Iterator[Finding]:
    """Look at everything; stops early when the log, or the namespace, is not there.

    ``role``: whose rights must be there; None: those of any.
    """
    try:
        check_reachable(common)
        log = common.open_log()
        present = namespaces(log)
    except Exception as error:
        yield Finding("address", Level.FAIL, explain(error).text, "Everything else needs the log.")
        return
    try:
        yield Finding("address", Level.OK, f"{common.address} answers")
        yield from _security(common)
        yield Finding("versions", Level.OK, _versions(log))
        yield from _looked("cluster", lambda: _cluster(log))
        yield from _schema_registry(common)
        if common.namespace not in present:
            others = ", ".join(present) or "none"
            text = f'there is no namespace "{common.namespace}"; there are: {others}'
            yield Finding("namespace", Level.FAIL, text, 'Correct --namespace, or run "odradek topics create".')
            return
        yield from _Namespace(log, common.namespace, role).findings()
    finally:
        log.close()


def _looked(check: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """What cannot be looked at is a finding, and the rest is looked at all the same."""
    try:
        yield from look()
    except Exception as error:
        text = explain(error).text
        if "ODR-229" in text:  # a right of who asks is missing, which says nothing of what was to be seen
            yield Finding(check, Level.WARN, text, "Could not be looked at by this principal.")
        else:
            yield Finding(check, Level.FAIL, text, "Could not be looked at; the log's own tools may tell.")


def _security(common: Common) -> Iterator[Finding]:
    """Of brokers: how they are spoken to."""
    _, kafka, servers = common.address.partition("kafka://")
    if not kafka:
        return
    config = common.kafka_config()
    risks = risks_of(config)
    yield from (Finding("security", Level.WARN, problem, f"{step}.") for problem, step in risks)
    protocol, mechanism = protocol_of(config), mechanism_of(config)
    if protocol != "PLAINTEXT":
        if not risks:
            yield Finding("security", Level.OK, f"{protocol}{mechanism and f' with {mechanism}'}")
        return
    nearby = all(_is_this_host(server) for server in servers.split(","))
    text = "PLAINTEXT: everybody on the network can read all of it, and nobody says who they are"
    advice = "For more than trying out use SASL_SSL, or SSL with certificates: docs/how-to/secure-kafka.md."
    yield Finding("security", Level.OK if nearby else Level.WARN, text, advice)


def _is_this_host(server: str) -> bool:
    host = server.rpartition(":")[0].strip("[]")
    return host in ("localhost", "::1") or host.startswith("127.")


def _versions(log: Log) -> str:
    client = f", librdkafka {librdkafka_version()}" if not is_embedded(log) else ""
    return f"odradek {odradek_version()}, schema version {SCHEMA_VERSION}{client}"


def _cluster(log: Log) -> Iterator[Finding]:
    cluster = log.cluster()
    if cluster is None:
        return
    kept = cluster.config.get("offsets.retention.minutes")
    text = f"cluster {cluster.id}, {len(cluster.brokers)} brokers ({some(list(cluster.brokers))}){_generation(cluster)}"
    if kept is None:
        text += "; they do not tell this principal how long they keep the offsets of groups (7 days or more will do)"
        yield Finding("cluster", Level.OK, text)
    elif int(kept) < OFFSETS_MINUTES:
        text += f"; they forget a group's offsets after {duration(int(kept) * 60)}"
        advice = "Set offsets.retention.minutes to 10080 or more, or workers run again what they had done."
        yield Finding("cluster", Level.WARN, text, advice)
    else:
        yield Finding("cluster", Level.OK, text)


def _generation(cluster: ClusterInfo) -> str:
    """Brokers do not tell their version; the settings that they know say how old they are at most."""
    since = [version for version, setting in GENERATIONS if setting in cluster.config]
    return f", Kafka {since[0]} or newer" if since else ""


def _schema_registry(common: Common) -> Iterator[Finding]:
    """Nothing where none is named. Like every process it registers what is missing there."""
    url = common.schema_registry or os.environ.get(SCHEMA_REGISTRY_VARIABLE)
    if not url:
        return
    from odradek.schemas.registry import registry_ids, shown

    try:
        ids = registry_ids(url)
    except SchemaError as error:
        yield Finding("registry", Level.FAIL, str(error), "Processes that name it do not start.")
    else:
        yield Finding("registry", Level.OK, f"{shown(url)} has the {len(ids)} schemas of version {SCHEMA_VERSION}")


class _Namespace:
    """A namespace that exists, at one moment."""

    def __init__(self, log: Log, name: str, role: Role | None) -> None:
        self.log = log
        self.role = role
        self.name = name
        self.topics = Topics(name)
        self.now_ms = time.time() * 1000
        """By the log's clock, as soon as that has been asked."""
        self.orchestrators: list[str] = []
        self.controls = Controls(Codec())
        self.workers: dict[str, list[WorkerLease]] = {}

    def findings(self) -> Iterator[Finding]:
        checks: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
            ("clock", self._clock),
            ("partitions", self._signs_of_life),
            ("access", self._access),
            ("topics", self._topics),
            ("orchestrators", self._orchestrators),
            ("inbox", self._inbox),
            ("queues", self._queues),
            ("workflows", self._paused_types),
        ]
        for check, look in checks:
            yield from _looked(check, look)

    # ------------------------------------------------------------------------------------------ topics

    def _topics(self) -> Iterator[Finding]:
        specs = wanted_topics(self.log, self.name, tuple(self.workers), None, None)
        found: dict[str, TopicInfo | None] = {spec.name: self.log.topic(spec.name) for spec in specs}
        differing = differences(specs, found)
        yield from drifted(differing)
        if not differing:
            yield Finding("topics", Level.OK, f"{len(specs)} topics are as they should be")
        yield from copies(found)

    # ------------------------------------------------------------------------------------------ rights

    def _access(self) -> Iterator[Finding]:
        """Of logs that know who asks."""
        principal = self.log.principal
        if not principal:
            return
        missing = {role: self._missing(role) for role in Role}
        complete = [role for role, rights in missing.items() if not any(not right.without for right in rights)]
        if complete:
            text = f"this principal has the rights of: {', '.join(complete)} (of groups only Describe is seen)"
            yield Finding("access", Level.OK, text)
        for role, rights in missing.items():
            needed = [right for right in rights if not right.without]
            if needed and (role == self.role or not complete):
                level = Level.FAIL if role == self.role else Level.WARN
                yield self._lacking(level, f"to be the {role} it lacks", needed)
            elif rights and role in (self.role, *complete[:1]):
                undone = " and ".join(right.without for right in rights if right.without)
                yield self._lacking(Level.WARN, f"as {role} it cannot {undone}: it lacks", rights)

    def _missing(self, role: Role) -> list[Right]:
        queues = sorted({*self._queue_names(), *self.workers})
        keys = self.topics.keys in self.log.topics(self.topics.keys)
        return self.log.missing_rights(rights_of(role, self.topics, queues, keys=keys))

    def _lacking(self, level: Level, words: str, rights: list[Right]) -> Finding:
        servers = self.log.address.removeprefix("kafka://")
        commands = "; ".join(right.command(servers, self.log.principal) for right in rights)
        return Finding("access", level, f"{words} {', '.join(right.words for right in rights)}", commands)

    # ------------------------------------------------------------------------------------------ clock and company

    def _clock(self) -> Iterator[Finding]:
        """The log's time of a record of ours, between the moments before and after, by this host's clock."""
        appender = self.log.appender()
        answers: list[tuple[int | None, Exception | None]] = []
        codec = Codec()
        value = codec.encode(WorkersRecord(Beacon("doctor")))
        try:
            before_ms = time.time() * 1000
            appender.append(self.topics.workers, 0, DOCTOR_KEY, value, lambda o, error: answers.append((o, error)))
            deadline = time.monotonic() + APPEND_SECONDS
            while not answers and time.monotonic() < deadline:
                appender.poll(0.05)
            after_ms = time.time() * 1000
            offset, error = answers[0] if answers else (None, None)
            if offset is None:
                problem = f"an append to {self.topics.workers} was not acknowledged in {APPEND_SECONDS:g} s"
                raise error or LogUnavailable(self.log.address, problem)
            try:
                self.now_ms = self._time_of(offset)
            finally:
                appender.append(self.topics.workers, 0, DOCTOR_KEY, None)
        finally:
            appender.close()
        if self._times_are_of_writers():
            text = f"records of {self.topics.workers} have their writers' times, so the log's clock is not known"
            yield Finding("clock", Level.WARN, text, f"Set message.timestamp.type of {self.topics.workers} back.")
            return
        skew = max(self.now_ms - after_ms, before_ms - self.now_ms, 0) / 1000
        text = f"this host's clock and the log's differ by {skew:.1f} s (an append took {after_ms - before_ms:.0f} ms)"
        if skew < SKEW_SECONDS_WARN:
            yield Finding("clock", Level.OK, text)
        else:
            level = Level.FAIL if skew >= SKEW_SECONDS_FAIL else Level.WARN
            yield Finding("clock", level, text, "Timers fire by the owners' clocks: synchronise them (NTP).")

    def _times_are_of_writers(self) -> bool:
        info = self.log.topic(self.topics.workers)
        return info is not None and info.config.get("message.timestamp.type") == "CreateTime"

    def _time_of(self, offset: int) -> int:
        reader = self.log.reader()
        try:
            reader.assign(self.topics.workers, 0, offset)
            deadline = time.monotonic() + APPEND_SECONDS
            while time.monotonic() < deadline:
                for record in reader.poll(0.2):
                    return record.time_ms
        finally:
            reader.close()
        raise LogUnavailable(
            self.log.address, f"record {offset} of {self.topics.workers} could not be read in {APPEND_SECONDS:g} s"
        )

    def _signs_of_life(self) -> Iterator[Finding]:
        """Reads the workers topic once: the facts of the namespace, beacons, leases."""
        records = read_to_end(self.log, self.topics.workers, 0)
        self.controls.fold(records)
        last: dict[bytes | None, Record] = {record.key: record for record in records}
        facts = None
        for key, record in last.items():
            body = _body(record)
            if isinstance(body, NamespaceFacts) and key == FACTS_KEY:
                facts = body
            elif key != DOCTOR_KEY and record.time_ms >= self.now_ms - SILENT_SECONDS * 1000:
                self._note(body)
        info = self.log.topic(self.topics.inbox)
        count = info.partitions if info else 0
        if facts is None:
            advice = '"odradek topics create" writes it down; it changes no existing topic.'
            yield Finding("partitions", Level.WARN, "nobody wrote down the namespace's partition count", advice)
        elif facts.partitions != count:
            text = f"{self.topics.inbox} has {count} partitions, and the namespace was made with {facts.partitions}"
            yield Finding(
                "partitions", Level.FAIL, text, "Every workflow is looked for elsewhere: move to a new namespace."
            )
        else:
            text = f"{count}, as the namespace was made; feature level {facts.feature_level}"
            yield Finding("partitions", Level.OK, text)
        if facts is not None and facts.stands_by:
            advice = 'When nobody serves the one that it was made from: "odradek namespace promote".'
            yield Finding("standing by", Level.WARN, "it was restored or copied, and no orchestrator serves it", advice)

    def _note(self, body: object) -> None:
        if isinstance(body, Beacon):
            self.orchestrators.append(body.orchestrator)
        elif isinstance(body, WorkerLease) and not body.ended and not body.namespace:
            self.workers.setdefault(body.task_queue, []).append(body)

    def _orchestrators(self) -> Iterator[Finding]:
        count = len(self.orchestrators)
        if count:
            yield Finding("orchestrators", Level.OK, f"{count} at work")
        else:
            advice = 'No workflow goes on without one: "odradek orchestrator MODULE".'
            yield Finding("orchestrators", Level.FAIL, "none at work", advice)

    # ------------------------------------------------------------------------------------------ lag

    def _inbox(self) -> Iterator[Finding]:
        lags = {p: lag for p, lag in sorted(self.log.lag(self.topics.orchestrators, self.topics.inbox).items()) if lag}
        total = sum(lags.values())
        if not total:
            yield Finding("inbox", Level.OK, "nothing waits to be taken in")
            return
        shown = ", ".join(f"partition {partition}: {lag}" for partition, lag in list(lags.items())[:8])
        more = ", …" if len(lags) > 8 else ""
        text = f"{total} records wait to be taken in ({shown}{more})"
        if not self.orchestrators:
            yield Finding("inbox", Level.FAIL, text, "Start an orchestrator.")
        elif total >= LAG_RECORDS_WARN:
            yield Finding(
                "inbox", Level.WARN, text, "Start more orchestrators, or look for a partition that does not move."
            )
        else:
            yield Finding("inbox", Level.OK, text)

    def _queue_names(self) -> list[str]:
        prefix = self.topics.tasks_prefix
        return [name.removeprefix(prefix) for name in self.log.topics(prefix)]

    def _queues(self) -> Iterator[Finding]:
        queues = self._queue_names()
        for queue in sorted({*queues, *self.workers}):
            yield self._queue(queue)
        if not queues:
            yield Finding("queues", Level.OK, "there are none yet: the first task or worker of a queue makes it")

    def _paused_types(self) -> Iterator[Finding]:
        for name, control in sorted(self.controls.types.items()):
            why = f": {control.reason}" if control.reason else ""
            advice = f'"odradek workflow resume-type {name}" lets its runs go on.'
            yield Finding("workflows", Level.WARN, f'type "{name}" is paused by {control.identity}{why}', advice)

    def _queue(self, queue: str) -> Finding:
        if self.log.topic(self.topics.tasks(queue)) is None:
            return Finding("queues", Level.OK, f'"{queue}": no topic yet, {len(self.workers[queue])} workers')
        reading = read_backlog(self.log, self.topics, queue)
        waiting = reading.waiting
        leases = self.workers.get(queue, [])
        names = f" ({some([lease.identity for lease in leases])})" if leases else ""
        text = f'"{queue}": {waiting} tasks wait or run, {len(leases)} workers{names}'
        oldest_ms = oldest_waiting_ms(self.log, self.topics, queue, reading) if waiting else None
        if oldest_ms is not None:
            text += f", the oldest task for {duration((self.now_ms - oldest_ms) / 1000)}"
        if waiting and not leases:
            advice = f'ODR-205: start one: "odradek worker MODULE --queue {queue}", or correct the name of the queue.'
            return Finding("queues", Level.FAIL, text, advice)
        control = self.controls.queues.get(queue)
        if control is not None and control.paused_ms is not None:
            why = f": {control.reason}" if control.reason else ""
            advice = f'"odradek task-queue resume {queue}" lets its workers go on.'
            return Finding("queues", Level.WARN, f"{text}; paused by {control.identity}{why}", advice)
        if waiting >= LAG_RECORDS_WARN:
            return Finding("queues", Level.WARN, text, "Start more workers, or raise --max-concurrent.")
        return Finding("queues", Level.OK, text)


def _body(record: Record) -> object:
    if record.value is None:
        return None
    try:
        return Codec().decode(WorkersRecord, record.value).body
    except SchemaError:
        return None
