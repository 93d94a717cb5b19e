"""The container files name what exists. Docker itself is asked only where it is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

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
