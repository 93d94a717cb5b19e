"""Options of code from elsewhere: those with a meaning take effect, others are accepted, unknown ones refused."""

from __future__ import annotations

import asyncio
import logging
import socket
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from odradek import activity, workflow
from odradek.client import (
    Client,
    ClientConfig,
    Connection,
    WorkflowFailureError,
    WorkflowHistory,
    WorkflowHistoryEventFilterType,
)
from odradek.client import Plugin as ClientPlugin
from odradek.common import (
    MetricMeter,
    PinnedVersioningOverride,
    VersioningBehavior,
    WorkerDeploymentVersion,
    WorkflowIDReusePolicy,
)
from odradek.converter import DataConverter
from odradek.envconfig import ClientConfig as EnvironmentConfig
from odradek.exceptions import ApplicationError, TemporalError
from odradek.log.memory import MemoryLog
from odradek.plugin import SimplePlugin
from odradek.runtime import LoggingConfig, PrometheusConfig, Runtime, TelemetryConfig, TelemetryFilter
from odradek.schemas.records import RunCompleted
from odradek.service import ConnectConfig, KeepAliveConfig, RetryConfig, RPCError, TLSConfig
from odradek.testing import WorkflowEnvironment
from odradek.worker import (
    FixedSizeSlotSupplier,
    Replayer,
    ResourceBasedSlotConfig,
    UnsandboxedWorkflowRunner,
    Worker,
    WorkerTuner,
    WorkflowRunner,
)
from odradek.worker import Plugin as WorkerPlugin
from odradek.worker.worker import WorkerConfig
from odradek.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

with workflow.unsafe.imports_passed_through():
    import json


@activity.defn
async def double(number: int) -> int:
    return 2 * number


@workflow.defn
class Doubling:
    @workflow.run
    async def run(self, number: int) -> int:
        doubled: int = await workflow.execute_activity(double, number, start_to_close_timeout=timedelta(seconds=10))
        return doubled


@workflow.defn
class Waiting:
    def __init__(self) -> None:
        self.gone_on = False

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: self.gone_on)
        return "done"

    @workflow.signal
    def go_on(self) -> None:
        self.gone_on = True


def with_plugin(env: WorkflowEnvironment, plugin: ClientPlugin) -> Client:
    config = env.client.config()
    config["plugins"] = [plugin]
    return Client(**config)


# ------------------------------------------------------------------------------------------------------ connections


def test_tls_in_the_words_of_librdkafka() -> None:
    tls = TLSConfig(server_root_ca_cert=b"ca", client_cert=b"cert", client_private_key=b"key")
    assert ConnectConfig("b:1", tls, {"ssl.key.password": "x"}).all_log_config() == {
        "security.protocol": "ssl",
        "ssl.ca.pem": "ca",
        "ssl.certificate.pem": "cert",
        "ssl.key.pem": "key",
        "ssl.key.password": "x",
    }
    assert ConnectConfig("b:1", True).all_log_config() == {"security.protocol": "ssl"}
    assert ConnectConfig("b:1", False).all_log_config() == {}
    with pytest.raises(ValueError, match="needed together"):
        TLSConfig(client_cert=b"cert").to_log_config()


async def test_options_of_a_connection_by_grpc_are_accepted(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "odradek"):
        for _ in range(2):
            client = await Client.connect(
                "memory://accepted",
                lazy=True,
                api_key="key",
                retry_config=RetryConfig(initial_interval_millis=5),
                keep_alive_config=KeepAliveConfig(),
                rpc_metadata={},
            )
            await client.close()
    assert sum('"api_key"' in record.message for record in caplog.records) == 1
    assert not any("rpc_metadata" in record.message for record in caplog.records)
    with pytest.raises(TypeError, match='no option "apikey"'):
        await Client.connect("memory://accepted", lazy=True, apikey="key")


def test_the_environment_says_where_to_connect(tmp_path: Path) -> None:
    settings = tmp_path / "kafka.properties"
    settings.write_text("sasl.username=me\n# a comment\nsasl.password = it's=mine\n")
    said = {
        "ODRADEK_LOG": "kafka://broker:9092",
        "ODRADEK_NAMESPACE": "orders",
        "ODRADEK_LOG_CONFIG": f"{settings} security.protocol=sasl_ssl",
    }
    assert EnvironmentConfig.load_client_connect_config(override_env_vars=said) == {
        "target_host": "kafka://broker:9092",
        "namespace": "orders",
        "log_config": {"sasl.username": "me", "sasl.password": "it's=mine", "security.protocol": "sasl_ssl"},
    }
    with pytest.raises(ValueError, match=r'ODR-181: ODRADEK_LOG_CONFIG "\./none" cannot be read'):
        EnvironmentConfig.load_client_connect_config(override_env_vars={"ODRADEK_LOG_CONFIG": "./none"})


# ----------------------------------------------------------------------------------------------------------- plugins


class Everywhere(ClientPlugin, WorkerPlugin):
    """Leaves a trace of each of its methods."""

    def __init__(self) -> None:
        self.trace: list[str] = []

    def configure_client(self, config: ClientConfig) -> ClientConfig:
        self.trace.append("configure client")
        config["identity"] = "plugged"
        return config

    async def connect_service_client(
        self, config: ConnectConfig, next: Callable[[ConnectConfig], Awaitable[Connection]]
    ) -> Connection:
        self.trace.append(f"connect to {config.target_host}")
        config.target_host = "memory://plugged"
        return await next(config)

    def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
        self.trace.append("configure worker")
        config["activities"] = [double]
        return config

    async def run_worker(self, worker: Worker, next: Callable[[Worker], Awaitable[None]]) -> None:
        self.trace.append("worker begins")
        await next(worker)
        self.trace.append("worker ended")

    def configure_replayer(self, config: Any) -> Any:
        self.trace.append("configure replayer")
        config["workflows"] = [Doubling]
        return config

    @asynccontextmanager
    async def run_replayer(self, replayer: Replayer, histories: Any, next: Any) -> AsyncIterator[Any]:
        self.trace.append("replay begins")
        async with next(replayer, histories) as results:
            yield results
        self.trace.append("replay ended")


async def test_a_plugin_sees_all(odradek_env: WorkflowEnvironment) -> None:
    plugin = Everywhere()
    client = with_plugin(odradek_env, plugin)
    assert client.identity == "plugged"
    assert client.config()["identity"] is None
    assert client.config(active_config=True)["identity"] == "plugged"
    async with Worker(client, task_queue="tq", workflows=[Doubling]) as worker:
        assert worker.is_running
        assert worker.config()["activities"] == ()
        handle = await client.start_workflow(Doubling.run, 4, id="wf", task_queue="tq")
        assert await handle.result() == 8
        history = await handle.fetch_history()
    assert worker.is_shutdown
    assert plugin.trace == ["configure client", "configure worker", "worker begins", "worker ended"]
    plugin.trace.clear()
    replayer = Replayer(workflows=[], plugins=[plugin])
    assert (await replayer.replay_workflow(history)).replay_failure is None
    assert plugin.trace == ["configure replayer", "replay begins", "replay ended"]


async def test_a_plugin_changes_the_connection() -> None:
    plugin = Everywhere()
    client = await Client.connect("kafka://nowhere:1", plugins=[plugin], lazy=True)
    assert isinstance(client.connection.log, MemoryLog)
    assert plugin.trace == ["connect to kafka://nowhere:1", "configure client"]
    await client.close()


async def test_a_simple_plugin(odradek_env: WorkflowEnvironment) -> None:
    events: list[str] = []

    @asynccontextmanager
    async def around() -> AsyncIterator[None]:
        events.append("open")
        yield
        events.append("closed")

    converter = DataConverter()
    plugin = SimplePlugin(
        "doubling",
        data_converter=converter,
        activities=[double],
        workflows=lambda given: [*(given or ()), Doubling],
        workflow_failure_exception_types=[ZeroDivisionError],
        run_context=around,
    )
    client = with_plugin(odradek_env, plugin)
    assert client.data_converter is converter
    async with Worker(client, task_queue="tq") as worker:
        handle = await client.start_workflow(Doubling.run, 21, id="wf", task_queue="tq")
        assert await handle.result() == 42
        assert worker.config(active_config=True)["workflow_failure_exception_types"] == [ZeroDivisionError]
        history: WorkflowHistory = await handle.fetch_history()
    assert events == ["open", "closed"]
    result = await Replayer(workflows=[], plugins=[plugin]).replay_workflow(history)
    assert result.replay_failure is None
    assert events == ["open", "closed", "open", "closed"]


# ----------------------------------------------------------------------------------------------------------- workers


@workflow.defn(sandboxed=False)
class Unrestricted:
    @workflow.run
    async def run(self, name: str) -> str:
        with workflow.unsafe.sandbox_unrestricted():
            return json.dumps(name)


@pytest.mark.parametrize(
    "runner",
    [
        UnsandboxedWorkflowRunner(),
        SandboxedWorkflowRunner(restrictions=SandboxRestrictions.default.with_passthrough_modules("json")),
    ],
)
async def test_options_of_workers(
    odradek_env: WorkflowEnvironment, runner: WorkflowRunner, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "odradek"):
        async with Worker(
            odradek_env.client,
            task_queue="tq",
            workflows=[Doubling, Unrestricted],
            activities=[double],
            workflow_runner=runner,
            build_id="1.0",
            max_cached_workflows=0,
            tuner=WorkerTuner.create_fixed(workflow_slots=5, activity_slots=3, local_activity_slots=2),
            max_heartbeat_throttle_interval=timedelta(seconds=5),
        ) as worker:
            assert await odradek_env.client.execute_workflow(Doubling.run, 1, id="wf", task_queue="tq") == 2
            assert (
                await odradek_env.client.execute_workflow(Unrestricted.run, "ann", id="u", task_queue="tq") == '"ann"'
            )
            assert (worker.client, worker.task_queue) == (odradek_env.client, "tq")
    with pytest.raises(TypeError, match='Worker has no option "max_cashed_workflows"'):
        Worker(odradek_env.client, task_queue="tq", workflows=[Doubling], max_cashed_workflows=5)
    with pytest.raises(ValueError, match="ODR-077"):
        Worker(odradek_env.client, task_queue="tq")


def test_tuners_name_numbers() -> None:
    limits = ResourceBasedSlotConfig(1, 7)
    by_resource = WorkerTuner.create_resource_based(
        target_memory_usage=0.5, target_cpu_usage=0.5, activity_config=limits
    )
    assert (by_resource.activities, by_resource.local_activities) == (7, None)
    supplier = FixedSizeSlotSupplier(4)
    composed = WorkerTuner.create_composite(
        workflow_supplier=supplier, activity_supplier=supplier, local_activity_supplier=FixedSizeSlotSupplier(5)
    )
    assert (composed.activities, composed.local_activities) == (4, 5)


async def test_activities_that_are_only_local(odradek_env: WorkflowEnvironment) -> None:
    @workflow.defn
    class Locally:
        @workflow.run
        async def run(self) -> int:
            config = workflow.LocalActivityConfig(start_to_close_timeout=timedelta(seconds=10))
            tripled: int = await workflow.execute_local_activity("double", 3, **config)
            return tripled

    async with Worker(
        odradek_env.client, task_queue="tq", workflows=[Locally], activities=[double], no_remote_activities=True
    ):
        assert await odradek_env.client.execute_workflow(Locally.run, id="wf", task_queue="tq") == 6


async def test_a_fatal_error_is_told_first() -> None:
    told: list[BaseException] = []

    async def tell(error: BaseException) -> None:
        told.append(error)

    client = await Client.connect("memory://closed", lazy=True)
    await client.close()
    worker = Worker(client, task_queue="tq", workflows=[Doubling], on_fatal_error=tell)
    with pytest.raises(RPCError, match="closed") as failure:
        await worker.run()
    assert told == [failure.value]


# ---------------------------------------------------------------------------------------------------------- workflows


def versioned(version: str) -> type:
    @workflow.defn(name="Versioned", version=version, versioning_behavior=VersioningBehavior.PINNED)
    class Versioned:
        @workflow.run
        async def run(self) -> str:
            return version

    return Versioned


async def test_a_start_names_the_version_it_begins_on(odradek_env: WorkflowEnvironment) -> None:
    async with Worker(odradek_env.client, task_queue="tq", workflows=[versioned("1"), versioned("2")]):
        start = odradek_env.client.execute_workflow
        assert await start("Versioned", id="new", task_queue="tq") == "2"
        older = PinnedVersioningOverride(WorkerDeploymentVersion("orders", "1"))
        assert await start("Versioned", id="old", task_queue="tq", versioning_override=older) == "1"


async def test_a_reuse_policy_that_terminates(odradek_env: WorkflowEnvironment) -> None:
    async with Worker(odradek_env.client, task_queue="tq", workflows=[Waiting]):
        first = await odradek_env.client.start_workflow(Waiting.run, id="wf", task_queue="tq")
        second = await odradek_env.client.start_workflow(
            Waiting.run, id="wf", task_queue="tq", id_reuse_policy=WorkflowIDReusePolicy.TERMINATE_IF_RUNNING
        )
        with pytest.raises(WorkflowFailureError, match=r"Workflow execution"):
            await first.result()
        await second.signal(Waiting.go_on)
        assert await second.result() == "done"


async def test_events_are_waited_for(odradek_env: WorkflowEnvironment) -> None:
    async with Worker(odradek_env.client, task_queue="tq", workflows=[Waiting]):
        handle = await odradek_env.client.start_workflow(Waiting.run, id="wf", task_queue="tq")
        so_far = [event async for event in handle.fetch_history_events()]
        following = handle.fetch_history_events(wait_new_event=True)
        seen = [await anext(following) for _ in so_far]
        assert seen == so_far
        closing = handle.fetch_history_events(
            wait_new_event=True, event_filter_type=WorkflowHistoryEventFilterType.CLOSE_EVENT
        )
        last = asyncio.ensure_future(anext(closing))
        await handle.signal(Waiting.go_on)
        seen += [event async for event in following]
        assert isinstance(seen[-1].body, RunCompleted)
        assert seen == (await handle.fetch_history()).events
        assert await last == seen[-1]


async def test_numbers_of_names_and_times(odradek_env: WorkflowEnvironment) -> None:
    @workflow.defn
    class Drawing:
        @workflow.run
        async def run(self) -> list[Any]:
            named = [workflow.new_random(name).random() for name in ("a", "a", "b", None)]
            ids = [workflow.uuid7() for _ in range(2)]
            assert all(id.version == 7 and id.variant == "specified in RFC 4122" for id in ids)
            assert ids[0].int >> 80 == workflow.time_ns() // 1_000_000
            return [*named, str(ids[0] != ids[1])]

    async with Worker(odradek_env.client, task_queue="tq", workflows=[Drawing]):
        handle = await odradek_env.client.start_workflow(Drawing.run, id="wf", task_queue="tq")
        a, again, b, unnamed, differ = await handle.result()
    assert a == again
    assert len({a, b, unnamed}) == 3
    assert differ == "True"


def test_the_roots_other_name() -> None:
    assert issubclass(ApplicationError, TemporalError)
    assert issubclass(workflow.NondeterminismError, TemporalError)


# ---------------------------------------------------------------------------------------------------------- telemetry


def test_a_runtime_serves_metrics_and_sets_levels() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    logger = logging.getLogger("odradek")
    before = logger.level
    try:
        runtime = Runtime(
            telemetry=TelemetryConfig(
                metrics=PrometheusConfig(bind_address=f"127.0.0.1:{port}"),
                logging=LoggingConfig(TelemetryFilter("ERROR", "ERROR")),
            )
        )
        assert logger.level == logging.ERROR
    finally:
        logger.setLevel(before)
    assert isinstance(runtime.metric_meter, MetricMeter)
    runtime.metric_meter.create_counter("orders_seen").add(3)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as page:
        assert "orders_seen" in page.read().decode()
    with pytest.raises(ValueError, match='bind_address is "9000"'):
        Runtime(telemetry=TelemetryConfig(metrics=PrometheusConfig(bind_address="9000")))
