"""The chart, rendered: what Kubernetes would be given for some values."""

from __future__ import annotations

import base64
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import yaml

REPOSITORY: Final = Path(__file__).parents[2]
CHART: Final = REPOSITORY / "helm" / "odradek"
VALUES: Final = Path(__file__).parent / "values"
GOLDEN: Final = Path(__file__).parent / "golden"
SETS: Final = ("minimal", "production", "pools")
RELEASE: Final = "shop"

Manifest = dict[str, Any]


class Refused(Exception):
    """Helm does not render these values; the text is what it says."""


@dataclass(frozen=True)
class Rendered:
    """The manifests of one set of values."""

    text: str

    @cached_property
    def manifests(self) -> list[Manifest]:
        return [manifest for manifest in yaml.safe_load_all(self.text) if manifest]

    def of(self, *kinds: str) -> list[Manifest]:
        return [manifest for manifest in self.manifests if manifest["kind"] in kinds]

    def one(self, kind: str, name: str) -> Manifest:
        (found,) = [manifest for manifest in self.of(kind) if manifest["metadata"]["name"] == name]
        return found

    @property
    def workloads(self) -> list[Manifest]:
        return self.of("StatefulSet", "Deployment")

    @property
    def owners(self) -> list[Manifest]:
        """All that have a pod's template; a pod that stands by itself is its own."""
        return [with_template(manifest) for manifest in self.of("StatefulSet", "Deployment", "Job", "Pod")]

    @property
    def pods(self) -> list[Manifest]:
        """Templates of all pods, each with the name of its owner."""
        return [{"owner": owner["metadata"]["name"], **owner["spec"]["template"]} for owner in self.owners]


def with_template(manifest: Manifest) -> Manifest:
    """The same for a pod by itself as for what has a template."""
    if manifest["kind"] != "Pod":
        return manifest
    template = {"metadata": {"labels": manifest["metadata"]["labels"]}, "spec": manifest["spec"]}
    return {**manifest, "spec": {"template": template}}


def container(workload: Manifest) -> Manifest:
    (found,) = workload["spec"]["template"]["spec"]["containers"]
    return dict(found)


def variables(found: Manifest) -> dict[str, str | None]:
    """Of a container; None: they come from a Secret."""
    return {entry["name"]: entry.get("value") for entry in found["env"]}


def option(found: Manifest, name: str) -> str:
    """The value of an option in a container's arguments."""
    arguments: list[str] = found["args"]
    return arguments[arguments.index(name) + 1]


def texts(value: Any) -> Iterator[str]:
    """Every text inside, keys of mappings too."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield str(key)
            yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)
    elif value is not None:
        yield str(value)


def decoded(secret: Manifest) -> dict[str, str]:
    return {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}


def environment(one: Rendered, owner: Manifest, folder: Path, secrets: Mapping[str, str]) -> dict[str, str]:
    """The variables of a pod, with what it mounts of the chart's own in ``folder``; ``secrets``: those of the user."""
    mount(one, owner, folder)
    found = {
        name: secrets.get(name, "") if value is None else value for name, value in variables(container(owner)).items()
    }
    for place in ("/etc/odradek/log", "/etc/odradek/secret", "/var/lib/odradek"):
        found = {variable: text.replace(place, f"{folder}{place}") for variable, text in found.items()}
    return found


def mount(one: Rendered, owner: Manifest, folder: Path) -> None:
    places = {entry["name"]: Path(entry["mountPath"]) for entry in container(owner)["volumeMounts"]}
    for volume in owner["spec"]["template"]["spec"]["volumes"]:
        if volume["name"] == "log":
            files = one.one("ConfigMap", volume["configMap"]["name"])["data"]
        elif volume["name"] == "secret":
            data = decoded(one.one("Secret", volume["secret"]["secretName"]))
            files = {item["path"]: data[item["key"]] for item in volume["secret"]["items"]}
        else:
            continue
        place = folder / places[volume["name"]].relative_to("/")
        place.mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            (place / file).write_text(text)


class Helm:
    """The program, for this chart."""

    def __init__(self, program: Path, folder: Path) -> None:
        self._program, self._folder = program, folder
        self._count = 0
        self.warned = ""
        """What it last said beside its output."""

    def render(
        self, *files: Path, values: Mapping[str, Any] | None = None, chart: Path = CHART, release: str = RELEASE
    ) -> Rendered:
        """With values files and then ``values``. Raises ``Refused``."""
        command = ["template", release, str(chart), "--namespace", RELEASE]
        return Rendered(self.run(*command, *self.given(files, values)))

    def notes(self, *files: Path) -> str:
        """What an install ends with. Helm shows it only where there is a cluster, so it becomes a manifest here."""
        self._count += 1
        chart = self._folder / f"chart-{self._count}"
        shutil.copytree(CHART, chart)
        notes = chart / "templates" / "NOTES.txt"
        shown = (
            f'{{{{- define "notes" -}}}}{notes.read_text()}{{{{- end -}}}}notes: {{{{ include "notes" . | toJson }}}}'
        )
        (chart / "templates" / "shown.yaml").write_text(shown)
        notes.unlink()
        command = ["template", RELEASE, str(chart), "--namespace", RELEASE, "--show-only", "templates/shown.yaml"]
        return str(yaml.safe_load(self.run(*command, *self.given(files, None)))["notes"])

    def lint(self, *files: Path) -> str:
        return self.run("lint", "--strict", str(CHART), *self.given(files, None))

    def given(self, files: tuple[Path, ...], values: Mapping[str, Any] | None) -> list[str]:
        all_files = list(files)
        if values is not None:
            self._count += 1
            own = self._folder / f"values-{self._count}.yaml"
            own.write_text(yaml.safe_dump(dict(values)))
            all_files.append(own)
        return [part for file in all_files for part in ("--values", str(file))]

    def run(self, *arguments: str) -> str:
        home = {name: str(self._folder) for name in ("HOME", "HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME")}
        done = subprocess.run(
            [self._program, *arguments], env=home, capture_output=True, text=True, timeout=180, check=False
        )
        self.warned = done.stderr
        if done.returncode != 0:
            raise Refused(done.stderr + done.stdout)
        return done.stdout
