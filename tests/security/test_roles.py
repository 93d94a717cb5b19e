"""Every role with a user of its own and the rights of ``odradek.schemas.access``: enough, and not one too many."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Iterator

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Producer

from odradek.cli import main
from odradek.client import Client
from odradek.log import AccessDenied, open_log
from odradek.log.kafka_access import kafka_name
from odradek.log.namespace import open_namespace
from odradek.schemas.access import Right, Role, rights_of
from odradek.schemas.topics import Topics
from tests.security.secure_broker import SecureBroker
from tests.security.shop import QUEUE, Unserved, orchestrating, order, working

NAMESPACE = "shop"
TOPICS = Topics(NAMESPACE)
READERS_GROUP = "odradek-reader"
"""The client asks for the coordinator of a group that readers have only in name, and does without."""

RULE = re.compile(
    r"Principal = User:(?P<user>\S+) is (?P<what>Allowed|Denied) operation = (?P<asked>\w+) .* on resource = "
    r"(?P<on>\S+) for request = (?P<request>\w+)(?:.*resourceName=(?P<name>[^,]+),.*operation=(?P<operation>\w+),)?"
)


def invoke(broker: SecureBroker, *arguments: str, user: str) -> Result:
    config = broker.scram(user)
    names = {
        "security.protocol": "SECURITY_PROTOCOL", "sasl.mechanism": "SASL_MECHANISM", "sasl.username": "SASL_USERNAME",
        "sasl.password": "SASL_PASSWORD", "ssl.ca.location": "SSL_CA_FILE",
    }  # fmt: skip
    environment = {f"ODRADEK_{names[name]}": value for name, value in config.items()}
    environment |= {"ODRADEK_LOG": broker.at("SCRAM"), "ODRADEK_NAMESPACE": NAMESPACE}
    return CliRunner().invoke(main, arguments, prog_name="odradek", env=environment)


def run(broker: SecureBroker, *arguments: str, user: str = "operator") -> str:
    done = invoke(broker, *arguments, user=user)
    assert done.exit_code in (0, 1), done.stderr
    assert user != "operator" or "ODR-229" not in done.output
    return done.stdout


@pytest.fixture(scope="module")
def lived(broker: SecureBroker) -> SecureBroker:
    """A namespace in which every role has done all that it does."""
    for role in Role:
        broker.add_user(role)
        broker.grant(role, rights_of(role, TOPICS, [QUEUE]))
    run(broker, "topics", "create", "--partitions", "2")
    asyncio.run(live(broker))
    return broker


async def live(broker: SecureBroker) -> None:
    address = broker.at("SCRAM")
    async with (
        orchestrating(address, NAMESPACE, broker.scram("orchestrator")),
        working(address, NAMESPACE, broker.scram("worker")),
        await Client.connect(address, namespace=NAMESPACE, log_config=broker.scram("client")) as client,
    ):
        assert await asyncio.wait_for(order(client, "o-1"), 60) == ["charged o-1", "sent o-1"]
        await client.start_workflow(Unserved.run, id="u-1", task_queue=QUEUE)
        closed = client.get_workflow_handle("parcel-o-1")
        while not used(broker, Role.ORCHESTRATOR) >= {("READ", TOPICS.archive)}:  # until it is out of its memory
            assert await closed.query("__stack_trace") is not None
        rubbish = Producer({"bootstrap.servers": broker.bootstrap})
        for topic in (TOPICS.inbox, TOPICS.tasks(QUEUE)):
            rubbish.produce(topic, b"rubbish", b"key", 0)
        rubbish.flush()
        admin = open_log(f"kafka://{broker.bootstrap}")
        await until(lambda: TOPICS.tasks("unserved") in admin.topics(""))
        await until(lambda: sum(admin.offsets(TOPICS.dead_letter, p).end for p in range(2)) >= 2)
        await until(lambda: admin.offsets(TOPICS.inbox, 0).begin > 0)
        for command in (
            ["doctor", "--json"],
            ["topics", "check"],
            ["dead-letter", "list"],
            ["task-queue", "describe", QUEUE],
            ["task-queue", "pause", QUEUE],
            ["task-queue", "resume", QUEUE],
        ):
            await asyncio.to_thread(run, broker, *command)


async def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not await asyncio.to_thread(holds):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


def decided(broker: SecureBroker) -> Iterator[re.Match[str]]:
    users = {str(role) for role in Role}
    return (found for found in RULE.finditer(broker.audit()) if found["user"] in users)


def test_every_role_lives_on_its_rights(lived: SecureBroker) -> None:
    """The brokers denied nothing that a role asked for."""
    denied = {(m["user"], m["asked"], m["on"], m["request"]) for m in decided(lived) if m["what"] == "Denied"}
    assert {one for one in denied if READERS_GROUP not in one[2] and "odradek-probe" not in one[2]} == set()


def used(broker: SecureBroker, role: Role) -> set[tuple[str, str]]:
    """By the brokers' own record of which ACL allowed what."""
    return {(m["operation"], m["name"]) for m in decided(broker) if m["user"] == role and m["what"] == "Allowed"}


@pytest.mark.parametrize("role", Role)
def test_every_right_is_used(lived: SecureBroker, role: Role) -> None:
    """Without it a request would have been denied."""
    rights = {(kafka_name(right.operation), right.name) for right in rights_of(role, TOPICS, [QUEUE])}
    assert rights - used(lived, role) == set()


CASES = [(role, right) for role in Role for right in rights_of(role, TOPICS, [QUEUE])]


@pytest.mark.parametrize(("role", "right"), CASES, ids=lambda value: str(getattr(value, "words", value)))
def test_a_right_that_is_missing_is_named(lived: SecureBroker, role: Role, right: Right) -> None:
    """When the role begins; what it can do without keeps it from nothing."""
    log = open_log(lived.at("SCRAM"), lived.scram(role))
    lived.revoke(role, right)
    try:
        seen: list[Right] = []
        deadline = time.monotonic() + 10
        while not seen and time.monotonic() < deadline:
            seen = log.missing_rights(rights_of(role, TOPICS, [QUEUE]))
        assert right in seen
        if right.without:
            open_namespace(log, NAMESPACE, role=role, queues=[QUEUE])
            return
        with pytest.raises(AccessDenied, match=r"ODR-229") as caught:
            open_namespace(log, NAMESPACE, role=role, queues=[QUEUE])
        servers = lived.at("SCRAM").removeprefix("kafka://")
        assert right.command(servers, f"User:{role}") in str(caught.value)
        assert right.words in str(caught.value)
    finally:
        lived.grant(role, [right])
        log.close()


@pytest.mark.parametrize("role", [Role.ORCHESTRATOR, Role.WORKER])
def test_who_may_see_the_group_and_not_join_it_ends(lived: SecureBroker, role: Role) -> None:
    """Brokers do not tell the two apart beforehand, so it comes out a moment later."""
    right = next(right for right in rights_of(role, TOPICS, [QUEUE]) if right.resource == "group")
    lived.grant(role, [right._replace(operation="Describe")])
    lived.revoke(role, right)
    serve = {Role.ORCHESTRATOR: "orchestrator", Role.WORKER: "worker"}[role]
    named = ["tests.security.shop", "--health-port", "off", *(["--queue", QUEUE] if role == Role.WORKER else [])]
    try:
        began = time.monotonic()
        done = invoke(lived, serve, *named, user=role)
        assert (done.exit_code != 0, "ODR-229" in done.stderr) == (True, True)
        assert f"--operation Read --group {right.name}" in done.stderr
        assert time.monotonic() - began < 30
    finally:
        lived.grant(role, [right])


def test_doctor_says_who_may_what(lived: SecureBroker) -> None:
    """Every right is there for the role that it is asked for, or the finding has the commands."""
    found = [f["text"] for f in json.loads(run(lived, "doctor", "--json")) if f["check"] == "access"]
    assert found[0].startswith("this principal has the rights of: client, orchestrator, worker, operator (")
    asked = json.loads(run(lived, "doctor", "--json", "--role", "worker", user="client"))
    lacking = [finding for finding in asked if finding["check"] == "access" and finding["level"] == "fail"]
    assert [finding["text"].partition(" lacks ")[0] for finding in lacking] == ["to be the worker it"]
    assert f"--allow-principal User:client --operation Write --topic {TOPICS.dead_letter}" in lacking[0]["advice"]


def test_doctor_mends_with_the_rights_of_an_operator(lived: SecureBroker) -> None:
    admin = open_log(f"kafka://{lived.bootstrap}")
    admin.alter_topic(TOPICS.history, {"min.compaction.lag.ms": "0"})
    admin.delete_topics([TOPICS.tasks("unserved"), TOPICS.dead_letter])
    admin.close()
    mended = json.loads(run(lived, "doctor", "--fix", "--yes", "--json"))
    assert len(mended["mended"]) == 2
    texts = [finding["text"] for finding in mended["findings"] if finding["check"] == "topics"]
    assert texts == ["8 topics are as they should be"]
