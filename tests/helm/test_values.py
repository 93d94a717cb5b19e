"""Values that cannot be meant are refused, by name; those that can be are all in the schema and the comments."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml

from odradek.cli.health import LIVE_SECONDS
from tests.helm.chart import CHART, REPOSITORY, VALUES, Helm, Refused

ADDRESS = {"address": "kafka://kafka:9092"}
POOL = {"queue": "q", "modules": ["shop.q"]}

WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, r"log\.address is empty.*--set log\.address="),
    ({"log": {"address": "kafka:9092"}}, r"/log/address"),
    ({"log": {"address": "kafka://user:password@kafka:9092"}}, r"/log/address"),
    ({"log": ADDRESS, "orchestrator": {}}, r"'orchestrator' not allowed"),
    ({"log": ADDRESS, "orchestrators": {"replica": 3}}, r"/orchestrators.*'replica' not allowed"),
    ({"log": ADDRESS, "orchestrators": {"replicas": "3"}}, r"/orchestrators/replicas.*got string, want integer"),
    ({"log": ADDRESS, "orchestrators": {"kind": "DaemonSet"}}, r"/orchestrators/kind.*'StatefulSet', 'Deployment'"),
    ({"log": ADDRESS, "orchestrators": {"resources": {"limit": {}}}}, r"/orchestrators/resources.*'limit' not allowed"),
    ({"log": ADDRESS, "namespace": "two words"}, r"/namespace.*'two words'"),
    ({"log": ADDRESS, "workers": {"w": {"modules": ["a"]}}}, r"/workers/w.*missing property 'queue'"),
    ({"log": ADDRESS, "workers": {"w": {**POOL, "concurency": 5}}}, r"/workers/w.*'concurency' not allowed"),
    ({"log": ADDRESS, "workers": {"w": {**POOL, "queue": "a:b"}}}, r"/workers/w/queue"),
    ({"log": ADDRESS, "workers": {"Payments": POOL}}, r"/workers'.*'Payments' not allowed"),
    ({"log": ADDRESS, "workers": {"w": {"queue": "q"}}}, r"workers\.w\.modules is empty"),
    ({"log": ADDRESS, "workers": {"w" * 60: POOL}}, r"workers\.w+: the name is too long"),
    ({"log": ADDRESS, "topics": {"partitions": 0}}, r"/topics/partitions.*got 0, want 1"),
    (
        {"log": ADDRESS, "orchestrators": {"kind": "Deployment", "store": {"type": "persistentVolumeClaim"}}},
        r"orchestrators\.store\.type is persistentVolumeClaim",
    ),
    ({"log": ADDRESS, "orchestrators": {"store": {"copiesInRedis": True}}}, r"copiesInRedis is true and no Redis"),
    (
        {"log": ADDRESS, "orchestrators": {"autoscaling": {"type": "keda", "minReplicas": 0}}},
        r"orchestrators\.autoscaling\.minReplicas is 0: timers need an owner",
    ),
    (
        {"log": ADDRESS, "orchestrators": {"autoscaling": {"type": "keda", "maxReplicas": 33}}},
        r"maxReplicas is 33 and topics\.partitions is 32",
    ),
    (
        {
            "log": ADDRESS,
            "workers": {"w": {**POOL, "autoscaling": {"type": "hpa", "minReplicas": 9, "maxReplicas": 8}}},
        },
        r"workers\.w\.autoscaling\.minReplicas is 9 and maxReplicas 8",
    ),
    (
        {"log": ADDRESS, "workers": {"w": {**POOL, "autoscaling": {"type": "hpa", "minReplicas": 0}}}},
        r"workers\.w\.autoscaling\.minReplicas is 0, and only keda",
    ),
    (
        {
            "log": ADDRESS,
            "workerDefaults": {"resources": {"requests": {"cpu": None}}},
            "workers": {"w": {**POOL, "autoscaling": {"type": "hpa"}}},
        },
        r"workers\.w\.resources\.requests\.cpu is not given",
    ),
    (
        {
            "log": {**ADDRESS, "existingSecret": {"name": "mine"}},
            "workers": {"w": {**POOL, "autoscaling": {"type": "keda"}}},
        },
        r"keda\.authentication",
    ),
    ({"log": {**ADDRESS, "sasl": {"tokenFunction": "shop.tokens:token"}}}, r"log\.sasl\.tokenFunction.*OAUTHBEARER"),
    ({"log": {**ADDRESS, "tls": {"ca": {"secret": "ca"}}}}, r"log\.tls\.enabled is false"),
    ({"log": ADDRESS, "gateway": {"enabled": True}}, r"/gateway/enabled.*must be false"),
    ({"log": {**ADDRESS, "existingSecret": {"name": "a"}, "secretConfig": {"b": "c"}}}, r"are both given"),
    ({"log": ADDRESS, "replayGate": {"enabled": True}}, r"replayGate\.enabled is true and neither"),
    ({"log": ADDRESS, "redis": {"url": "redis:6379"}}, r"/redis/url"),
    ({"log": ADDRESS, "fullnameOverride": "Shop_1"}, r"/fullnameOverride"),
    ({"log": ADDRESS, "pod": {"env": {"ODRADEK_LOG": "x"}}}, r'pod\.env has "ODRADEK_LOG", which the chart sets'),
    ({"log": ADDRESS, "orchestrators": {"pod": {"env": {"ODRADEK_STORE": "x"}}}}, r'pod\.env has "ODRADEK_STORE"'),
    ({"log": {**ADDRESS, "sasl": {"username": "ada"}}}, r"say log\.sasl\.mechanism"),
    (
        {"log": {**ADDRESS, "sasl": {"mechanism": "PLAIN", "username": "ada"}}},
        r"mechanism is PLAIN.*existingSecret\.name",
    ),
    (
        {"log": {**ADDRESS, "sasl": {"mechanism": "OAUTHBEARER", "existingSecret": {"name": "a"}}}},
        r"OAUTHBEARER.*tokens",
    ),
    (
        {"log": {**ADDRESS, "secretConfig": {"ssl.key.pem": "-----BEGIN\nx="}}},
        r"ssl\.key\.pem has.*line break.*log\.tls",
    ),
    ({"log": {**ADDRESS, "config": {"client.rack": "a "}}}, r"log\.config\.client\.rack has space around"),
    (
        {"log": {**ADDRESS, "sasl": {"mechanism": "PLAIN", "username": "ada", "password": " hush"}}},
        r"log\.sasl\.password has space around",
    ),
    (
        {
            "log": {**ADDRESS, "secretConfig": {"sasl.password": "x"}, "sasl": {"mechanism": "PLAIN"}},
            "workers": {"w": {**POOL, "autoscaling": {"type": "keda"}}},
        },
        r"workers\.w\.autoscaling\.type is keda, which does not see log\.secretConfig",
    ),
    (
        {"log": ADDRESS, "orchestrators": {"terminationGracePeriodSeconds": 4}},
        r"orchestrators\.terminationGracePeriodSeconds is 4 and orchestrators\.settings\.handOverTimeoutSeconds is 5",
    ),
    (
        {"log": ADDRESS, "workers": {"w": {**POOL, "terminationGracePeriodSeconds": 29}}},
        r"workers\.w\.terminationGracePeriodSeconds is 29 and workers\.w\.gracefulShutdownSeconds is 30",
    ),
    (
        {"log": ADDRESS, "orchestrators": {"serviceAccount": {"name": "a"}}, "jobs": {"serviceAccount": {"name": "a"}}},
        r'jobs\.serviceAccount\.name is "a", as another role',
    ),
    (
        {
            "log": ADDRESS,
            "workerDefaults": {"serviceAccount": {"name": "a"}},
            "workers": {"v": POOL, "w": {**POOL, "serviceAccount": {"annotations": {"role": "w"}}}},
        },
        r'the service account "a", with different annotations',
    ),
    (
        {"log": ADDRESS, "monitoring": {"prometheusRule": {"runbooks": "https://docs/page#part"}}},
        r"/monitoring/prometheusRule/runbooks",
    ),
]


@pytest.mark.parametrize(("values", "message"), WRONG, ids=[message for _, message in WRONG])
def test_wrong_values_are_refused_by_name(helm: Helm, values: dict[str, Any], message: str) -> None:
    with pytest.raises(Refused, match=re.compile(message, re.DOTALL)):
        helm.render(values=values)


def test_what_stops_the_loop_is_shorter_than_the_probe_waits() -> None:
    """Else a pod that hands over in order, or is about to interrupt code, would be restarted for it."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    settings = schema["properties"]["orchestrators"]["properties"]["settings"]["properties"]
    for name in ("handOverTimeoutSeconds", "deadlockTimeoutSeconds"):
        assert settings[name]["maximum"] <= LIVE_SECONDS


@pytest.mark.parametrize("release", ["7up", "shop.eu"])
def test_a_release_whose_objects_could_not_be_named_is_refused(helm: Helm, release: str) -> None:
    """A release's name may be what a Service's may not."""
    with pytest.raises(Refused, match=f'would be named "{re.escape(release)}-odradek".*say fullnameOverride'):
        helm.render(VALUES / "minimal.yaml", release=release)
    assert helm.render(VALUES / "minimal.yaml", values={"fullnameOverride": "shop"}, release=release).workloads


def keys(values: Mapping[str, Any], path: str = "") -> Iterator[str]:
    for key, value in values.items():
        yield f"{path}{key}"
        if isinstance(value, Mapping):
            yield from keys(value, f"{path}{key}.")


def test_schema_and_values_have_the_same_keys() -> None:
    """A key that only one of them knows is refused, or never explained."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    def allowed(part: Mapping[str, Any], path: str = "") -> Iterator[str]:
        resolved = schema["definitions"][part["$ref"].rpartition("/")[2]] if "$ref" in part else part
        for key, inner in resolved.get("properties", {}).items():
            yield f"{path}{key}"
            yield from allowed(inner, f"{path}{key}.")

    whole = {"image", "pod", "resources"}
    """Of a role, what is empty because the values above it count; and Kubernetes' own."""

    def told(found: Iterator[str]) -> set[str]:
        return {
            key
            for key in found
            if not (set(key.split(".")[1:-1]) & whole)
            and not key.startswith(("global", "monitoring.dashboards.labels."))
        }

    assert told(allowed(schema)) == told(keys(values))


def test_schema_refuses_unknown_keys_everywhere() -> None:
    """But where people name things themselves, and where Kubernetes says what is allowed."""

    def open_objects(part: Any, path: str) -> Iterator[str]:
        if isinstance(part, dict):
            if "properties" in part and part.get("additionalProperties") is not False:
                yield path
            for key, inner in part.items():
                yield from open_objects(inner, f"{path}/{key}")

    assert list(open_objects(json.loads((CHART / "values.schema.json").read_text()), "")) == []


def test_every_value_is_explained() -> None:
    """A comment stands above each key, or above the one that it belongs to, or its siblings'."""
    lines = (CHART / "values.yaml").read_text().splitlines()
    top = [at for at, line in enumerate(lines) if re.match(r"[a-z]\w*:", line)]
    blocks = [lines[begin - 1 : end] for begin, end in zip(top, [*top[1:], len(lines)], strict=True)]
    assert [block[1] for block in blocks if not any("#" in line for line in block)] == []


def test_notes_name_the_next_commands(helm: Helm) -> None:
    notes = helm.notes(VALUES / "pools.yaml")
    assert "kubectl --namespace shop rollout status deployment/tasks-orchestrators" in notes
    assert "kubectl --namespace shop exec deployment/tasks-orchestrators -- odradek doctor" in notes
    assert "kubectl --namespace shop exec deployment/tasks-orchestrators -- odradek workflow list" in notes
    assert '4 workers "fast" of the task queue "fast"' in notes
    assert '2 to 20 workers "legacy" of the task queue "legacy"' in notes
    assert "helm --namespace shop test shop --logs" in helm.notes(VALUES / "minimal.yaml")
    assert not [secret for secret in ("s3cret-password", "s3cret-redis") if secret in notes]


def test_gateway_is_only_reserved(helm: Helm) -> None:
    assert "gateway" not in helm.render(VALUES / "minimal.yaml").text


def test_chart_is_of_this_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert chart["appVersion"] == project["version"]
