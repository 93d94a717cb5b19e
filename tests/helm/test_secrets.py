"""Secrets stand in Secrets, and settings are read back as they were given."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from odradek.envconfig import ClientConfig, read_log_config
from odradek.log.kafka_secrets import is_secret
from tests.helm.chart import SETS, Helm, Manifest, Refused, Rendered, container, decoded, environment, texts, variables

SECRETS = ("s3cret-password", "s3cret-key", "s3cret-redis")


def test_secrets_stand_in_secrets_only(rendered: dict[str, Rendered]) -> None:
    one = rendered["pools"]
    shown = [text for manifest in one.manifests if manifest["kind"] != "Secret" for text in texts(manifest)]
    assert [text for text in shown if any(secret in text for secret in SECRETS)] == []
    kept = decoded(one.one("Secret", "tasks"))
    assert all(secret in "\n".join(kept.values()) for secret in SECRETS)
    assert kept == decoded(one.one("Secret", "tasks-hooks"))


@pytest.mark.parametrize("name", SETS)
def test_secrets_are_neither_arguments_nor_plain_variables(rendered: dict[str, Rendered], name: str) -> None:
    for owner in rendered[name].owners:
        one = container(owner)
        for variable, value in variables(one).items():
            if any(word in variable for word in ("PASSWORD", "TOKEN", "REDIS", "REGISTRY")):
                assert value is None
        assert not any("sasl" in argument or "password" in argument for argument in one["args"])


def settings_of(one: Rendered, owner: Manifest, folder: Path, secrets: Mapping[str, str]) -> Mapping[str, str]:
    """What the process in this pod would give to librdkafka."""
    found = environment(one, owner, folder, secrets)
    return ClientConfig.load_client_connect_config(override_env_vars=found)["log_config"]


def test_settings_from_values_are_read_back(rendered: dict[str, Rendered], tmp_path: Path) -> None:
    one = rendered["pools"]
    expected = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "odradek",
        "sasl.password": "s3cret-password",
        "ssl.key.password": "s3cret-key",
    }
    for number, owner in enumerate(one.owners):
        assert settings_of(one, owner, tmp_path / str(number), {}) == expected


def test_settings_with_secrets_of_the_user_are_read_back(rendered: dict[str, Rendered], tmp_path: Path) -> None:
    one = rendered["production"]
    owner = one.one("StatefulSet", "shop-odradek-orchestrators")
    secrets = {"ODRADEK_SASL_USERNAME": "ada", "ODRADEK_SASL_PASSWORD": "a=b, c$d"}
    assert settings_of(one, owner, tmp_path, secrets) == {
        "client.rack": "eu-west-1a",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "ada",
        "sasl.password": "a=b, c$d",
        "ssl.ca.location": "/etc/odradek/ca/ca.crt",
        "ssl.certificate.location": "/etc/odradek/client/tls.crt",
        "ssl.key.location": "/etc/odradek/client/tls.key",
    }


def test_a_file_of_the_user_is_read(helm: Helm) -> None:
    values: dict[str, Any] = {"log": {"address": "kafka://k:9092", "existingSecret": {"name": "mine", "key": "x.conf"}}}
    one = helm.render(values=values)
    assert one.of("Secret") == []
    for owner in one.owners:
        assert (variables(container(owner))["ODRADEK_LOG_CONFIG"] or "").split()[1] == "/etc/odradek/secret/x.conf"
        volumes = {volume["name"]: volume for volume in owner["spec"]["template"]["spec"]["volumes"]}
        assert volumes["secret"]["secret"]["secretName"] == "mine"


@pytest.mark.parametrize(
    "key",
    ["sasl.password", "ssl.key.password", "sasl.oauthbearer.client.secret", "sasl.oauthbearer.config", "ssl.key.pem"],
)
def test_a_secret_among_the_settings_is_refused(helm: Helm, key: str) -> None:
    assert is_secret(key)
    with pytest.raises(Refused, match=f'log.config has "{key}".*log.secretConfig') as caught:
        helm.render(values={"log": {"address": "kafka://k:9092", "config": {key: "hush"}}})
    assert "hush" not in str(caught.value)


def test_a_password_from_a_file_has_no_line_break(helm: Helm) -> None:
    """As --set-file leaves it."""
    sasl = {"mechanism": "PLAIN", "username": "ada", "password": "hush\n"}
    one = helm.render(values={"log": {"address": "kafka://k:9092", "sasl": sasl}})
    kept = decoded(one.one("Secret", "shop-odradek"))
    assert kept["password"] == "hush"
    assert kept["client.properties"].splitlines() == ["sasl.password=hush", "sasl.username=ada"]


def test_what_is_mounted_is_a_properties_file(rendered: dict[str, Rendered], tmp_path: Path) -> None:
    for name, one in rendered.items():
        for config in one.of("ConfigMap"):
            if "client.properties" in config["data"]:
                file = tmp_path / f"{name}.properties"
                file.write_text(config["data"]["client.properties"])
                assert all(key == key.strip() and value for key, value in read_log_config(str(file)).items())
