"""Passwords of brokers, of Redis and of the schema registry stand in no message, no log and no ``repr``."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from odradek.cli import main
from odradek.cli.options import Common
from odradek.client import Client, RequestPolicy
from odradek.contrib.storage import RedisStorageDriver
from odradek.converter import ExternalStorage, StorageUnavailable
from odradek.envconfig import ClientConfig, ConnectionSettings
from odradek.log import LogError, open_log
from odradek.orchestrator.settings import OrchestratorSettings
from odradek.schemas.records import Payload
from odradek.schemas.registry import registry_ids
from odradek.service import ConnectConfig, TLSConfig
from odradek.workers.settings import WorkerSettings
from odradek.workers.shared import SharedState

SECRET = "tweety-4711"
NOWHERE = "127.0.0.1:1"
SASL = {
    "security.protocol": "sasl_plaintext",
    "sasl.mechanism": "PLAIN",
    "sasl.username": "shop",
    "sasl.password": SECRET,
}
REDIS = f"redis://shop:{SECRET}@{NOWHERE}/0"


def said_by(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)) + repr(error) + str(getattr(error, "__dict__", ""))


def assert_silent(caplog: pytest.LogCaptureFixture, *texts: object) -> None:
    logs = "\n".join(record.getMessage() + str(record.__dict__) for record in caplog.records)
    for text in (*map(str, texts), logs):
        for secret in (SECRET, "4711"):
            assert secret not in text


def test_values_that_hold_secrets_show_none_of_them(caplog: pytest.LogCaptureFixture) -> None:
    key = SECRET.encode()
    registry = f"https://shop:{SECRET}@registry"
    holders = (
        WorkerSettings(redis=REDIS),
        OrchestratorSettings(redis=REDIS),
        TLSConfig(client_cert=b"cert", client_private_key=key),
        ConnectConfig(NOWHERE, TLSConfig(client_cert=b"cert", client_private_key=key), SASL, schema_registry=registry),
        Common(f"kafka://{NOWHERE}", given_log_config=SASL, given_schema_registry=registry),
        Common(f"kafka://shop:{SECRET}@{NOWHERE}"),
        ConnectionSettings.read({"ODRADEK_LOG": f"kafka://shop:{SECRET}@{NOWHERE}"}),
        open_log(f"kafka://{NOWHERE}", SASL),
        RedisStorageDriver(REDIS),
        ExternalStorage([RedisStorageDriver(REDIS)]),
    )
    assert_silent(caplog, *map(repr, holders))


@pytest.mark.parametrize(
    "address",
    [
        f"kafka://shop:{SECRET}@host:9092", f"kafka://shop:{SECRET}@", f"kafka://shop:a/{SECRET}@host:9092",
        f"shop:{SECRET}@host:9092", f"redis://shop:{SECRET}@host", f"http://shop:{SECRET}@host",
        f"sqlite://shop:{SECRET}@host/log.db", f"kafka://host:9092?sasl.password={SECRET}", f"kafka:{SECRET}://@",
    ],
)  # fmt: skip
def test_addresses_with_credentials_are_refused_without_them(address: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(LogError) as caught:
        open_log(address)
    assert_silent(caplog, said_by(caught.value))
    with pytest.raises(LogError) as refused:
        asyncio.run(Client.connect(address))
    assert_silent(caplog, said_by(refused.value))


@pytest.mark.parametrize(
    "config",
    [
        SASL,
        {**SASL, "sasl.pasword": SECRET},
        {**SASL, "sasl.mechanism": "SCRAM-SHA-7"},
        {**SASL, "ssl.key.pem": SECRET, "security.protocol": "sasl_ssl"},
        {**SASL, "ssl.key.password": SECRET, "security.protocol": "ssl"},
    ],
    ids=["nobody there", "a misspelt name", "a wrong mechanism", "a wrong key", "a password too many"],
)
def test_brokers_that_cannot_be_reached(
    config: dict[str, str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr("odradek.log.kafka.ADMIN_SECONDS_MAX", 0.3)
    monkeypatch.setattr("odradek.log.kafka.ADMIN_REQUEST_SECONDS", 0.2)
    uses: tuple[Callable[[], Any], ...] = (
        lambda: open_log(f"kafka://{NOWHERE}", config).topics(""),
        lambda: open_log(f"kafka://{NOWHERE}", config).appender(),
        lambda: open_log(f"kafka://{NOWHERE}", config).reader(),
    )
    for use in uses:
        try:
            made = use()
        except LogError as error:
            assert_silent(caplog, said_by(error))
        else:
            made.poll(0.2)
            assert_silent(caplog, repr(made))


def test_commands_on_brokers_that_cannot_be_reached(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr("odradek.log.kafka.ADMIN_SECONDS_MAX", 0.3)
    monkeypatch.setattr("odradek.log.kafka.ADMIN_REQUEST_SECONDS", 0.2)
    config = [argument for name, value in SASL.items() for argument in ("--log-config", f"{name}={value}")]
    for command in (["workflow", "list"], ["doctor"], ["topics", "create", "--queue", "q"]):
        for log in (NOWHERE, f"kafka://shop:{SECRET}@{NOWHERE}"):
            arguments = ["-v", "--log-level", "debug", "--log", log, *config, *command]
            result = CliRunner().invoke(main, arguments, prog_name="odradek")
            assert result.exit_code != 0
            assert_silent(caplog, result.output, said_by(result.exception or Exception()))


def test_a_password_with_a_space_in_the_environment(caplog: pytest.LogCaptureFixture) -> None:
    """It is divided there, and its rest is taken for the name of a file."""
    with pytest.raises(ValueError, match="ODR-181: ODRADEK_LOG_CONFIG one of its parts cannot be read") as caught:
        ClientConfig.load_client_connect_config(override_env_vars={"ODRADEK_LOG_CONFIG": f"sasl.password=a {SECRET}"})
    assert_silent(caplog, said_by(caught.value))
    with pytest.raises(ValueError, match=r'"/no/such/file" cannot be read'):
        ClientConfig.load_client_connect_config(override_env_vars={"ODRADEK_LOG_CONFIG": "/no/such/file"})


def test_a_password_longer_than_any_name_of_a_file(caplog: pytest.LogCaptureFixture) -> None:
    """It was an error of the file system that said it."""
    long = SECRET * 40
    given = {"ODRADEK_LOG_CONFIG": f"sasl.password={long}"}
    assert ClientConfig.load_client_connect_config(override_env_vars=given)["log_config"]["sasl.password"] == long
    with pytest.raises(ValueError, match="ODR-181") as caught:
        ClientConfig.load_client_connect_config(override_env_vars={"ODRADEK_LOG_CONFIG": f"sasl.password=a {long}"})
    assert_silent(caplog, said_by(caught.value))


# ---------------------------------------------------------------------------------------------------------- Redis


def test_a_redis_that_is_away(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    caplog.set_level(logging.DEBUG)
    for url in (REDIS, f"unix://shop:{SECRET}@{tmp_path}/none.sock"):
        shared = SharedState(url, "shop")
        assert shared.finished([("shop", "run", 1, 1)]) is not None
        assert not shared.is_up
        shared.close()
    assert "ODR-146" in caplog.text
    storage = ExternalStorage([RedisStorageDriver(REDIS)], payload_size_threshold=1)
    with pytest.raises(StorageUnavailable) as caught:
        asyncio.run(storage.store([Payload("json/plain", b"x" * 5000)], None))
    assert_silent(caplog, said_by(caught.value))


@pytest.mark.parametrize("make", [lambda url: SharedState(url, "shop"), RedisStorageDriver], ids=["worker", "storage"])
@pytest.mark.parametrize(
    "url", [f"redis://shop:{SECRET}/x@host:6379/0", f"shop:{SECRET}@host", f"redis://shop:a/b@host:{SECRET}/0"]
)
def test_urls_of_redis_that_cannot_be_read(
    url: str, make: Callable[[str], object], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ValueError, match="ODR-210") as caught:
        make(url)
    assert_silent(caplog, said_by(caught.value))


# ------------------------------------------------------------------------------------------------------- registry


def test_a_schema_registry_that_is_away(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr("odradek.schemas.registry.ANSWER_SECONDS_MAX", 0.2, raising=False)
    with pytest.raises(Exception, match="ODR-") as caught:
        registry_ids(f"http://shop:{SECRET}@{NOWHERE}")
    assert_silent(caplog, said_by(caught.value))


def test_a_client_that_is_not_answered_names_its_log_without_secrets(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Errors of requests name the log's address, which never holds a password."""

    async def ask() -> None:
        policy = RequestPolicy(retry_seconds=0.05, retry_seconds_max=0.05)
        CliRunner().invoke(main, ["--log", f"sqlite:///{tmp_path}/log.db", "topics", "create", "--queue", "q"])
        async with await Client.connect(
            f"sqlite:///{tmp_path}/log.db", namespace="default", log_config=SASL, request_policy=policy
        ) as client:
            await client.get_workflow_handle("x").signal("y", SECRET, rpc_timeout=timedelta(seconds=0.1))

    with pytest.raises(Exception, match="ODR-130") as caught:
        asyncio.run(ask())
    assert_silent(caplog, said_by(caught.value))
