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
from odradek.log.kafka_secrets import hidden
from odradek.log.kafka_security import ENVIRONMENT, oauth_callback, principal_of

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
    assert kafka({"ACCESS_CHECK": "off"}) == {"odradek.access.check": "off"}
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
    "a slip in a variable": (
        {**SCRAM, "SASL_PASWORD": SECRET},
        "ODR-225: ODRADEK_SASL_PASWORD is no variable that anybody reads: perhaps ODRADEK_SASL_PASSWORD was meant",
    ),
    "a slip in a setting": (
        {"SASL_MECHANISM": "PLAIN", "SASL_USERNAME": "shop", "LOG_CONFIG": f"sasl.pasword={SECRET}"},
        'ODR-225: "sasl.pasword" is none that Kafka\'s client knows: perhaps "sasl.password" was meant',
    ),
    "a slip beside": ({**SCRAM, "LOG_CONFIG": "sasl.usernam=x"}, 'perhaps "sasl.username" was meant'),
    "an unknown setting": (
        {**SCRAM, "LOG_CONFIG": "no.such.key=1"},
        '"no.such.key" is none that Kafka\'s client knows',
    ),
    "the rest of a password": (
        {"SASL_MECHANISM": "PLAIN", "SASL_USERNAME": "shop", "LOG_CONFIG": f"sasl.password=a {SECRET}=b"},
        "ODR-225: one of the settings is none that Kafka's client knows",
    ),
    "a wrong value": ({**SCRAM, "LOG_CONFIG": "socket.timeout.ms=soon"}, "socket.timeout.ms"),
    "two mechanisms": ({**SCRAM, "LOG_CONFIG": "sasl.mechanisms=PLAIN"}, "and sasl.mechanisms differ"),
    "a check of rights": ({"ACCESS_CHECK": "perhaps"}, "odradek.access.check (ODRADEK_ACCESS_CHECK) is neither"),
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
    variables = {
        **SCRAM,
        "OAUTH_CLIENT_SECRET": SECRET,
        "SSL_KEY_PASSWORD": SECRET,
        "LOG_CONFIG": f"ssl.ca.pem={SECRET}",
    }
    settings = ConnectionSettings.read({f"ODRADEK_{name}": value for name, value in variables.items()})
    config = {**settings.kafka(), "ssl.key.pem": SECRET}
    log = open_log(NOWHERE, {**kafka(SCRAM), "ssl.key.password": SECRET})
    for text in (repr(settings), str(settings), str(settings.model_dump()), settings.model_dump_json()):
        assert SECRET not in text
    for shown in (settings.kafka(), hidden(config), vars(log)):
        assert SECRET not in repr(shown)
    assert config["sasl.password"] == SECRET


def test_names_in_a_file_of_variables_are_looked_at(tmp_path: Path) -> None:
    file = tmp_path / "shop.env"
    file.write_text(f"ODRADEK_LOG=kafka://k1:9093\n# ODRADEK_SSL_NONE=1\nexport ODRADEK_SSL_CA_FIEL={SECRET}\n")
    with pytest.raises(SettingsInvalid, match="perhaps ODRADEK_SSL_CA_FILE") as caught:
        kafka({"ENV_FILE": str(file)})
    assert SECRET not in str(caught.value)


def test_variables_of_others_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kubernetes makes such for each service."""
    monkeypatch.setenv("ODRADEK_ORCHESTRATOR_PORT", "tcp://10.0.0.1:80")
    monkeypatch.setenv("ODRADEK_SERVICE_HOST", "10.0.0.1")
    assert kafka({}) == {}


RISKS = {
    "a password": ({**SCRAM, "SASL_MECHANISM": "PLAIN", "SECURITY_PROTOCOL": "SASL_PLAINTEXT"}, "PLAIN without TLS"),
    "anybody's certificate": ({**SCRAM, "LOG_CONFIG": "enable.ssl.certificate.verification=false"}, "nobody looks at"),
    "any host's": ({**SCRAM, "LOG_CONFIG": "ssl.endpoint.identification.algorithm=none"}, "whoever has any certif"),
}


@pytest.mark.parametrize(("variables", "said"), RISKS.values(), ids=RISKS)
def test_what_protects_less_than_it_seems_is_said(
    variables: dict[str, str], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    open_log(NOWHERE, kafka(SCRAM))
    assert caplog.text == ""
    open_log(NOWHERE, kafka(variables))
    assert said in caplog.text
    assert SECRET not in caplog.text


def test_a_secret_in_the_command_line_is_warned_of() -> None:
    for option, warned in ((f"sasl.password={SECRET}", True), ("client.id=shop", False)):
        done = CliRunner().invoke(main, ["--log", "kafka://", "--log-config", option, "topics", "check"])
        assert ("whoever lists this host's processes sees sasl.password" in done.stderr) is warned
        assert SECRET not in done.output


@pytest.mark.parametrize(
    ("settings", "principal"),
    [
        ({}, "User:ANONYMOUS"),
        ({"security.protocol": "SSL"}, "User:ANONYMOUS"),
        ({"security.protocol": "SSL", "ssl.certificate.location": "/c"}, "User:NAME"),
        ({"security.protocol": "sasl_ssl", "sasl.username": "shop"}, "User:shop"),
        ({"security.protocol": "sasl_ssl", "oauth_cb": "a:b"}, "User:NAME"),
    ],
)
def test_who_asks(settings: dict[str, str], principal: str) -> None:
    """Where nobody can be known, nobody asks what they may do."""
    assert principal_of(settings) == principal


def broken(_: str) -> tuple[str, float]:
    return SECRET, 0.0


def test_what_a_module_of_tokens_raises_is_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tokens_of_this_test.py").write_text(f"raise RuntimeError('{SECRET}')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SettingsInvalid, match="RuntimeError") as caught:
        oauth_callback("tokens_of_this_test:token")
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert oauth_callback(f"{__name__}:broken") is broken
