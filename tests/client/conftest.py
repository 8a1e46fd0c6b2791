"""Brokers of three makes, protocol versions and event loops for the client's tests; a topic of its own for each."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from tests.client.brokers import RunningBroker, mochi, mosquitto, our_own
from tests.client.certificates import Certificates, make_certificates
from tests.client.helpers import VERSIONS, LoopFactory, LoopWithoutReaders

try:
    import uvloop
except ImportError:  # not on every platform
    LOOPS: dict[str, LoopFactory] = {}
else:
    LOOPS = {"uvloop": uvloop.new_event_loop}
LOOPS |= {"asyncio": asyncio.new_event_loop, "no add_reader": LoopWithoutReaders}

_numbers = itertools.count()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session", params=["mosquitto", "tidewire", "mochi"])
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    """A broker; one process for all tests."""
    if request.param == "mosquitto":
        certificates = request.getfixturevalue("certificates")
        running = mosquitto(tmp_path_factory.mktemp("mosquitto"), certificates)
    elif request.param == "tidewire":
        running = our_own(tmp_path_factory.mktemp("tidewire"))
    else:
        running = mochi()
    with running as started:
        yield started


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(params=LOOPS)
def loop_factory(request: pytest.FixtureRequest) -> LoopFactory:
    return LOOPS[request.param]


@pytest.fixture
def topic(request: pytest.FixtureRequest) -> str:
    """A topic that no other test uses."""
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
    return f"{next(_numbers)}/{name}"


@pytest.fixture
def client_id() -> str:
    """A Client Identifier that no other test uses, short enough for 3.1."""
    return f"test-{next(_numbers)}"
