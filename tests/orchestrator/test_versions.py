"""Code that changes while runs are open: sides of a change, and named versions side by side."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from odradek import workflow
from odradek.client import WorkflowHistory
from odradek.common import RetryPolicy, VersioningBehavior
from odradek.exceptions import ApplicationError
from odradek.orchestrator.core import effects as fx
from odradek.orchestrator.core.state import ShardConfig
from odradek.orchestrator.core.versions import natural
from odradek.orchestrator.registry import Registry
from odradek.schemas import records as r
from odradek.worker import Replayer
from odradek.worker.replayer import ReplayFailed
from odradek.workflow.definition import Definition, InvalidWorkflow
from tests.orchestrator.partition import Owner, Partition

SOON = {"start_to_close_timeout": timedelta(seconds=10)}


def note(text: str) -> Any:
    return workflow.execute_activity("note", text, **SOON)


def opened(*workflows: type) -> tuple[Partition, Owner]:
    partition = Partition(workflows)
    return partition, served(partition)


def served(partition: Partition, *workflows: type) -> Owner:
    """A new owner, with other code if it is given."""
    for cls in workflows:
        partition.hosted[Definition.of(cls).name] = Definition.of(cls)
    owner = Owner(partition)
    assert owner.activities is not None
    owner.activities["note"] = lambda text: text
    owner.run()
    return owner


def signal(partition: Partition, workflow_id: str, name: str = "go") -> None:
    partition.send(workflow_id, r.SignalWorkflow(name, request=partition.request()))


def asked(partition: Partition, owner: Owner, workflow_id: str) -> r.Description:
    request = partition.request()
    partition.send(workflow_id, r.DescribeWorkflow(request))
    owner.run()
    [answer] = partition.replies(request)
    assert isinstance(answer, r.Description), answer
    return answer


def outcome(partition: Partition, owner: Owner, workflow_id: str) -> Any:
    request = partition.request()
    partition.send(workflow_id, r.AwaitResult(request))
    owner.run()
    return partition.result(request)


def events(owner: Owner, workflow_id: str, kind: type, *, whole: bool = False) -> list[Any]:
    live = owner.shard.workflow(workflow_id).live
    assert live is not None
    return [event if whole else event.body for event in owner.shard.events(live) if isinstance(event.body, kind)]


def evict(owner: Owner) -> None:
    for live in list(owner.shard.instances.values()):
        owner.shard.drop_instance(live)


# ---------------------------------------------------------------------------------------------------- sides of a change


class Waits:
    def __init__(self) -> None:
        self.signals = 0
        self.seen: list[Any] = []

    @workflow.signal
    def go(self) -> None:
        self.signals += 1

    async def nth(self, number: int) -> None:
        await workflow.wait_condition(lambda: self.signals >= number)


@workflow.defn(name="Order")
class Before(Waits):
    @workflow.run
    async def run(self) -> list[Any]:
        await note("old")
        await self.nth(1)
        await self.nth(2)
        return ["old"]


@workflow.defn(name="Order")
class Patched(Waits):
    @workflow.run
    async def run(self) -> list[Any]:
        self.seen.append(workflow.patched("faster"))
        if not self.seen[0]:
            await note("old")
        else:
            await asyncio.sleep(1)
        await self.nth(1)
        self.seen.append(workflow.patched("faster"))
        await self.nth(2)
        return self.seen


@workflow.defn(name="Order")
class Deprecated(Waits):
    @workflow.run
    async def run(self) -> list[Any]:
        workflow.deprecate_patch("faster")
        await asyncio.sleep(1)
        await self.nth(1)
        await self.nth(2)
        return ["deprecated"]


@workflow.defn(name="Order")
class Removed(Waits):
    @workflow.run
    async def run(self) -> list[Any]:
        await asyncio.sleep(1)
        await self.nth(1)
        await self.nth(2)
        return ["removed"]


def test_a_new_run_takes_the_new_side_and_records_it_once() -> None:
    partition, owner = opened(Patched)
    partition.start("o", "Order")
    owner.run()
    owner.pass_time(2)
    signal(partition, "o")
    owner.run()
    assert events(owner, "o", r.VersionMarked) == [r.VersionMarked("faster", 1)]
    signal(partition, "o")
    owner.run()
    assert outcome(partition, owner, "o") == [True, True]


@pytest.mark.parametrize("evicted", [False, True])
def test_a_run_from_before_the_change_keeps_the_old_side_for_good(evicted: bool) -> None:
    """Also at calls that it makes long after the replay has ended."""
    partition, owner = opened(Before)
    partition.start("o", "Order")
    owner.run()
    owner = served(partition, Patched)
    for _ in range(2):
        signal(partition, "o")
        if evicted:
            evict(owner)
        owner.run()
    assert outcome(partition, owner, "o") == [False, False]


def test_an_evicted_run_takes_the_sides_that_it_took_in_memory() -> None:
    kept, evicted = opened(Patched), opened(Patched)
    for partition, owner in (kept, evicted):
        partition.start("o", "Order")
        owner.run()
        owner.pass_time(2)
        for _ in range(2):
            if owner is evicted[1]:
                evict(owner)
            signal(partition, "o")
            owner.run()
    assert outcome(*kept, "o") == outcome(*evicted, "o") == [True, True]


def test_a_call_in_the_last_recorded_step_is_within_history() -> None:
    """The commands of the last input are recorded, so what it runs has run before, on the old side."""

    @workflow.defn(name="Late")
    class Old(Waits):
        @workflow.run
        async def run(self) -> list[Any]:
            await self.nth(1)
            await note("old")
            await self.nth(2)
            return ["old"]

    @workflow.defn(name="Late")
    class New(Waits):
        @workflow.run
        async def run(self) -> list[Any]:
            await self.nth(1)
            new = workflow.patched("late")
            await note("new" if new else "old")
            await self.nth(2)
            return [new]

    partition = Partition([Old])
    owner = Owner(partition, activities=False)
    partition.start("o", "Late")
    signal(partition, "o")
    owner.run()
    owner = served(partition, New)
    assert events(owner, "o", r.VersionMarked) == []
    task = next(effect.task for effect in partition.emitted if isinstance(effect, fx.SendTask))
    assert task is not None
    partition.send("o", r.ActivityResult(task.run_id, task.seq, task.attempt, "worker", partition.now_ms))
    signal(partition, "o")
    owner.run()
    assert outcome(partition, owner, "o") == [False]


def test_a_call_behind_the_end_of_the_history_takes_the_new_side() -> None:
    """The run began before the change, and comes to it only now."""

    @workflow.defn(name="Later")
    class Old(Waits):
        @workflow.run
        async def run(self) -> list[Any]:
            await self.nth(1)
            return ["old"]

    @workflow.defn(name="Later")
    class New(Waits):
        @workflow.run
        async def run(self) -> list[Any]:
            await self.nth(1)
            self.seen.append(workflow.patched("later"))
            await self.nth(2)
            return [*self.seen, workflow.patched("later")]

    partition, owner = opened(Old)
    partition.start("o", "Later")
    owner.run()
    owner = served(partition, New)
    signal(partition, "o")
    owner.run()
    evict(owner)
    signal(partition, "o")
    owner.run()
    assert outcome(partition, owner, "o") == [True, True]


def test_a_patch_is_deprecated_and_then_removed_under_open_runs() -> None:
    partition, owner = opened(Patched)
    partition.start("o", "Order")
    owner.run()
    owner.pass_time(2)
    for code in (Deprecated, Removed, Deprecated):
        owner = served(partition, code)
        evict(owner)
        assert asked(partition, owner, "o").parked is None
    for _ in range(2):
        signal(partition, "o")
    owner.run()
    assert outcome(partition, owner, "o") == ["deprecated"]


def test_an_input_that_waited_while_its_run_was_parked_is_not_within_history() -> None:
    """Its code sees it for the first time when the run resumes."""

    @workflow.defn(name="Stuck")
    class Broken(Waits):
        @workflow.run
        async def run(self) -> list[Any]:
            await self.nth(1)
            raise ValueError("a bug")

    @workflow.defn(name="Stuck")
    class Mended(Waits):
        @workflow.run
        async def run(self) -> list[Any]:
            await self.nth(1)
            return [workflow.patched("mend")]

    partition, owner = opened(Broken)
    partition.start("o", "Stuck")
    signal(partition, "o")
    owner.run()
    owner = served(partition, Mended)
    owner.pass_time(5)
    assert outcome(partition, owner, "o") == [True]


@workflow.defn(name="Many")
class ThreeSides(Waits):
    lowest = workflow.DEFAULT_VERSION

    @workflow.run
    async def run(self) -> int:
        version = workflow.get_version("price", self.lowest, 3)
        await self.nth(1)
        return version


@workflow.defn(name="Many")
class TwoSides(ThreeSides):
    lowest = 4

    @workflow.run
    async def run(self) -> int:
        version = workflow.get_version("price", 4, 5)
        await self.nth(1)
        return version


def test_get_version_takes_the_newest_at_first_and_what_is_recorded_in_a_replay() -> None:
    partition, owner = opened(ThreeSides)
    partition.start("m", "Many")
    owner.run()
    assert events(owner, "m", r.VersionMarked) == [r.VersionMarked("price", 3)]
    evict(owner)
    signal(partition, "m")
    owner.run()
    assert outcome(partition, owner, "m") == 3


def test_a_side_that_the_code_does_not_support_any_more_parks_the_run() -> None:
    partition, owner = opened(ThreeSides)
    partition.start("m", "Many")
    owner.run()
    owner = served(partition, TwoSides)
    signal(partition, "m")
    owner.run()
    parked = asked(partition, owner, "m").parked
    assert parked is not None
    assert parked.code == "ODR-150"
    assert 'version 3 of change "price"' in parked.message
    assert "4 to 5" in parked.message
    owner = served(partition, ThreeSides)
    owner.pass_time(5)
    assert outcome(partition, owner, "m") == 3


def test_a_type_may_want_a_history_that_does_not_fit_to_fail_its_runs() -> None:
    @workflow.defn(name="Many", failure_exception_types=[workflow.NondeterminismError])
    class Strict(Waits):
        @workflow.run
        async def run(self) -> int:
            try:
                return workflow.get_version("price", 4, 5)
            except Exception:
                return -2  # swallowing it changes nothing

    partition, owner = opened(ThreeSides)
    partition.start("m", "Many")
    owner.run()
    owner = served(partition, Strict)
    request = partition.request()
    partition.send("m", r.AwaitResult(request))
    signal(partition, "m")
    owner.run()
    [closed] = partition.replies(request)
    assert closed.status == r.RunStatus.FAILED
    assert closed.failure.type == "NondeterminismError"
    assert "ODR-150" in closed.failure.message


def test_a_range_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="ODR-152"):
        workflow.get_version("price", 2, 1)
    with pytest.raises(ValueError, match="ODR-152"):
        workflow.get_version("price", -2, 1)


# ---------------------------------------------------------------------------------------------------- named versions


def test_the_order_of_versions_is_the_natural_one() -> None:
    ordered = ["", "main", "0", "0.9", "1", "1.0-rc1", "1.9", "1.10", "2", "2b", "10", "2026-01-02"]
    assert sorted(set(ordered), key=natural) == ordered


class Versioned(Partition):
    """Its processes host what a registry has."""

    def __init__(self, *workflows: type) -> None:
        super().__init__()
        self.host(*workflows)

    def host(self, *workflows: type, failing: Sequence[type[BaseException]] = ()) -> None:
        self.registry = Registry()
        self.registry.add(workflows, "queue", failing)

    def config(self) -> ShardConfig:
        registry = self.registry
        return dataclasses.replace(
            super().config(), definition=registry.find, hosted=registry.hosted, versions=registry.versions
        )


def versioned(version: str, behavior: VersioningBehavior = VersioningBehavior.UNSPECIFIED) -> type:
    @workflow.defn(name="Order", version=version, versioning_behavior=behavior)
    class Order(Waits):
        @workflow.run
        async def run(self, again: bool = False) -> list[str]:
            if again:
                workflow.continue_as_new(False)
            await self.nth(1)
            return [version, workflow.info().get_current_build_id()]

    return Order


def test_new_runs_take_the_newest_version_and_running_ones_stay_on_theirs() -> None:
    partition = Versioned(versioned("1"))
    owner = served(partition)
    partition.start("a", "Order")
    owner.run()
    partition.host(versioned("1"), versioned("2"))
    owner = served(partition)
    partition.start("b", "Order")
    owner.run()
    assert [asked(partition, owner, name).version for name in "ab"] == ["1", "2"]
    for name in "ab":
        signal(partition, name)
    owner.run()
    assert [outcome(partition, owner, name) for name in "ab"] == [["1", "1"], ["2", "2"]]
    shown = [effect.record for effect in partition.emitted if isinstance(effect, fx.Show)]
    assert {(record.workflow_id, record.version) for record in shown if record} == {("a", "1"), ("b", "2")}


def test_a_run_whose_version_is_not_hosted_is_parked_until_it_is() -> None:
    partition = Versioned(versioned("1"))
    owner = served(partition)
    partition.start("a", "Order")
    owner.run()
    partition.host(versioned("2"), versioned("3"))
    owner = served(partition)
    signal(partition, "a")
    owner.run()
    parked = asked(partition, owner, "a").parked
    assert parked is not None
    assert parked.code == "ODR-151"
    for word in ('version "1"', '"Order"', 'version "3", version "2"'):
        assert word in parked.message
    owner.pass_time(60)
    again = asked(partition, owner, "a").parked
    assert again is not None
    assert again.failures > parked.failures
    partition.host(versioned("3"), versioned("1"))
    owner = served(partition)
    owner.pass_time(60)
    assert outcome(partition, owner, "a") == ["1", "1"]


def test_a_class_without_a_version_is_the_oldest() -> None:
    partition = Versioned(versioned(""), versioned("1"))
    owner = served(partition)
    partition.start("a", "Order")
    owner.run()
    assert asked(partition, owner, "a").version == "1"


def test_a_run_that_no_code_has_seen_takes_the_version_that_comes() -> None:
    partition = Versioned()
    owner = served(partition)
    partition.start("a", "Order")
    owner.run()
    partition.host(versioned("4"))
    owner = served(partition)
    owner.pass_time(2)
    assert asked(partition, owner, "a").version == "4"
    assert events(owner, "a", r.VersionTaken) == [r.VersionTaken("4")]
    partition.host(versioned("4"), versioned("5"))
    owner = served(partition)
    signal(partition, "a")
    owner.run()
    assert outcome(partition, owner, "a") == ["4", "4"]


def test_auto_upgrade_goes_to_the_newest_at_the_next_replay_and_never_back() -> None:
    upgrading = VersioningBehavior.AUTO_UPGRADE
    partition = Versioned(versioned("1", upgrading))
    owner = served(partition)
    partition.start("a", "Order")
    owner.run()
    partition.host(versioned("2", upgrading))
    owner = served(partition)
    assert asked(partition, owner, "a").version == "1"
    partition.send("a", r.CancelWorkflow("no", request=partition.request()))
    partition.host(versioned("1", upgrading))
    old = served(partition)
    assert old.shard.workflow("a").live is None, "cancelled"
    partition.start("b", "Order")
    old.run()
    partition.host(versioned("2", upgrading))
    owner = served(partition)
    partition.send("b", r.SignalWorkflow("unknown", request=partition.request()))
    owner.run()
    assert asked(partition, owner, "b").version == "2"
    partition.host(versioned("1", upgrading))
    owner = served(partition)
    signal(partition, "b")
    owner.run()
    parked = asked(partition, owner, "b").parked
    assert parked is not None
    assert parked.code == "ODR-151"
    partition.host(versioned("3", upgrading))
    owner = served(partition)
    owner.pass_time(60)
    assert outcome(partition, owner, "b") == ["3", "3"]


@pytest.mark.parametrize(
    ("behavior", "version"), [(VersioningBehavior.UNSPECIFIED, "2"), (VersioningBehavior.PINNED, "1")]
)
def test_what_follows_a_run_takes_the_newest_unless_it_is_pinned(behavior: VersioningBehavior, version: str) -> None:
    @workflow.defn(name="Turns", version="1", versioning_behavior=behavior)
    class One(Waits):
        @workflow.run
        async def run(self) -> str:
            await self.nth(1)
            if workflow.info().continued_run_id is None:
                workflow.continue_as_new(args=[])
            if workflow.info().attempt == 1:
                raise ApplicationError("again")
            return "1"

    @workflow.defn(name="Turns", version="2")
    class Two(One):
        @workflow.run
        async def run(self) -> str:
            await self.nth(1)
            if workflow.info().attempt == 1:
                raise ApplicationError("again")
            return "2"

    partition = Versioned(One)
    owner = served(partition)
    partition.start("a", "Turns", retry_policy=RetryPolicy(maximum_attempts=2).to_record())
    owner.run()
    partition.host(One, Two)
    owner = served(partition)
    for _ in range(3):
        signal(partition, "a")
        owner.run()
        owner.pass_time(2)
    assert outcome(partition, owner, "a") == version


def test_a_pinned_run_may_ask_for_the_newest_when_it_continues() -> None:
    @workflow.defn(name="Moves", version="1", versioning_behavior=VersioningBehavior.PINNED)
    class One(Waits):
        @workflow.run
        async def run(self) -> str:
            await self.nth(1)
            workflow.continue_as_new(
                args=[], initial_versioning_behavior=workflow.ContinueAsNewVersioningBehavior.AUTO_UPGRADE
            )

    @workflow.defn(name="Moves", version="2")
    class Two:
        @workflow.run
        async def run(self) -> str:
            return "2"

    partition = Versioned(One)
    owner = served(partition)
    partition.start("a", "Moves")
    owner.run()
    partition.host(One, Two)
    owner = served(partition)
    signal(partition, "a")
    owner.run()
    assert outcome(partition, owner, "a") == "2"


def test_a_registry_holds_one_class_of_a_name_and_version() -> None:
    registry = Registry()
    first, second = versioned("1"), versioned("1.10")
    registry.add([first, second, versioned("1.9")])
    assert registry.versions("any", "Order") == ["1.10", "1.9", "1"]
    assert registry.hosted() == ["Order"]
    with pytest.raises(InvalidWorkflow, match='version "1" already'):
        registry.add([versioned("1")])
    registry.add([first])


def test_exceptions_that_the_worker_names_fail_the_runs_of_all_its_types() -> None:
    @workflow.defn
    class Raises:
        @workflow.run
        async def run(self) -> None:
            raise KeyError("nothing")

    partition = Versioned()
    partition.host(Raises, failing=[LookupError])
    owner = served(partition)
    request = partition.start("a", "Raises")
    owner.run()
    closed = partition.replies(request)[-1]
    assert closed.status == r.RunStatus.FAILED
    assert closed.failure.type == "KeyError"


async def test_a_replayer_takes_the_version_that_a_run_was_on_and_says_which_side_is_gone() -> None:
    partition = Versioned(versioned("1"))
    owner = served(partition)
    partition.start("a", "Order")
    owner.run()
    history = WorkflowHistory("a", events(owner, "a", object, whole=True))
    changed = versioned("2")

    @workflow.defn(name="Order", version="1")
    class Different:
        @workflow.run
        async def run(self) -> None:
            await note("another")

    assert (await Replayer(workflows=[changed, versioned("1")]).replay_workflow(history)).replay_failure is None
    with pytest.raises(workflow.NondeterminismError, match="note"):
        await Replayer(workflows=[changed, Different]).replay_workflow(history)
    other, owner = opened(ThreeSides)
    other.start("m", "Many")
    owner.run()
    history = WorkflowHistory("m", events(owner, "m", object, whole=True))
    with pytest.raises(ReplayFailed, match="ODR-150: this run is on version 3"):
        await Replayer(workflows=[TwoSides]).replay_workflow(history)
