"""The container files name what exists. Docker itself is asked only where it is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
COMPOSE = (REPOSITORY / "docker-compose.yml").read_text()
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()


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
    found = _run(*(compose() or ()), "config", "--quiet")
    assert found.returncode == 0, found.stderr


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
    """What the provisioning names is where the files are mounted."""
    mounts = dict(re.findall(r"^ *- \./([^:]+):([^:\n]+):ro$", COMPOSE, re.MULTILINE))
    provider = yaml.safe_load((REPOSITORY / "deploy/grafana/dashboards.yml").read_text())["providers"][0]
    assert provider["options"]["path"] == mounts["helm/odradek/files/dashboards"]
    home = re.search(r"HOME_DASHBOARD_PATH: (.+)/(.+)", COMPOSE)
    assert home is not None
    assert home[1] == mounts["helm/odradek/files/dashboards"]
    assert (REPOSITORY / "helm/odradek/files/dashboards" / home[2]).exists()
    prometheus = Path(mounts["deploy/prometheus.yml"]).parent
    rules = yaml.safe_load((REPOSITORY / "deploy/prometheus.yml").read_text())["rule_files"]
    assert [str(prometheus / rule) for rule in rules] == [mounts["helm/odradek/files/alerts.yaml"]]


def test_prometheus_asks_every_service_that_has_metrics() -> None:
    services = yaml.safe_load(COMPOSE)["services"]
    ours = {name for name, service in services.items() if service.get("image") == "odradek"} - {"namespace"}
    jobs = yaml.safe_load((REPOSITORY / "deploy/prometheus.yml").read_text())["scrape_configs"]
    assert {job["job_name"] for job in jobs} == ours
    assert {name for job in jobs for asked in job["dns_sd_configs"] for name in asked["names"]} == ours
    assert services["orchestrator"]["deploy"]["replicas"] == 2
