"""Bare clients for a broker on a thread. The `broker` itself comes from the plugin under test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.process import BareClient
from tidewire.testing import BrokerThread

MakeClient = Callable[..., BareClient]


@pytest.fixture
def connect(broker: BrokerThread) -> Iterator[MakeClient]:
    """Makes connected clients: `connect("alice", 4, keep_alive=10)`."""
    clients: list[BareClient] = []

    def make(client_identifier: str = "alice", version: int = 5, **fields: Any) -> BareClient:
        clients.append(BareClient(("127.0.0.1", broker.port), version))
        return clients[-1].connect(client_identifier, **fields)

    yield make
    for client in clients:
        client.close()
