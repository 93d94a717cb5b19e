"""Three builds of the code, two releases of the library, one raised feature level: nobody at a client notices.

As docs/how-to/roll-out.md says it is done.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from odradek.log import open_log
from odradek.log.namespace import create_namespace, open_namespace
from odradek.schemas.errors import NewerSchema
from tests.rollout.fleet import Build, Namespace, until
from tests.rollout.parcels import QUEUE
from tests.rollout.releases import NEXT_VERSION, make_next_release

MORE_PARCELS = 5


@pytest.fixture
def namespace(kafka_broker: str, tmp_path: Path) -> Iterator[Namespace]:
    address, name = f"kafka://{kafka_broker}", f"rollout-{secrets.token_hex(3)}"
    with closing(open_log(address)) as log:
        create_namespace(log, name, partitions=4, queues=(QUEUE,))
    made = Namespace(tmp_path, address, name)
    yield made
    made.kill()


@pytest.mark.timeout(300)
def test_builds_roll_under_load_and_no_client_sees_an_error(namespace: Namespace, tmp_path: Path) -> None:
    """The gate stops the build that would park runs; the level is raised when everybody can read it."""
    library = make_next_release(tmp_path)
    first, mistake, second, third = Build(1), Build(0), Build(2, library), Build(3, library)
    names = ("orchestrator-1", "orchestrator-2", "worker-1", "worker-2")
    namespace.install(first, *names)
    namespace.open_customers("early", first)

    stopped = namespace.roll(mistake)
    assert stopped.returncode == 1, stopped.stdout + stopped.stderr
    assert "ODR-161" in stopped.stdout
    assert 'activity "weigh"' in stopped.stdout or "weigh" in stopped.stdout
    assert {member.build for member in namespace.members.values()} == {first}

    assert namespace.roll(second).returncode == 0
    namespace.open_customers("late", second)  # the clients of the new release, then no more of the old one
    namespace.close_customers("early")
    await_parcels(namespace)

    raised = namespace.command(second, "upgrade", "--yes")
    assert raised.stdout.splitlines()[-1] == f"raised to {NEXT_VERSION}", raised.stdout + raised.stderr
    assert namespace.roll(third).returncode == 0
    await_parcels(namespace)
    assert namespace.gate(first).returncode == 5  # there is no way back behind the level
    namespace.close_customers("late")

    facts = namespace.told("early") + namespace.told("late")
    assert [fact for fact in facts if "error" in fact] == []
    assert min(Counter(fact["what"] for fact in facts)[what] for what in ("start", "signal", "update", "result")) > 10
    pieces = [piece for depot in namespace.close_depots(third) for piece in depot]
    assert sorted(pieces) == sorted(fact["piece"] for fact in facts if "piece" in fact)


def await_parcels(namespace: Namespace) -> None:
    """More have been sent, by everybody who runs now."""
    (name,) = namespace.customers
    enough = namespace.count(name) + MORE_PARCELS
    until(lambda: namespace.count(name) >= enough, "more parcels")


def test_the_release_before_cannot_read_what_the_next_one_writes(namespace: Namespace, tmp_path: Path) -> None:
    """Otherwise the test above would show nothing."""
    library = make_next_release(tmp_path)
    raised = namespace.command(Build(1, library), "upgrade", "--yes")
    assert raised.returncode == 0, raised.stderr
    with closing(open_log(namespace._address)) as log, pytest.raises(NewerSchema):
        open_namespace(log, namespace._name)
