"""One real broker for the tests of each file, and a topic of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.process import BrokerProcess


@pytest.fixture(scope="module")
def broker() -> Iterator[BrokerProcess]:
    with BrokerProcess("--bind", "127.0.0.1") as process:
        yield process
        assert process.stop() == 0
        assert "internal error" not in process.log


@pytest.fixture
def port(broker: BrokerProcess) -> int:
    return broker.port


@pytest.fixture
def topic(request: pytest.FixtureRequest) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
