"""A client in a box: its session, its readers and its connections, without socket, sleep or clock.

client = Client()                     # the test plays the server
client.connect()
client.send(Publish(b"a/b", b"x", 1, packet_identifier=1))
assert client.take() == [Acknowledgement(PUBACK, 1)]

wire = Wire(World(), Client())        # or a broker does, over two pipes
wire.connect()
wire.carry_up(7)                      # bytes
wire.cut()
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from tests.engine.harness import NO_LIMIT, FakeTransport, RecordingEvents, World, integers
from tests.engine.harness import Peer as BrokerEnd
from tidewire.engine.client_connection import ClientConnection
from tidewire.engine.client_session import ClientSession, Host, Publication
from tidewire.engine.limits import Limits
from tidewire.engine.link import Outgoing
from tidewire.engine.ports import Store
from tidewire.engine.received import BLOCK, Inbox, Message
from tidewire.engine.reception import Interest
from tidewire.engine.statistics import Statistics
from tidewire.wire.codes import V5
from tidewire.wire.framing import Decoder
from tidewire.wire.packets import Connack, Connect, Packet, Publish, Subscribe, SubscriptionRequest, Unsubscribe
from tidewire.wire.properties import Properties

NOW = 1000.0


class Reader(Inbox):
    """An inbox, and somebody who reads it."""

    def __init__(self, maximum: int = 1000, overflow: int = BLOCK) -> None:
        super().__init__(maximum, overflow)
        self.woken = 0

    def wake(self) -> None:
        self.woken += 1

    def read(self) -> list[Message]:
        """Everything that waits; it is not acknowledged."""
        messages = list(self.messages)
        self.messages.clear()
        return messages

    def texts(self) -> list[str]:
        """The same, acknowledged; the payloads as text."""
        messages = self.read()
        for message in messages:
            message.ack()
        return [message.text() for message in messages]


class Client(Host):
    """A client's session and its host; each `connect` is a new network connection."""

    def __init__(
        self,
        version: int = V5,
        window: int = 1024,
        keep_alive: int = 0,
        maximum_packet_size: int = NO_LIMIT,
        topic_alias_maximum: int = 0,
        store: Store | None = None,
        **limits: int,
    ) -> None:
        """`limits` are named as in `engine.limits`."""
        self.version = version
        self.window = window
        self.keep_alive = keep_alive
        self.maximum_packet_size = maximum_packet_size
        self.topic_alias_maximum = topic_alias_maximum
        self.now = NOW
        changed = Limits()
        for name, value in limits.items():
            assert hasattr(changed, name), name
            setattr(changed, name, value)
        self.session = ClientSession(changed, self)
        self.session.store = store
        self.outgoing = Outgoing(Statistics(NOW), RecordingEvents())
        self.handled: list[Packet] = []
        self.answers: list[Publication] = []
        self.given_up: list[tuple[Publication, str]] = []
        self.progresses = 0
        self.writable = True

    # -- what the session asks

    def handle(self, packet: Packet) -> None:
        self.handled.append(packet)
        if isinstance(packet, Connack):
            properties = packet.properties
            self.connection.admitted(properties, packet.session_present, self.window, self.keep_alive, self.now)

    def answered(self, publication: Publication) -> None:
        self.answers.append(publication)

    def wait_for(self, publication: Publication) -> Generator[Any, Any, Any]:
        publication.waiter = self
        while not publication.done():
            yield
        return publication.reason_code

    def progressed(self) -> None:
        self.progresses += 1

    def may_write(self) -> bool:
        return self.writable

    def dropped(self, publication: Publication, reason: str) -> None:
        self.given_up.append((publication, reason))

    # -- connections

    def open(self) -> None:
        """A network connection on which nothing was said."""
        self.transport = FakeTransport()
        self.decoder = Decoder(self.version, NO_LIMIT)
        self.connection = ClientConnection(
            self.session,
            self.transport,
            self.outgoing,
            self.version,
            self.maximum_packet_size,
            self.topic_alias_maximum,
            self.now,
        )

    def connect(self, session_present: bool = False, **properties: int) -> None:
        """A connection that the server has let in with these properties of CONNACK."""
        self.open()
        self.send(Connack(session_present, 0, integers(**properties)))

    def lose(self) -> None:
        """The network connection breaks."""
        self.connection.closed = True
        self.connection.outbox = []
        self.connection.outbox_bytes = 0
        self.session.pause()

    def send(self, *packets: Packet) -> None:
        """The server sends packets, as one piece of the stream."""
        self.send_bytes(b"".join(packet.encode(self.version) for packet in packets))

    def send_bytes(self, data: bytes) -> None:
        self.connection.receive(data, self.now)

    def take_bytes(self) -> bytes:
        """What the client wrote since the last take."""
        self.outgoing.flush()
        data = b"".join(self.transport.written)
        self.transport.written.clear()
        return data

    def take(self) -> list[Packet]:
        """The same as packets."""
        return self.decoder.feed(self.take_bytes())

    # -- what a program does

    def subscribe(self, reader: Inbox, topic_filter: str, qos: int = 2, **options: Any) -> Interest:
        """Attach a reader, as if the server had granted it: SUBSCRIBE is not sent."""
        reception = self.session.reception
        interest = reception.interest(SubscriptionRequest(topic_filter.encode(), qos, **options))
        reception.attach(interest, reader)
        return interest

    def reader(self, *topic_filters: str, **options: Any) -> Reader:
        """A new one for these topic filters."""
        reader = Reader()
        for topic_filter in topic_filters:
            self.subscribe(reader, topic_filter, **options)
        return reader

    def publish(
        self,
        topic: str,
        payload: bytes = b"x",
        qos: int = 1,
        retain: bool = False,
        properties: bytes = b"",
        expires_at: float = 0.0,
    ) -> Publication:
        """Publish; there must be room."""
        publication = self.session.publish(topic, payload, qos, retain, properties, expires_at, self.now)
        assert publication is not None
        return publication

    def assert_nothing_is_left(self) -> None:
        """No message and no identifier is kept in either direction."""
        session = self.session
        assert session.is_idle()
        assert session.queue_bytes == 0
        assert session.received is None
        assert not session._pending and not session._earlier and not session._order
        assert not session.reception.parked


class Wire:
    """Two pipes between a client and a broker, which carry as many bytes as the test says, and can be cut."""

    def __init__(self, world: World, client: Client, **connect: int) -> None:
        """`connect`: properties of each CONNECT, by their names in `wire.properties`."""
        self.world = world
        self.client = client
        self.properties = integers(session_expiry_interval=1000, **connect) if client.version == V5 else Properties()
        self.up = b""
        self.down = b""

    def connect(self, clean_start: bool = False) -> None:
        """A new network connection; CONNECT lies in the pipe."""
        client = self.client
        client.open()
        self.broker_end = BrokerEnd(self.world, client.version)
        packet = Connect("client", client.version, clean_start, properties=self.properties)
        client.connection.put(packet.encode(client.version))

    def carry_up(self, count: int) -> bool:
        """Carry so many bytes to the broker; False: there were none."""
        self.up += self.client.take_bytes()
        data, self.up = self.up[:count], self.up[count:]
        if data:
            self.broker_end.send_bytes(data)
            assert not self.broker_end.is_closed, self.world.events.log[-1]
        return bool(data)

    def carry_down(self, count: int) -> bool:
        """Carry so many bytes to the client; False: there were none."""
        self.world.flush()
        self.down += self.broker_end.take_bytes()
        data, self.down = self.down[:count], self.down[count:]
        if data:
            self.client.send_bytes(data)
        return bool(data)

    def carry_all(self) -> None:
        """Until neither side has anything to say."""
        while self.carry_up(NO_LIMIT) or self.carry_down(NO_LIMIT):
            pass

    def cut(self) -> None:
        """What lies in the pipes is lost, and both sides learn that the connection is gone."""
        self.up = self.down = b""
        self.client.lose()
        self.broker_end.lose()

    def subscribe(self, reader: Inbox, topic_filter: str, qos: int = 2, **options: Any) -> Interest:
        """SUBSCRIBE, with the Subscription Identifier where the version has one."""
        client = self.client
        interest = client.subscribe(reader, topic_filter, qos, **options)
        packet = Subscribe(client.session.new_subscribe_identifier(), [interest.request])
        if client.version == V5:
            packet.properties.subscription_identifiers = [interest.identifier]
        client.connection.put(packet.encode(client.version))
        return interest

    def unsubscribe(self, interest: Interest) -> None:
        client = self.client
        interest.leaving = True
        packet = Unsubscribe(client.session.new_subscribe_identifier(), [interest.request.topic_filter])
        client.connection.put(packet.encode(client.version))


def message_packet(
    topic: str, payload: str = "x", qos: int = 0, identifier: int = 0, identifiers: tuple[int, ...] = (), **fields: Any
) -> Publish:
    """A PUBLISH of the server; `identifiers` are Subscription Identifiers, `fields` those of `Publish`."""
    packet = Publish(topic.encode(), payload.encode(), qos, packet_identifier=identifier, **fields)
    packet.properties.subscription_identifiers = list(identifiers)
    return packet
