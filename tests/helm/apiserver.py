"""A real API server without nodes, from the programs of setup-envtest: what it admits is stored, and nothing runs."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from odradek.testing.broker import free_ports
from tests.helm.tools import ToolUnavailable

VARIABLE: Final = "KUBEBUILDER_ASSETS"
TOKEN: Final = "tests"
START_SECONDS_MAX: Final = 60.0


class ApiServer:
    """One that runs; ``kubeconfig`` says how to reach it."""

    def __init__(self, url: str, kubeconfig: Path) -> None:
        self._url, self.kubeconfig = url, kubeconfig

    def get(self, path: str) -> int:
        return self._ask(urllib.request.Request(self._url + path))[0]

    def post(self, path: str, manifest: Mapping[str, Any]) -> tuple[int, str]:
        """The status and, where it is refused, why. Unknown fields are."""
        body = json.dumps(manifest).encode()
        return self._ask(urllib.request.Request(f"{self._url}{path}", body, {"Content-Type": "application/json"}))

    def _ask(self, request: urllib.request.Request) -> tuple[int, str]:
        request.add_header("Authorization", f"Bearer {TOKEN}")
        try:
            # Its certificate is one that it has just made for itself, on this machine.
            with urllib.request.urlopen(request, timeout=10, context=ssl._create_unverified_context()) as answer:
                return answer.status, ""
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


@contextmanager
def api_server(folder: Path) -> Iterator[ApiServer]:
    """Raises ``ToolUnavailable``."""
    programs = Path(os.environ.get(VARIABLE, "/nowhere"))
    if not all((programs / name).is_file() for name in ("etcd", "kube-apiserver")):
        raise ToolUnavailable(
            f"the chart is NOT INSTALLED on an API server: {VARIABLE} names no folder with etcd and kube-apiserver; "
            f'"setup-envtest use -p path" fetches them, where their place can be reached'
        )
    store, peer, port = free_ports(3)
    (folder / "tokens.csv").write_text(f'{TOKEN},tests,tests,"system:masters"\n')
    _write_key(folder)
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(json.dumps(_kubeconfig(f"https://127.0.0.1:{port}")))
    commands: dict[str, list[str]] = {
        "etcd": [
            f"--data-dir={folder / 'etcd'}",
            f"--listen-client-urls=http://127.0.0.1:{store}",
            f"--advertise-client-urls=http://127.0.0.1:{store}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
            "--unsafe-no-fsync",
        ],
        "kube-apiserver": [
            f"--etcd-servers=http://127.0.0.1:{store}",
            "--bind-address=127.0.0.1",
            f"--secure-port={port}",
            f"--cert-dir={folder / 'certificates'}",
            f"--token-auth-file={folder / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--service-account-issuer=https://localhost",
            f"--service-account-key-file={folder / 'account.pem'}",
            f"--service-account-signing-key-file={folder / 'account.pem'}",
            "--disable-admission-plugins=ServiceAccount",  # it waits for a controller
        ],
    }
    running: list[subprocess.Popen[bytes]] = []
    try:
        for name, options in commands.items():
            with (folder / f"{name}.log").open("wb") as output:
                command = [str(programs / name), *options]
                running.append(subprocess.Popen(command, stdout=output, stderr=output, cwd=folder))
        yield _ready(ApiServer(f"https://127.0.0.1:{port}", kubeconfig), running, folder)
    finally:
        for process in reversed(running):
            process.kill()
            process.wait()


def _ready(server: ApiServer, running: list[subprocess.Popen[bytes]], folder: Path) -> ApiServer:
    deadline = time.monotonic() + START_SECONDS_MAX
    while True:
        try:
            if server.get("/readyz") == 200:
                return server
        except OSError:
            pass
        ended = [process.args for process in running if process.poll() is not None]
        if ended or time.monotonic() > deadline:
            log = (folder / "kube-apiserver.log").read_text()[-2000:]
            raise RuntimeError(f"no API server after {START_SECONDS_MAX} s, or {ended} ended: {log}")
        time.sleep(0.1)


def _write_key(folder: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form, no_password = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "account.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, no_password))


def _kubeconfig(url: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "tests", "cluster": {"server": url, "insecure-skip-tls-verify": True}}],
        "users": [{"name": "tests", "user": {"token": TOKEN}}],
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests", "namespace": "shop"}}],
        "current-context": "tests",
    }
