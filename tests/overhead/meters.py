"""Rows of the meter as a broker would have written them, of a client whose habits are known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidewire.overhead.costs import Exchange, Traffic
from tidewire.store.meter_rows import Flow, Metered, Packets
from tidewire.wire.codes import V5, V311
from tidewire.wire.packets import Connack, Publish


def row(
    version: str = "5.0",
    published: Mapping[int, int] = {},
    delivered: Mapping[int, int] = {},
    payload: int = 20,
    topic: int = 21,
    pings: int = 0,
    connects: int = 1,
    tls: int = 0,
    websocket: int = 0,
    tcp_ip: int = 0,
) -> Metered:
    """`published` and `delivered`: messages by QoS."""
    received, sent = flow(published, version, payload, topic), flow(delivered, version, payload, topic)
    for into, messages in ((sent, published), (received, delivered)):
        add(into, "PUBACK", messages.get(1, 0), 4)
        add(into, "PUBREC", messages.get(2, 0), 4)
    for into, messages in ((received, published), (sent, delivered)):
        add(into, "PUBREL", messages.get(2, 0), 4)
    add(received, "PINGREQ", pings, 2)
    add(sent, "PINGRESP", pings, 2)
    add(received, "CONNECT", connects, 30)
    add(sent, "CONNACK", connects, len(Connack().encode(V5 if version == "5.0" else V311)))
    received.tls = tls
    received.websocket = websocket
    received.tcp_ip = tcp_ip
    return Metered("client", "sensor", "2026-11", received, sent)


def flow(messages: Mapping[int, int], version: str, payload: int, topic: int) -> Flow:
    count = sum(messages.values())
    told = Flow(payload=count * payload)
    for qos, number in messages.items():
        publish = Publish(b"t" * topic, b"p" * payload, qos, packet_identifier=qos and 1)
        add(told, "PUBLISH", number, len(publish.encode(V5 if version == "5.0" else V311)))
    return told


def add(told: Flow, name: str, count: int, size: int) -> None:
    if count:
        before = told.packets.get(name, Packets(0, 0))
        told.packets = told.packets | {name: Packets(before.count + count, before.bytes + count * size)}
        told.mqtt += count * size


def lived(exchange: Exchange, *stages: tuple[int, Any]) -> Metered:
    """The row of a client that has done stages of an exchange, each (count, name) or (count, (name, QoS))."""
    total = Traffic()
    packets: dict[str, int] = {}
    published: dict[int, int] = {}
    delivered: dict[int, int] = {}
    for count, named in stages:
        name, qos = named if isinstance(named, tuple) else (named, None)
        for _ in range(count):
            total += exchange.stage(name, qos).traffic
        if name == "publish":
            published[qos] = count
        elif name == "deliver":
            delivered[qos] = count
        else:
            packets[name] = count
    told = row(exchange.form.version, published, delivered, 20, 21, packets.get("keep-alive", 0), packets["connect"])
    for into, direction in ((told.received, total.sent), (told.sent, total.received)):
        into.mqtt = direction.payload + direction.protocol
        into.websocket, into.tls, into.tcp_ip = direction.websocket, direction.tls, direction.tcp_ip
    return told
