"""The chart on a real API server that enforces the restricted pod security standard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helm.apiserver import ApiServer, api_server
from tests.helm.chart import CHART, RELEASE, VALUES, Helm, Rendered
from tests.helm.tools import ToolUnavailable

WITHOUT_KEDA = {"workers": {"legacy": {"autoscaling": {"type": "none"}}}}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    try:
        context = api_server(tmp_path_factory.mktemp("cluster"))
        server = context.__enter__()
    except ToolUnavailable as error:
        pytest.skip(str(error))
    yield server
    context.__exit__(None, None, None)


def test_a_release_is_admitted_and_upgraded(helm: Helm, cluster: ApiServer, tmp_path: Path) -> None:
    """Its hooks' objects by themselves, since nobody runs jobs there."""
    labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": RELEASE, "labels": labels}}
    assert cluster.post("/api/v1/namespaces", namespace) == (201, "")
    one = helm.render(VALUES / "pools.yaml", values=WITHOUT_KEDA)
    assert refused(cluster, one) == []
    own = tmp_path / "values.yaml"
    own.write_text('{"workers": {"legacy": {"autoscaling": {"type": "none"}}}, "messages": {"level": "debug"}}')
    where = ["--namespace", RELEASE, "--kubeconfig", str(cluster.kubeconfig), "--no-hooks"]
    helm.run("install", RELEASE, str(CHART), *where, "--values", str(VALUES / "minimal.yaml"))
    given = ["--values", str(VALUES / "pools.yaml"), "--values", str(own)]
    helm.run("upgrade", RELEASE, str(CHART), *where, *given)
    helm.run("uninstall", RELEASE, *where)


def refused(cluster: ApiServer, one: Rendered) -> list[tuple[str, int, str]]:
    """Of every manifest, and of a pod of every template, without storing it."""
    query = "?dryRun=All&fieldValidation=Strict"
    answers = []
    for manifest in one.manifests:
        group, _, version = manifest["apiVersion"].rpartition("/")
        plural = manifest["kind"].lower().replace("policy", "policie") + "s"
        place = f"/apis/{group}/{version}" if group else f"/api/{version}"
        status, why = cluster.post(f"{place}/namespaces/{RELEASE}/{plural}{query}", manifest)
        answers.append((manifest["metadata"]["name"], status, why))
    for pod in one.pods:
        alone = {"apiVersion": "v1", "kind": "Pod", "metadata": {**pod["metadata"], "name": "pod"}, "spec": pod["spec"]}
        status, why = cluster.post(f"/api/v1/namespaces/{RELEASE}/pods{query}", alone)
        answers.append((pod["owner"], status, why))
    return [answer for answer in answers if answer[1] != 201]
