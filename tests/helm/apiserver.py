"""A real API server without nodes: what it admits is stored, nothing runs, and Jobs end as the tests say."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from odradek.testing.broker import free_ports
from tests.helm import control_plane
from tests.helm.chart import Manifest

TOKEN: Final = "tests"
START_SECONDS_MAX: Final = 60.0
LOOK_SECONDS: Final = 0.05
CUSTOM: Final = Path(__file__).parent / "crds.yaml"


class Denied(Exception):
    """The server's answer to a request that it does not carry out; the text is what it says."""


class ApiServer:
    """One that runs; ``kubeconfig`` says how to reach it."""

    def __init__(self, url: str, kubeconfig: Path) -> None:
        self._url, self.kubeconfig = url, kubeconfig

    def get(self, path: str) -> Manifest:
        return self.ask("GET", path)

    def items(self, path: str) -> list[Manifest]:
        found: list[Manifest] = self.get(path)["items"]
        return found

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Manifest:
        """A patch is merged. Raises ``Denied``, and ``OSError`` while there is nobody."""
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": kind}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, headers, method=method)
        try:
            # Its certificate is one that it has just made for itself, on this machine.
            with urllib.request.urlopen(request, timeout=30, context=ssl._create_unverified_context()) as answer:
                text = answer.read().decode()
        except urllib.error.HTTPError as error:
            raise Denied(f"{error.code}: {error.read().decode()}") from None
        answered: Manifest = json.loads(text) if text.startswith("{") else {}
        return answered


def place(manifest: Manifest, namespace: str) -> str:
    """Where manifests of its kind are."""
    group, _, version = manifest["apiVersion"].rpartition("/")
    root = f"/apis/{group}/{version}" if group else f"/api/{version}"
    return f"{root}/namespaces/{namespace}/{plural(manifest['kind'])}"


def plural(kind: str) -> str:
    return kind.lower().replace("policy", "policie") + "s"


class JobController:
    """Ends every Job without running it: well, unless its name ends with one of ``failing``. Keeps them in ``ran``."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self.failing: tuple[str, ...] = ()
        self.ran: list[Manifest] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="job-controller", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _serve(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            for job in self._server.items("/apis/batch/v1/jobs"):
                if not job["status"].get("conditions"):
                    self._end(job)

    def _end(self, job: Manifest) -> None:
        """As the controller does: first what it is about to be, then what it is."""
        name, namespace = job["metadata"]["name"], job["metadata"]["namespace"]
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        status: Manifest
        if self.failing and name.endswith(self.failing):
            status, kinds = {"failed": 1}, ("FailureTarget", "Failed")
        else:
            status, kinds = {"succeeded": 1, "completionTime": now}, ("SuccessCriteriaMet", "Complete")
        conditions = [{"type": kind, "status": "True", "reason": "Tests", "lastTransitionTime": now} for kind in kinds]
        self.ran.append(job)
        path = f"/apis/batch/v1/namespaces/{namespace}/jobs/{name}/status"
        self._server.ask("PATCH", path, {"status": {"startTime": now, **status, "conditions": conditions}})


@contextmanager
def api_server(folder: Path) -> Iterator[ApiServer]:
    """With the kinds of ``crds.yaml``. Raises ``ProgramUnavailable``."""
    programs = control_plane.programs()
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
        server = ApiServer(f"https://127.0.0.1:{port}", kubeconfig)
        _wait(partial(server.get, "/readyz"), running, folder)
        for kind in yaml.safe_load(CUSTOM.read_text()):
            server.ask("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", _definition(kind))
            path = f"/apis/{kind['group']}/{kind['version']}/{plural(kind['kind'])}"
            _wait(partial(server.get, path), running, folder)
        yield server
    finally:
        for process in reversed(running):
            process.kill()
            process.wait()


def _wait(there: Callable[[], object], running: list[subprocess.Popen[bytes]], folder: Path) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while True:
        try:
            there()
        except (OSError, Denied) as error:
            trouble = error
        else:
            return
        ended = [process.args for process in running if process.poll() is not None]
        if ended or time.monotonic() > deadline:
            log = (folder / "kube-apiserver.log").read_text()[-2000:]
            raise RuntimeError(f"no API server after {START_SECONDS_MAX} s ({trouble}), or {ended} ended: {log}")
        time.sleep(0.1)


def _definition(kind: Manifest) -> Manifest:
    """A CustomResourceDefinition that takes what ``crds.yaml`` says of a kind."""
    schema = {"type": "object", "properties": {"spec": _schema(kind["spec"])}}
    version = {"name": kind["version"], "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"kind": kind["kind"], "plural": plural(kind["kind"])}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names['plural']}.{kind['group']}"},
        "spec": {"group": kind["group"], "scope": "Namespaced", "names": names, "versions": [version]},
    }


def _schema(short: Any) -> Manifest:
    if isinstance(short, list):
        return {"type": "array", "items": _schema(short[0])}
    if isinstance(short, str):
        return {"type": short}
    if "*" in short:
        return {"type": "object", "additionalProperties": _schema(short["*"])}
    return {"type": "object", "properties": {key: _schema(inner) for key, inner in short.items()}}


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
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests"}}],
        "current-context": "tests",
    }
