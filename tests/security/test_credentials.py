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
from odradek.envconfig import ClientConfig
from odradek.log import CredentialsRefused, open_log
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


def test_tokens_from_a_server(broker: SecureBroker, namespace: str, token_url: str) -> None:
    variables = {
        "ODRADEK_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "ODRADEK_OAUTH_TOKEN_URL": token_url,
        "ODRADEK_OAUTH_CLIENT_ID": "shop",
        "ODRADEK_OAUTH_CLIENT_SECRET": PASSWORD,
    }
    connect(broker.at("OAUTH"), variables)


@pytest.mark.parametrize("fault", ["password", "user", "authority", "certificate", "no TLS"])
def test_what_is_refused_ends_soon(
    broker: SecureBroker, namespace: str, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    listener, variables = "SCRAM", {**scram(broker), "ODRADEK_SASL_PASSWORD": PASSWORD}
    if fault == "password":
        variables["ODRADEK_SASL_PASSWORD"] = f"not {PASSWORD}"
    elif fault == "user":
        variables["ODRADEK_SASL_USERNAME"] = "nobody"
    elif fault == "authority":
        del variables["ODRADEK_SSL_CA_FILE"]
    elif fault == "no TLS":
        variables = {}
    else:
        listener, variables = "MTLS", {"ODRADEK_SSL_CA_FILE": str(broker.authority.file)}
    began = time.monotonic()
    with pytest.raises(CredentialsRefused, match="ODR-228") as caught:
        connect(broker.at(listener), variables)
    assert time.monotonic() - began < REFUSED_SECONDS
    assert PASSWORD not in str(caught.value) + caplog.text


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
