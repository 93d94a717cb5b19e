"""Each model holds in every state it can reach, and none of its devices is there for decoration."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from tests.protocol.bounds import SMALL
from tests.protocol.checker import Model, explore

STATES_MAX = 1_000_000

ALTERNATIVES = {
    ("chunks, runs that follow", ("void runs", "the end before the next run")),
}
"""Each of these suffices without the other; one of them must be there."""

KINDS: dict[type[Model[Any]], list[str]] = {}
for _name, _model in SMALL.items():
    KINDS.setdefault(type(_model), []).append(_name)

DEVICES = [
    (kind, device)
    for kind in KINDS
    for device in kind.DEVICES
    if not any(device in together for _, together in ALTERNATIVES)
]


@pytest.mark.parametrize("name", SMALL)
def test_every_reachable_state_is_sound(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    result = explore(SMALL[name], STATES_MAX)
    capsys.readouterr()
    with capsys.disabled():
        sys.stdout.write(f"\n{name}: {result}\n")
    assert result.broken is None, str(result)
    assert result.complete


@pytest.mark.parametrize(
    ("kind", "device"), DEVICES, ids=lambda value: value if isinstance(value, str) else value.__name__
)
def test_every_device_is_needed(kind: type[Model[Any]], device: str) -> None:
    """Without it, one of the model's state spaces holds a state that must not be; the shortest way there is printed."""
    for name in KINDS[kind]:
        result = explore(SMALL[name].without(device), STATES_MAX)
        if result.broken is not None:
            sys.stdout.write(f'{name}, without "{device}": {result.broken}')
            assert result.broken.trace
            return
    pytest.fail(f'"{device}" makes no difference to {KINDS[kind]}')


@pytest.mark.parametrize(("name", "devices"), ALTERNATIVES)
def test_one_of_two_devices_is_needed(name: str, devices: tuple[str, ...]) -> None:
    for device in devices:
        result = explore(SMALL[name].without(device), STATES_MAX)
        assert result.complete, str(result)
    assert explore(SMALL[name].without(*devices), STATES_MAX).broken is not None
