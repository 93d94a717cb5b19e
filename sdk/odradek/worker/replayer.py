"""Replays recorded histories through today's code: what a deployment would do to the runs that are open.

A mismatch is explained: the first event that differs, and the line of code that differs from it.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypedDict

from odradek.activity.interceptors import Interceptor
from odradek.client import WorkflowHistory
from odradek.common.accepted import accept
from odradek.converter import DataConverter
from odradek.orchestrator.core.instance import CODE_INPUTS, COMMANDS, HistoryDamaged, WorkflowBug, _name
from odradek.orchestrator.registry import Registry
from odradek.schemas import records as r
from odradek.worker.interceptor import interceptor_classes
from odradek.worker.plugin import Plugin
from odradek.worker.runners import WorkflowRunner, is_sandboxed
from odradek.worker.tracing import TracedInstance
from odradek.workflow import NondeterminismError
from odradek.workflow.definition import Definition
from odradek.workflow.determinism import RestrictedWorkflowAccessError

Histories = AsyncIterable[WorkflowHistory] | Iterable[WorkflowHistory]


class HistoryMismatch(NondeterminismError):
    """The code decides something else than a recorded history says. Event numbers count from 1."""

    code = "ODR-161"

    def __init__(
        self, workflow_id: str, run_id: str, event: int, events: int, recorded: str, made: str, place: str
    ) -> None:
        super().__init__(workflow_id, run_id, event, events, recorded, made, place)
        self.workflow_id, self.run_id = workflow_id, run_id
        self.event, self.events = event, events
        """The first event that differs (one more than there are: the code goes on where history ends)."""
        self.recorded = recorded
        """What history says there; empty where it ends."""
        self.made = made
        """What the code answers with; empty: nothing."""
        self.place = place
        """The line of code that does, or where the code waits instead: ``file:line, in function``."""

    def __str__(self) -> str:
        where = f"event {self.event} of {self.events} is {self.recorded}"
        if not self.recorded:
            where = f"history ends after event {self.events}"
        does = f"the code answers with {self.made} there" if self.made else "the code does not do that there"
        line = f" ({'made' if self.made else 'it waits'} at {self.place})" if self.place else ""
        return (
            f'{self.code}: the code does not fit the history of workflow "{self.workflow_id}" (run {self.run_id}): '
            f'{where}, and {does}{line}. Guard the change, so that runs from before take the old way: "if '
            'workflow.patched("a-name-for-it"): …", else bring the old code back'
        )


class ReplayFailed(RuntimeError):
    """A history could not be replayed, and not because the code decides something else."""

    code = "ODR-162"

    def __init__(self, workflow_id: str, run_id: str, problem: str) -> None:
        super().__init__(workflow_id, run_id, problem)
        self.workflow_id, self.run_id, self.problem = workflow_id, run_id, problem

    def __str__(self) -> str:
        return (
            f'{self.code}: the history of workflow "{self.workflow_id}" (run {self.run_id}) cannot be replayed: '
            f"{self.problem}"
        )


@dataclass(frozen=True)
class WorkflowReplayResult:
    """What came of one history; ``replay_failure`` None: the code fits it."""

    history: WorkflowHistory
    replay_failure: Exception | None


@dataclass(frozen=True)
class WorkflowReplayResults:
    """What came of many: the failures by run ID."""

    replay_failures: Mapping[str, Exception]


class ReplayerConfig(TypedDict, total=False):
    """What a replayer is made of; plugins may change it before it is."""

    workflows: Sequence[type]
    data_converter: DataConverter
    interceptors: Sequence[Interceptor]
    workflow_failure_exception_types: Sequence[type[BaseException]]
    namespace: str
    workflow_runner: WorkflowRunner | None
    debug_mode: bool


_WITHOUT_MEANING = frozenset(
    {
        "build_id",
        "disable_safe_workflow_eviction",
        "header_codec_behavior",
        "identity",
        "runtime",
        "unsandboxed_workflow_runner",
        "workflow_task_executor",
    }
)


class Replayer:
    """Replays histories through these workflow classes; nothing of it reaches the outside.

    ``data_converter``, ``interceptors``, ``workflow_failure_exception_types``, ``workflow_runner`` and ``debug_mode``
    as for the worker that the code will run in. Raises ``ValueError`` without workflows. Options that have no meaning
    here are accepted with one warning.
    """

    def __init__(
        self,
        *,
        workflows: Sequence[type],
        data_converter: DataConverter = DataConverter.default,
        interceptors: Sequence[Interceptor] = (),
        workflow_failure_exception_types: Sequence[type[BaseException]] = (),
        namespace: str = "default",
        plugins: Sequence[Plugin] = (),
        workflow_runner: WorkflowRunner | None = None,
        debug_mode: bool = False,
        **without_meaning: Any,
    ) -> None:
        accept("Replayer", without_meaning, _WITHOUT_MEANING)
        config = ReplayerConfig(
            workflows=workflows,
            data_converter=data_converter,
            interceptors=interceptors,
            workflow_failure_exception_types=workflow_failure_exception_types,
            namespace=namespace,
            workflow_runner=workflow_runner,
            debug_mode=debug_mode,
        )
        self._given = config.copy()
        for plugin in plugins:
            config = plugin.configure_replayer(config)
        if not config["workflows"]:
            raise ValueError("ODR-077: a replayer needs workflows to replay histories with")
        self._config = config
        self._plugins = plugins
        self._registry = Registry()
        sandboxed = is_sandboxed(config["workflow_runner"], debug_mode=config["debug_mode"])
        around = interceptor_classes(config["interceptors"])
        self._registry.add(config["workflows"], sandboxed=sandboxed, interceptors=around)
        self._converter = config["data_converter"]
        self._failure_types = tuple(config["workflow_failure_exception_types"])
        self._namespace = config["namespace"]

    def config(self, *, active_config: bool = False) -> ReplayerConfig:
        """The arguments that it was made with; ``active_config``: with what plugins made of them."""
        return (self._config if active_config else self._given).copy()

    async def replay_workflow(
        self, history: WorkflowHistory, *, raise_on_replay_failure: bool = True
    ) -> WorkflowReplayResult:
        """Replay one history.

        Raises ``HistoryMismatch`` (a ``NondeterminismError``) and ``ReplayFailed``, unless told to return them.
        """
        async with self.workflow_replay_iterator([history]) as results:
            result = await anext(results)
        if result.replay_failure is not None and raise_on_replay_failure:
            raise result.replay_failure
        return result

    async def replay_workflows(
        self, histories: Histories, *, raise_on_replay_failure: bool = True
    ) -> WorkflowReplayResults:
        """Replay all of them, an iterator of either kind. Raises at the first failure, unless told to collect them."""
        failures: dict[str, Exception] = {}
        async with self.workflow_replay_iterator(histories) as results:
            async for result in results:
                if result.replay_failure is None:
                    continue
                if raise_on_replay_failure:
                    raise result.replay_failure
                failures[_run_id(result.history)] = result.replay_failure
        return WorkflowReplayResults(failures)

    def workflow_replay_iterator(
        self, histories: Histories
    ) -> AbstractAsyncContextManager[AsyncIterator[WorkflowReplayResult]]:
        """A context whose value gives the result of each history, in order, as it is replayed."""
        replay: Any = Replayer._replayed
        for plugin in reversed(self._plugins):
            replay = partial(plugin.run_replayer, next=replay)
        results: AbstractAsyncContextManager[AsyncIterator[WorkflowReplayResult]] = replay(self, _each(histories))
        return results

    @asynccontextmanager
    async def _replayed(
        self, histories: AsyncIterator[WorkflowHistory]
    ) -> AsyncIterator[AsyncIterator[WorkflowReplayResult]]:
        results = self._results(histories)
        try:
            yield results
        finally:
            await results.aclose()

    async def _results(self, histories: AsyncIterator[WorkflowHistory]) -> Any:
        async for history in histories:
            failure = await asyncio.to_thread(self._failure_of, history)
            yield WorkflowReplayResult(history, failure)

    # ----------------------------------------------------------------------------------------------------- one history

    def _failure_of(self, history: WorkflowHistory, definition: Definition | None = None) -> Exception | None:
        """Why it does not replay; with the code that fits its start and version, unless that is named."""
        try:
            self._replay(history, definition)
        except (HistoryMismatch, ReplayFailed) as error:
            return error
        except StopIteration as error:  # no future takes it: the caller would wait for ever
            raise RuntimeError("a defect of the replayer") from error
        return None

    def _replay(self, history: WorkflowHistory, definition: Definition | None) -> None:
        run_id = _run_id(history)
        started = next((e.body for e in history.events if isinstance(e.body, r.RunStarted)), None)
        if started is None:
            raise ReplayFailed(history.workflow_id, run_id, "it does not say how the run began")
        instance = TracedInstance(
            definition or self._definition(history, started),
            history.workflow_id,
            run_id,
            self._namespace,
            self._converter.in_workflows,
            self._converter.failure_converter,
        )
        try:
            instance.replay(history.events)
        except RestrictedWorkflowAccessError as error:
            raise ReplayFailed(history.workflow_id, run_id, str(error)) from error
        except NondeterminismError as error:
            if error is instance.noticed or isinstance(error, HistoryDamaged):
                raise ReplayFailed(history.workflow_id, run_id, str(error)) from error
            raise _mismatch(history, instance) from error
        except WorkflowBug as error:
            problem = f"the code raises {error}, which would park the run"
            raise ReplayFailed(history.workflow_id, run_id, problem) from (error.__cause__ or error)
        finally:
            instance.close()

    def _definition(self, history: WorkflowHistory, started: r.RunStarted) -> Definition:
        versions = [event.body.version for event in history.events if isinstance(event.body, r.VersionTaken)]
        version = versions[-1] if versions else started.version
        find = self._registry.find
        found = find(started.task_queue, started.workflow_type, version)
        found = found or find(started.task_queue, started.workflow_type)
        if found is None:
            known = ", ".join(self._registry.hosted()) or "none"
            raise ReplayFailed(
                history.workflow_id,
                _run_id(history),
                f'its type is "{started.workflow_type}", and the replayer has {known}',
            )
        if not self._failure_types:
            return found
        return dataclasses.replace(
            found, failure_exception_types=(*found.failure_exception_types, *self._failure_types)
        )


def _mismatch(history: WorkflowHistory, instance: TracedInstance) -> HistoryMismatch:
    events, commands = history.events, instance.current
    assert commands is not None
    at = _place_of_input(events, instance.input)
    made, place = "", instance.waits_at()
    if commands.taken and not commands.exhausted:
        command = commands.taken[-1]
        made, place = _name(command), commands.place(command) or instance.stands_at()
    compared = len(commands.taken) + commands.exhausted
    if compared:
        at = _place_of_command(events, at, compared)
    recorded = _name(events[at].body) if at < len(events) else ""
    return HistoryMismatch(history.workflow_id, _run_id(history), at + 1, len(events), recorded, made, place)


def _place_of_input(events: Sequence[r.Event], body: Any) -> int:
    """Where the code saw this input: behind its record, if that was deferred."""
    at = next((place for place, event in enumerate(events) if event.body is body), 0)
    if not events or not events[at].deferred:
        return at
    number = sum(event.deferred for event in events[:at])
    applied = [place for place, event in enumerate(events) if isinstance(event.body, r.DeferredApplied)]
    return applied[number] if number < len(applied) else at


def _place_of_command(events: Sequence[r.Event], input_at: int, number: int) -> int:
    """The place of the command with this number (from 1) that answers an input, else of what stands in its stead."""
    for place in range(input_at + 1, len(events)):
        event = events[place]
        if isinstance(event.body, COMMANDS):
            number -= 1
        if number == 0 or (isinstance(event.body, CODE_INPUTS | r.DeferredApplied) and not event.deferred):
            return place
    return len(events)


def _run_id(history: WorkflowHistory) -> str:
    started = next((event.body for event in history.events if isinstance(event.body, r.RunStarted)), None)
    return history.run_id or (started.first_run_id if started is not None else "")


async def _each(histories: Histories) -> AsyncIterator[WorkflowHistory]:
    if isinstance(histories, AsyncIterable):
        async for history in histories:
            yield history
    else:
        for history in histories:
            yield history
