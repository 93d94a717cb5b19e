"""The tool of Prometheus that tests rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.monitoring.promtool import PromtoolMissing
from tests.monitoring.promtool import promtool as find


@pytest.fixture(scope="session")
def promtool() -> Path:
    try:
        return find()
    except PromtoolMissing as error:
        pytest.skip(str(error))
