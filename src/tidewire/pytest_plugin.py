"""The pytest plugin: a `broker` for each test, in process and on a free port.

    def test_my_program_reports_its_altitude(broker):
        report_altitude(broker.url)
        [message] = broker.wait_for("boards/+/altitude")
        assert message.payload == b"100"

`docs/testing.md` shows the rest. Tidewire itself is imported when the first fixture is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tidewire.testing.broker import BrokerThread


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "tidewire(...): what the test's `broker` is made with; takes the arguments of tidewire.Broker."
    )


@pytest.fixture
def broker_factory() -> Iterator[Callable[..., BrokerThread]]:
    """Makes brokers: `broker_factory(limits={"receive_maximum": 1})`, with the arguments of `tidewire.Broker`.

    They stop when the test ends.
    """
    from tidewire.testing.broker import BrokerThread  # noqa: PLC0415 (not before it is needed)

    with ExitStack() as made:
        yield lambda *args, **options: made.enter_context(BrokerThread(*args, **options))


@pytest.fixture
def broker(broker_factory: Callable[..., BrokerThread], request: pytest.FixtureRequest) -> BrokerThread:
    """A broker of the test's own; `@pytest.mark.tidewire(...)` says what is special about it."""
    marker = request.node.get_closest_marker("tidewire")
    return broker_factory(*marker.args, **marker.kwargs) if marker is not None else broker_factory()


@pytest.fixture
def broker_url(broker: BrokerThread) -> str:
    """Where the test's broker is: `mqtt://127.0.0.1:PORT`."""
    return broker.url
