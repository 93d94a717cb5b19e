"""What a principal may do, as the brokers tell it. What they do not tell counts as allowed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from odradek.log.kafka_settings import error_of
from odradek.schemas.access import Right

PROBE: Final = "odradek-probe"
"""Ends the name of a topic that nobody has, to ask after the rights on all that begin alike."""

DENIED: Final = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    }
)
_INCLUDE_DESCRIBE: Final = frozenset({"Describe", "Read", "Write", "Delete", "Alter"})


def missing_topic_rights(
    admin: AdminClient, rights: Sequence[Right], existing: Iterable[str], timeout_seconds: float
) -> list[Right]:
    """Those of the rights on topics that the brokers say are not there."""
    known = sorted({right.name for right in rights if not right.prefixed} | set(existing))
    places = {right: _place(right, known) for right in rights}
    operations = _operations(admin, sorted(set(places.values())), timeout_seconds)
    return [right for right in rights if _is_missing(right, operations[places[right]])]


def _place(right: Right, known: Iterable[str]) -> str:
    """The topic to ask after: for a prefix, one that begins so, there or not."""
    if not right.prefixed:
        return right.name
    return next((name for name in known if name.startswith(right.name)), right.name + PROBE)


def _operations(admin: AdminClient, names: list[str], timeout_seconds: float) -> dict[str, frozenset[str] | None]:
    """In the brokers' words. None: not known."""
    topics = TopicCollection(names)
    asked = admin.describe_topics(topics, include_authorized_operations=True, request_timeout=timeout_seconds)
    return {name: _told(future, timeout_seconds) for name, future in asked.items()}


def _told(future: Future[Any], timeout_seconds: float) -> frozenset[str] | None:
    try:
        told = future.result(timeout_seconds).authorized_operations
    except KafkaException as exception:
        refused = error_of(exception).code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
        return frozenset() if refused else None
    except TimeoutError:
        return None
    return frozenset(operation.name for operation in told) if told else None


def _is_missing(right: Right, told: frozenset[str] | None) -> bool:
    if not told:
        # A topic that may not even be described may still be made, or its configuration read.
        return told is not None and right.operation in _INCLUDE_DESCRIBE
    return kafka_name(right.operation) not in told


def kafka_name(operation: str) -> str:
    """``DescribeConfigs`` is DESCRIBE_CONFIGS."""
    return "".join(f"_{letter}" if letter.isupper() and i else letter for i, letter in enumerate(operation)).upper()
