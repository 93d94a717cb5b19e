"""Which rights each role needs on a Kafka with ACLs, and no more: the tests run every role with exactly these."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final, Literal, NamedTuple

from odradek.schemas.topics import Topics

Resource = Literal["topic", "group", "cluster"]
CLUSTER: Final = "kafka-cluster"
"""What Kafka calls the one resource of that kind."""


class Role(StrEnum):
    """Who speaks to the log."""

    CLIENT = "client"
    ORCHESTRATOR = "orchestrator"
    WORKER = "worker"
    OPERATOR = "operator"


class Right(NamedTuple):
    """One ACL. ``prefixed``: for everything whose name begins so."""

    operation: str
    resource: Resource
    name: str
    prefixed: bool = False
    without: str = ""
    """Not empty: the role does without it, too, and this is what it then cannot do."""

    @property
    def words(self) -> str:
        return f'{self.operation} {self.resource} "{self.name}{"*" if self.prefixed else ""}"'

    def command(self, servers: str, principal: str) -> str:
        name = "" if self.resource == "cluster" else f" {self.name}"
        pattern = " --resource-pattern-type prefixed" if self.prefixed else ""
        return (
            f"kafka-acls.sh --bootstrap-server {servers} --add --allow-principal {principal} "
            f"--operation {self.operation} --{self.resource}{name}{pattern}"
        )


def rights_of(role: Role, topics: Topics, queues: Iterable[str] = (), *, keys: bool = False) -> list[Right]:
    """``queues``: those that a worker serves. ``keys``: payloads are encrypted with keys of their workflows."""
    rights = {
        Role.CLIENT: _of_client,
        Role.ORCHESTRATOR: _of_orchestrator,
        Role.WORKER: lambda t: _of_worker(t, queues),
        Role.OPERATOR: _of_operator,
    }[role](topics)
    return rights + (_of_keys(topics) if keys and role is not Role.OPERATOR else [])


def _all(topics: Topics) -> str:
    return f"{topics.namespace}."


def _of_client(topics: Topics) -> list[Right]:
    return [
        Right("DescribeConfigs", "topic", _all(topics), prefixed=True),
        Right("Write", "topic", topics.inbox),
        Right("Read", "topic", topics.replies),
        Right("Read", "topic", topics.workers),
        Right("Read", "topic", topics.visibility, without="list workflows"),
        Right("Read", "topic", topics.archive, without="fetch histories of closed workflows"),
        Right("Read", "topic", topics.history, without="fetch histories of open workflows"),
    ]


def _of_orchestrator(topics: Topics) -> list[Right]:
    return [
        Right("DescribeConfigs", "topic", _all(topics), prefixed=True),
        Right("Read", "topic", topics.inbox),
        Right("Write", "topic", topics.inbox),
        Right("Delete", "topic", topics.inbox, without="delete from the inbox what was taken in"),
        Right("Read", "topic", topics.history),
        Right("Write", "topic", topics.history),
        Right("Read", "topic", topics.archive),
        Right("Write", "topic", topics.archive),
        Right("Write", "topic", topics.replies),
        Right("Write", "topic", topics.visibility),
        Right("Read", "topic", topics.visibility, without="take out of the listings what closed long ago"),
        Right("Read", "topic", topics.workers),
        Right("Write", "topic", topics.workers),
        Right("Write", "topic", topics.dead_letter),
        Right("Write", "topic", topics.tasks_prefix, prefixed=True),
        Right("Create", "topic", topics.tasks_prefix, prefixed=True, without="make the topic of a new task queue"),
        Right("Read", "topic", topics.tasks_prefix, prefixed=True, without="tell how long the oldest task waits"),
        Right("Read", "group", topics.orchestrators),
        Right(
            "Describe", "group", topics.queue_group(""), prefixed=True, without="tell how many tasks wait in a queue"
        ),
    ]


def _of_worker(topics: Topics, queues: Iterable[str]) -> list[Right]:
    rights = [
        Right("DescribeConfigs", "topic", _all(topics), prefixed=True),
        Right("Write", "topic", topics.inbox),
        Right("Read", "topic", topics.replies),
        Right("Read", "topic", topics.workers),
        Right("Write", "topic", topics.workers),
        Right("Write", "topic", topics.dead_letter),
    ]
    for queue in queues:
        rights += [
            Right("Read", "topic", topics.tasks(queue)),
            Right("Create", "topic", topics.tasks(queue), without="make the topic of its task queue"),
            Right("Read", "group", topics.queue_group(queue)),
        ]
    return rights


def _of_keys(topics: Topics) -> list[Right]:
    """Whoever comes first with a payload of a workflow makes its key."""
    return [
        Right("Read", "topic", topics.keys, without="read payloads that are encrypted with keys of workflows"),
        Right("Write", "topic", topics.keys, without="encrypt payloads with keys of workflows"),
    ]


def _of_operator(topics: Topics) -> list[Right]:
    everything = ("Create", "AlterConfigs", "Read", "Write")  # they include Describe and DescribeConfigs
    return [
        *(Right(operation, "topic", _all(topics), prefixed=True) for operation in everything),
        Right("Describe", "group", _all(topics), prefixed=True),
        Right("DescribeConfigs", "cluster", CLUSTER, without="see how long brokers keep the offsets of groups"),
    ]
