"""Are all bytes counted, once, in their layer, and are the packets those of the specification?"""

from __future__ import annotations

import socket
import threading

import pytest

from tests.overhead.conftest import Exchanged
from tidewire.overhead.background import Background
from tidewire.overhead.broker import TRANSPORTS, MeasuredBroker
from tidewire.overhead.costs import Flow, Form, Traffic
from tidewire.overhead.errors import MeasurementError
from tidewire.overhead.layers import WebSocketLayer
from tidewire.overhead.mqtt import Message, measure
from tidewire.overhead.relay import TcpRelay

TOPIC = Message().topic.encode()

PUBLISHER = {
    0: ["> PUBLISH"],
    1: ["> PUBLISH", "< PUBACK"],
    2: ["> PUBLISH", "< PUBREC", "> PUBREL", "< PUBCOMP"],
}
"""Figures 4.1 to 4.3 of the specification."""


def packets(flow: Flow, client: str) -> list[str]:
    """What one of the clients saw, in the order it saw it; `>` is to the broker."""
    return [f"{'>' if each.to_broker else '<'} {each.name}" for each in flow.packets if each.client == client]


def reversed_directions(names: list[str]) -> list[str]:
    return [name.translate(str.maketrans("<>", "><")) for name in names]


@pytest.mark.parametrize("version", ["3.1.1", "5.0"])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_flow_has_exactly_the_packets_of_the_specification(exchange: Exchanged, transport: str, version: str) -> None:
    performed = exchange(transport, version)
    assert [flow.qos for flow in performed.flows] == [0, 1, 2]
    for flow in performed.flows:
        assert packets(flow, "publisher") == PUBLISHER[flow.qos]
        assert packets(flow, "subscriber") == reversed_directions(PUBLISHER[flow.qos])


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_what_the_layers_add_up_to_is_what_another_counter_on_the_way_sees(
    broker: MeasuredBroker, transport: str
) -> None:
    async def between() -> TcpRelay:
        relay = TcpRelay(broker.ports[transport])
        await relay.open()
        return relay

    with Background() as background:
        relay = background.run(between())
        try:
            performed = measure(MeasuredBroker({transport: relay.port}, broker.tls), Form(transport, "5.0"), Message())
            seen = background.run(relay.traffic(closed=True))
        finally:
            background.run(relay.close())
    counted = sum(performed.connections.values(), Traffic())
    assert (counted.sent.stream, counted.received.stream) == (seen.sent.stream, seen.received.stream)
    assert (counted.sent.segments, counted.received.segments) == (seen.sent.segments, seen.received.segments)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_nothing_passes_between_the_stages(exchange: Exchanged, transport: str) -> None:
    performed = exchange(transport, "5.0", alias=True)
    of_publisher = ("connect", "publish first", "publish", "keep-alive", "disconnect")
    stages = [stage.traffic for stage in performed.stages if stage.name in of_publisher]
    assert sum(stages, Traffic()) == performed.connections["publisher"]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(("short", "longer", "length_fields"), [(0, 50, {}), (20, 150, {"mqtt": 1, "websocket": 2})])
def test_a_longer_payload_costs_its_length_and_that_of_longer_length_fields(
    exchange: Exchanged, transport: str, short: int, longer: int, length_fields: dict[str, int]
) -> None:
    for qos in (0, 1, 2):
        for name in ("publish", "deliver"):
            few = exchange(transport, payload_bytes=short).stage(name, qos).traffic.both
            many = exchange(transport, payload_bytes=longer).stage(name, qos).traffic.both
            assert many.payload - few.payload == longer - short
            assert many.protocol - few.protocol == length_fields.get("mqtt", 0)
            framed = length_fields.get("websocket", 0) if transport in ("ws", "wss") else 0
            assert many.websocket - few.websocket == framed
            assert many.tls == few.tls


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_an_alias_saves_the_topic_and_costs_three_bytes(exchange: Exchanged, qos: int) -> None:
    for name in ("publish", "deliver"):
        plain = exchange("tcp").stage(name, qos).traffic.both
        alias = exchange("tcp", alias=True).stage(name, qos).traffic.both
        assert plain.protocol - alias.protocol == len(TOPIC) - 3  # the property and its two-byte integer (3.3.2.3.4)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_only_layers_that_are_there_cost_anything(exchange: Exchanged, transport: str) -> None:
    connect = exchange(transport).stage("connect").traffic.both
    assert (connect.tls > 0) == (transport in ("tls", "wss"))
    assert (connect.websocket > 0) == (transport in ("ws", "wss"))
    assert exchange(transport).tls.startswith("TLSv1.") == (transport in ("tls", "wss"))


def test_a_publish_of_3_1_1_has_the_bytes_of_the_specification(exchange: Exchanged) -> None:
    sent = exchange("tcp", "3.1.1").stage("publish", 0).traffic.sent
    assert (sent.payload, sent.protocol, sent.packets) == (20, 1 + 1 + 2 + len(TOPIC), 1)
    ping = exchange("tcp", "3.1.1").stage("keep-alive").traffic
    assert (ping.sent.stream, ping.received.stream) == (2, 2)


@pytest.mark.parametrize(("transport", "round_trips"), [("tcp", 2), ("tls", 3), ("ws", 3), ("wss", 4)])
def test_each_handshake_is_a_round_trip(exchange: Exchanged, transport: str, round_trips: int) -> None:
    assert exchange(transport).stage("connect").round_trips == round_trips


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_message_has_as_many_round_trips_as_its_qos(exchange: Exchanged, qos: int) -> None:
    for name in ("publish", "deliver"):
        assert exchange("tcp").stage(name, qos).round_trips == qos


def test_a_packet_is_shown_with_what_it_carries(exchange: Exchanged) -> None:
    [*_, flow] = exchange("tcp", alias=True).flows
    first = flow.packets[0]
    assert (first.name, first.detail) == ("PUBLISH", "QoS 2, id 1, alias 1, no topic")


def test_a_layer_that_is_counted_wrongly_is_noticed(broker: MeasuredBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    outgoing = WebSocketLayer.outgoing
    monkeypatch.setattr(WebSocketLayer, "outgoing", lambda layer: _Longer(outgoing(layer)))
    with pytest.raises(MeasurementError, match="the kernel counted"):
        measure(broker, Form("ws", "5.0"), Message(), [0])


class _Longer(bytes):
    """Says that it is a byte longer than what goes through a socket."""

    def __len__(self) -> int:
        return super().__len__() + 1


def test_a_broker_that_hangs_up_is_one_clear_error(broker: MeasuredBroker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def hang_up() -> None:
            connection, _ = listening.accept()
            connection.close()

        hanging_up = threading.Thread(target=hang_up)
        hanging_up.start()
        with pytest.raises(MeasurementError, match="closed the connection"):
            measure(MeasuredBroker({"tcp": listening.getsockname()[1]}, broker.tls), Form("tcp", "5.0"), Message())
        hanging_up.join()
