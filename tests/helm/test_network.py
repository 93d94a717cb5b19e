"""Network policies: each pod reaches what it needs, and not more."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helm.chart import VALUES, Helm, Rendered

Ports = dict[str, set[int]]


def reached(one: Rendered) -> Ports:
    """By the name of the policy, which is its pods' owner: the ports of all its rules that name some."""
    return {
        policy["metadata"]["name"].removeprefix("shop-odradek-"): {
            port["port"] for rule in policy["spec"]["egress"] for port in rule.get("ports", [])
        }
        for policy in one.of("NetworkPolicy")
    }


def policies(helm: Helm, **values: Any) -> Ports:
    pool = {"queue": "q", "modules": ["shop.q"]}
    given = {"networkPolicy": {"enabled": True}, "workers": {"w": pool}, "doctor": {"run": "none"}, **values}
    return reached(helm.render(VALUES / "minimal.yaml", values=given))


def test_who_runs_has_a_policy_and_nobody_else(helm: Helm) -> None:
    assert policies(helm).keys() == {"orchestrators", "workers-w", "topics"}
    assert policies(helm, topics={"job": "none"}).keys() == {"orchestrators", "workers-w"}
    assert "doctor" in policies(helm, doctor={"run": "test"})


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("redis://redis:6380/0", 6380),
        ("rediss://:p@ss:1/word@redis.example.com:7000", 7000),
        ("redis://redis", 6379),
        ("redis://user@redis/3", 6379),
    ],
)
def test_redis_is_reached_where_its_url_says(helm: Helm, url: str, port: int) -> None:
    """By those that are told of it."""
    ports = policies(helm, redis={"url": url})
    assert ports["workers-w"] == {53, 9092, port}
    assert ports["orchestrators"] == ports["topics"] == {53, 9092}
    copying = policies(helm, redis={"url": url}, orchestrators={"store": {"copiesInRedis": True}})
    assert copying["orchestrators"] == {53, 9092, port}


@pytest.mark.parametrize(
    ("url", "ports"),
    [
        ("http://registry:8085", {8085}),
        ("https://ada:s3cret@registry.example.com/path:1", {443}),
        ("http://registry", {80}),
        ("http://one:8081,https://two", {8081, 443}),
    ],
)
def test_the_registry_is_reached_where_its_url_says(helm: Helm, url: str, ports: set[int]) -> None:
    assert set(map(frozenset, policies(helm, schemaRegistry={"url": url}).values())) == {frozenset({53, 9092} | ports)}


def test_the_port_of_a_url_in_a_secret_is_said(helm: Helm) -> None:
    secret = {"existingSecret": {"name": "mine"}}
    policy = {"enabled": True, "redisPort": 6390, "schemaRegistryPort": 9443}
    ports = policies(helm, redis=secret, schemaRegistry=secret, networkPolicy=policy)
    assert ports["workers-w"] == {53, 9092, 6390, 9443}


def test_the_gate_reaches_what_the_code_does(helm: Helm) -> None:
    """Its converter may keep payloads elsewhere."""
    rule = {"ports": [{"port": 9000}]}
    gate = {"enabled": True, "modules": ["shop.w"]}
    ports = policies(helm, replayGate=gate, orchestrators={"egress": [rule]})
    assert ports["replay-gate"] == ports["orchestrators"] == {53, 9092, 9000}
    assert ports["topics"] == {53, 9092}
