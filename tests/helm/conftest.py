"""Helm and what judges its output; where they cannot be had the tests are skipped, and say why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helm import tools
from tests.helm.chart import SETS, VALUES, Helm, Rendered
from tests.programs import ProgramUnavailable

FOLDER = Path(__file__).parent
COLD_SECONDS_MAX = 3600
"""The first test of all waits until the programs are built, by itself or by another process."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == FOLDER:
            item.add_marker(pytest.mark.timeout(COLD_SECONDS_MAX))


def had(get: Callable[[], Path]) -> Path:
    try:
        return get()
    except ProgramUnavailable as error:
        pytest.skip(f"the Helm chart is NOT TESTED: {error}")


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    return Helm(had(tools.helm), tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="session")
def rendered(helm: Helm) -> dict[str, Rendered]:
    """Each set of values in tests/helm/values."""
    return {name: helm.render(VALUES / f"{name}.yaml") for name in SETS}
