"""Do a thousand useless connections cost the others more than their share?

On a real broker, while an honest pair exchanges messages. Memory is bounded by name: what one connection may hold is
`HALF_OPEN_BYTES`, or for a slow consumer what the limits allow it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.process import BareClient, BrokerProcess
from tidewire.engine.limits import Limits
from tidewire.server.listener import WRITE_HIGH_WATER_BYTES
from tidewire.wire.codes import PUBACK
from tidewire.wire.packets import (
    Acknowledgement,
    Connect,
    Pingreq,
    Pingresp,
    Publish,
    Suback,
    Subscribe,
    SubscriptionRequest,
)

CROWD: Final = 1_000
MESSAGES: Final = 1_000

HALF_OPEN_BYTES: Final = 8 * 1024
"""What a connection without CONNECT may cost: its socket, its transport and the start of a packet."""

OUTBOX_BYTES: Final = 32 * 1024
"""What waits for a slow consumer, as it is configured here …"""

SLOW_CONSUMER_BYTES: Final = OUTBOX_BYTES + WRITE_HIGH_WATER_BYTES + Limits().early_flush_bytes
"""… and with what the transport holds, and the write that filled it, all that it may cost."""

PAYLOAD_BYTES: Final = 8 * 1024
FLOOD: Final = 100
"""Messages for each slow consumer at a time: more than it is allowed."""

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="memory of another process is read from /proc (Linux)"
)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BrokerProcess]:
    config = tmp_path / "broker.toml"
    config.write_text(
        f'bind = ["127.0.0.1"]\nport = 0\nlog_level = "warning"\n[limits]\noutbox_bytes = {OUTBOX_BYTES}\n'
    )
    with BrokerProcess("--config", config, "--log-level", "info") as process:
        yield process


class HonestPair:
    """A publisher and a subscriber at QoS 1, who miss nothing and get nothing twice."""

    def __init__(self, broker: BrokerProcess) -> None:
        self._publisher = broker.connect("honest publisher", 5)
        self._subscriber = broker.connect("honest subscriber", 4)
        self._subscriber.subscribe("honest", 1)
        self._sent = 0

    def exchange(self, messages: int) -> None:
        for number in range(self._sent, self._sent + messages):
            identifier = number % 65_535 + 1
            self._publisher.send(Publish(b"honest", str(number).encode(), 1, packet_identifier=identifier))
            message = self._subscriber.receive()
            assert isinstance(message, Publish)
            assert message.payload == str(number).encode()
            self._subscriber.send(Acknowledgement(PUBACK, message.packet_identifier))
            assert self._publisher.receive() == Acknowledgement(PUBACK, identifier)
        self._sent += messages


def settle(client: BareClient) -> None:
    """Until the broker has dealt with all that this client sent."""
    client.send(Pingreq())
    assert client.receive() == Pingresp()


def test_a_thousand_half_open_connections(broker: BrokerProcess) -> None:
    honest = HonestPair(broker)
    before = broker.resident_bytes()
    start = Connect("x" * 100).encode(4)[:50]
    crowd = []
    for number in range(CROWD):
        crowd.append(broker.open())
        if number % 2:
            crowd[-1].send_bytes(start)
        honest.exchange(MESSAGES // CROWD)
    honest.exchange(MESSAGES)
    assert broker.resident_bytes() - before <= CROWD * HALF_OPEN_BYTES
    assert len(broker.lines_with("connected")) == 2


def test_a_thousand_slow_consumers(broker: BrokerProcess) -> None:
    honest = HonestPair(broker)
    crowd = []
    for number in range(CROWD):
        client = broker.open(4, receive_buffer_bytes=4096)
        client.send(Connect(f"slow-{number}"), Subscribe(1, [SubscriptionRequest(b"flood")]))
        client.receive()
        assert isinstance(client.receive(), Suback)
        crowd.append(client)
    before = broker.resident_bytes()
    flood = broker.connect("flood")
    full = before
    for _ in range(50):  # the kernel takes its share first, and how much that is is its affair
        if len(broker.lines_with("dropped")) >= CROWD:
            break
        full = flooded(broker, flood, honest)
    assert len(broker.lines_with("dropped")) >= CROWD
    assert full - before <= CROWD * SLOW_CONSUMER_BYTES
    assert flooded(broker, flood, honest) - full <= CROWD * PAYLOAD_BYTES  # full is full: more adds next to nothing
    honest.exchange(MESSAGES)
    for client in crowd[:10]:
        message = client.receive()
        assert isinstance(message, Publish)
        assert len(message.payload) == PAYLOAD_BYTES


def flooded(broker: BrokerProcess, flood: BareClient, honest: HonestPair) -> int:
    """Memory of the broker after one flood for all slow consumers, while the honest go on."""
    for _ in range(FLOOD):
        flood.publish("flood", bytes(PAYLOAD_BYTES))
        honest.exchange(MESSAGES // FLOOD // 2)
    settle(flood)
    return broker.resident_bytes()
