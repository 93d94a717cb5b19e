"""Every way to say who one is; and what is refused ends within seconds, with a code."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from odradek.cli import main
from odradek.client import Client
from odradek.envconfig import ClientConfig, ConnectionSettings
from odradek.log import CredentialsRefused, Record, open_log
from odradek.log.errors import SettingsContradict
from odradek.log.kafka_listener import sasl_mechanisms, speaks_plainly, speaks_tls
from odradek.log.namespace import create_namespace
from odradek.schemas.access import Role, rights_of
from odradek.schemas.topics import Topics
from tests.security.secure_broker import PASSWORD, SecureBroker

NAMESPACE = "who"
REFUSED_SECONDS = 12
"""A second or two where nothing else runs."""


@pytest.fixture(scope="module")
def namespace(broker: SecureBroker) -> str:
    log = open_log(f"kafka://{broker.bootstrap}")
    create_namespace(log, NAMESPACE, partitions=1)
    log.close()
    broker.add_user("scram")
    for user in ("scram", "plain", "mtls", "token"):
        broker.grant(user, rights_of(Role.CLIENT, Topics(NAMESPACE)))
    return NAMESPACE


def connect(address: str, variables: Mapping[str, str]) -> None:
    """As a service does it: only the environment says how."""

    async def there() -> None:
        given = {"ODRADEK_LOG": address, "ODRADEK_NAMESPACE": NAMESPACE, **variables}
        config = ClientConfig.load_client_connect_config(override_env_vars=given)
        async with await Client.connect(**config) as client:
            assert [found async for found in client.list_workflows("")] == []

    asyncio.run(there())


def unsigned(principal: str, lifetime_seconds: int = 3600) -> tuple[str, float]:
    """A token that nobody signed, which the broker of these tests takes."""
    now = time.time()
    parts = [{"alg": "none"}, {"sub": principal, "iat": int(now) - 1, "exp": int(now) + lifetime_seconds}]
    encoded = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts)
    return ".".join(encoded) + ".", now + lifetime_seconds


def token(_: str) -> tuple[str, float]:
    """What ODRADEK_OAUTH_CALLBACK names."""
    return unsigned("token")


class TokenServer(BaseHTTPRequestHandler):
    """Gives a token to the one client that it knows."""

    def do_POST(self) -> None:
        known = base64.b64encode(f"shop:{PASSWORD}".encode()).decode() in self.headers.get("Authorization", "")
        answer: dict[str, Any] = {"access_token": unsigned("token")[0], "expires_in": 3600} if known else {}
        self.send_response(200 if known else 401)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture(scope="module")
def token_url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), TokenServer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/token"
    server.shutdown()
    server.server_close()


def scram(broker: SecureBroker) -> dict[str, str]:
    return {
        "ODRADEK_SASL_MECHANISM": "SCRAM-SHA-512",
        "ODRADEK_SASL_USERNAME": "scram",
        "ODRADEK_SSL_CA_FILE": str(broker.authority.file),
    }


def test_scram_with_a_password_from_a_file(broker: SecureBroker, namespace: str, tmp_path: Path) -> None:
    """As Kubernetes mounts it, with a line's end that does not belong to it."""
    (tmp_path / "password").write_text(PASSWORD + "\n")
    connect(broker.at("SCRAM"), {**scram(broker), "ODRADEK_SASL_PASSWORD_FILE": str(tmp_path / "password")})


@pytest.mark.parametrize("form", ["password", "properties"])
def test_a_password_that_is_rotated_in_its_file(
    broker: SecureBroker, namespace: str, tmp_path: Path, form: str
) -> None:
    """Clients that live take the new one when brokers refuse the old one, and nobody is restarted."""
    file, line = tmp_path / "password", "" if form == "password" else "sasl.password="
    file.write_text(f"{line}the old one\n")
    named = {"ODRADEK_SASL_PASSWORD_FILE": str(file)} if form == "password" else {"ODRADEK_LOG_CONFIG": str(file)}
    config = ConnectionSettings.read({**scram(broker), **named}).kafka()
    log, topics = open_log(broker.at("SCRAM"), config), Topics(NAMESPACE)
    with pytest.raises(CredentialsRefused):
        log.topics("")
    appender, reader = log.appender(), log.reader()
    file.write_text(f"{line}{PASSWORD}\n")
    assert topics.inbox in log.topics("")
    answers: list[tuple[int | None, Exception | None]] = []
    records: list[Record] = []
    reader.assign(topics.workers, 0, 0)
    appender.append(topics.inbox, 0, b"key", b"?", lambda offset, error: answers.append((offset, error)))
    deadline = time.monotonic() + 20
    while not (answers and records) and time.monotonic() < deadline:
        appender.poll(0.1)
        records += reader.poll(0.1)
    assert [error for _, error in answers] == [None]
    assert records
    reader.close()
    appender.close()
    log.close()


def test_plain(broker: SecureBroker, namespace: str) -> None:
    variables = {"ODRADEK_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "ODRADEK_SASL_MECHANISM": "PLAIN"}
    connect(broker.at("PLAIN"), {**variables, "ODRADEK_SASL_USERNAME": "plain", "ODRADEK_SASL_PASSWORD": PASSWORD})


def test_mutual_tls(broker: SecureBroker, namespace: str) -> None:
    """The certificate's name is the principal; its key is encrypted."""
    signed = broker.authority.sign("mtls", password=PASSWORD)
    connect(
        broker.at("MTLS"),
        {
            "ODRADEK_SSL_CA_FILE": str(broker.authority.file),
            "ODRADEK_SSL_CERTIFICATE_FILE": str(signed.certificate),
            "ODRADEK_SSL_KEY_FILE": str(signed.key),
            "ODRADEK_SSL_KEY_PASSWORD": PASSWORD,
        },
    )


def test_tokens_from_a_function(broker: SecureBroker, namespace: str) -> None:
    variables = {"ODRADEK_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "ODRADEK_OAUTH_CALLBACK": f"{__name__}:token"}
    connect(broker.at("OAUTH"), variables)


def raising(_: str) -> tuple[str, float]:
    raise RuntimeError(PASSWORD)


def late(_: str) -> tuple[str, float]:
    return unsigned("token", lifetime_seconds=-60)


@pytest.mark.parametrize("function", ["raising", "late"])
def test_functions_that_give_no_token(
    broker: SecureBroker, namespace: str, function: str, caplog: pytest.LogCaptureFixture
) -> None:
    variables = {"ODRADEK_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "ODRADEK_OAUTH_CALLBACK": f"{__name__}:{function}"}
    began = time.monotonic()
    with pytest.raises(CredentialsRefused, match=r"ODR-228.*ODRADEK_OAUTH_CALLBACK has raised, or") as caught:
        connect(broker.at("OAUTH"), variables)
    assert time.monotonic() - began < 10 + REFUSED_SECONDS  # the client itself waits for ten
    assert PASSWORD not in str(caught.value) + caplog.text


def test_tokens_from_a_server(broker: SecureBroker, namespace: str, token_url: str) -> None:
    variables = {
        "ODRADEK_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "ODRADEK_OAUTH_TOKEN_URL": token_url,
        "ODRADEK_OAUTH_CLIENT_ID": "shop",
        "ODRADEK_OAUTH_CLIENT_SECRET": PASSWORD,
    }
    connect(broker.at("OAUTH"), variables)


TLS = {"ODRADEK_SSL_CA_FILE": "the authority's"}
"""Of the broker, without a user."""
FAULTS: dict[str, tuple[str, dict[str, str], str]] = {
    "password": ("SCRAM", {"ODRADEK_SASL_PASSWORD": f"not {PASSWORD}"}, "Authentication failed"),
    "user": ("SCRAM", {"ODRADEK_SASL_USERNAME": "nobody"}, "Authentication failed"),
    "mechanism": ("SCRAM", {"ODRADEK_SASL_MECHANISM": "PLAIN"}, "broker's supported mechanisms: SCRAM-SHA"),
    "authority": ("SCRAM", {"ODRADEK_SSL_CA_FILE": ""}, "unable to get local issuer certificate"),
    "certificate": ("MTLS", TLS, "certificate"),
    "broker's certificate expired": ("EXPIRED", TLS, "certificate has expired"),
    "broker's certificate of another host": ("ELSEWHERE", TLS, "certificate is not valid for '127.0.0.1'"),
    "no TLS": ("SCRAM", {}, "the listener speaks TLS, and security.protocol (ODRADEK_SECURITY_PROTOCOL) has none"),
    "no TLS for a password": ("SCRAM", {"ODRADEK_SECURITY_PROTOCOL": "SASL_PLAINTEXT"}, "the listener speaks TLS"),
    "TLS where there is none": ("PLAIN", TLS, "the listener speaks no TLS, and security.protocol"),
    "no SASL": ("PLAIN", {}, "the listener wants SASL (PLAIN), and security.protocol (ODRADEK_SECURITY_PROTOCOL)"),
    "no SASL within TLS": ("SCRAM", TLS, "the listener wants SASL (SCRAM-SHA-"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_refused_ends_soon(
    broker: SecureBroker, namespace: str, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With the reason: the client itself says of half of these only that it was disconnected."""
    listener, changes, said = FAULTS[fault]
    variables = {**scram(broker), "ODRADEK_SASL_PASSWORD": PASSWORD, **changes}
    if changes is TLS:
        variables = {"ODRADEK_SSL_CA_FILE": str(broker.authority.file)}
    elif fault == "no TLS for a password":
        del variables["ODRADEK_SSL_CA_FILE"]
    elif not changes:
        variables = {}
    began = time.monotonic()
    with pytest.raises(CredentialsRefused, match="ODR-228") as caught:
        connect(broker.at(listener), variables)
    assert time.monotonic() - began < REFUSED_SECONDS
    assert said in str(caught.value)
    assert PASSWORD not in str(caught.value) + caplog.text


def test_an_expired_certificate_of_the_client(broker: SecureBroker, namespace: str) -> None:
    signed = broker.authority.sign("late", expired=True)
    began = time.monotonic()
    with pytest.raises(CredentialsRefused, match="certificate"):
        connect(
            broker.at("MTLS"),
            {
                "ODRADEK_SSL_CA_FILE": str(broker.authority.file),
                "ODRADEK_SSL_CERTIFICATE_FILE": str(signed.certificate),
                "ODRADEK_SSL_KEY_FILE": str(signed.key),
            },
        )
    assert time.monotonic() - began < REFUSED_SECONDS


def test_a_wrong_password_of_a_key(broker: SecureBroker, namespace: str, tmp_path: Path) -> None:
    """Nobody is contacted with it."""
    signed = broker.authority.sign("locked", password=PASSWORD)
    (tmp_path / "password").write_text(f"not {PASSWORD}")
    variables = {
        "ODRADEK_SSL_CA_FILE": str(broker.authority.file),
        "ODRADEK_SSL_CERTIFICATE_FILE": str(signed.certificate),
        "ODRADEK_SSL_KEY_FILE": str(signed.key),
        "ODRADEK_SSL_KEY_PASSWORD_FILE": str(tmp_path / "password"),
    }
    with pytest.raises(SettingsContradict, match=r"ODR-225.*ssl\.key") as caught:
        connect(broker.at("MTLS"), variables)
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize(
    ("listener", "tls", "offered"),
    [("PLAIN", False, {"PLAIN"}), ("SCRAM", True, {"SCRAM-SHA-256", "SCRAM-SHA-512"}), ("EXPIRED", True, set())],
)
def test_listeners_say_what_they_want(broker: SecureBroker, listener: str, tls: bool, offered: set[str]) -> None:
    server = broker.at(listener).removeprefix("kafka://")
    assert set(sasl_mechanisms(server, tls=tls)) == offered
    assert speaks_tls(server) is tls is not speaks_plainly(server)
    assert sasl_mechanisms(broker.bootstrap, tls=False) == ()
    assert sasl_mechanisms(broker.bootstrap, tls=True) == ()
    assert speaks_plainly(broker.bootstrap)
    assert not speaks_tls(broker.bootstrap)


@pytest.mark.parametrize(
    "command",
    [
        ["orchestrator", "tests.security.shop", "--health-port", "off"],
        ["worker", "tests.security.shop", "--queue", "q", "--health-port", "off"],
        ["workflow", "list"],
    ],
    ids=lambda command: command[0],
)
def test_commands_end_soon(broker: SecureBroker, namespace: str, command: list[str]) -> None:
    """Long-running ones too, when they start, and ``-v`` shows no secret."""
    variables = {
        **scram(broker),
        "ODRADEK_SASL_PASSWORD": f"not {PASSWORD}",
        "ODRADEK_LOG": broker.at("SCRAM"),
        "ODRADEK_NAMESPACE": NAMESPACE,
    }
    began = time.monotonic()
    done = CliRunner().invoke(main, ["-v", *command], prog_name="odradek", env=variables)
    assert (done.exit_code != 0, "ODR-228" in done.output) == (True, True)
    assert time.monotonic() - began < REFUSED_SECONDS
    assert PASSWORD not in done.output
