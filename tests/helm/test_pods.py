"""Pods: what they may, how they begin and end, and what selects them."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from odradek.cli.health import _Handler
from odradek.cli.orchestrator import orchestrator as orchestrator_command
from odradek.cli.worker import worker as worker_command
from odradek.log.kafka_clients import KafkaAppender
from odradek.log.kafka_membership import LEAVE_FLUSH_SECONDS
from odradek.orchestrator.settings import OrchestratorSettings
from odradek.orchestrator.watch import JOIN_SECONDS
from odradek.workers import WorkerSettings
from tests.helm.chart import (
    REPOSITORY,
    SETS,
    VALUES,
    Helm,
    Manifest,
    Rendered,
    container,
    decoded,
    option,
    variables,
)

every_set = pytest.mark.parametrize("name", SETS)
POOL = {"queue": "q", "modules": ["shop.q"]}


@every_set
def test_every_container_is_confined(rendered: dict[str, Rendered], name: str) -> None:
    for pod in rendered[name].pods:
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        for one in spec["containers"]:
            context = one["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert one["resources"]["limits"]["memory"] or "nvidia.com/gpu" in one["resources"]["limits"]


@every_set
def test_what_must_be_written_is_a_volume(rendered: dict[str, Rendered], name: str) -> None:
    for owner in rendered[name].workloads:
        spec = owner["spec"]["template"]["spec"]
        kinds = {volume["name"]: volume for volume in spec["volumes"]}
        claims = {claim["metadata"]["name"] for claim in owner["spec"].get("volumeClaimTemplates", [])}
        mounts = {mount["mountPath"]: mount["name"] for mount in container(owner)["volumeMounts"]}
        assert "emptyDir" in kinds[mounts["/tmp"]]
        assert variables(container(owner))["HOME"] == "/tmp"
        store = variables(container(owner)).get("ODRADEK_STORE")
        if store:
            assert "emptyDir" in kinds.get(mounts[store], {}) or mounts[store] in claims
        else:
            assert "/var/lib/odradek" not in mounts


def test_user_and_paths_are_those_of_the_image(rendered: dict[str, Rendered]) -> None:
    dockerfile = (REPOSITORY / "Dockerfile").read_text()
    (user,) = re.findall(r"^USER (\d+)$", dockerfile, re.MULTILINE)
    owner = rendered["minimal"].one("StatefulSet", "shop-odradek-orchestrators")
    security = owner["spec"]["template"]["spec"]["securityContext"]
    assert str(security["runAsUser"]) == str(security["fsGroup"]) == user
    known = variables(container(owner))
    for name in ("ODRADEK_STORE", "ODRADEK_HEALTH_PORT"):
        assert f"{name}={known[name]}" in dockerfile
    assert f"EXPOSE {known['ODRADEK_HEALTH_PORT']}" in dockerfile
    assert container(owner)["command"] == re.findall(r'^ENTRYPOINT \["(\w+)"\]$', dockerfile, re.MULTILINE)


@every_set
def test_every_selector_matches_the_pods_that_it_means(rendered: dict[str, Rendered], name: str) -> None:
    one = rendered[name]
    labels = {pod["owner"]: pod["metadata"]["labels"] for pod in one.pods}
    for owner in one.workloads:
        meant = owner["metadata"]["name"]
        assert selected(owner["spec"]["selector"]["matchLabels"], labels) == {meant}
        for spread in owner["spec"]["template"]["spec"].get("topologySpreadConstraints", []):
            assert selected(spread["labelSelector"]["matchLabels"], labels) == {meant}
    for service in one.of("Service"):
        assert selected(service["spec"]["selector"], labels) == {service["metadata"]["name"]}
    for budget in one.of("PodDisruptionBudget"):
        assert selected(budget["spec"]["selector"]["matchLabels"], labels) == {budget["metadata"]["name"]}
    for policy in one.of("NetworkPolicy"):
        assert selected(policy["spec"]["podSelector"]["matchLabels"], labels) == {policy["metadata"]["name"]}


def selected(selector: dict[str, str], labels: dict[str, dict[str, str]]) -> set[str]:
    return {owner for owner, has in labels.items() if selector.items() <= has.items()}


def test_every_pod_has_a_network_policy(rendered: dict[str, Rendered]) -> None:
    one = rendered["production"]
    assert {policy["metadata"]["name"] for policy in one.of("NetworkPolicy")} == {pod["owner"] for pod in one.pods}


@every_set
def test_what_pods_refer_to_is_there(rendered: dict[str, Rendered], name: str) -> None:
    """And early enough: what a job needs before install is made before it."""
    one = rendered[name]
    own = {(manifest["kind"], manifest["metadata"]["name"]): manifest for manifest in one.manifests}
    foreign = {"registry", "redis", "api", "kafka-user", "kafka-ca", "kafka-client", "legacy"}
    for owner in one.owners:
        for kind, wanted in references(owner["spec"]["template"]["spec"]):
            if wanted in foreign:
                continue
            made = own[kind, wanted]["metadata"].get("annotations", {})
            hook = owner["metadata"].get("annotations", {}).get("helm.sh/hook", "")
            if hook.startswith("pre-"):
                assert set(hook.split(",")) <= set(made["helm.sh/hook"].split(","))
                assert int(made["helm.sh/hook-weight"]) < int(owner["metadata"]["annotations"]["helm.sh/hook-weight"])
            else:
                assert "helm.sh/hook" not in made, f"{wanted} is gone when {owner['metadata']['name']} begins"


def references(spec: Manifest) -> set[tuple[str, str]]:
    found = {("ServiceAccount", spec["serviceAccountName"])}
    for volume in spec["volumes"]:
        if "configMap" in volume:
            found.add(("ConfigMap", volume["configMap"]["name"]))
        if "secret" in volume:
            found.add(("Secret", volume["secret"]["secretName"]))
    for entry in spec["containers"][0]["env"]:
        if "valueFrom" in entry:
            found.add(("Secret", entry["valueFrom"]["secretKeyRef"]["name"]))
    return found


@every_set
def test_probes_ask_what_is_served(rendered: dict[str, Rendered], name: str) -> None:
    for owner in rendered[name].workloads:
        one = container(owner)
        (port,) = one["ports"]
        assert str(port["containerPort"]) == variables(one)["ODRADEK_HEALTH_PORT"]
        paths = {kind: one[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")}
        assert paths == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}
        assert {one[f"{kind}Probe"]["httpGet"]["port"] for kind in paths} == {port["name"]}
    served = Path(sys.modules[_Handler.__module__].__file__ or "").read_text()
    assert all(f'"{path}"' in served for path in ("/healthz", "/readyz", "/metrics"))


@every_set
def test_orchestrators_have_time_to_hand_over(rendered: dict[str, Rendered], name: str) -> None:
    """Even where no broker answers any more, and everything takes as long as it may."""
    (owner,) = of_component(rendered[name], "orchestrator")
    grace = owner["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    closing = inspect.signature(KafkaAppender.close).parameters["timeout_seconds"].default
    afterwards = LEAVE_FLUSH_SECONDS + JOIN_SECONDS + 2 * closing
    assert grace > float(option(container(owner), "--hand-over-timeout")) + afterwards


@every_set
def test_workers_have_time_for_their_activities(rendered: dict[str, Rendered], name: str) -> None:
    settings = WorkerSettings()
    for owner in of_component(rendered[name], "worker"):
        grace = owner["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        running = float(option(container(owner), "--graceful-shutdown"))
        assert grace > running + settings.cancel_grace_seconds + settings.hand_over_timeout_seconds


def of_component(one: Rendered, component: str) -> list[Manifest]:
    label = "app.kubernetes.io/component"
    return [owner for owner in one.workloads if owner["metadata"]["labels"][label] == component]


def test_defaults_are_those_of_the_command(rendered: dict[str, Rendered]) -> None:
    """What the chart spells out is what the command would have done by itself."""
    (owner,) = of_component(rendered["minimal"], "orchestrator")
    known = OrchestratorSettings()
    given = {
        "--hand-over-timeout": known.hand_over_timeout_seconds,
        "--session-timeout": known.session_timeout_seconds,
        "--deadlock-timeout": known.deadlock_timeout_seconds,
        "--retention": known.summary_retention_seconds / 86_400,
        "--max-workflows": known.workflows_in_memory_max,
        "--max-instances": known.instances_in_memory_max,
    }
    assert {name: float(option(container(owner), name)) for name in given} == given
    pool = rendered["pools"].one("Deployment", "tasks-workers-fast")
    assert float(option(container(pool), "--session-timeout")) == WorkerSettings().session_timeout_seconds


def test_pod_of_the_test_stands_by_itself(rendered: dict[str, Rendered]) -> None:
    """Else "helm test --logs" would not find it."""
    pod = rendered["minimal"].one("Pod", "shop-odradek-doctor")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert pod["spec"]["activeDeadlineSeconds"] == 240
    job = rendered["production"].one("Job", "shop-odradek-doctor")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "post-install,post-upgrade"


@every_set
def test_jobs_say_why_before_helm_gives_up(rendered: dict[str, Rendered], name: str) -> None:
    """Its --timeout is 5 minutes unless somebody says otherwise, and begins a little earlier than a job's deadline."""
    assert all(job["spec"]["activeDeadlineSeconds"] <= 270 for job in rendered[name].of("Job"))


@every_set
def test_arguments_are_taken_by_the_command(rendered: dict[str, Rendered], name: str) -> None:
    """Every option is one that the command has, and its value is of the right type."""
    commands = {"orchestrator": orchestrator_command, "worker": worker_command}
    for owner in rendered[name].workloads:
        first, *rest = container(owner)["args"]
        context = commands[first].make_context(first, rest, resilient_parsing=False)
        assert context.params["modules"] == tuple(modules(owner))


def modules(owner: Manifest) -> list[str]:
    found: list[str] = []
    for argument in container(owner)["args"][1:]:
        if argument.startswith("--"):
            break
        found.append(argument)
    return found


@pytest.mark.parametrize("component", ["topics", "doctor", "replay-gate"])
def test_arguments_of_jobs_are_taken_by_the_command(rendered: dict[str, Rendered], component: str) -> None:
    """They reach the point where the log is asked for, and none is named."""
    job = rendered["production"].one("Job", f"shop-odradek-{component}")
    done = subprocess.run(
        [sys.executable, "-m", "odradek.cli", *container(job)["args"]],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "No such" not in done.stderr
    assert "ODR-" in done.stderr + done.stdout


@every_set
def test_variables_are_read_by_the_command(rendered: dict[str, Rendered], name: str) -> None:
    pages = [REPOSITORY / "docs" / "reference" / "cli.md", *(REPOSITORY / "docs" / "how-to").glob("secure-kafka.md")]
    known = {name for page in pages for name in re.findall(r"ODRADEK_\w+", page.read_text())}
    for owner in rendered[name].owners:
        assert {variable for variable in variables(container(owner)) if variable.startswith("ODRADEK_")} <= known


def test_changed_settings_roll_the_pods(helm: Helm, rendered: dict[str, Rendered]) -> None:
    def marks(one: Rendered) -> list[Any]:
        return [owner["spec"]["template"]["metadata"]["annotations"] for owner in one.workloads]

    before = marks(rendered["pools"])
    file = VALUES / "pools.yaml"
    assert marks(helm.render(file, values={"doctor": {"run": "test"}})) == before
    for change in (
        {"log": {"config": {"client.rack": "b"}}},
        {"log": {"sasl": {"password": "another"}}},
        {"redis": {"url": "redis://redis2:6379"}},
    ):
        after = marks(helm.render(file, values=change))
        assert all(old != new for old, new in zip(before, after, strict=True)), change


def test_what_a_pool_says_wins(rendered: dict[str, Rendered]) -> None:
    """Zero, false and an empty list, too."""
    one = rendered["pools"]
    gpu, fast = one.one("Deployment", "tasks-workers-gpu"), one.one("Deployment", "tasks-workers-fast")
    assert (gpu["spec"]["replicas"], fast["spec"]["replicas"]) == (0, 4)
    assert container(gpu)["image"] == "registry.example.com/jobs:12-cuda"
    assert gpu["spec"]["template"]["spec"]["nodeSelector"] == {"pool": "jobs", "accelerator": "nvidia"}
    assert "topologySpreadConstraints" not in gpu["spec"]["template"]["spec"]
    assert variables(container(gpu))["CUDA_VISIBLE_DEVICES"] == "0"
    assert container(gpu)["resources"]["limits"] == {"memory": "1Gi", "nvidia.com/gpu": "1"}
    budgets = {budget["metadata"]["name"] for budget in one.of("PodDisruptionBudget")}
    assert budgets == {"tasks-orchestrators", "tasks-workers-fast", "tasks-workers-legacy"}


def test_names_stay_within_the_limits_of_kubernetes(helm: Helm) -> None:
    """However long the release's name is. A StatefulSet's is part of a label of its pods, with eleven more."""
    pool = {"queue": "q", "modules": ["shop.q"], "autoscaling": {"type": "keda"}}
    values = {
        "fullnameOverride": "long-" * 12 + "name",
        "workers": {"worker-pool": pool},
        "networkPolicy": {"enabled": True},
    }
    one = helm.render(VALUES / "minimal.yaml", values=values)
    for manifest in one.manifests:
        name = manifest["metadata"]["name"]
        assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", name)
        assert len(name) <= (52 if manifest["kind"] == "StatefulSet" else 63)
        for value in manifest["metadata"]["labels"].values():
            assert re.fullmatch(r"([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?", value)
            assert len(value) <= 63


def test_numbers_stay_numbers(helm: Helm) -> None:
    """Helm reads them as floats, and Go writes a million as 1e+06."""
    values: dict[str, Any] = {
        "log": {
            "config": {"queued.max.messages.kbytes": 1048576},
            "secretConfig": {"socket.send.buffer.bytes": 2000000},
        },
        "pod": {"env": {"BYTES_MAX": 10000000, "SHARE": 0.5, "ON": True}, "userId": 1000650000},
        "orchestrators": {"extraArgs": ["--limit", 1000000]},
        "workers": {"w": {**POOL, "extraArgs": [3000000], "pod": {"env": {"OWN": 4000000}}}},
        "jobs": {"keepSeconds": 2592000},
    }
    one = helm.render(VALUES / "minimal.yaml", values=values)
    assert re.findall(r"\de\+\d.*", one.text) == []
    assert "queued.max.messages.kbytes=1048576" in one.one("ConfigMap", "shop-odradek")["data"]["client.properties"]
    secret = decoded(one.one("Secret", "shop-odradek"))
    assert secret["client.properties"] == "socket.send.buffer.bytes=2000000\n"
    worker = one.one("Deployment", "shop-odradek-workers-w")
    assert variables(container(worker)).items() >= {
        ("BYTES_MAX", "10000000"),
        ("SHARE", "0.5"),
        ("ON", "true"),
        ("OWN", "4000000"),
    }
    assert container(worker)["args"][-1] == "3000000"
    for pod in one.pods:
        assert pod["spec"]["securityContext"]["runAsUser"] == 1000650000
    assert one.one("Job", "shop-odradek-topics")["spec"]["ttlSecondsAfterFinished"] == 2592000


def test_names_that_look_like_numbers_are_texts(helm: Helm) -> None:
    """A release may be called "123"; Kubernetes wants texts in labels."""
    monitoring = {"serviceMonitor": {"enabled": True}}
    values = {"fullnameOverride": "shop", "workers": {"7": POOL, "true": POOL}, "monitoring": monitoring}
    one = helm.render(VALUES / "minimal.yaml", values=values, release="123")
    for pod in one.pods:
        assert {type(value) for value in pod["metadata"]["labels"].values()} == {str}
    (monitor,) = one.of("ServiceMonitor")
    assert monitor["spec"]["selector"]["matchLabels"]["app.kubernetes.io/instance"] == "123"
    assert {"7", "true"} <= {pod["metadata"]["labels"].get("odradek/pool") for pod in one.pods}


@pytest.mark.parametrize(("tag", "label"), [("7.3.1", "7.3.1"), ("x" * 62 + ".1", "x" * 62), ("_edge-", "edge")])
def test_any_tag_becomes_a_label(helm: Helm, tag: str, label: str) -> None:
    one = helm.render(VALUES / "minimal.yaml", values={"image": {"tag": tag}})
    for pod in one.pods:
        assert pod["metadata"]["labels"]["app.kubernetes.io/version"] == label
        assert pod["spec"]["containers"][0]["image"] == f"odradek:{tag}"


DIGEST = f"sha256:{'0123456789abcdef' * 4}"


@pytest.mark.parametrize(
    ("own", "defaults", "image"),
    [
        ({}, {}, f"all@{DIGEST}"),
        ({"tag": "2"}, {}, "all:2"),
        ({"tag": ""}, {}, f"all@{DIGEST}"),
        ({"repository": "own"}, {}, "own:1"),
        ({"tag": "2"}, {"repository": "pools", "digest": DIGEST}, "pools:2"),
        ({"digest": DIGEST}, {"tag": "2"}, f"all@{DIGEST}"),
    ],
)
def test_a_digest_is_for_its_own_image(helm: Helm, own: dict[str, str], defaults: dict[str, str], image: str) -> None:
    """A pool with a tag of its own would else get the image of all, and say nothing."""
    values: dict[str, Any] = {
        "image": {"repository": "all", "tag": "1", "digest": DIGEST},
        "workerDefaults": {"image": defaults},
        "workers": {"w": {**POOL, "image": own}},
    }
    one = helm.render(VALUES / "minimal.yaml", values=values)
    assert container(one.one("Deployment", "shop-odradek-workers-w"))["image"] == image
    assert container(one.one("StatefulSet", "shop-odradek-orchestrators"))["image"] == f"all@{DIGEST}"


def test_an_image_restarts_those_who_have_it(helm: Helm) -> None:
    """Pools with images of their own go on when the workflows' is new; so they do when only the chart is."""
    file = VALUES / "pools.yaml"
    before, after = (
        {pod["owner"]: pod["metadata"] for pod in helm.render(file, values={"image": {"tag": tag}}).pods}
        for tag in ("1", "2")
    )
    assert {owner for owner in before if before[owner] != after[owner]} == {"tasks-orchestrators", "tasks-topics"}
    assert all("helm.sh/chart" not in metadata["labels"] for metadata in before.values())


def test_a_cluster_may_give_the_numbers(helm: Helm) -> None:
    """As OpenShift does, which refuses others."""
    for pod in helm.render(VALUES / "production.yaml", values={"pod": {"userId": None}}).pods:
        assert pod["spec"]["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


def test_home_may_be_another(helm: Helm) -> None:
    """One variable is there once: a list with two of a name is refused by newer Helms."""
    one = helm.render(VALUES / "production.yaml", values={"pod": {"env": {"HOME": "/app"}}})
    for owner in one.owners:
        assert [entry["value"] for entry in container(owner)["env"] if entry["name"] == "HOME"] == ["/app"]
        named = [entry["name"] for entry in container(owner)["env"]]
        assert len(named) == len(set(named))


def test_the_gate_has_what_the_code_needs(helm: Helm) -> None:
    """Variables and volumes of the orchestrators: else modules that want them could not be loaded."""
    pod: dict[str, Any] = {
        "env": {"SHOP_KEYS": "/keys"},
        "extraVolumes": [{"name": "keys", "secret": {"secretName": "keys"}}],
        "extraVolumeMounts": [{"name": "keys", "mountPath": "/keys"}],
    }
    one = helm.render(
        VALUES / "production.yaml", values={"orchestrators": {"pod": pod}, "jobs": {"pod": {"env": {"A": "b"}}}}
    )
    gate, topics = (one.one("Job", f"shop-odradek-{name}") for name in ("replay-gate", "topics"))
    assert variables(container(gate)).items() >= {("SHOP_KEYS", "/keys"), ("A", "b"), ("REGION", "eu-west-1")}
    assert "/keys" in {mount["mountPath"] for mount in container(gate)["volumeMounts"]}
    assert "SHOP_KEYS" not in variables(container(topics))


def test_an_account_of_several_roles_is_made_once(helm: Helm) -> None:
    values = {"workerDefaults": {"serviceAccount": {"name": "jobs"}}}
    accounts = [
        one["metadata"]["name"] for one in helm.render(VALUES / "production.yaml", values=values).of("ServiceAccount")
    ]
    assert sorted(accounts) == ["jobs", "shop-odradek-hooks", "shop-odradek-orchestrators"]
