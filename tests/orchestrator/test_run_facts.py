"""What a run knows and says of itself: info, memo, search attributes, details, chance, metrics, queries."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client.registry import CollectorRegistry

from odradek import workflow
from odradek.common import Priority, RawValue, SearchAttributeKey, TypedSearchAttributes, WorkerDeploymentVersion
from odradek.common.prometheus import PrometheusMeter, UserMetrics
from odradek.converter import decode_search_attributes, decode_typed_search_attributes, encode_search_attributes
from odradek.exceptions import ApplicationError
from odradek.orchestrator.core import effects as fx
from odradek.schemas import records as r
from tests.orchestrator.partition import Owner, Partition
from tests.orchestrator.test_versions import Waits, asked, evict, opened, outcome, served, signal

COLOUR = SearchAttributeKey.for_keyword("Colour")
RANK = SearchAttributeKey.for_int("Rank")
DUE = SearchAttributeKey.for_datetime("Due")


def queried(partition: Partition, owner: Owner, workflow_id: str, name: str) -> Any:
    request = partition.request()
    partition.send(workflow_id, r.QueryWorkflow(request, name))
    owner.run()
    [answer] = partition.replies(request)
    assert isinstance(answer, r.QueryAnswer), answer
    assert answer.failure is None, answer.failure
    assert answer.result is not None
    return partition.converter.payload_converter.from_payload(answer.result)


# ---------------------------------------------------------------------------------------------------- data that changes


@workflow.defn
class Upserts(Waits):
    @workflow.run
    async def run(self) -> list[Any]:
        seen: list[Any] = []
        workflow.upsert_search_attributes([COLOUR.value_set("red"), RANK.value_set(1)])
        workflow.upsert_memo({"note": {"a": 1}, "old": None})
        await self.nth(1)
        info = workflow.info()
        seen.append(info.typed_search_attributes.get(COLOUR))
        workflow.upsert_search_attributes([COLOUR.value_unset(), RANK.value_set(2)])
        workflow.upsert_search_attributes({"Due": [datetime(2030, 1, 31, tzinfo=UTC)], "Gone": []})
        info = workflow.info()
        seen += [
            COLOUR in info.typed_search_attributes,
            info.search_attributes["Rank"],
            info.typed_search_attributes[DUE],
        ]
        workflow.upsert_memo({"more": [1, 2]})
        await self.nth(2)
        memo = workflow.memo()
        return [*seen, memo, workflow.memo_value("more", type_hint=tuple), workflow.memo_value("old", "none")]


@pytest.mark.parametrize("evicted", [False, True])
def test_memo_and_search_attributes_change_and_are_seen_by_the_code(evicted: bool) -> None:
    partition, owner = opened(Upserts)
    memo = {"old": partition.payload("x"), "kept": partition.payload("y")}
    partition.start("u", "Upserts", memo=memo, search_attributes=encode_search_attributes({"Kept": [True]}))
    owner.run()
    for _ in range(2):
        if evicted:
            evict(owner)
        signal(partition, "u")
        owner.run()
    colour, has_colour, rank, due, seen_memo, more, old = outcome(partition, owner, "u")
    assert (colour, has_colour, rank) == ("red", False, [2])
    assert due == "2030-01-31T00:00:00Z"
    assert seen_memo == {"kept": "y", "note": {"a": 1}, "more": [1, 2]}
    assert more == [1, 2]
    assert old == "none"


def test_an_upsert_is_shown_to_those_who_ask_and_those_who_list_whoever_owns_it() -> None:
    partition, owner = opened(Upserts)
    partition.start("u", "Upserts", search_attributes=encode_search_attributes({"Kept": [True]}))
    owner.run()
    signal(partition, "u")
    owner.run()
    expected = {"Kept": [True], "Rank": [2], "Due": [datetime(2030, 1, 31, tzinfo=UTC)]}
    for server in (owner, owner := served(partition)):
        description = asked(partition, server, "u")
        assert decode_search_attributes(description.search_attributes) == expected
        assert sorted(description.memo) == ["more", "note"]
        shown = [effect.record for effect in partition.emitted if isinstance(effect, fx.Show)][-1]
        assert shown is not None
        assert decode_search_attributes(shown.search_attributes) == expected
        assert sorted(shown.memo) == ["more", "note"]
    signal(partition, "u")
    owner.run()
    assert decode_search_attributes(asked(partition, owner, "u").search_attributes) == expected


def test_each_transition_shows_a_run_once() -> None:
    """Two records of one run and one number would leave it open which of them counts."""
    partition, owner = opened(Upserts)
    partition.start("u", "Upserts")
    owner.run()
    for _ in range(2):
        signal(partition, "u")
    owner.run()
    shown = [effect.record for effect in partition.emitted if isinstance(effect, fx.Show)]
    numbers = [(record.n, record.status) for record in shown if record]
    assert len({n for n, _ in numbers}) == len(numbers), numbers
    assert numbers[-1][1] == r.RunStatus.COMPLETED


def test_an_upsert_that_the_code_does_not_make_any_more_is_a_difference() -> None:
    @workflow.defn(name="Upserts")
    class Silent(Waits):
        @workflow.run
        async def run(self) -> None:
            await self.nth(1)

    partition, owner = opened(Upserts)
    partition.start("u", "Upserts")
    owner.run()
    owner = served(partition, Silent)
    signal(partition, "u")
    owner.run()
    parked = asked(partition, owner, "u").parked
    assert parked is not None
    assert parked.code == "ODR-070"
    assert "SearchAttributesUpserted" in parked.message


def test_a_run_that_continues_takes_what_was_upserted_along() -> None:
    @workflow.defn
    class Carries:
        @workflow.run
        async def run(self, again: bool) -> list[Any]:
            if again:
                workflow.upsert_memo({"step": 1})
                workflow.upsert_search_attributes([RANK.value_set(7)])
                workflow.continue_as_new(False)
            return [workflow.memo(), workflow.info().typed_search_attributes.get(RANK)]

    partition, owner = opened(Carries)
    request = partition.start("c", "Carries", True)
    owner.run()
    [closed] = [body for body in partition.replies(request) if isinstance(body, r.RunOutcome)]
    assert closed.status == r.RunStatus.CONTINUED_AS_NEW
    assert outcome(partition, owner, "c") == [{"step": 1}, 7]


def test_nothing_is_recorded_for_upserts_of_nothing_and_a_bad_value_is_refused() -> None:
    @workflow.defn(failure_exception_types=[ValueError, TypeError])
    class Careless:
        @workflow.run
        async def run(self) -> str:
            workflow.upsert_memo({})
            workflow.upsert_search_attributes([])
            try:
                workflow.upsert_search_attributes([RANK.value_set("high")])  # type: ignore[arg-type]
            except (ValueError, TypeError) as error:
                return str(error)
            return ""

    partition, owner = opened(Careless)
    request = partition.start("c", "Careless")
    owner.run()
    assert "Rank" in partition.result(request)


# ---------------------------------------------------------------------------------------------------- info


@workflow.defn
class Tells(Waits):
    @workflow.run
    async def run(self, arg: int) -> dict[str, Any]:
        if arg == 1:
            workflow.continue_as_new(2)
        await self.nth(1)
        info = workflow.info()
        return {
            "attempt": info.attempt,
            "continued": info.continued_run_id,
            "first": info.first_execution_run_id,
            "cron": info.cron_schedule,
            "timeouts": [str(info.execution_timeout), str(info.run_timeout), str(info.task_timeout)],
            "priority": info.priority.priority_key,
            "parent": info.parent and [info.parent.workflow_id, info.parent.run_id, info.parent.namespace],
            "root": info.root and [info.root.workflow_id, info.root.run_id],
            "times": [info.execution_start_time, info.workflow_start_time, info.start_time],
            "length": info.get_current_history_length(),
            "build": [info.get_current_build_id(), info.get_current_deployment_version()],
            "changed": info.is_target_worker_deployment_version_changed(),
            "last": [workflow.has_last_completion_result(), workflow.get_last_completion_result()],
        }


@pytest.mark.parametrize("evicted", [False, True])
def test_info_tells_of_the_chain_and_of_the_delay(evicted: bool) -> None:
    partition, owner = opened(Tells)
    begin = partition.now_ms
    first = partition.start(
        "t",
        "Tells",
        1,
        start_delay_ms=5_000,
        execution_timeout_ms=60_000,
        run_timeout_ms=30_000,
        priority=r.TaskPriority(3),
    )
    owner.run()
    owner.pass_time(5)
    owner.pass_time(1)
    if evicted:
        evict(owner)
    signal(partition, "t")
    owner.run()
    told = outcome(partition, owner, "t")
    [closed] = [body for body in partition.replies(first) if isinstance(body, r.RunOutcome)]
    assert told["continued"] == told["first"] == closed.run_id
    assert told["timeouts"] == ["0:01:00", "0:00:30", "0:00:10"]
    assert told["priority"] == 3
    assert told["times"] == [_iso(begin + 5_000)] * 3
    assert told["length"] == 2
    assert told["build"] == ["", None]
    assert (told["cron"], told["parent"], told["root"], told["changed"]) == (None, None, None, False)
    assert told["last"] == [False, None]


def _iso(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat().replace("+00:00", "Z")


def test_a_delayed_run_was_started_before_its_code_began() -> None:
    partition, owner = opened(Tells)
    begin = partition.now_ms
    partition.start("t", "Tells", 2, start_delay_ms=5_000)
    owner.run()
    owner.pass_time(5)
    evict(owner)
    signal(partition, "t")
    owner.run()
    assert outcome(partition, owner, "t")["times"] == [_iso(begin), _iso(begin), _iso(begin + 5_000)]


def test_info_names_parent_and_root() -> None:
    link = r.ParentLink("elsewhere", "parent", "parent-run", 1, "root", "root-run")
    partition, owner = opened(Tells)
    partition.start("t", "Tells", 2, parent=link)
    owner.run()
    signal(partition, "t")
    owner.run()
    told = outcome(partition, owner, "t")
    assert told["parent"] == ["parent", "parent-run", "elsewhere"]
    assert told["root"] == ["root", "root-run"]


def test_a_version_is_a_deployment_of_its_type() -> None:
    version = WorkerDeploymentVersion.from_canonical_string("Order.2.1")
    assert (version.deployment_name, version.build_id) == ("Order", "2.1")
    assert version.to_canonical_string() == "Order.2.1"
    with pytest.raises(ValueError, match="deployment name"):
        WorkerDeploymentVersion.from_canonical_string("Order")


@workflow.defn
class Nightly:
    @workflow.run
    async def run(self) -> list[Any]:
        number = workflow.get_last_completion_result(int) or 0
        failure = workflow.get_last_failure()
        if number == 1 and failure is None:
            raise ApplicationError("bad night", type="Bad")
        if failure is not None:
            return [number, workflow.has_last_completion_result(), str(failure), type(failure).__name__]
        return number + 1  # type: ignore[return-value]


def test_a_cron_run_knows_the_last_result_and_the_last_failure() -> None:
    partition, owner = opened(Nightly)
    partition.start("n", "Nightly", cron_schedule="0 0 * * *")
    owner.run()
    for _ in range(3):
        owner.pass_time(86_400)
    results = [
        effect.body.result
        for effect in partition.emitted
        if isinstance(effect, fx.Reply) and isinstance(effect.body, r.RunOutcome)
    ]
    assert results
    closed = owner.shard.workflow("n").closed.values()
    values = [partition.converter.payload_converter.from_payload(s.result) for s in closed if s.result is not None]
    assert values == [1, [1, True, "Bad: bad night", "ApplicationError"]]


# ---------------------------------------------------------------------------------------------------- chance, details


@workflow.defn
class Draws(Waits):
    @workflow.run
    async def run(self) -> list[Any]:
        workflow.register_random_seed_callback(lambda seed: None)
        own = workflow.new_random()
        first = [own.random(), workflow.random().random(), str(workflow.uuid4())]
        workflow.set_current_details("drawing")
        await self.nth(1)
        workflow.set_current_details("drew")
        return [*first, own.random(), workflow.random().random(), workflow.random_seed() == workflow.random_seed()]


@pytest.mark.parametrize("evicted", [False, True])
def test_chance_is_the_same_in_a_replay_and_generators_are_apart(evicted: bool) -> None:
    partition, owner = opened(Draws)
    partition.start("d", "Draws")
    owner.run()
    if evicted:
        evict(owner)
    signal(partition, "d")
    owner.run()
    run_id = asked(partition, owner, "d").run_id
    expected = random.Random(run_id)
    drawn = [expected.random(), expected.random()]
    result = outcome(partition, owner, "d")
    assert [result[0], result[3]] == drawn
    assert result[1] == drawn[0]
    assert result[4] != result[1]
    assert result[5] is True


def test_details_are_shown_while_the_code_is_in_memory_and_cannot_be_set_by_a_query() -> None:
    @workflow.defn
    class Sneaky(Waits):
        @workflow.run
        async def run(self) -> str:
            workflow.set_current_details("honest")
            await self.nth(1)
            return workflow.get_current_details()

        @workflow.query
        def sneak(self) -> str:
            try:
                workflow.set_current_details("changed")
            except workflow.ReadOnlyContextError:
                return f"refused, read only: {workflow.unsafe.is_read_only()}"
            return "done"

    partition, owner = opened(Sneaky)
    partition.start("s", "Sneaky")
    owner.run()
    assert asked(partition, owner, "s").current_details == "honest"
    assert queried(partition, owner, "s", "sneak") == "refused, read only: True"
    signal(partition, "s")
    owner.run()
    assert outcome(partition, owner, "s") == "honest"


# ---------------------------------------------------------------------------------------------------- metrics, logs


@workflow.defn
class Counts(Waits):
    @workflow.run
    async def run(self) -> None:
        meter = workflow.metric_meter()
        orders = meter.create_counter("orders", "Orders seen").with_additional_attributes({"region": "eu"})
        orders.add(1)
        meter.create_histogram_timedelta("took").record(timedelta(seconds=2))
        meter.create_gauge("open").set(5, {"shelf": 3})
        await self.nth(1)
        orders.add(10)


def test_metrics_are_counted_once_however_often_the_run_is_replayed() -> None:
    registry = CollectorRegistry()
    meter = PrometheusMeter(metrics=UserMetrics(), registry=registry)
    partition = Partition([Counts], meter=meter)
    owner = Owner(partition)
    partition.start("c", "Counts")
    owner.run()
    for _ in range(3):
        owner = served(partition)
        evict(owner)
        queried(partition, owner, "c", "__stack_trace")
    signal(partition, "c")
    owner.run()
    common = {"namespace": "test", "task_queue": "queue", "workflow_type": "Counts"}
    assert registry.get_sample_value("orders_total", {**common, "region": "eu"}) == 11
    assert registry.get_sample_value("took_bucket", {**common, "le": "2.5"}) == 1
    assert registry.get_sample_value("took_bucket", {**common, "le": "1.0"}) == 0
    assert registry.get_sample_value("open", {**common, "shelf": "3"}) == 5


@workflow.defn
class Logs:
    @workflow.run
    async def run(self) -> None:
        workflow.logger.warning("hello", extra={"mine": 1})


def test_a_log_line_carries_the_run_and_what_the_caller_adds(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflow.logger, "full_workflow_info_on_extra", True)
    partition, owner = opened(Logs)
    partition.start("l", "Logs")
    owner.run()
    [record] = [record for record in caplog.records if record.name == "odradek.workflow"]
    facts: Any = record
    assert record.getMessage().startswith("hello ({'attempt': 1, ")
    assert (facts.mine, facts.workflow_id, facts.odradek_workflow["workflow_type"]) == (1, "l", "Logs")
    assert facts.workflow_info.run_id == facts.run_id
    monkeypatch.setattr(workflow.logger, "workflow_info_on_message", False)
    partition.start("m", "Logs")
    owner.run()
    assert caplog.records[-1].getMessage() == "hello"
    assert workflow.logger.base_logger is logging.getLogger("odradek.workflow")


# ---------------------------------------------------------------------------------------------------- what it waits for


def is_late() -> bool:
    return False


@workflow.defn(name="Standing")
class Stands(Waits):
    """Waits in several places."""

    @workflow.signal(description="Goes on.")
    def proceed(self) -> None: ...

    @workflow.query
    def where(self) -> str:
        """Where it is."""
        return "here"

    @workflow.run
    async def run(self) -> None:
        workflow.set_current_details("standing")
        other = asyncio.create_task(self.deeper())
        await workflow.wait_condition(
            lambda: self.signals
            >= 3
        )  # fmt: skip
        await other

    async def deeper(self) -> None:
        await asyncio.gather(workflow.wait_condition(is_late), workflow.sleep(60, summary="nap"))


def test_describe_names_the_conditions_of_code_that_is_in_memory() -> None:
    partition, owner = opened(Stands)
    partition.start("s", "Standing")
    owner.run()
    line = Stands.run.__code__.co_firstlineno
    waits = asked(partition, owner, "s").waits
    assert [(wait.kind, wait.name) for wait in waits] == [
        ("timer", "nap"),
        ("condition", f"lambda: self.signals >= 3 (test_run_facts.py:{line + 5})"),
        ("condition", f"is_late (test_run_facts.py:{is_late.__code__.co_firstlineno})"),
    ]
    evict(owner)
    assert [wait.kind for wait in asked(partition, owner, "s").waits] == ["timer"]


def test_the_stack_trace_query_says_where_each_task_waits() -> None:
    partition, owner = opened(Stands)
    partition.start("s", "Standing")
    owner.run()
    trace = queried(partition, owner, "s", "__stack_trace")
    line = Stands.run.__code__.co_firstlineno
    assert trace.startswith("Task main:\n")
    assert f'{__file__}", line {line + 4}, in Stands.run' in trace
    assert "in Stands.deeper" in trace
    assert "odradek/orchestrator" not in trace
    assert "odradek/workflow" not in trace


@pytest.mark.parametrize("name", ["__workflow_metadata", "__temporal_workflow_metadata"])
def test_the_metadata_query_names_handlers_and_details(name: str) -> None:
    partition, owner = opened(Stands)
    partition.start("s", "Standing")
    owner.run()
    told = queried(partition, owner, "s", name)
    assert told["currentDetails"] == "standing"
    assert told["definition"]["type"] == "Standing"
    assert {"name": "where", "description": "Where it is."} in told["definition"]["queryDefinitions"]
    assert told["definition"]["signalDefinitions"] == [
        {"name": "go", "description": ""},
        {"name": "proceed", "description": "Goes on."},
    ]
    assert json.dumps(told)


# ---------------------------------------------------------------------------------------------------- dynamic workflows


@workflow.defn(dynamic=True)
class StandsIn:
    @workflow.dynamic_config
    def config(self) -> workflow.DynamicWorkflowConfig:
        wanted = [KeyError] if workflow.info().workflow_type == "Strict" else []
        return workflow.DynamicWorkflowConfig(failure_exception_types=wanted)

    @workflow.run
    async def run(self, args: Sequence[RawValue]) -> None:
        assert workflow.is_failure_exception(ApplicationError("x"))
        raise KeyError(workflow.payload_converter().from_payload(args[0].payload))


def test_a_dynamic_workflow_decides_what_fails_it_for_each_type() -> None:
    partition = Partition()
    partition.hosted |= {name: workflow.Definition.of(StandsIn) for name in ("Strict", "Lenient")}
    owner = Owner(partition)
    strict = partition.start("s", "Strict", "nothing")
    partition.start("l", "Lenient", "nothing")
    owner.run()
    closed = partition.replies(strict)[-1]
    assert (closed.status, closed.failure.message) == (r.RunStatus.FAILED, "'nothing'")
    parked = asked(partition, owner, "l").parked
    assert parked is not None
    assert parked.code == "ODR-071"


def test_only_a_dynamic_workflow_has_a_dynamic_config() -> None:
    with pytest.raises(workflow.InvalidWorkflow, match="dynamic_config"):

        @workflow.defn
        class Named:
            @workflow.dynamic_config
            def config(self) -> workflow.DynamicWorkflowConfig:
                return workflow.DynamicWorkflowConfig()

            @workflow.run
            async def run(self) -> None: ...


def test_priority_and_attributes_have_defaults() -> None:
    assert Priority.default.priority_key is None
    assert len(decode_typed_search_attributes({})) == len(TypedSearchAttributes.empty) == 0
