"""Every role with a user of its own and the rights of ``odradek.schemas.access``: enough, and not one too many."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Producer

from odradek.cli import main
from odradek.client import Client
from odradek.log import AccessDenied, open_log
from odradek.log.kafka_access import kafka_name
from odradek.log.namespace import FACTS_KEY, append_all, open_namespace
from odradek.schemas.access import Right, Role, rights_of
from odradek.schemas.codec import Codec
from odradek.schemas.records import SCHEMA_VERSION, NamespaceFacts, WorkersRecord
from odradek.schemas.topics import Topics
from tests.security.secure_broker import SecureBroker
from tests.security.shop import QUEUE, Unserved, Weighed, converter, orchestrating, order, working

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


def newcomer(broker: SecureBroker, user: str, rights: Sequence[Right]) -> None:
    """Whom the brokers know from here on, with these rights."""
    broker.add_user(user)
    broker.grant(user, rights)
    log = open_log(broker.at("SCRAM"), broker.scram(user))
    deadline = time.monotonic() + 10
    while log.missing_rights(rights):
        assert time.monotonic() < deadline
    log.close()


def run(broker: SecureBroker, *arguments: str, user: str = "operator") -> str:
    """``doctor`` may find something."""
    done = invoke(broker, *arguments, user=user)
    assert done.exit_code == 0 or ("doctor" in arguments and done.exit_code == 1), done.output
    assert user != "operator" or "ODR-229" not in done.output
    return done.stdout


def all_rights(role: Role) -> list[Right]:
    return rights_of(role, TOPICS, [QUEUE], keys=True)


# All tests of this module need this, and it is many processes' worth of starts.
pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def lived(broker: SecureBroker, tmp_path_factory: pytest.TempPathFactory) -> SecureBroker:
    """A namespace in which every role has done all that it does."""
    for role in Role:
        broker.add_user(role)
        broker.grant(role, all_rights(role))
    run(broker, "topics", "create", "--partitions", "2", "--keys")
    asyncio.run(live(broker))
    move(broker, tmp_path_factory.mktemp("backup") / "shop.avro")
    return broker


def move(broker: SecureBroker, file: Path) -> None:
    """What an operator does with a namespace that nobody serves. A new one is another name, so other ACLs."""
    for name in ("shop-2", "shop-3"):
        broker.grant("operator", rights_of(Role.OPERATOR, Topics(name)))
    run(broker, "backup", str(file))
    run(broker, "--namespace", "shop-2", "restore", str(file), "--replication", "1")
    run(broker, "--namespace", "shop-2", "namespace", "promote", "--yes")
    run(broker, "repartition", "--partitions", "3", "--to", "shop-3", "--replication", "1")
    lower_level(broker)
    run(broker, "upgrade", "--yes")


async def live(broker: SecureBroker) -> None:
    address = broker.at("SCRAM")
    async with (
        orchestrating(address, NAMESPACE, broker.scram("orchestrator")),
        working(address, NAMESPACE, broker.scram("worker")),
        await connected(broker, "client") as client,
    ):
        assert await client.execute_workflow(Weighed.run, id="w-1", task_queue=QUEUE) == "2 kg"
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
            ["task-queue", "limit", QUEUE, "--rate", "50"],
            ["task-queue", "list"],
            ["dead-letter", "redrive", "--all", "--yes"],
            ["topics", "retention", "--set", "archive=30"],
            ["namespace", "prune-listings", "--closed-before", "30"],
            ["workflow", "erase", "o-1", "--yes"],
            ["workflow", "pause-type", "OrderPlaced"],
            ["workflow", "resume-type", "OrderPlaced"],
        ):
            await asyncio.to_thread(run, broker, *command)


async def connected(broker: SecureBroker, user: str) -> Client:
    log = open_log(broker.at("SCRAM"), broker.scram(user))
    return await Client.connect(
        broker.at("SCRAM"), namespace=NAMESPACE, log_config=broker.scram(user), data_converter=converter(log, NAMESPACE)
    )


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
    rights = {(kafka_name(right.operation), right.name) for right in all_rights(role)}
    assert rights - used(lived, role) == set()


CASES = [(role, right) for role in Role for right in all_rights(role)]


@pytest.mark.parametrize(("role", "right"), CASES, ids=lambda value: str(getattr(value, "words", value)))
def test_a_right_that_is_missing_is_named(lived: SecureBroker, role: Role, right: Right) -> None:
    """When the role begins; what it can do without keeps it from nothing."""
    log = open_log(lived.at("SCRAM"), lived.scram(role))
    lived.revoke(role, right)
    try:
        seen: list[Right] = []
        deadline = time.monotonic() + 10
        while not seen and time.monotonic() < deadline:
            seen = log.missing_rights(all_rights(role))
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


COMMANDS = {
    "upgrade": (["upgrade", "--yes"], "Write"),
    "redrive": (["dead-letter", "redrive", "--all", "--force", "--yes"], "Write"),
    "pause": (["task-queue", "pause", QUEUE], "Write"),
    "promote": (["--namespace", "shop-2", "namespace", "promote", "--yes"], "Read"),
    "retention": (["topics", "retention", "--set", "archive=40"], "AlterConfigs"),
    "prune": (["namespace", "prune-listings", "--closed-before", "0.000001"], "Write"),
    "backup": (["backup", "FILE"], "Read"),
    "repartition": (["repartition", "--partitions", "3", "--to", "shop-4"], "Create"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_an_operator_without_a_right_is_told_which(lived: SecureBroker, command: str, tmp_path: Path) -> None:
    """By the command that needs it, with what adds it."""
    arguments, operation = COMMANDS[command]
    user = f"apprentice-{command}"
    rights = [right for name in (NAMESPACE, "shop-2") for right in rights_of(Role.OPERATOR, Topics(name))]
    reading = Right("DescribeConfigs", "topic", "shop", prefixed=True)
    newcomer(lived, user, list(dict.fromkeys([reading, *(one for one in rights if one.operation != operation)])))
    if command == "upgrade":
        lower_level(lived)
    named = [str(tmp_path / "shop.avro") if argument == "FILE" else argument for argument in arguments]
    done = invoke(lived, *named, user=user)
    if command == "upgrade":
        run(lived, "upgrade", "--yes")
    assert done.exit_code != 0, done.output
    assert "ODR-229" in done.output
    assert f"--allow-principal User:{user} --operation {operation} --topic shop" in done.output


def lower_level(broker: SecureBroker) -> None:
    """So that there is something to raise. Nobody can open the namespace before that is done."""
    admin = open_log(f"kafka://{broker.bootstrap}")
    facts = Codec().encode(WorkersRecord(NamespaceFacts(2, SCHEMA_VERSION - 1)))
    append_all(admin, TOPICS.workers, 0, {FACTS_KEY: facts})
    admin.close()


def test_who_may_only_start_workflows_does_not_erase_them(lived: SecureBroker) -> None:
    """Keys and listings are not a client's, and it hears so before anything is erased."""
    newcomer(lived, "seller", rights_of(Role.CLIENT, TOPICS))

    async def erasing() -> Result:
        async with orchestrating(lived.at("SCRAM"), NAMESPACE, lived.scram("orchestrator")):
            return await asyncio.to_thread(invoke, lived, "workflow", "erase", "parcel-o-1", "--yes", user="seller")

    done = asyncio.run(erasing())
    assert (done.exit_code != 0, "ODR-229" in done.stderr) == (True, True), done.output
    assert f"--operation Describe --topic {TOPICS.keys}" in done.stderr


def test_a_role_begins_unasked_where_rights_are_not_told_by_acls(lived: SecureBroker) -> None:
    """A setting says so; what is not allowed is then said when it is needed."""
    newcomer(lived, "iam", [right for right in all_rights(Role.WORKER) if right.name != TOPICS.dead_letter])
    for settings in ({}, {"odradek.access.check": "on"}):
        log = open_log(lived.at("SCRAM"), {**lived.scram("iam"), **settings})
        with pytest.raises(AccessDenied, match="dead-letter"):
            open_namespace(log, NAMESPACE, role=Role.WORKER, queues=[QUEUE])
        log.close()
    log = open_log(lived.at("SCRAM"), {**lived.scram("iam"), "odradek.access.check": "off"})
    assert open_namespace(log, NAMESPACE, role=Role.WORKER, queues=[QUEUE]).partitions == 2
    log.close()


def test_doctor_mends_what_it_may_and_says_what_is_refused(lived: SecureBroker) -> None:
    """As on a managed cluster that does not let topics be changed."""
    user = "mender"
    rights = [right for right in rights_of(Role.OPERATOR, TOPICS) if right.operation != "AlterConfigs"]
    newcomer(lived, user, [*rights, Right("DescribeConfigs", "topic", f"{NAMESPACE}.", prefixed=True)])
    admin = open_log(f"kafka://{lived.bootstrap}")
    admin.alter_topic(TOPICS.history, {"min.compaction.lag.ms": "0"})
    admin.delete_topics([TOPICS.dead_letter])
    done = invoke(lived, "doctor", "--fix", "--yes", "--json", user=user)
    said = json.loads(done.stdout)
    assert said["mended"] == [f"make topic {TOPICS.dead_letter}"]
    ((words, why),) = said["refused"].items()
    assert words == f"set min.compaction.lag.ms of {TOPICS.history} to 3600000 (it is 0)"
    assert f"--operation AlterConfigs --topic {TOPICS.history}" in why
    assert f"refused: {words}: ODR-229" in done.stderr
    assert done.exit_code == 1
    admin.alter_topic(TOPICS.history, {"min.compaction.lag.ms": "3600000"})
    admin.close()


def test_doctor_says_what_a_principal_may_not_see(lived: SecureBroker) -> None:
    """A warning each, and all the rest is looked at."""
    user = "looker"
    newcomer(lived, user, [Right("Read", "topic", f"{NAMESPACE}.", prefixed=True)])
    found = json.loads(invoke(lived, "doctor", "--json", user=user).stdout)
    unseen = {finding["check"] for finding in found if "ODR-229" in finding["text"]}
    assert {"clock", "topics"} <= unseen
    assert all(finding["level"] == "warn" for finding in found if "ODR-229" in finding["text"])
    assert {"security", "cluster", "access", "orchestrators"} <= {finding["check"] for finding in found}
    cluster = next(finding for finding in found if finding["check"] == "cluster")
    assert "they do not tell this principal how long they keep" in cluster["text"]


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
    assert texts == ["9 topics are as they should be"]
