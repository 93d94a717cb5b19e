"""Updates: accepted or rejected once, answered however often they are asked for, whatever dies meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from odradek import workflow
from odradek.common import RawValue
from odradek.exceptions import ApplicationError
from odradek.orchestrator.core import effects as fx
from odradek.schemas import records as r
from odradek.workflow.definition import Handler
from tests.orchestrator.partition import NEVER_MS, Owner, Partition

VALIDATED: list[int] = []


@pytest.fixture(autouse=True)
def no_validations() -> Iterator[None]:
    VALIDATED.clear()
    yield
    VALIDATED.clear()


@workflow.defn
class Account:
    def __init__(self) -> None:
        self.balance = 0
        self.seen: list[str] = []
        self.open = True

    @workflow.run
    async def run(self) -> int:
        self.seen.append("main")
        await workflow.wait_condition(lambda: not self.open)
        return self.balance

    @workflow.update
    def deposit(self, amount: int) -> int:
        info = workflow.current_update_info()
        assert info is not None
        self.seen.append(info.id)
        self.balance += amount
        return self.balance

    @deposit.validator
    def check(self, amount: int) -> None:
        VALIDATED.append(amount)  # odradek: deterministic
        if amount <= 0:
            raise ApplicationError("too little", type="TooLittle")

    @workflow.update
    async def slow(self, seconds: float) -> str:
        await workflow.sleep(seconds)
        return "done"

    @workflow.update
    def fail(self) -> None:
        raise ApplicationError("no", type="No")

    @workflow.update
    def bug(self) -> None:
        raise RuntimeError("bug")

    @workflow.signal
    def close(self) -> None:
        self.open = False

    @workflow.query
    def get(self) -> int:
        return self.balance

    @workflow.query
    def order(self) -> list[str]:
        return self.seen


def update(
    partition: Partition, name: str, *args: Any, id: str = "u1", completed: bool = True, **options: Any
) -> r.UpdateWorkflow:
    request = options.pop("request", None) or partition.request()
    body = r.UpdateWorkflow(
        request, id, name, [partition.payload(arg) for arg in args], wait_completed=completed, **options
    )
    partition.send("w", body)
    return body


def ask(partition: Partition, id: str = "u1", run_id: str | None = None) -> r.Request:
    request = partition.request()
    partition.send("w", r.AwaitUpdate(request, id, run_id))
    return request


def query(partition: Partition, name: str = "get", run_id: str | None = None, **options: Any) -> r.Request:
    request = partition.request()
    partition.send("w", r.QueryWorkflow(request, name, run_id=run_id, **options))
    return request


def outcome(partition: Partition, request: r.Request) -> r.UpdateOutcome:
    found = partition.replies(request)[-1]
    assert isinstance(found, r.UpdateOutcome), found
    return found


def answer(partition: Partition, request: r.Request) -> Any:
    found = partition.replies(request)[-1]
    assert isinstance(found, r.QueryAnswer), found
    assert found.failure is None, found
    assert found.result is not None
    return partition.converter.payload_converter.from_payload(found.result)


def value(partition: Partition, found: r.UpdateOutcome) -> Any:
    assert found.completed
    assert found.failure is None, found
    return partition.converter.payload_converter.from_payload(found.result) if found.result else None


def bodies(owner: Owner) -> list[Any]:
    live = owner.shard.workflow("w").live
    assert live is not None
    return [event.body for event in owner.shard.events(live)]


def begun() -> tuple[Partition, Owner, r.Request]:
    partition = Partition([Account])
    owner = Owner(partition)
    started = partition.start("w", "Account")
    owner.run()
    return partition, owner, started


def test_an_update_is_answered_with_what_its_handler_returns() -> None:
    partition, owner, _ = begun()
    sent = update(partition, "deposit", 5)
    owner.run()
    assert value(partition, outcome(partition, sent.request)) == 5
    assert len(partition.replies(sent.request)) == 1
    assert [type(body).__name__ for body in bodies(owner)] == ["RunStarted", "UpdateAccepted", "UpdateCompleted"]


def test_a_handler_that_waits_is_accepted_at_once_and_answered_later() -> None:
    partition, owner, _ = begun()
    waiting = update(partition, "slow", 10.0)
    content = update(partition, "slow", 10.0, id="u2", completed=False)
    owner.run()
    assert not outcome(partition, waiting.request).completed
    owner.pass_time(10)
    assert value(partition, outcome(partition, waiting.request)) == "done"
    assert [reply.completed for reply in partition.replies(content.request)] == [False]
    assert value(partition, outcome(partition, _run(owner, ask(partition, "u2")))) == "done"


def _run(owner: Owner, request: r.Request) -> r.Request:
    owner.run()
    return request


def test_the_same_update_id_counts_once_and_is_answered_the_same() -> None:
    partition, owner, _ = begun()
    requests = [update(partition, "deposit", 5).request for _ in range(3)]
    owner.run()
    requests.append(update(partition, "deposit", 5).request)
    owner.run()
    assert [value(partition, outcome(partition, request)) for request in requests] == [5] * 4
    assert answer(partition, _run(owner, query(partition))) == 5


def test_a_rejected_update_is_an_event_that_the_code_never_sees() -> None:
    partition, owner, _ = begun()
    sent = update(partition, "deposit", -1)
    owner.run()
    failure = outcome(partition, sent.request).failure
    assert failure is not None
    assert (failure.message, failure.type) == ("too little", "TooLittle")
    update(partition, "deposit", -1, request=sent.request)
    owner.run()
    assert outcome(partition, sent.request).failure == failure
    assert VALIDATED == [-1], "the repeated request is answered from the history"
    assert value(partition, outcome(partition, _run(owner, update(partition, "deposit", 2).request))) == 2
    assert [type(body).__name__ for body in bodies(owner)].count("UpdateRejected") == 1


@pytest.mark.parametrize(
    ("name", "args", "says"),
    [("unknown", (), "has: bug, deposit, fail, slow"), ("deposit", ("x",), "ODR-069"), ("deposit", (), "missing")],
)
def test_an_update_that_does_not_fit_is_rejected_and_parks_nothing(name: str, args: Sequence[Any], says: str) -> None:
    partition, owner, _ = begun()
    sent = update(partition, name, *args)
    owner.run()
    failure = outcome(partition, sent.request).failure
    assert failure is not None
    assert says in failure.message
    assert not owner.shard.parked


def test_a_failure_fails_the_update_and_not_the_run() -> None:
    partition, owner, _ = begun()
    sent = update(partition, "fail")
    owner.run()
    failure = outcome(partition, sent.request).failure
    assert failure is not None
    assert failure.type == "No"
    assert value(partition, outcome(partition, _run(owner, update(partition, "deposit", 1, id="u2").request))) == 1


def test_a_bug_parks_the_run_and_later_updates_are_refused_for_the_time_being() -> None:
    partition, owner, _ = begun()
    sent = update(partition, "bug")
    owner.run()
    assert not outcome(partition, sent.request).completed
    assert owner.shard.parked
    later = update(partition, "deposit", 1, id="u2")
    owner.run()
    assert partition.replies(later.request)[-1].code == "ODR-108"
    handlers = partition.hosted["Account"].updates
    broken = handlers["bug"]
    handlers["bug"] = Handler("bug", lambda self: "mended")
    try:
        owner.pass_time(2)
        assert value(partition, outcome(partition, sent.request)) == "mended"
        update(partition, "deposit", 1, id="u2", request=later.request)
        owner.run()
        assert value(partition, outcome(partition, later.request)) == 1
    finally:
        handlers["bug"] = broken


def test_an_update_before_a_delayed_start_is_refused_for_the_time_being() -> None:
    partition = Partition([Account])
    owner = Owner(partition)
    partition.start("w", "Account", start_delay_ms=5000)
    sent = update(partition, "deposit", 1)
    owner.run()
    assert partition.replies(sent.request)[-1].code == "ODR-108"
    owner.pass_time(6)
    update(partition, "deposit", 1, request=sent.request)
    owner.run()
    assert value(partition, outcome(partition, sent.request)) == 1


def test_who_waits_for_an_update_hears_that_its_run_ended_first() -> None:
    partition, owner, started = begun()
    sent = update(partition, "slow", 100.0)
    owner.run()
    partition.send("w", r.SignalWorkflow("close", request=partition.request()))
    with pytest.warns(workflow.UnfinishedUpdateHandlersWarning, match='"id": "u1"'):
        owner.run()
    assert partition.result(started) == 0
    for request in (sent.request, _run(owner, ask(partition)), _run(owner, ask(partition, run_id=run_of(partition)))):
        failure = outcome(partition, request).failure
        assert failure is not None
        assert failure.type == "AcceptedUpdateCompletedWorkflow"


def run_of(partition: Partition) -> str:
    replies = [e.body for e in partition.emitted if isinstance(e, fx.Reply)]
    return next(body.run_id for body in replies if isinstance(body, r.Accepted | r.UpdateOutcome))


@workflow.defn
class LastWords:
    """Ends with an update, and answers it."""

    def __init__(self) -> None:
        self.end = False

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: self.end)
        return "over"

    @workflow.update
    async def finish(self) -> str:
        self.end = True
        await workflow.wait_condition(lambda: self.end)
        await asyncio.sleep(0)
        return "finished"


def test_an_update_that_ends_its_run_in_the_same_step_is_answered_first() -> None:
    partition = Partition([LastWords])
    owner = Owner(partition)
    started = partition.start("w", "LastWords")
    owner.run()
    sent = update(partition, "finish")
    owner.run()
    assert value(partition, outcome(partition, sent.request)) == "finished"
    assert partition.result(started) == "over"
    again = _run(owner, ask(partition))
    assert value(partition, outcome(partition, again)) == "finished"
    repeated = _run(owner, update(partition, "finish", request=sent.request).request)
    assert value(partition, outcome(partition, repeated)) == "finished"
    refused = _run(owner, update(partition, "finish", id="other").request)
    assert partition.replies(refused)[-1].code == "ODR-102"


def test_no_such_update() -> None:
    partition, owner, _ = begun()
    request = _run(owner, ask(partition, "never"))
    assert partition.replies(request)[-1].code == "ODR-139"


# ---------------------------------------------------------------------------------------------- with a start


def start_with(partition: Partition, name: str, *args: Any, policy: str = "use-existing", **options: Any) -> r.Request:
    request = options.pop("request", None) or partition.request()
    body = r.UpdateWorkflow(request, "u1", name, [partition.payload(arg) for arg in args], wait_completed=True)
    options.setdefault("workflow_type", "Account")
    partition.send("w", r.StartWorkflow(request, task_queue="queue", id_conflict_policy=policy, update=body, **options))
    return request


def test_a_fresh_run_takes_the_update_in_before_its_main_method() -> None:
    partition = Partition([Account])
    owner = Owner(partition)
    request = start_with(partition, "deposit", 3)
    owner.run()
    assert value(partition, outcome(partition, request)) == 3
    assert answer(partition, _run(owner, query(partition, "order"))) == ["u1", "main"]
    start_with(partition, "deposit", 3, request=request)
    owner.run()
    assert value(partition, outcome(partition, request)) == 3
    second = _run(owner, start_with(partition, "deposit", 3))
    assert value(partition, outcome(partition, second)) == 3, "the same update ID"
    assert answer(partition, _run(owner, query(partition))) == 3
    owner.shard.drop_instance(next(iter(owner.shard.instances.values())))
    assert answer(partition, _run(owner, query(partition, "order"))) == ["u1", "main"]


def test_a_rejected_update_leaves_the_run_started() -> None:
    partition = Partition([Account])
    owner = Owner(partition)
    request = start_with(partition, "deposit", -3)
    owner.run()
    failure = outcome(partition, request).failure
    assert failure is not None
    assert failure.type == "TooLittle"
    assert answer(partition, _run(owner, query(partition, "order"))) == ["main"]
    start_with(partition, "deposit", -3, request=request)
    owner.run()
    assert outcome(partition, request).failure == failure


def test_an_open_run_takes_the_update_in_or_refuses_the_start() -> None:
    partition, owner, _ = begun()
    joined = start_with(partition, "deposit", 4)
    owner.run()
    assert value(partition, outcome(partition, joined)) == 4
    refused = _run(owner, start_with(partition, "deposit", 4, policy="fail"))
    assert partition.replies(refused)[-1].code == "ODR-101"
    assert answer(partition, _run(owner, query(partition))) == 4


def test_a_start_whose_code_cannot_be_asked_yet_is_accepted_alone() -> None:
    partition = Partition([Account])
    owner = Owner(partition)
    delayed = start_with(partition, "deposit", 4, start_delay_ms=1000)
    owner.run()
    assert isinstance(partition.replies(delayed)[-1], r.Accepted)


# ---------------------------------------------------------------------------------------------- crashes


def test_a_crash_at_any_point_loses_no_answered_update_and_applies_none_twice() -> None:
    """Each owner dies after some number of its steps; clients ask again with the same request and update ID."""
    for crash_after in range(1, 14):
        partition = Partition([Account])
        requests = [partition.request(f"u-{n}") for n in range(3)]
        partition.start("w", "Account")

        def send(partition: Partition = partition, requests: Sequence[r.Request] = requests) -> None:
            for n, request in enumerate(requests):
                if not any(reply.completed for reply in partition.replies(request)):
                    update(partition, "deposit", 1, id=f"u{n}", request=request)

        send()
        owner = Owner(partition)
        for _ in range(crash_after):
            owner.read(1)
            owner.send()
            if crash_after % 2:
                owner.land_all()
            if crash_after % 3:
                owner.emit_all()
        successor = Owner(partition)
        successor.run()
        send()
        successor.run()
        assert all(outcome(partition, request).completed for request in requests)
        assert sorted(value(partition, outcome(partition, request)) for request in requests) == [1, 2, 3]
        assert answer(partition, _run(successor, query(partition))) == 3


def test_a_new_owner_tells_those_who_ask_again() -> None:
    partition, owner, _ = begun()
    update(partition, "slow", 10.0)
    owner.run()
    successor = Owner(partition)
    successor.run()
    request = _run(successor, ask(partition))
    assert not outcome(partition, request).completed
    successor.pass_time(11)
    assert value(partition, outcome(partition, request)) == "done"


# ---------------------------------------------------------------------------------------------- closed runs


def test_a_closed_run_is_queried_from_the_archive() -> None:
    partition, owner, started = begun()
    update(partition, "deposit", 7)
    owner.run()
    run_id = run_of(partition)
    partition.send("w", r.SignalWorkflow("close", request=partition.request()))
    owner.run()
    assert partition.result(started) == 7
    for run in (None, run_id):
        assert answer(partition, _run(owner, query(partition, run_id=run))) == 7
    assert owner.shard.replays == 1, "the second query finds the code in memory"
    rejected = _run(owner, query(partition, reject_condition="not-open"))
    assert (partition.replies(rejected)[-1].code, partition.replies(rejected)[-1].status) == ("ODR-106", "completed")
    assert answer(partition, _run(owner, query(partition, reject_condition="not-completed-cleanly"))) == 7
    successor = Owner(partition)
    successor.run()
    assert answer(partition, _run(successor, query(partition))) == 7


def test_a_terminated_run_has_not_completed_cleanly() -> None:
    partition, owner, _ = begun()
    partition.send("w", r.TerminateWorkflow(partition.request()))
    owner.run()
    rejected = _run(owner, query(partition, reject_condition="not-completed-cleanly"))
    assert partition.replies(rejected)[-1].status == "terminated"
    assert answer(partition, _run(owner, query(partition))) == 0


def test_questions_about_a_run_that_is_being_read_wait_for_one_read_and_hold_nothing_up() -> None:
    partition, owner, _ = begun()
    partition.send("w", r.TerminateWorkflow(partition.request()))
    owner.run()
    reads: list[fx.ReadArchive] = []
    emit = owner.emit
    owner.emit = lambda effect: reads.append(effect) if isinstance(effect, fx.ReadArchive) else emit(effect)  # type: ignore[method-assign]
    questions = [query(partition), query(partition)]
    partition.start("other", "Account")
    owner.run()
    assert len(reads) == 1
    assert owner.shard.workflow("other").live is not None
    assert not partition.replies(questions[0])
    reads[0].on_read("ODR-134: gone")
    owner.run()
    assert [partition.replies(question)[-1].code for question in questions] == ["ODR-134"] * 2


# ---------------------------------------------------------------------------------------------- handlers


@workflow.defn
class Open:
    """Sets its handlers while it runs."""

    def __init__(self) -> None:
        self.got: list[Any] = []

    @workflow.run
    async def run(self) -> list[Any]:
        await workflow.sleep(10)
        assert workflow.get_signal_handler("a") is None
        workflow.set_signal_handler("a", lambda x: self.got.append(("a", x)))
        workflow.set_dynamic_signal_handler(self.any_signal)
        assert workflow.get_signal_handler("a") is not None
        workflow.set_query_handler("q", lambda: len(self.got))
        workflow.set_update_handler("u", self.changed, validator=self.check)
        workflow.set_dynamic_update_handler(self.any_update)
        await workflow.wait_condition(lambda: "end" in self.got)
        return self.got

    def any_signal(self, name: str, args: Sequence[RawValue]) -> None:
        self.got.append((name, [workflow.payload_converter().from_payload(raw.payload) for raw in args]))

    async def changed(self, x: int) -> int:
        self.got.append(x)
        return x + 1

    def check(self, x: int) -> None:
        if x < 0:
            raise ApplicationError("negative")

    def any_update(self, name: str, args: Sequence[RawValue]) -> str:
        self.got.append("end")
        return name

    @workflow.query(dynamic=True)
    def any_query(self, name: str, args: Sequence[RawValue]) -> str:
        return f"{name}/{len(args)}"


def signal(partition: Partition, name: str, *args: Any) -> None:
    partition.send("w", r.SignalWorkflow(name, [partition.payload(a) for a in args], request=partition.request()))


def test_signals_wait_for_their_handler_in_order() -> None:
    partition = Partition([Open])
    owner = Owner(partition)
    started = partition.start("w", "Open")
    for name, x in (("b", 1), ("a", 2), ("c", 3), ("a", 4)):
        signal(partition, name, x)
    owner.run()
    assert answer(partition, _run(owner, query(partition, "q"))) == "q/0"
    owner.pass_time(10)
    assert answer(partition, _run(owner, query(partition, "q"))) == 4
    assert value(partition, outcome(partition, _run(owner, update(partition, "u", 5).request))) == 6
    rejected = outcome(partition, _run(owner, update(partition, "u", -5, id="u2").request))
    assert rejected.failure is not None
    assert value(partition, outcome(partition, _run(owner, update(partition, "else", 1, id="u3").request))) == "else"
    assert partition.result(started) == [["a", 2], ["a", 4], ["b", [1]], ["c", [3]], 5, "end"]


def test_handlers_that_only_read_may_not_change_anything() -> None:
    @workflow.defn(name="Meddling")
    class Meddling:
        def __init__(self) -> None:
            self.woken = asyncio.Event()

        @workflow.run
        async def run(self) -> None:
            await self.woken.wait()

        @workflow.query
        def wakes(self) -> None:
            self.woken.set()

        @workflow.query
        def sets(self) -> None:
            workflow.set_signal_handler("x", None)

        @workflow.query
        def draws(self) -> float:
            return workflow.random().random()

        @workflow.update
        def never(self) -> None: ...

        @never.validator
        def sleeps(self) -> None:
            asyncio.get_running_loop().call_later(1, print)

        with pytest.warns(DeprecationWarning, match="async query"):

            @workflow.query
            async def ready(self) -> int:
                await asyncio.sleep(0) if self.woken.is_set() else None
                return 1

    partition = Partition([Meddling])
    owner = Owner(partition)
    partition.start("w", "Meddling")
    owner.run()
    for name in ("wakes", "sets", "draws"):
        found = partition.replies(_run(owner, query(partition, name)))[-1]
        assert found.failure is not None, name
        assert "ODR-068" in found.failure.message
    rejected = outcome(partition, _run(owner, update(partition, "never").request))
    assert rejected.failure is not None
    assert "ODR-068" in rejected.failure.message
    assert owner.shard.workflow("w").live is not None, "what the query woke was thrown away"
    assert answer(partition, _run(owner, query(partition, "ready"))) == 1


def test_abandoned_signal_handlers_are_warned_of_unless_they_may_be() -> None:
    @workflow.defn(name="Hasty")
    class Hasty:
        @workflow.run
        async def run(self) -> None:
            await workflow.sleep(1)
            assert not workflow.all_handlers_finished()

        @workflow.signal
        async def waits(self) -> None:
            await workflow.sleep(100)

        @workflow.signal(unfinished_policy=workflow.HandlerUnfinishedPolicy.ABANDON)
        async def may(self) -> None:
            await workflow.sleep(100)

    for name, warned in (("waits", True), ("may", False)):
        partition = Partition([Hasty])
        owner = Owner(partition)
        started = partition.start("w", "Hasty")
        signal(partition, name)
        owner.run()
        if warned:
            with pytest.warns(workflow.UnfinishedSignalHandlersWarning, match='"waits", "count": 1'):
                owner.pass_time(1)
        else:
            owner.pass_time(1)
        assert partition.result(started) is None


def test_requests_that_come_too_late_are_refused() -> None:
    partition, owner, _ = begun()
    request = r.Request("late", partition.now_ms - 1, "client", 0)
    update(partition, "deposit", 1, request=request)
    owner.run()
    assert partition.replies(request)[-1].code == "ODR-104"
    assert partition.request().expires_ms == NEVER_MS


@workflow.defn(dynamic=True)
class Anything:
    """Runs every type that no other class claims."""

    @workflow.run
    async def run(self, args: Sequence[RawValue]) -> str:
        convert = workflow.payload_converter()
        values = [convert.from_payload(raw.payload) for raw in args]
        return f"{workflow.info().workflow_type}{values}"


def test_a_dynamic_workflow_takes_its_input_as_raw_values() -> None:
    partition = Partition()
    partition.hosted = {"Whatever": workflow.Definition.of(Anything)}
    owner = Owner(partition)
    started = partition.start("w", "Whatever", 1, "two")
    owner.run()
    assert partition.result(started) == "Whatever[1, 'two']"


class TestDefinitions:
    """What cannot be is said when the class is defined."""

    def test_a_dynamic_workflow_needs_raw_values(self) -> None:
        class Wrong:
            @workflow.run
            async def run(self, x: int) -> None: ...

        with pytest.raises(workflow.InvalidWorkflow, match="Sequence\\[RawValue\\]"):
            workflow.defn(dynamic=True)(Wrong)

    def test_a_dynamic_handler_needs_a_name_and_raw_values(self) -> None:
        with pytest.raises(workflow.InvalidWorkflow, match="name: str"):

            @workflow.signal(dynamic=True)
            def wrong(self: Any, x: int) -> None: ...

    def test_a_validator_takes_what_its_update_takes(self) -> None:
        @workflow.update
        def change(self: Any, x: int) -> None: ...

        with pytest.raises(workflow.InvalidWorkflow, match="same parameters"):

            @change.validator  # type: ignore[arg-type]
            def check(self: Any, x: str) -> None: ...

    def test_init_takes_what_run_takes_and_only_init_may(self) -> None:
        class Fewer:
            @workflow.init
            def __init__(self) -> None: ...

            @workflow.run
            async def run(self, x: int) -> None: ...

        class Bare:
            def __init__(self, x: int) -> None: ...

            @workflow.run
            async def run(self, x: int) -> None: ...

        class Elsewhere:
            @workflow.init
            def prepare(self, x: int) -> None: ...

            @workflow.run
            async def run(self, x: int) -> None: ...

        for cls, problem in (
            (Fewer, "same parameters"),
            (Bare, "needs arguments"),
            (Elsewhere, "__init__ method only"),
        ):
            with pytest.raises(workflow.InvalidWorkflow, match=problem):
                workflow.defn(cls)


@workflow.defn
class Renewed:
    def __init__(self) -> None:
        self.renew = False

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: self.renew)
        workflow.continue_as_new()

    @workflow.update
    async def wait(self, seconds: float) -> str:
        await workflow.sleep(seconds)
        return workflow.info().run_id

    @workflow.signal
    def go_on(self) -> None:
        self.renew = True


@pytest.mark.filterwarnings("ignore::odradek.workflow.UnfinishedUpdateHandlersWarning")
def test_an_update_does_not_follow_into_the_next_run() -> None:
    """It fails with its run; the next one does not know its ID."""
    partition = Partition([Renewed])
    owner = Owner(partition)
    partition.start("w", "Renewed")
    first = update(partition, "wait", 50.0)
    owner.run()
    run_id = outcome(partition, first.request).run_id
    signal(partition, "go_on")
    owner.run()
    for request in (first.request, _run(owner, ask(partition, run_id=run_id))):
        failure = outcome(partition, request).failure
        assert failure is not None
        assert failure.type == "AcceptedUpdateCompletedWorkflow"
    second = update(partition, "wait", 0.0)
    owner.run()
    assert value(partition, outcome(partition, second.request)) == outcome(partition, second.request).run_id != run_id


def test_a_late_copy_of_a_request_about_a_known_update_begins_nothing_in_the_next_run() -> None:
    """A second request had joined the update; its copy comes after continue-as-new."""
    partition = Partition([Renewed])
    owner = Owner(partition)
    partition.start("w", "Renewed")
    first = update(partition, "wait", 0.0)
    owner.run()
    second = update(partition, "wait", 0.0)
    owner.run()
    run_id = outcome(partition, second.request).run_id
    assert value(partition, outcome(partition, first.request)) == value(partition, outcome(partition, second.request))
    signal(partition, "go_on")
    owner.run()
    partition.send("w", second)
    owner.run()
    assert [reply.run_id for reply in partition.replies(second.request)] == [run_id, run_id]
    assert not any(isinstance(body, r.UpdateAccepted) for body in bodies(owner))
