"""One broker with users, ACLs and TLS for all of these tests, since it takes long to start."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from odradek.testing.broker import BrokerUnavailable
from tests.security.secure_broker import SecureBroker


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureBroker]:
    made = SecureBroker(tmp_path_factory.mktemp("secure"))
    try:
        made.start()
    except BrokerUnavailable as error:
        if os.environ.get("ODRADEK_REQUIRE_KAFKA") == "1":
            raise
        pytest.skip(str(error))
    yield made
    made.stop()
