"""Topics as manifests for those who may not create them by hand: Strimzi KafkaTopics, Terraform kafka_topics. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Final

from odradek.schemas.topics import TopicSpec

_RESOURCE_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")

_YAML_WORDS: Final = frozenset({"true", "false", "yes", "no", "on", "off", "y", "n", "null"})


def strimzi(specs: Sequence[TopicSpec], cluster: str) -> str:
    """One KafkaTopic for each, as a YAML stream."""
    return "---\n".join(_kafka_topic(spec, cluster) for spec in specs)


def terraform(specs: Sequence[TopicSpec]) -> str:
    """One resource for each, for the provider Mongey/kafka."""
    return "\n".join(_resource(spec) for spec in specs)


def _settings(spec: TopicSpec) -> dict[str, str]:
    settings = spec.settings()
    if spec.replication is not None:
        settings["min.insync.replicas"] = str(max(1, min(2, spec.replication - 1)))
    return dict(sorted(settings.items()))


def _kafka_topic(spec: TopicSpec, cluster: str) -> str:
    config = "".join(f"    {name}: {_yaml(value)}\n" for name, value in _settings(spec).items())
    replicas = "" if spec.replication is None else f"  replicas: {spec.replication}\n"
    return (
        "apiVersion: kafka.strimzi.io/v1beta2\n"
        "kind: KafkaTopic\n"
        "metadata:\n"
        f"  name: {_yaml(_resource_name(spec.name))}\n"
        "  labels:\n"
        f"    strimzi.io/cluster: {_yaml(cluster)}\n"
        "spec:\n"
        f"  topicName: {_yaml(spec.name)}\n"
        f"  partitions: {spec.partitions}\n"
        f"{replicas}"
        "  config:\n"
        f"{config}"
    )


def _resource(spec: TopicSpec) -> str:
    settings = _settings(spec)
    width = max(len(name) for name in settings) + 2
    config = "".join(f"    {json.dumps(name):<{width}} = {json.dumps(value)}\n" for name, value in settings.items())
    return (
        f'resource "kafka_topic" "{re.sub(r"[^A-Za-z0-9_-]", "_", spec.name)}" {{\n'
        f"  name               = {json.dumps(spec.name)}\n"
        f"  partitions         = {spec.partitions}\n"
        f"  replication_factor = {spec.replication or 3}\n"
        "\n"
        "  config = {\n"
        f"{config}"
        "  }\n"
        "\n"
        "  lifecycle {\n"
        "    prevent_destroy = true\n"
        "  }\n"
        "}\n"
    )


def _resource_name(topic: str) -> str:
    """Kubernetes allows less than Kafka: what differs gets a name that is made unique by the topic's characters."""
    lowered = topic.lower()
    if lowered == topic and _RESOURCE_NAME.fullmatch(topic):
        return topic
    marks = "".join(f"{ord(letter):x}" for letter in topic if letter.isupper() or letter == "_")
    plain = re.sub(r"[^a-z0-9.-]", "-", lowered).strip(".-")
    return f"{plain}-{marks}" if marks else plain


def _yaml(value: str) -> str:
    """A scalar that YAML reads as text (numbers in quotes; Strimzi takes both)."""
    plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9._-]*", value) and value.lower() not in _YAML_WORDS
    return value if plain else json.dumps(value)
