"""The container files name what exists. Docker itself is asked only where it is installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from examples.orders import shop
from examples.orders.activities import LEDGER_VARIABLE
from examples.orders.customers import TASK_QUEUE
from odradek.cli import main

REPOSITORY = Path(__file__).parents[2]
COMPOSE = (REPOSITORY / "docker-compose.yml").read_text()
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE)["services"]
OURS = {name: service for name, service in SERVICES.items() if service.get("image") == "odradek"}
PROMETHEUS = yaml.safe_load((REPOSITORY / "deploy/prometheus.yml").read_text())


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=False, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)


def compose() -> list[str] | None:
    """The command that is installed: Docker's plugin, or the program of its own."""
    docker = shutil.which("docker")
    if docker is not None and _run(docker, "compose", "version").returncode == 0:
        return [docker, "compose"]
    alone = shutil.which("docker-compose")
    return None if alone is None else [alone]


@pytest.mark.skipif(compose() is None, reason="NEITHER docker compose NOR docker-compose is installed")
def test_compose_file_is_valid() -> None:
    for files in (["docker-compose.yml"], ["docker-compose.yml", "deploy/schema-registry.yml"]):
        found = _run(*(compose() or ()), *(word for file in files for word in ("-f", file)), "config", "--quiet")
        assert found.returncode == 0, found.stderr


def test_all_of_ours_use_the_schema_registry_or_none() -> None:
    beside = yaml.safe_load((REPOSITORY / "deploy/schema-registry.yml").read_text())["services"]
    [registry] = beside.keys() - OURS.keys()
    [port] = re.findall(r":(\d+)$", beside[registry]["environment"]["SCHEMA_REGISTRY_LISTENERS"])
    address = f"http://{registry}:{port}"
    assert {name: beside[name]["environment"]["ODRADEK_SCHEMA_REGISTRY"] for name in OURS} == dict.fromkeys(
        OURS, address
    )
    assert not any("ODRADEK_SCHEMA_REGISTRY" in service["environment"] for service in OURS.values())
    assert beside["namespace"]["depends_on"] == {registry: {"condition": "service_healthy"}}
    assert beside[registry]["healthcheck"]["test"]


def test_mounted_files_exist() -> None:
    mounted = re.findall(r"^ *- \./([^:]+):", COMPOSE, re.MULTILINE)
    assert "deploy/prometheus.yml" in mounted
    assert [path for path in mounted if not (REPOSITORY / path).exists()] == []


def test_commands_name_modules_that_exist() -> None:
    modules = re.findall(r'"(examples\.[\w.]+)"', COMPOSE)
    assert modules
    paths = [REPOSITORY.joinpath(*module.split(".")) for module in modules]
    assert [path for path in paths if not (path.with_suffix(".py").exists() or path.is_dir())] == []


def test_image_holds_every_source_root() -> None:
    """A root that is missing from the image is noticed here rather than in a pod."""
    copied = set(re.findall(r"^COPY (\w+) \1$", DOCKERFILE, re.MULTILINE))
    roots = {folder.parent.name for folder in REPOSITORY.glob("*/odradek") if any(folder.rglob("*.py"))}
    ignored = (REPOSITORY / ".dockerignore").read_text()
    assert roots <= copied
    assert [root for root in copied if f"!{root}\n" not in ignored] == []


def test_image_does_not_run_as_root() -> None:
    last_stage = DOCKERFILE.rsplit("FROM ", 1)[1]
    assert re.search(r"^USER 10001$", last_stage, re.MULTILINE)
    assert "/healthz" in last_stage


def test_grafana_finds_its_dashboards_and_prometheus_its_rules() -> None:
    """What the provisioning names is where the files are mounted, and it is where Grafana looks."""
    mounts = dict(re.findall(r"^ *- \./([^:]+):([^:\n]+):ro$", COMPOSE, re.MULTILINE))
    for kind in ("datasources", "dashboards"):
        assert Path(mounts[f"deploy/grafana/{kind}.yml"]).parent == Path("/etc/grafana/provisioning") / kind
    provider = yaml.safe_load((REPOSITORY / "deploy/grafana/dashboards.yml").read_text())["providers"][0]
    assert provider["options"]["path"] == mounts["helm/odradek/files/dashboards"]
    home = re.search(r"HOME_DASHBOARD_PATH: (.+)/(.+)", COMPOSE)
    assert home is not None
    assert home[1] == mounts["helm/odradek/files/dashboards"]
    assert (REPOSITORY / "helm/odradek/files/dashboards" / home[2]).exists()
    [source] = yaml.safe_load((REPOSITORY / "deploy/grafana/datasources.yml").read_text())["datasources"]
    assert (source["type"], source["isDefault"]) == ("prometheus", True), "the dashboards' variable begins with it"
    assert source["url"] == "http://prometheus:9090"
    assert source["jsonData"]["timeInterval"] == PROMETHEUS["global"]["scrape_interval"], "rates are taken over four"


def test_alerts_of_compose_link_to_the_runbooks_that_are_named(tmp_path: Path) -> None:
    """The script of the service, with its folders and its program elsewhere."""
    service = SERVICES["prometheus"]
    mounted, program = tmp_path / "etc", tmp_path / "program"
    mounted.mkdir()
    shutil.copy(REPOSITORY / "helm/odradek/files/alerts.yaml", mounted)
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    [script] = service["command"]
    elsewhere = {"/etc/prometheus": mounted, "/bin/prometheus": program, "/prometheus": tmp_path}
    script = re.sub(r"(?<![\w/])(/etc|/bin)?/prometheus\b(?!\.)", lambda found: str(elsewhere[found[0]]), script)
    variables = {"PATH": os.defpath, "ODRADEK_RUNBOOKS": "https://docs/runbooks"}
    command = [*service["entrypoint"], script.replace("$$", "$")]
    done = subprocess.run(command, check=True, env=variables, capture_output=True, text=True)
    assert done.stdout.split() == [f"--config.file={mounted}/prometheus.yml", f"--storage.tsdb.path={tmp_path}"]
    assert PROMETHEUS["rule_files"] == ["/prometheus/alerts.yaml"]
    written = (tmp_path / "alerts.yaml").read_text()
    assert "runbook_url: https://docs/runbooks#no-workers-on-a-queue" in written
    assert "runbook_url: docs/" not in written
    assert service["environment"] == {"ODRADEK_RUNBOOKS": "${ODRADEK_RUNBOOKS:-docs/how-to/runbooks.md}"}


def test_prometheus_asks_every_service_that_has_metrics() -> None:
    watched = OURS.keys() - {"namespace"}
    jobs = PROMETHEUS["scrape_configs"]
    assert {job["job_name"] for job in jobs} == watched
    asked = [one for job in jobs for one in job["dns_sd_configs"]]
    assert {name for one in asked for name in one["names"]} == watched
    served = re.search(r"ODRADEK_HEALTH_PORT=(\d+)", DOCKERFILE)
    assert served is not None
    assert {str(one["port"]) for one in asked} == {served[1]}
    words = SERVICES["customers"]["command"]
    assert words[words.index("--metrics-port") + 1] == served[1]
    assert SERVICES["orchestrator"]["deploy"]["replicas"] == 2


def test_one_service_builds_the_image_and_none_asks_a_registry_for_it() -> None:
    """Two that build one name at the same time fail, on a machine that has no such image yet."""
    assert [name for name, service in OURS.items() if "build" in service] == ["namespace"]
    policies = {name: service["pull_policy"] for name, service in OURS.items()}
    assert policies == {name: "build" if name == "namespace" else "never" for name in OURS}
    assert all(name == "namespace" or "namespace" in waits_for(name) for name in OURS)


def waits_for(name: str) -> set[str]:
    """Directly, or by way of others."""
    found = set(SERVICES[name].get("depends_on", ()))
    return found.union(*(waits_for(one) for one in found))


def test_what_is_waited_for_to_be_healthy_says_whether_it_is() -> None:
    for name, service in SERVICES.items():
        waited = service.get("depends_on", {})
        for other in waited if isinstance(waited, dict) else ():
            if waited[other]["condition"] == "service_healthy":
                healthy = "test" in SERVICES[other].get("healthcheck", {}) or (
                    other in OURS and "healthcheck" not in SERVICES[other]
                )
                assert healthy, (name, other)


@pytest.mark.parametrize("name", OURS)
def test_commands_can_be_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the program itself: names of commands, options and their values."""
    words, environment = list(OURS[name]["command"]), OURS[name]["environment"]
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    found: click.Command = shop.main if name == "customers" else main
    while isinstance(found, click.Group):
        named = found.get_command(click.Context(found), words.pop(0))
        assert named is not None
        found = named
    found.make_context(name, words)
    if "--queue" in words:
        assert words[words.index("--queue") + 1] == TASK_QUEUE


def test_volumes_belong_to_the_user_of_the_image() -> None:
    """A new volume has the owner that its place has in the image."""
    owned = re.search(r"install --directory --owner=odradek (.+)", DOCKERFILE)
    assert owned is not None
    places = {mount.split(":")[1] for one in OURS.values() for mount in one["volumes"] if not mount.startswith("./")}
    assert places == {"/var/lib/odradek"}
    assert places <= set(owned[1].split())
    for name in ("worker", "customers"):
        assert str(Path(OURS[name]["environment"][LEDGER_VARIABLE]).parent) in places


def test_nothing_listens_beyond_this_machine() -> None:
    """A broker that asks for no password, and a Grafana that everybody may look at."""
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(ports) == 3
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_what_is_no_command_of_ours_is_told_to_stop_by_an_init() -> None:
    """A process with the ID 1 hears only the signals that it has handlers for."""
    assert all(service["init"] is True for service in OURS.values())
