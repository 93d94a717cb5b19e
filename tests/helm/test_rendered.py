"""Helm takes the chart, Kubernetes takes what it makes of it, and it makes what it made before."""

from __future__ import annotations

import difflib
import json
import subprocess
from pathlib import Path

import pytest

from tests.helm import tools
from tests.helm.chart import CHART, GOLDEN, SETS, VALUES, Helm, Manifest, Rendered
from tests.helm.conftest import had

PLATFORMS = ("strimzi", "msk-iam", "confluent-cloud", "redpanda")
CUSTOM = ("ScaledObject", "TriggerAuthentication", "ServiceMonitor", "PrometheusRule")
"""Kinds of KEDA and the Prometheus operator, whose schemas Kubernetes does not have."""


@pytest.mark.parametrize("name", SETS)
def test_chart_passes_lint(helm: Helm, name: str) -> None:
    assert "0 chart(s) failed" in helm.lint(VALUES / f"{name}.yaml")


@pytest.mark.parametrize("name", SETS)
def test_manifests_are_the_golden_ones(rendered: dict[str, Rendered], name: str) -> None:
    golden = (GOLDEN / f"{name}.yaml").read_text()
    changed = difflib.unified_diff(golden.splitlines(), rendered[name].text.splitlines(), "golden", "now", lineterm="")
    assert list(changed) == [], "read the difference; if it is meant: make golden"


@pytest.mark.parametrize("platform", PLATFORMS)
def test_values_of_a_platform_render(helm: Helm, platform: str) -> None:
    """Alone, and with a pool that scales by lag."""
    file = CHART / "values" / f"{platform}.yaml"
    assert helm.render(file).workloads
    pool = {"queue": "q", "modules": ["shop.q"], "autoscaling": {"type": "keda"}}
    (scaled,) = helm.render(file, values={"workers": {"q": pool}}).of("ScaledObject")
    (trigger,) = scaled["spec"]["triggers"]
    assert trigger["authenticationRef"]["name"]
    assert trigger["metadata"].get("tls", "enable") == "enable"
    assert trigger["metadata"].get("sasl") != "none"


def test_every_platform_has_its_values() -> None:
    assert {file.stem for file in (CHART / "values").glob("*.yaml")} == set(PLATFORMS)


@pytest.mark.parametrize("version", tools.KUBERNETES_VERSIONS)
def test_manifests_fit_the_schemas_of_kubernetes(rendered: dict[str, Rendered], version: str) -> None:
    found = judged("\n".join(one.text for one in rendered.values()), version)
    custom = [manifest for one in rendered.values() for manifest in one.of(*CUSTOM)]
    wrong = [resource for resource in found["resources"] if resource["status"] != "statusSkipped"]
    assert wrong == []
    assert found["summary"]["skipped"] == len(custom)
    assert found["summary"]["valid"] == sum(len(one.manifests) for one in rendered.values()) - len(custom)


def test_schemas_notice_a_wrong_field(rendered: dict[str, Rendered]) -> None:
    """Otherwise the test above would say nothing."""
    text = rendered["minimal"].text.replace("readOnlyRootFilesystem", "readOnlyRoot", 1)
    summary = judged(text, tools.KUBERNETES_VERSIONS[-1])["summary"]
    assert (summary["invalid"], summary["errors"]) == (1, 0)


def judged(text: str, version: str) -> Manifest:
    """What kubeconform says, with the schemas of a version of Kubernetes."""
    place = had(tools.schemas) / "{{.NormalizedKubernetesVersion}}" / "{{.ResourceKind}}{{.KindSuffix}}.json"
    command: list[str | Path] = [had(tools.kubeconform), "-strict", "-summary", "-output", "json"]
    command += ["-kubernetes-version", version.removeprefix("v"), "-schema-location", place, "-skip", ",".join(CUSTOM)]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)
    verdict: Manifest = json.loads(done.stdout)
    return verdict


def test_pods_satisfy_the_restricted_standard(rendered: dict[str, Rendered]) -> None:
    """By the code that the API server enforces "pod-security.kubernetes.io/enforce: restricted" with."""
    assert violations([pod for one in rendered.values() for pod in one.pods]) == ""


def test_the_standard_notices_a_pod_that_runs_as_root(rendered: dict[str, Rendered]) -> None:
    pod = json.loads(json.dumps(rendered["minimal"].pods[0]))
    pod["spec"]["securityContext"]["runAsNonRoot"] = False
    assert "runAsNonRoot" in violations([pod])


def violations(pods: list[Manifest]) -> str:
    done = subprocess.run(
        [had(tools.admission)], input=json.dumps(pods), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode in (0, 1), done.stderr
    return done.stdout
