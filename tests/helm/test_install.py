"""Releases on a real API server, from install to uninstall; it enforces the restricted pod security standard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.helm import control_plane
from tests.helm.apiserver import ApiServer, Denied, JobController, api_server, place
from tests.helm.chart import CHART, RELEASE, REPOSITORY, SETS, VALUES, Helm, Manifest, Refused, Rendered, container
from tests.programs import ProgramUnavailable

OTHER: dict[str, Any] = {
    "image": {"tag": "8.0.0"},
    "messages": {"level": "debug"},
    "health": {"port": 9090},
    "pod": {"labels": {"team": "shop"}},
    "doctor": {"run": "hook"},
    "networkPolicy": {"enabled": True},
    "monitoring": {part: {"enabled": True} for part in ("serviceMonitor", "prometheusRule", "dashboards")},
    "workers": {"extra": {"queue": "extra", "modules": ["shop.extra"], "autoscaling": {"type": "hpa"}}},
}
STATEFUL_SET = {"apiVersion": "apps/v1", "kind": "StatefulSet"}

Objects = set[tuple[str, str]]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    try:
        control_plane.programs()
    except ProgramUnavailable as error:
        pytest.skip(str(error))
    with api_server(tmp_path_factory.mktemp("cluster")) as server:
        yield server


@pytest.fixture
def jobs(cluster: ApiServer) -> Iterator[JobController]:
    with JobController(cluster) as controller:
        yield controller


class Release:
    """One release in a namespace of its own, or beside others in theirs."""

    def __init__(self, helm: Helm, cluster: ApiServer, namespace: str, name: str = RELEASE) -> None:
        self.helm, self.cluster, self.namespace, self.name = helm, cluster, namespace, name

    def change(self, verb: str, *files: Path, values: Mapping[str, Any] | None = None) -> None:
        """``install``, or ``upgrade``, which installs where nothing is. Raises ``Refused``."""
        options = ["--install"] if verb == "upgrade" else []
        self.do(verb, self.name, str(CHART), *options, *self.helm.given(files, values))

    def do(self, *command: str) -> None:
        self.helm.run(*command, "--namespace", self.namespace, "--kubeconfig", str(self.cluster.kubeconfig))
        assert "would violate" not in self.helm.warned
        assert "unknown field" not in self.helm.warned

    def objects(self, like: Rendered) -> Objects:
        """All there are of the kinds that ``like`` has."""
        kinds = {manifest["kind"]: manifest for manifest in like.manifests}
        found: Objects = set()
        for kind, manifest in kinds.items():
            for one in self.cluster.items(place(manifest, self.namespace)):
                if one.get("type") != "helm.sh/release.v1":
                    found.add((kind, one["metadata"]["name"]))
        return found

    def one(self, manifest: Mapping[str, Any], name: str) -> Manifest:
        return self.cluster.get(f"{place(dict(manifest), self.namespace)}/{name}")

    def orchestrators(self) -> Manifest:
        return self.one(STATEFUL_SET, "shop-odradek-orchestrators")


@pytest.fixture
def release(helm: Helm, cluster: ApiServer, jobs: JobController, request: pytest.FixtureRequest) -> Release:
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name[5:]).strip("-")[-50:].strip("-")
    labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    cluster.ask("POST", "/api/v1/namespaces", manifest)
    return Release(helm, cluster, name)


def is_hook(manifest: Manifest, *events: str) -> bool:
    """Of one of the events; of any if none is named."""
    own = manifest["metadata"].get("annotations", {}).get("helm.sh/hook", "").split(",")
    return bool(set(own) & set(events)) if events else own != [""]


def expected(one: Rendered) -> Objects:
    """What a release consists of, without its hooks."""
    return {(manifest["kind"], manifest["metadata"]["name"]) for manifest in one.manifests if not is_hook(manifest)}


def hooks(one: Rendered, event: str) -> list[str]:
    """The jobs of an event in the order of their weights."""
    mine = [job["metadata"] for job in one.of("Job") if is_hook(job, f"pre-{event}", f"post-{event}")]
    mine.sort(key=lambda metadata: int(metadata["annotations"]["helm.sh/hook-weight"]))
    return [metadata["name"] for metadata in mine]


def names(ran: list[Manifest]) -> list[str]:
    return [job["metadata"]["name"] for job in ran]


@pytest.mark.parametrize("name", SETS)
def test_a_release_comes_changes_goes_back_and_goes(
    helm: Helm, release: Release, jobs: JobController, name: str
) -> None:
    """Nothing is left of hooks but their jobs, and of an uninstalled release neither."""
    file = VALUES / f"{name}.yaml"
    first, second = helm.render(file), helm.render(file, values=OTHER)
    left: Objects = set()

    release.change("install", file)
    assert names(jobs.ran) == hooks(first, "install")
    left |= {("Job", job) for job in names(jobs.ran)}
    assert release.objects(first) == expected(first) | left

    jobs.ran.clear()
    release.change("upgrade", file, values=OTHER)
    assert names(jobs.ran) == hooks(second, "upgrade")
    left |= {("Job", job) for job in names(jobs.ran)}
    assert release.objects(second) == expected(second) | left

    jobs.ran.clear()
    release.do("rollback", release.name, "1")
    assert jobs.ran == [], "nothing may stand in the way of a rollback"
    assert release.objects(second) == expected(first) | left

    release.do("uninstall", release.name)
    assert release.objects(second) == left


@pytest.mark.parametrize("name", SETS)
def test_every_manifest_and_every_pod_is_admitted(helm: Helm, release: Release, name: str) -> None:
    """No field is unknown, too."""
    one = helm.render(VALUES / f"{name}.yaml", values=OTHER)
    everything = [manifest for manifest in one.manifests if manifest["kind"] != "Pod"]
    for owner in one.owners:
        template = owner["spec"]["template"]
        metadata = {**template["metadata"], "name": "pod"}
        claims = [claim["metadata"]["name"] for claim in owner["spec"].get("volumeClaimTemplates", [])]
        volumes = [{"name": claim, "persistentVolumeClaim": {"claimName": claim}} for claim in claims]
        spec = {**template["spec"], "volumes": [*template["spec"]["volumes"], *volumes]}
        everything.append({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    refused = []
    for manifest in everything:
        try:
            release.cluster.ask(
                "POST", f"{place(manifest, release.namespace)}?dryRun=All&fieldValidation=Strict", manifest
            )
        except Denied as error:
            refused.append((manifest["kind"], manifest["metadata"]["name"], str(error)))
    assert refused == []


def test_the_server_refuses_what_is_wrong(helm: Helm, release: Release) -> None:
    """Otherwise the test above would say nothing: of Kubernetes' own kinds, and of others'."""
    one = helm.render(VALUES / "production.yaml")
    for kind in ("StatefulSet", "ScaledObject", "ServiceMonitor"):
        manifest = one.of(kind)[0]
        manifest["spec"]["replica"] = 1
        with pytest.raises(Denied, match=r'unknown field \\"spec\.replica\\"'):
            release.cluster.ask(
                "POST", f"{place(manifest, release.namespace)}?dryRun=All&fieldValidation=Strict", manifest
            )


def test_a_gate_that_fails_stops_the_upgrade(release: Release, jobs: JobController) -> None:
    """It runs the new image when no pod has it yet, and not on an install."""
    file, newer = VALUES / "production.yaml", {"image": {"tag": "8.0.0"}}
    release.change("install", file)
    assert names(jobs.ran) == ["shop-odradek-topics", "shop-odradek-doctor"]
    before = release.orchestrators()
    jobs.ran.clear()
    jobs.failing = ("replay-gate",)
    with pytest.raises(Refused, match="pre-upgrade hooks failed"):
        release.change("upgrade", file, values=newer)
    assert names(jobs.ran) == ["shop-odradek-topics", "shop-odradek-replay-gate"]
    assert container(jobs.ran[-1])["image"] == "registry.example.com/shop:8.0.0"
    assert release.orchestrators()["metadata"]["generation"] == before["metadata"]["generation"]
    with pytest.raises(Denied, match="404"):
        release.one({"apiVersion": "v1", "kind": "ConfigMap"}, "shop-odradek-hooks")

    jobs.failing = ()
    release.change("upgrade", file, values=newer)
    assert container(release.orchestrators())["image"] == "registry.example.com/shop:8.0.0"


def test_an_install_that_failed_can_be_tried_again(release: Release, jobs: JobController) -> None:
    """The second try is an upgrade for Helm, and the gate finds the namespace that the first has not made."""
    file = VALUES / "production.yaml"
    jobs.failing = ("topics",)
    with pytest.raises(Refused, match="pre-install"):
        release.change("install", file)
    jobs.failing = ()
    jobs.ran.clear()
    release.change("upgrade", file)
    assert names(jobs.ran)[:2] == ["shop-odradek-topics", "shop-odradek-replay-gate"]


def test_volumes_that_cannot_change_stop_the_upgrade_first(release: Release, jobs: JobController) -> None:
    """Kubernetes would refuse in the middle, when half of the release is new."""
    file, larger = VALUES / "production.yaml", {"orchestrators": {"store": {"size": "40Gi"}}}
    release.change("install", file)
    jobs.ran.clear()
    with pytest.raises(Refused, match=r"40Gi, fast.*20Gi, fast.*delete statefulset .* --cascade=orphan"):
        release.change("upgrade", file, values=larger)
    assert jobs.ran == []
    release.cluster.ask("DELETE", f"{place(STATEFUL_SET, release.namespace)}/shop-odradek-orchestrators")
    release.change("upgrade", file, values=larger)
    (claim,) = release.orchestrators()["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "40Gi"


def test_an_upgrade_leaves_the_number_to_the_autoscaler(release: Release) -> None:
    """Turning it on takes the number away, which is 1 until the autoscaler looks: the page says so."""
    file = VALUES / "minimal.yaml"
    scaled: dict[str, Any] = {"orchestrators": {"autoscaling": {"type": "hpa"}}}
    release.change("install", file)
    assert release.orchestrators()["spec"]["replicas"] == 2
    release.change("upgrade", file, values=scaled)
    assert release.orchestrators()["spec"]["replicas"] == 1
    path = f"{place(STATEFUL_SET, release.namespace)}/shop-odradek-orchestrators"
    release.cluster.ask("PATCH", path, {"spec": {"replicas": 5}})
    release.change("upgrade", file, values={**scaled, "messages": {"level": "debug"}})
    assert release.orchestrators()["spec"]["replicas"] == 5


def test_two_releases_share_a_namespace(helm: Helm, release: Release) -> None:
    file = VALUES / "production.yaml"
    other = Release(release.helm, release.cluster, release.namespace, "stock")
    release.change("install", file)
    both = helm.render(file)
    alone = release.objects(both)
    other.change("install", file)
    assert len(release.objects(both)) == 2 * len(alone)
    other.do("uninstall", "stock")
    assert {found for found in release.objects(both) if found[0] != "Job"} == expected(both)


def test_who_has_no_api_server_is_told_how_to_get_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in (control_plane.VARIABLE, "ODRADEK_CACHE", "PATH"):
        monkeypatch.setenv(variable, str(tmp_path))
    with pytest.raises(ProgramUnavailable, match=r"NOT INSTALLED.*make api-server"):
        control_plane.programs()
    assert "\napi-server:" in (REPOSITORY / "Makefile").read_text()
