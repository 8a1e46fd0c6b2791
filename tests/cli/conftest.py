"""One broker for all tests that compare our clients with Mosquitto's; each test has topics of its own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.mosquitto import Clients
from tests.process import BrokerProcess

_numbers = itertools.count()


@pytest.fixture(autouse=True)
def no_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Options that whoever runs the tests has in a file for Mosquitto's clients do not count."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


@pytest.fixture(scope="session")
def broker() -> Iterator[BrokerProcess]:
    with BrokerProcess() as running:
        yield running


@pytest.fixture
def clients(broker: BrokerProcess, tmp_path: Path) -> Clients:
    return Clients(broker.port, tmp_path)


@pytest.fixture
def topic() -> str:
    """A topic that no other test uses."""
    return f"test/{next(_numbers)}"
