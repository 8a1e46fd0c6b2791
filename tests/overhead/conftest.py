"""One broker for all of these tests, and each exchange performed once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import cache

import pytest

from tidewire.overhead.broker import MeasuredBroker, measured_broker
from tidewire.overhead.costs import Exchange, Form
from tidewire.overhead.mqtt import Message, measure

Exchanged = Callable[..., Exchange]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if sys.platform != "linux":
        for item in items:
            if "overhead" in item.path.parts and {"broker", "exchange"} & set(getattr(item, "fixturenames", ())):
                item.add_marker(pytest.mark.skip("only the kernel of Linux counts segments"))


@pytest.fixture(scope="session")
def broker() -> Iterator[MeasuredBroker]:
    with measured_broker() as running:
        yield running


@pytest.fixture(scope="session")
def exchange(broker: MeasuredBroker) -> Exchanged:
    """Performs one, and remembers it: `exchange("tls", "5.0", alias=True, payload_bytes=20)`."""

    @cache
    def perform(transport: str, version: str = "5.0", alias: bool = False, payload_bytes: int = 20) -> Exchange:
        return measure(broker, Form(transport, version, alias), Message(payload_bytes=payload_bytes))

    return perform
