"""The layout holds together: see docs/decisions/0001-layout.md."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
SETTINGS: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
TOOL = SETTINGS["tool"]
ROOTS = [root for root in TOOL["hatch"]["build"]["dev-mode-dirs"] if (REPOSITORY / root / "odradek").is_dir()]
PACKAGES = [
    package
    for root in ROOTS
    for package in sorted((REPOSITORY / root / "odradek").iterdir())
    if package.is_dir() and list(package.rglob("*.py"))
]


def test_every_folder_of_code_is_a_root() -> None:
    found = {folder.parent.name for folder in REPOSITORY.glob("*/odradek") if list(folder.rglob("*.py"))}
    assert found <= set(TOOL["hatch"]["build"]["dev-mode-dirs"])


def test_every_tool_knows_every_root() -> None:
    roots = TOOL["hatch"]["build"]["dev-mode-dirs"]
    assert [f"{root}/odradek" for root in roots] == TOOL["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert TOOL["ruff"]["src"] == roots
    assert TOOL["mypy"]["mypy_path"].split(":") == roots
    assert TOOL["pytest"]["ini_options"]["pythonpath"] == [".", *roots]


@pytest.mark.parametrize("root", ROOTS)
def test_no_root_claims_the_namespace(root: str) -> None:
    """One odradek/__init__.py, and the other roots vanish from an editable install."""
    assert not (REPOSITORY / root / "odradek" / "__init__.py").exists()
    assert not list((REPOSITORY / root / "odradek").glob("*.py"))


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_every_package_is_whole(package: Path) -> None:
    assert (package / "__init__.py").is_file()
    assert (package / "py.typed").is_file()
    assert f"odradek.{package.name}" in TOOL["importlinter"]["root_packages"]


def test_packages_have_one_root_each() -> None:
    names = [package.name for package in PACKAGES]
    assert len(names) == len(set(names))
