"""The settings of Kafka's security: where they come from, what contradicts, and that secrets are shown to nobody."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner

from odradek.cli import main
from odradek.envconfig import ClientConfig, ConnectionSettings
from odradek.log import SettingsInvalid, open_log
from odradek.log.kafka_security import ENVIRONMENT, oauth_callback

SECRET = "tweety-4711"
NOWHERE = "kafka://127.0.0.1:1"
SCRAM = {"SASL_MECHANISM": "SCRAM-SHA-512", "SASL_USERNAME": "shop", "SASL_PASSWORD": SECRET}
OIDC = {"OAUTH_TOKEN_URL": "https://idp/token", "OAUTH_CLIENT_ID": "shop", "OAUTH_CLIENT_SECRET": SECRET}


def kafka(variables: Mapping[str, str]) -> dict[str, str]:
    return ConnectionSettings.read({f"ODRADEK_{name}": value for name, value in variables.items()}).kafka()


def test_every_variable_is_a_field() -> None:
    fields = {f"ODRADEK_{name.upper()}" for name in ConnectionSettings.model_fields}
    assert set(ENVIRONMENT.values()) <= fields


def test_from_variables() -> None:
    assert kafka({}) == {}
    assert kafka(SCRAM) == {
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "shop",
        "sasl.password": SECRET,
        "security.protocol": "SASL_SSL",
    }
    assert kafka({"SSL_CA_FILE": "/ca.pem"}) == {"ssl.ca.location": "/ca.pem", "security.protocol": "SSL"}
    assert kafka(OIDC) == {
        "sasl.oauthbearer.token.endpoint.url": "https://idp/token",
        "sasl.oauthbearer.client.id": "shop",
        "sasl.oauthbearer.client.secret": SECRET,
        "sasl.oauthbearer.method": "oidc",
        "sasl.mechanism": "OAUTHBEARER",
        "security.protocol": "SASL_SSL",
    }


def test_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment goes before the file of variables, and properties stand beside both."""
    password, properties, variables = tmp_path / "password", tmp_path / "client.properties", tmp_path / "shop.env"
    password.write_text(f"{SECRET}\n")
    properties.write_text("client.id=shop-1\n")
    variables.write_text(
        f'ODRADEK_LOG=kafka://k1:9093\nODRADEK_SASL_USERNAME="of the file"\nODRADEK_SASL_PASSWORD_FILE={password}\n'
    )
    monkeypatch.setenv("ODRADEK_ENV_FILE", str(variables))
    monkeypatch.setenv("ODRADEK_SASL_USERNAME", "shop")
    monkeypatch.setenv("ODRADEK_SASL_MECHANISM", "PLAIN")
    monkeypatch.setenv("ODRADEK_LOG_CONFIG", str(properties))
    assert ClientConfig.load_client_connect_config() == {
        "target_host": "kafka://k1:9093",
        "log_config": {
            "client.id": "shop-1",
            "sasl.mechanism": "PLAIN",
            "sasl.username": "shop",
            "sasl.password": SECRET,
            "security.protocol": "SASL_SSL",
        },
    }


WRONG = {
    "no mechanism": ({"SECURITY_PROTOCOL": "SASL_SSL"}, "ODR-225: sasl.mechanism (ODRADEK_SASL_MECHANISM) is not set"),
    "no user": ({"SASL_MECHANISM": "PLAIN"}, "sasl.username (ODRADEK_SASL_USERNAME) is not set, and PLAIN needs it"),
    "no password": (
        {"SASL_MECHANISM": "PLAIN", "SASL_USERNAME": "shop"},
        "set ODRADEK_SASL_PASSWORD, or sasl.password in the log's settings",
    ),
    "unknown mechanism": ({**SCRAM, "SASL_MECHANISM": "SCRAM-SHA-7"}, '"SCRAM-SHA-7" is not known: use one of PLAIN,'),
    "a password for a mechanism": ({**SCRAM, "SASL_MECHANISM": f"{SECRET}!"}, "sasl.mechanism"),
    "unknown protocol": ({**SCRAM, "SECURITY_PROTOCOL": "TLS"}, "use one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL"),
    "SASL without SASL": ({**SCRAM, "SECURITY_PROTOCOL": "SSL"}, "security.protocol SSL has no SASL"),
    "TLS without TLS": (
        {**SCRAM, "SECURITY_PROTOCOL": "SASL_PLAINTEXT", "SSL_CA_FILE": "/ca.pem"},
        "security.protocol SASL_PLAINTEXT has no TLS",
    ),
    "no such authority": (
        {**SCRAM, "SSL_CA_FILE": "/no/ca.pem"},
        'ODR-226: ssl.ca.location (ODRADEK_SSL_CA_FILE) names the file "/no/ca.pem", which cannot be read (No such',
    ),
    "no such password file": (
        {"SASL_MECHANISM": "PLAIN", "SASL_PASSWORD_FILE": "/no/password"},
        'ODR-226: ODRADEK_SASL_PASSWORD_FILE names the file "/no/password"',
    ),
    "no such file of variables": ({"ENV_FILE": "/no/env"}, 'ODR-226: ODRADEK_ENV_FILE names the file "/no/env"'),
    "two passwords": ({**SCRAM, "SASL_PASSWORD_FILE": "/etc/hosts"}, "ODRADEK_SASL_PASSWORD and ODRADEK_SASL_PASSWORD"),
    "said twice": ({**SCRAM, "LOG_CONFIG": "sasl.password=x"}, "ODRADEK_SASL_PASSWORD is not what ODRADEK_LOG_CONFIG"),
    "a certificate alone": ({"SSL_CERTIFICATE_FILE": "/etc/hosts"}, "ssl.key.location (ODRADEK_SSL_KEY_FILE) is not"),
    "a key alone": ({"SSL_KEY_FILE": "/etc/hosts"}, "ssl.certificate.location (ODRADEK_SSL_CERTIFICATE_FILE) is not"),
    "no tokens": ({"SASL_MECHANISM": "OAUTHBEARER"}, "set ODRADEK_OAUTH_TOKEN_URL (OIDC), or ODRADEK_OAUTH_CALLBACK"),
    "half of OIDC": ({"OAUTH_TOKEN_URL": "https://idp"}, "sasl.oauthbearer.client.id (ODRADEK_OAUTH_CLIENT_ID) is not"),
    "two ways to tokens": ({**OIDC, "OAUTH_CALLBACK": "a:b"}, "oauth_cb (ODRADEK_OAUTH_CALLBACK) and the settings"),
    "no such module": ({"OAUTH_CALLBACK": "no_such_module:token"}, "ODR-227: oauth_cb (ODRADEK_OAUTH_CALLBACK) names"),
    "no function": ({"OAUTH_CALLBACK": f"{__name__}:SECRET"}, "it is no function"),
}


@pytest.mark.parametrize(("variables", "said"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_is_named(variables: dict[str, str], said: str) -> None:
    """With the setting and the next step, and none of the secrets."""
    with pytest.raises(SettingsInvalid) as caught:
        open_log(NOWHERE, kafka(variables)).appender()
    assert said in str(caught.value)
    assert SECRET not in "".join(traceback.format_exception(caught.value)) + repr(caught.value)


@pytest.mark.parametrize("variables", [SCRAM | {"SECURITY_PROTOCOL": "SSL"}, {**SCRAM, "SSL_CA_FILE": "/none"}])
def test_commands_say_what_is_wrong_without_secrets(variables: dict[str, str]) -> None:
    named = {f"ODRADEK_{name}": value for name, value in variables.items()}
    for command in (["workflow", "list"], ["doctor"], ["topics", "create"]):
        done = CliRunner().invoke(main, ["-v", "--log", NOWHERE, *command], prog_name="odradek", env=named)
        assert (done.exit_code != 0, SECRET in done.output) == (True, False)


def test_settings_show_no_secret(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(SECRET)
    variables = {**SCRAM, "OAUTH_CLIENT_SECRET": SECRET, "SSL_KEY_PASSWORD": SECRET, "LOG_CONFIG": f"a={SECRET}"}
    settings = ConnectionSettings.read({f"ODRADEK_{name}": value for name, value in variables.items()})
    for text in (repr(settings), str(settings), str(settings.model_dump()), settings.model_dump_json()):
        assert SECRET not in text


def broken(_: str) -> tuple[str, float]:
    return SECRET, 0.0


def test_what_a_module_of_tokens_raises_is_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tokens_of_this_test.py").write_text(f"raise RuntimeError('{SECRET}')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SettingsInvalid, match="RuntimeError") as caught:
        oauth_callback("tokens_of_this_test:token")
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert oauth_callback(f"{__name__}:broken") is broken
