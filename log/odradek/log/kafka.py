"""The log on Kafka (3.x, 4.x and what speaks its protocol): topics and positions. Its clients stand beside it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from functools import partial
from threading import Lock
from typing import Any, Final, TypeVar, cast

from confluent_kafka import (
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from odradek.log.access import denied
from odradek.log.errors import (
    AccessDenied,
    CredentialsRefused,
    LogUnavailable,
    TopicChangeRefused,
    TopicCreationRefused,
    TopicMissing,
)
from odradek.log.interface import ClusterInfo, Log, MembershipListener, Offsets, Standing, TopicInfo
from odradek.log.kafka_access import DENIED, PROBE, missing_topic_rights
from odradek.log.kafka_clients import KafkaAppender, KafkaReader
from odradek.log.kafka_listener import distrust, sasl_mechanisms, speaks_plainly, speaks_tls
from odradek.log.kafka_membership import KafkaMembership, committed_of_group
from odradek.log.kafka_secrets import hidden
from odradek.log.kafka_security import (
    ACCESS_CHECK,
    checks_access,
    is_sasl,
    is_tls,
    principal_of,
    refused,
    risks_of,
)
from odradek.log.kafka_settings import (
    CLIENT_RECORD_BYTES_MAX,
    OAUTH_GAVE_NONE,
    UNTRUSTED,
    Complaints,
    client_logger,
    common_settings,
    error_of,
)
from odradek.schemas.access import CLUSTER, Resource, Right
from odradek.schemas.topics import TopicSpec

ADMIN_SECONDS_MAX: Final = 30
ADMIN_REQUEST_SECONDS: Final = 10
FIRST_REQUEST_SECONDS: Final = 1.0
"""Of a listing, which hears of nothing meanwhile; the next try has twice as much."""
LATE_SECONDS: Final = 1.0
"""Until the client is made to look which brokers there are, for an answer; the next time after twice as long."""
HEAR_SECONDS: Final = 0.25
SPREAD_SECONDS_MAX: Final = 10
"""Until every broker has heard of a new topic."""

_logger = logging.getLogger(__name__)
_T = TypeVar("_T")

_TUNING: Final = frozenset({"segment.bytes", "segment.ms", "min.cleanable.dirty.ratio"})
"""Settings that change what compaction costs, not what it means; managed clusters like to forbid them."""
_REFUSED_SETTING: Final = frozenset({KafkaError.INVALID_CONFIG, KafkaError.POLICY_VIOLATION})
_MISSING: Final = frozenset(
    {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}
)
_PASSING: Final = frozenset(
    {
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError.KAFKA_STORAGE_ERROR,
        KafkaError.LISTENER_NOT_FOUND,
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.REPLICA_NOT_AVAILABLE,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.NOT_CONTROLLER,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError._NOENT,
        KafkaError._TIMED_OUT,
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
    }
)

_NOT_HEARD_OF: Final = KafkaError(
    KafkaError.LEADER_NOT_AVAILABLE, "the broker that was asked does not know the topic yet, or has gone"
)
"""One broker knows a topic that was just made, and another one does not."""


class KafkaLog(Log):
    """A connection to the cluster behind ``servers``; ``config`` holds any librdkafka settings, for all clients."""

    def __init__(self, servers: str, config: Mapping[str, str]) -> None:
        self.address = f"kafka://{servers}"
        self._servers = servers
        self._config = hidden(config)
        self._checks_access = checks_access(self._config)
        self._config.pop(ACCESS_CHECK, None)
        self._complaints = Complaints(servers)
        self._listeners_asked = False
        self._lock = Lock()
        self._admin_client: AdminClient | None = None
        self._told: set[tuple[str, int]] = set()
        self._made: dict[str, float] = {}
        """Topics that were made here, and when, by the monotonic clock."""
        for risk in risks_of(self._config):
            _logger.warning("kafka at %s: %s: %s", servers, risk.problem, risk.step)

    def appender(self) -> KafkaAppender:
        return self._make(lambda: KafkaAppender(self._servers, self._config))

    def reader(self) -> KafkaReader:
        return self._make(lambda: KafkaReader(self._servers, self._config))

    def membership(
        self, group: str, topic: str, listener: MembershipListener, *, session_timeout_seconds: float = 10
    ) -> KafkaMembership:
        return self._make(
            lambda: KafkaMembership(self._servers, self._config, group, topic, listener, session_timeout_seconds)
        )

    def create_topics(self, specs: Iterable[TopicSpec]) -> None:
        wanted = list(specs)
        existing = set(self.topics(""))
        missing = [spec for spec in wanted if spec.name not in existing]
        for spec in missing:
            self._create(spec)
            self._made[spec.name] = time.monotonic()
        for spec in missing:
            self._await(partial(self._has_leaders, spec.name), f'topic "{spec.name}" to get its leaders')

    def set_retention(self, topic: str, retention_ms: int | None) -> None:
        self.alter_topic(topic, {"retention.ms": str(-1 if retention_ms is None else retention_ms)})

    def delete_topics(self, names: Iterable[str]) -> None:
        gone = list(names)
        if not gone:
            return
        for name in gone:
            self._made.pop(name, None)
        for name, future in self._admin.delete_topics(gone, request_timeout=ADMIN_REQUEST_SECONDS).items():
            try:
                self._result(future, Right("Delete", "topic", name))
            except TopicMissing:
                continue
            self._await(partial(self._is_gone, name), f'topic "{name}" to go')

    def topic(self, name: str) -> TopicInfo | None:
        deadline = time.monotonic() + ADMIN_SECONDS_MAX
        resource = ConfigResource(ResourceType.TOPIC, name)
        while (found := self._describe(name)) is not None:
            try:
                entries = self._config_of(resource, "topic", name)
            except TopicMissing:
                self._give_up_or_wait(_NOT_HEARD_OF, deadline)
                continue
            config = {key: entry.value for key, entry in entries.items() if entry.value is not None}
            largest = min(int(config.get("max.message.bytes", CLIENT_RECORD_BYTES_MAX)), self._client_record_bytes_max)
            return TopicInfo(
                name, str(found.topic_id), len(found.partitions), largest, config, **_copies(found.partitions)
            )
        return None

    def topics(self, prefix: str) -> list[str]:
        deadline = time.monotonic() + ADMIN_SECONDS_MAX
        patience_seconds = FIRST_REQUEST_SECONDS
        while True:
            try:
                found = self._admin.list_topics(timeout=min(patience_seconds, ADMIN_REQUEST_SECONDS)).topics
            except KafkaException as exception:
                self._give_up_or_wait(error_of(exception), deadline)
                patience_seconds *= 2
            else:
                self._complaints.answered()
                return sorted(name for name in found if name.startswith(prefix))

    def offsets(self, topic: str, partition: int) -> Offsets:
        begin = self._list_offsets(topic, [partition], OffsetSpec.earliest())
        end = self._list_offsets(topic, [partition], OffsetSpec.latest())
        return Offsets(begin[partition].offset, end[partition].offset)

    def leader_epoch(self, topic: str, partition: int) -> int:
        return int(self._list_offsets(topic, [partition], OffsetSpec.latest())[partition].leader_epoch or 0)

    def delete_records(self, topic: str, before: Mapping[int, int]) -> None:
        positions = [TopicPartition(topic, partition, offset) for partition, offset in before.items()]
        if not positions:
            return
        for future in self._admin.delete_records(positions, request_timeout=ADMIN_REQUEST_SECONDS).values():
            future.add_done_callback(lambda done: self._tell_if_not_deleted(topic, done))

    def standing(self, group: str, topic: str) -> dict[int, Standing]:
        found = self._describe(topic)
        if found is None:
            raise TopicMissing(topic)
        numbers = [p.id for p in found.partitions]
        begins = self._list_offsets(topic, numbers, OffsetSpec.earliest())
        ends = self._list_offsets(topic, numbers, OffsetSpec.latest())
        committed = self._make(
            lambda: committed_of_group(self._servers, self._config, group, topic, numbers, ADMIN_SECONDS_MAX)
        )
        return {n: Standing(begins[n].offset, ends[n].offset, committed.get(n)) for n in numbers}

    def cluster(self) -> ClusterInfo:
        whole = Right("Describe", "cluster", CLUSTER)
        found = self._ask(lambda admin: _future(admin.describe_cluster(request_timeout=ADMIN_REQUEST_SECONDS)), whole)
        brokers = tuple(sorted(f"{node.host}:{node.port}" for node in found.nodes))
        return ClusterInfo(found.cluster_id or "", brokers, self._config_of_broker(str(found.nodes[0].id)))

    def _config_of_broker(self, number: str) -> dict[str, str]:
        try:
            entries = self._config_of(ConfigResource(ResourceType.BROKER, number), "cluster", CLUSTER)
        except LogUnavailable:  # managed clusters refuse it in more than one way
            return {}
        return {key: entry.value for key, entry in entries.items() if entry.value is not None}

    def _config_of(self, resource: ConfigResource, kind: Resource, name: str) -> Any:
        return self._ask(
            lambda admin: admin.describe_configs([resource], request_timeout=ADMIN_REQUEST_SECONDS)[resource],
            Right("DescribeConfigs", kind, name),
        )

    def alter_topic(self, name: str, config: Mapping[str, str]) -> None:
        changes = [
            ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in config.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=changes)
        asked = self._admin.incremental_alter_configs([resource], request_timeout=ADMIN_REQUEST_SECONDS)
        try:
            self._answer(asked[resource])
        except KafkaException as exception:
            error = error_of(exception)
            if error.code() in DENIED:
                raise self._denied(Right("AlterConfigs", "topic", name)) from None
            if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise TopicMissing(name) from None
            raise TopicChangeRefused(name, error.str()) from None

    @property
    def principal(self) -> str:
        return principal_of(self._config)

    @property
    def checks_access(self) -> bool:
        return self._checks_access

    def missing_rights(self, rights: Sequence[Right]) -> list[Right]:
        existing = self.topics("")
        of_topics = [right for right in rights if right.resource == "topic"]
        missing = set(missing_topic_rights(self._admin, of_topics, existing, ADMIN_REQUEST_SECONDS))
        missing.update(right for right in rights if right.resource == "group" and self._lacks_group(right))
        missing.update(right for right in rights if right.resource == "cluster" and self._lacks_cluster())
        return [right for right in rights if right in missing]

    def _lacks_group(self, right: Right) -> bool:
        """What may be read may be described; the reverse only a request tells that can abort the process.

        (librdkafka issue 4605)
        """
        try:
            committed_of_group(self._servers, self._config, right.name, PROBE, [0], ADMIN_REQUEST_SECONDS)
        except AccessDenied:
            return True
        except LogUnavailable as error:
            _logger.warning('whether group "%s" may be used is not known: %s', right.name, error.reason)
        return False

    def _lacks_cluster(self) -> bool:
        """Only to see the settings of brokers is ever asked for."""
        try:
            return not self.cluster().config
        except LogUnavailable:
            return True

    def close(self) -> None:
        with self._lock:
            self._admin_client = None

    @property
    def _client_record_bytes_max(self) -> int:
        return int(self._config.get("message.max.bytes", CLIENT_RECORD_BYTES_MAX))

    @property
    def _admin(self) -> AdminClient:
        with self._lock:
            if self._admin_client is None:
                settings = common_settings(self._servers, self._config)
                self._complaints = settings["error_cb"]
                self._admin_client = self._make(lambda: AdminClient(settings, logger=client_logger))
            return self._admin_client

    def _make(self, client: Callable[[], _T]) -> _T:
        try:
            return client()
        except KafkaException as exception:
            error = error_of(exception)
            if error.code() == KafkaError._INVALID_ARG:
                raise refused(error.str(), self._config) from None
            if OAUTH_GAVE_NONE in error.str():
                reason = f"{error.str()}: ODRADEK_OAUTH_CALLBACK has raised, or gave one that has expired"
                raise CredentialsRefused(self.address, reason) from None
            raise LogUnavailable(self.address, error.str()) from None

    def _create(self, spec: TopicSpec) -> None:
        config = spec.settings()
        without_limit = {key: value for key, value in config.items() if key != "max.message.bytes"}
        without_tuning = {key: value for key, value in without_limit.items() if key not in _TUNING}
        reason = ""
        for attempt in (config, without_limit, without_tuning):
            error = self._try_create(spec, attempt)
            if error is None:
                if len(attempt) < len(config):
                    left_out = sorted(config.keys() - attempt.keys())
                    _logger.warning('topic "%s" follows the cluster in %s: it refused ours', spec.name, left_out)
                return
            reason = reason or error.str()
            if error.code() not in _REFUSED_SETTING:
                break
        raise TopicCreationRefused(spec.name, reason)

    def _try_create(self, spec: TopicSpec, config: dict[str, str]) -> KafkaError | None:
        replication = -1 if spec.replication is None else spec.replication
        topic = NewTopic(spec.name, num_partitions=spec.partitions, replication_factor=replication, config=config)
        deadline = time.monotonic() + ADMIN_SECONDS_MAX
        while True:
            future = self._admin.create_topics([topic], request_timeout=ADMIN_REQUEST_SECONDS)[spec.name]
            try:
                self._answer(future)
            except KafkaException as exception:
                error = error_of(exception)
                if error.code() == KafkaError.TOPIC_ALREADY_EXISTS:
                    return None
                if error.code() in DENIED:
                    raise self._denied(Right("Create", "topic", spec.name)) from None
                if error.code() not in _PASSING:
                    return error
                self._give_up_or_wait(error, deadline)
            else:
                return None

    def _describe(self, name: str) -> Any:
        names = TopicCollection([name])
        while True:
            try:
                return self._ask(
                    lambda admin: admin.describe_topics(names, request_timeout=ADMIN_REQUEST_SECONDS)[name],
                    Right("Describe", "topic", name),
                )
            except TopicMissing:
                if time.monotonic() >= self._made.get(name, float("-inf")) + SPREAD_SECONDS_MAX:
                    return None
            time.sleep(0.1)

    def _is_gone(self, name: str) -> bool:
        return self._describe(name) is None

    def _has_leaders(self, name: str) -> bool:
        found = self._describe(name)
        return found is not None and all(p.leader is not None and p.leader.id >= 0 for p in found.partitions)

    def _list_offsets(self, topic: str, partitions: list[int], spec: OffsetSpec) -> dict[int, Any]:
        missing = set(partitions)
        found: dict[int, Any] = {}
        deadline = time.monotonic() + ADMIN_SECONDS_MAX
        while missing:
            asked = {TopicPartition(topic, partition): spec for partition in missing}
            trouble: KafkaError | None = None
            for position, future in self._ask_offsets(asked).items():
                try:
                    answer = self._result(future, Right("Describe", "topic", topic))
                    if answer.offset < 0:  # the broker that it was asked of has gone meanwhile, and no error says so
                        trouble = _NOT_HEARD_OF
                        continue
                    found[position.partition] = answer
                    missing.discard(position.partition)
                except TopicMissing:
                    trouble = _NOT_HEARD_OF
                    self._check_there(topic, position.partition)
                except _Passing as passing:
                    trouble = passing.error
                    self._check_there(topic, position.partition)
            if trouble is not None:
                self._give_up_or_wait(trouble, deadline)
        return found

    def _check_there(self, topic: str, partition: int) -> None:
        found = self._describe(topic)
        if found is None or partition >= len(found.partitions):
            raise TopicMissing(topic, partition)

    def _ask_offsets(self, asked: dict[TopicPartition, OffsetSpec]) -> dict[TopicPartition, Future[Any]]:
        return self._admin.list_offsets(
            asked, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=ADMIN_REQUEST_SECONDS
        )

    def _ask(self, request: Callable[[AdminClient], Future[Any]], right: Right) -> Any:
        """``right``: what the request needs."""
        deadline = time.monotonic() + ADMIN_SECONDS_MAX
        while True:
            try:
                return self._result(request(self._admin), right)
            except _Passing as passing:
                self._give_up_or_wait(passing.error, deadline)

    def _result(self, future: Future[_T], right: Right) -> _T:
        try:
            answer = self._answer(future)
        except KafkaException as exception:
            error = error_of(exception)
            if error.code() in DENIED:
                raise self._denied(right) from None
            if error.code() in _PASSING or error.retriable():
                raise _Passing(error) from None
            if error.code() in _MISSING:
                raise TopicMissing(error.str()) from None
            raise LogUnavailable(self.address, error.str()) from None
        self._complaints.answered()
        return answer

    def _answer(self, future: Future[_T]) -> _T:
        """The client asks the controller that it knows, and does not look for another one when that is lost."""
        begun, late_seconds = time.monotonic(), LATE_SECONDS
        while not wait([future], HEAR_SECONDS).done:
            self._hear()
            waited_seconds = time.monotonic() - begun
            if waited_seconds >= ADMIN_SECONDS_MAX:
                raise LogUnavailable(self.address, f"no answer within {ADMIN_SECONDS_MAX} s")
            if waited_seconds >= late_seconds:
                late_seconds *= 2
                with suppress(KafkaException):
                    self._admin.list_topics(timeout=FIRST_REQUEST_SECONDS)
        return future.result()

    def _denied(self, right: Right) -> AccessDenied:
        return denied(self.address, self.principal, [right])

    def _hear(self) -> None:
        """What the admin client has to say of the brokers. Raises ``CredentialsRefused``."""
        self._admin.poll(0)
        self._complaints.look_again()  # the client repeats a complaint twice a minute only
        if self._complaints.is_renewed:
            self._complaints.renew(self._admin)
        refusal = self._complaints.refusal
        if refusal and UNTRUSTED in refusal:
            reasons = (distrust(server, self._config) for server in self._servers.split(","))
            refusal = next((f"{refusal}: {reason}" for reason in reasons if reason), refusal)
        refusal = refusal or self._protocol_wanted()
        if refusal:
            raise CredentialsRefused(self.address, refusal)

    def _protocol_wanted(self) -> str:
        """A client that does not speak as the listener does hears nothing but that it is disconnected."""
        if not self._complaints.all_down or self._listeners_asked:
            return ""
        self._listeners_asked = True
        protocol, tls = "security.protocol (ODRADEK_SECURITY_PROTOCOL) has none", is_tls(self._config)
        for server in self._servers.split(","):
            if tls and speaks_plainly(server):
                return "the listener speaks no TLS, and security.protocol (ODRADEK_SECURITY_PROTOCOL) has it"
            if not tls and speaks_tls(server):
                return f"the listener speaks TLS, and {protocol}"
            if not is_sasl(self._config) and (offered := sasl_mechanisms(server, tls=tls)):
                return f"the listener wants SASL ({', '.join(offered)}), and {protocol}"
        return ""

    def _give_up_or_wait(self, error: KafkaError, deadline: float) -> None:
        self._hear()
        if time.monotonic() >= deadline or (error.code() not in _PASSING and not error.retriable()):
            raise LogUnavailable(self.address, error.str())
        time.sleep(0.1)

    def _await(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + ADMIN_SECONDS_MAX
        while not holds():
            if time.monotonic() >= deadline:
                raise LogUnavailable(self.address, f"waited {ADMIN_SECONDS_MAX} s for {what}")
            time.sleep(0.02)

    def _tell_if_not_deleted(self, topic: str, done: Future[Any]) -> None:
        exception = done.exception()
        if not isinstance(exception, KafkaException):
            return
        error = error_of(exception)
        if (topic, error.code()) not in self._told:
            self._told.add((topic, error.code()))
            reason = str(self._denied(Right("Delete", "topic", topic))) if error.code() in DENIED else error.str()
            _logger.warning('records of topic "%s" could not be deleted: %s', topic, reason)


def _future(asked: Any) -> Future[Any]:
    """The types of the client are wrong here."""
    return cast("Future[Any]", asked)


def _copies(partitions: Sequence[Any]) -> dict[str, Any]:
    return {
        "replication": min((len(partition.replicas) for partition in partitions), default=None),
        "leaderless": tuple(p.id for p in partitions if p.leader is None or p.leader.id < 0),
        "under_replicated": tuple(p.id for p in partitions if len(p.isr) < len(p.replicas)),
    }


class _Passing(Exception):
    """An error that the next try may not meet."""

    def __init__(self, error: KafkaError) -> None:
        super().__init__(error.str())
        self.error = error
