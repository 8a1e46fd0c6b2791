"""What would the same message cost by another protocol? Well-kept libraries, real servers, and a relay that counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from importlib import import_module
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from tidewire.overhead.background import Background
from tidewire.overhead.costs import Exchange, Traffic
from tidewire.overhead.errors import MeasurementError
from tidewire.overhead.kernel import PATIENCE_S
from tidewire.overhead.mqtt import Message
from tidewire.overhead.peers import Served, Unavailable, Way
from tidewire.overhead.relay import TcpRelay, UdpRelay

INSTALL: Final = "pip install 'tidewire[overhead]'"
FAMILIES: Final = {"http": "HTTP/1.1 and HTTP/2", "coap": "CoAP", "amqp": "AMQP 0-9-1"}
"""Each is a module here whose `serving(message)` runs the server; it may lack its libraries."""


class ProtocolCost(Struct, frozen=True):
    """What a message costs by one protocol, and what its connection costs beside it."""

    name: str
    first: Traffic
    """The first message with all that comes before it."""
    message: Traffic
    """Each further one."""
    last: Traffic
    """What comes after the last one."""
    first_round_trips: int
    round_trips: int
    implementation: str
    kept: bool = True
    """Messages share a connection, or (CoAP) need none."""


class Missing(Struct, frozen=True):
    """What could not be measured, why, and what mends that."""

    name: str
    why: str


def of_mqtt(exchange: Exchange) -> list[ProtocolCost]:
    """The same figures of an exchange that has been measured: its publisher's."""
    connect, disconnect = exchange.stage("connect"), exchange.stage("disconnect")
    costs = []
    for publish in (stage for stage in exchange.stages if stage.name == "publish"):
        first = exchange.stage("publish first", publish.qos) if exchange.form.alias else publish
        costs.append(
            ProtocolCost(
                f"{exchange.form}, QoS {publish.qos}",
                connect.traffic + first.traffic,
                publish.traffic,
                disconnect.traffic,
                connect.round_trips + first.round_trips,
                publish.round_trips,
                "tidewire",
            )
        )
    return costs


def measure(message: Message, say: Callable[[str], None]) -> tuple[list[ProtocolCost], list[Missing]]:
    """Send the message by every protocol whose libraries and server are here. `say` is told which is being tried."""
    costs: list[ProtocolCost] = []
    missing: list[Missing] = []
    with Background() as background:
        for name, title in FAMILIES.items():
            say(title)
            try:
                family = import_module(f"tidewire.overhead.{name}")
            except ImportError as error:
                missing.append(Missing(title, f"{error.name} is not installed: {INSTALL}"))
                continue
            try:
                costs += background.run(_measure_family(family.serving, message))
            except (Unavailable, MeasurementError, OSError) as error:
                missing.append(Missing(title, str(error)))
    return costs, missing


async def _measure_family(
    serving: Callable[[Message], AbstractAsyncContextManager[Served]], message: Message
) -> list[ProtocolCost]:
    async with serving(message) as served:
        return [await _measure_way(way, served.port, message) for way in served.ways]


async def _measure_way(way: Way, port: int, message: Message) -> ProtocolCost:
    peer = way.make_peer()
    relay = UdpRelay(port) if way.datagrams else TcpRelay(port)
    await relay.open()
    closed = not way.keeps_connection
    try:
        async with asyncio.timeout(PATIENCE_S):
            await peer.open(relay.port)
            await peer.send(message)
            first, first_round_trips = await relay.traffic(closed=closed), relay.round_trips()
            await peer.send(message)  # the second may still teach the peers something: HPACK's table, for one
            second, _ = await relay.traffic(closed=closed), relay.round_trips()
            await peer.send(message)
            third, round_trips = await relay.traffic(closed=closed), relay.round_trips()
            await peer.close()
            end = await relay.traffic(closed=True)
    except TimeoutError:
        raise MeasurementError(f"{way.name}: no answer in {PATIENCE_S:g} s") from None
    finally:
        await relay.close()
    return ProtocolCost(
        way.name,
        _with_payload(first, message),
        _with_payload(third - second, message),
        end - third,
        first_round_trips,
        round_trips,
        way.implementation,
        way.keeps_connection,
    )


def _with_payload(traffic: Traffic, message: Message) -> Traffic:
    sent = traffic.sent
    size = message.payload_bytes
    return Traffic(replace(sent, payload=size, protocol=sent.protocol - size), traffic.received)
