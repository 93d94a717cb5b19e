"""What scales a role: the lag of the group that it is in, on the topic that it reads."""

from __future__ import annotations

from odradek.cli.exits import ExitCode
from odradek.schemas.topics import PARTITIONS_DEFAULT, Topics
from tests.helm.chart import VALUES, Helm, Manifest, Rendered, container, option


def trigger(scaled: Manifest) -> dict[str, str]:
    (only,) = scaled["spec"]["triggers"]
    assert only["type"] == "kafka"
    return dict(only["metadata"])


def test_orchestrators_scale_by_the_lag_of_the_inbox(rendered: dict[str, Rendered]) -> None:
    scaled = rendered["production"].one("ScaledObject", "shop-odradek-orchestrators")
    topics = Topics("shop")
    assert (trigger(scaled)["topic"], trigger(scaled)["consumerGroup"]) == (topics.inbox, topics.orchestrators)


def test_workers_scale_by_the_lag_of_their_queue(rendered: dict[str, Rendered]) -> None:
    for name, topics in (("production", Topics("shop")), ("pools", Topics("tasks.eu"))):
        scaled = [one for one in rendered[name].of("ScaledObject") if "-workers-" in one["metadata"]["name"]]
        assert scaled
        for one in scaled:
            queue = option(container(rendered[name].one("Deployment", one["metadata"]["name"])), "--queue")
            assert trigger(one)["topic"] == topics.tasks(queue)
            assert trigger(one)["consumerGroup"] == topics.queue_group(queue)


def test_a_group_without_a_commit_has_everything_before_it(rendered: dict[str, Rendered]) -> None:
    """Else a pool that was scaled to 0 before its first task would never start."""
    for one in rendered["production"].of("ScaledObject"):
        assert trigger(one)["offsetResetPolicy"] == "earliest"


def test_what_scales_is_the_workload(rendered: dict[str, Rendered]) -> None:
    """Which then says no number of its own, or an upgrade would put it back."""
    for one in rendered.values():
        owners = {(owner["kind"], owner["metadata"]["name"]): owner for owner in one.workloads}
        scaled = [manifest["spec"]["scaleTargetRef"] for manifest in one.of("ScaledObject", "HorizontalPodAutoscaler")]
        targets = {(target["kind"], target["name"]) for target in scaled}
        assert targets <= owners.keys()
        assert len(targets) == len(scaled)
        assert {place for place, owner in owners.items() if "replicas" not in owner["spec"]} == targets


def test_brokers_are_given_as_keda_wants_them(rendered: dict[str, Rendered]) -> None:
    scaled = rendered["production"].one("ScaledObject", "shop-odradek-workers-payments")
    assert trigger(scaled)["bootstrapServers"] == "k1.example.com:9093,k2.example.com:9093"
    assert all(isinstance(value, str) for value in trigger(scaled).values())
    assert scaled["spec"]["minReplicaCount"] == 0


def test_keda_gets_the_credentials_one_by_one(rendered: dict[str, Rendered]) -> None:
    (theirs,) = rendered["production"].of("TriggerAuthentication")
    found = {ref["parameter"]: (ref["name"], ref["key"]) for ref in theirs["spec"]["secretTargetRef"]}
    assert found == {
        "username": ("kafka-user", "username"),
        "password": ("kafka-user", "password"),
        "ca": ("kafka-ca", "ca.crt"),
        "cert": ("kafka-client", "tls.crt"),
        "key": ("kafka-client", "tls.key"),
    }
    (own,) = rendered["pools"].of("TriggerAuthentication")
    secret = rendered["pools"].one("Secret", "tasks")
    assert {(ref["name"], ref["key"]) for ref in own["spec"]["secretTargetRef"]} == {
        ("tasks", "username"),
        ("tasks", "password"),
    }
    assert {"username", "password"} <= secret["data"].keys()


def test_an_authentication_of_the_user_is_taken(helm: Helm) -> None:
    values = {"keda": {"authentication": "kafka", "authenticationKind": "ClusterTriggerAuthentication"}}
    one = helm.render(VALUES / "production.yaml", values=values)
    assert one.of("TriggerAuthentication") == []
    for scaled in one.of("ScaledObject"):
        (only,) = scaled["spec"]["triggers"]
        assert only["authenticationRef"] == {"name": "kafka", "kind": "ClusterTriggerAuthentication"}
        assert "sasl" not in only["metadata"]


def test_metadata_of_the_user_wins(helm: Helm) -> None:
    """A key is there once."""
    one = helm.render(
        VALUES / "production.yaml", values={"keda": {"metadata": {"lagThreshold": "7", "tls": "disable"}}}
    )
    for scaled in one.of("ScaledObject"):
        assert (trigger(scaled)["lagThreshold"], trigger(scaled)["tls"]) == ("7", "disable")
    assert one.text.count("lagThreshold:") == len(one.of("ScaledObject"))


def test_topics_are_made_for_every_queue(rendered: dict[str, Rendered]) -> None:
    arguments = container(rendered["production"].one("Job", "shop-odradek-topics"))["args"]
    queues = [arguments[at + 1] for at, argument in enumerate(arguments) if argument == "--queue"]
    assert queues == ["batch", "mail.v2", "payments"]
    minimal = container(rendered["minimal"].one("Job", "shop-odradek-topics"))
    assert option(minimal, "--partitions") == str(PARTITIONS_DEFAULT)
    assert container(rendered["pools"].one("Job", "tasks-topics"))["args"][:2] == ["topics", "check"]


def test_replay_gate_runs_the_new_image_before_anything_changes(rendered: dict[str, Rendered]) -> None:
    one = rendered["production"]
    (gate, topics) = (one.one("Job", f"shop-odradek-{name}") for name in ("replay-gate", "topics"))
    orchestrators = one.one("StatefulSet", "shop-odradek-orchestrators")
    assert container(gate)["args"] == ["replay", "--open", "--skip-damaged", "shop.orders", "shop.refunds"]
    assert container(gate)["image"] == container(orchestrators)["image"]
    notes = gate["metadata"]["annotations"]
    assert notes["helm.sh/hook"] == "pre-upgrade"
    # After a first install that failed the next try is an upgrade, and there are no topics to replay yet.
    assert int(notes["helm.sh/hook-weight"]) > int(topics["metadata"]["annotations"]["helm.sh/hook-weight"])
    (rule,) = gate["spec"]["podFailurePolicy"]["rules"]
    answers = {ExitCode.FAILED, ExitCode.USAGE, ExitCode.NOT_FOUND, ExitCode.NEWER_SCHEMA}
    assert (rule["action"], rule["onExitCodes"]["operator"]) == ("FailJob", "In")
    assert set(rule["onExitCodes"]["values"]) == answers, "a log that does not answer is asked again"
    assert gate["spec"]["backoffLimit"] > 0
