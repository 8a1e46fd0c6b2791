"""What does MQTT cost? A publisher and a subscriber go through every stage, and each stage is counted for itself."""

from __future__ import annotations

import select
from collections.abc import Sequence
from contextlib import ExitStack, closing
from typing import Final, Literal

from msgspec import Struct

from tidewire.overhead.broker import MeasuredBroker
from tidewire.overhead.connection import Connection
from tidewire.overhead.costs import Exchange, Flow, Form, SeenPacket, Stage, StageName, Traffic
from tidewire.overhead.errors import MeasurementError
from tidewire.overhead.kernel import PATIENCE_S
from tidewire.wire import codes
from tidewire.wire.packets import (
    Acknowledgement,
    Connack,
    Connect,
    Disconnect,
    Pingreq,
    Pingresp,
    Publish,
    Suback,
    Subscribe,
    SubscriptionRequest,
)
from tidewire.wire.properties import TOPIC_ALIAS, TOPIC_ALIAS_MAXIMUM, Properties

ALIASES: Final = 1
"""That the clients let the broker use: there is one topic."""


class Message(Struct, frozen=True):
    """What is sent, and how its publisher is set up."""

    topic: str = "sensors/7/temperature"
    payload_bytes: int = 20
    keep_alive_s: int = 60
    publisher: str = "device-7"
    """Client identifier; the subscriber's is as long."""

    @property
    def payload(self) -> bytes:
        """Digits: what compresses nowhere and needs no escape."""
        return (b"0123456789" * (self.payload_bytes // 10 + 1))[: self.payload_bytes]


def measure(broker: MeasuredBroker, form: Form, message: Message, qualities: Sequence[int] = (0, 1, 2)) -> Exchange:
    """Perform every stage once, and a message for each QoS. Raises MeasurementError."""
    try:
        return _perform(broker, form, message, qualities)
    except OSError as error:
        raise MeasurementError(f"the connection to the broker broke: {error.strerror or error}") from None


def _perform(broker: MeasuredBroker, form: Form, message: Message, qualities: Sequence[int]) -> Exchange:
    log: list[SeenPacket] = []
    flows: list[Flow] = []
    with ExitStack() as sockets:

        def connect(client: Literal["publisher", "subscriber"], identifier: str) -> _Client:
            connection = sockets.enter_context(closing(Connection(client, broker, form, log)))
            return _Client(connection, form, message, identifier)

        subscriber = connect("subscriber", "reader".ljust(len(message.publisher), "-"))
        subscriber.subscribe(message.topic)
        publisher = connect("publisher", message.publisher)
        for position, qos in enumerate(qualities):
            # Two of each: the first names the alias, and shows both kernels whether their acknowledgements can travel
            # with an answer. The second costs what every further one does.
            _pass_on(publisher, subscriber, qos, names_alias=True)
            publisher.ends("publish first", qos)
            subscriber.ends("deliver first", qos, reported=position == 0)  # the broker names its alias once
            log.clear()
            _pass_on(publisher, subscriber, qos)
            publisher.ends("publish", qos)
            subscriber.ends("deliver", qos)
            flows.append(Flow(qos, log.copy()))
        publisher.ping()
        publisher.disconnect()
        subscriber.disconnect()
    stages = publisher.stages + [stage for stage in subscriber.stages if stage.name not in ("connect", "disconnect")]
    totals = {"publisher": publisher.total, "subscriber": subscriber.total}
    return Exchange(form, publisher.connection.tls, stages, flows, totals)


class _Client:
    """One of the two: what it says, and what each of its stages cost."""

    def __init__(self, connection: Connection, form: Form, message: Message, identifier: str) -> None:
        self.connection = connection
        self.stages: list[Stage] = []
        self.total = Traffic()
        self._alias = form.alias
        self._message = message
        properties = Properties()
        if form.alias:
            properties.integers[TOPIC_ALIAS_MAXIMUM] = ALIASES
        version = codes.V5 if form.version == "5.0" else codes.V311
        connection.send(Connect(identifier, version, keep_alive=message.keep_alive_s, properties=properties))
        connection.expect(Connack)
        self.ends("connect", handshakes=1)

    def ends(self, name: StageName, qos: int | None = None, *, handshakes: int = 0, reported: bool = True) -> None:
        """A stage is over: what passed since the one before is its. `handshakes`: round trips below our socket."""
        total = self.connection.traffic()
        round_trips = self.connection.round_trips() + handshakes
        if reported and (self._alias or "first" not in name):
            self.stages.append(Stage(name, qos, total - self.total, round_trips))
        self.total = total

    def subscribe(self, topic: str) -> None:
        self.connection.send(Subscribe(1, [SubscriptionRequest(topic.encode(), qos=2)]))
        self.connection.expect(Suback)
        self.ends("subscribe")

    def publish(self, qos: int, names_alias: bool) -> None:
        publish = Publish(self._message.topic.encode(), self._message.payload, qos, packet_identifier=qos and 1)
        if self._alias:
            publish.properties.integers[TOPIC_ALIAS] = 1
            if not names_alias:
                publish.topic = b""
        self.connection.send(publish)

    def answer(self) -> bool:
        """Read what has come and send what the specification asks for (4.3); whether that was the last of it."""
        done = False
        for packet in self.connection.read():
            match packet:
                case Publish(qos=0) | Acknowledgement(packet_type=codes.PUBACK | codes.PUBCOMP):
                    done = True
                case Publish(qos=1, packet_identifier=identifier):
                    self.connection.send(Acknowledgement(codes.PUBACK, identifier))
                    done = True
                case Publish(packet_identifier=identifier):
                    self.connection.send(Acknowledgement(codes.PUBREC, identifier))
                case Acknowledgement(packet_type=codes.PUBREC, packet_identifier=identifier):
                    self.connection.send(Acknowledgement(codes.PUBREL, identifier))
                case Acknowledgement(packet_type=codes.PUBREL, packet_identifier=identifier):
                    self.connection.send(Acknowledgement(codes.PUBCOMP, identifier))
                    done = True
                case _:
                    raise MeasurementError(f"nobody asked the broker for {packet}")
        return done

    def ping(self) -> None:
        self.connection.send(Pingreq())
        self.connection.expect(Pingresp)
        self.ends("keep-alive")

    def disconnect(self) -> None:
        self.connection.disconnect(Disconnect())
        self.ends("disconnect")


def _pass_on(publisher: _Client, subscriber: _Client, qos: int, *, names_alias: bool = False) -> None:
    """One message, until nobody has anything more to say about it. Raises MeasurementError."""
    publisher.publish(qos, names_alias)
    busy = {client.connection.fileno(): client for client in ((publisher, subscriber) if qos else (subscriber,))}
    while busy:
        ready, _, _ = select.select(list(busy), [], [], PATIENCE_S)
        if not ready:
            raise MeasurementError(f"the message did not arrive in {PATIENCE_S:g} s")
        for descriptor in ready:
            if busy[descriptor].answer():
                del busy[descriptor]
