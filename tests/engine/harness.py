"""A broker in a box: no socket, no sleep, and a clock that the test moves.

world = World()
alice = world.connect("alice", version=5)
alice.send(Subscribe(1, [SubscriptionRequest(b"a/#", qos=1)]))
assert alice.take() == [Suback(1, [1])]
world.advance(60)
"""

from __future__ import annotations

from typing import Any

from tidewire.engine.broker import Broker
from tidewire.engine.limits import Limits
from tidewire.engine.ports import Access, Events, Store
from tidewire.wire import properties as p
from tidewire.wire.codes import PUBACK, PUBCOMP, PUBREC, PUBREL
from tidewire.wire.framing import Decoder
from tidewire.wire.packets import (
    Acknowledgement,
    Connack,
    Connect,
    Disconnect,
    Packet,
    Publish,
    Suback,
    Subscribe,
    SubscriptionRequest,
)
from tidewire.wire.properties import Properties

NO_LIMIT = 268_435_460


_ANSWERS = {PUBREC: PUBREL, PUBREL: PUBCOMP}


def integers(**named: int) -> Properties:
    """Properties with integers, by their names in `wire.properties`: `integers(receive_maximum=2)`."""
    properties = Properties()
    properties.integers = {getattr(p, name.upper()): value for name, value in named.items()}
    return properties


class FakeTransport:
    """What an asyncio transport is to the engine; collects what was written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.ended = False
        """Our side of the stream is finished (half close or close)."""
        self.closed = False
        self.aborted = False
        self.reading = True

    def write(self, data: bytes) -> None:
        assert not self.ended, "written after the end"
        self.written.append(data)

    def close(self) -> None:
        self.ended = self.closed = True

    def abort(self) -> None:
        self.ended = self.closed = self.aborted = True

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class RecordingEvents(Events):
    """Everything that the engine reports, as tuples."""

    def __init__(self) -> None:
        self.log: list[tuple[Any, ...]] = []
        self.expects_faults = False
        """Whether a fault is recorded like everything else, rather than raised."""

    def of(self, kind: str) -> list[tuple[Any, ...]]:
        """What was reported of one kind, without its name."""
        return [entry[1:] for entry in self.log if entry[0] == kind]

    def connected(self, session, peer, resumed):  # type: ignore[no-untyped-def]
        self.log.append(("connected", session.client_identifier, resumed))

    def disconnected(self, client_identifier, peer, reason_code, detail):  # type: ignore[no-untyped-def]
        self.log.append(("disconnected", client_identifier, reason_code, detail))

    def refused(self, client_identifier, peer, reason_code, detail):  # type: ignore[no-untyped-def]
        self.log.append(("refused", reason_code, detail))

    def denied(self, client_identifier, action, topic):  # type: ignore[no-untyped-def]
        self.log.append(("denied", client_identifier, action, topic))

    def dropped(self, client_identifier, reason, messages):  # type: ignore[no-untyped-def]
        self.log.append(("dropped", client_identifier, reason, messages))

    def fault(self, client_identifier, error):  # type: ignore[no-untyped-def]
        if not self.expects_faults:
            raise error
        self.log.append(("fault", client_identifier, str(error)))


class World:
    """A broker, its clock and its events. A fault inside the engine fails the test."""

    def __init__(
        self, access: Access | None = None, start: float = 1000.0, store: Store | None = None, **limits: float
    ) -> None:
        """`limits`: by their names in `engine.limits`; `$SYS` is silent unless `sys_interval_s` is given."""
        self.now = start
        self.limits = Limits()
        self.limits.sys_interval_s = 0.0
        for name, value in limits.items():
            assert hasattr(self.limits, name), name
            setattr(self.limits, name, value)
        self.events = RecordingEvents()
        self.broker = Broker(self.now, self.limits, access, self.events, "test", b"secret", store)

    def open(self, version: int = 4) -> Peer:
        """A network connection without CONNECT."""
        return Peer(self, version)

    def connect(self, client_identifier: str = "", version: int = 4, **fields: Any) -> Peer:
        """A connected client; `fields` are those of `wire.packets.Connect`. The CONNACK is in `peer.connack`."""
        peer = self.open(version)
        peer.send(Connect(client_identifier, version, **fields))
        packets = peer.take()
        assert packets and isinstance(packets[0], Connack), packets
        peer.connack = packets[0]
        peer.inbox = packets[1:]
        return peer

    def advance(self, seconds: float) -> None:
        """Let time pass, in quarters of a second as the server does."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + 0.25) if seconds < 3600 else end
            self.broker.tick(self.now)
        self.flush()

    def flush(self) -> None:
        while self.broker.flush(self.now):
            pass


class Peer:
    """The other end of one connection: sends packets (or bytes), takes what came."""

    def __init__(self, world: World, version: int) -> None:
        self.world = world
        self.version = version
        self.transport = FakeTransport()
        self.connection = world.broker.accept(self.transport, "test:1", world.now)
        self.decoder = Decoder(version, NO_LIMIT)
        self.connack = Connack()
        self.inbox: list[Packet] = []

    def send(self, *packets: Packet) -> None:
        """Send packets as one piece of the stream."""
        self.send_bytes(b"".join(packet.encode(self.version) for packet in packets))

    def send_bytes(self, data: bytes) -> None:
        self.connection.receive(data, self.world.now)
        self.world.flush()

    def take_bytes(self) -> bytes:
        """What came since the last take, undecoded."""
        data = b"".join(self.transport.written)
        self.transport.written.clear()
        return data

    def take(self) -> list[Packet]:
        """The packets that came since the last take."""
        self.inbox += self.decoder.feed(self.take_bytes())
        packets, self.inbox = self.inbox, []
        return packets

    def messages(self) -> list[Publish]:
        """The PUBLISH packets among `take`; everything else is dropped."""
        return [packet for packet in self.take() if isinstance(packet, Publish)]

    def subscribe(self, *topic_filters: str, qos: int = 0, **options: Any) -> list[int]:
        """Subscribe, and return the reason codes of the SUBACK; messages that came with it stay to be taken."""
        requests = [SubscriptionRequest(topic_filter.encode(), qos, **options) for topic_filter in topic_filters]
        self.send(Subscribe(1, requests))
        packets = self.take()
        suback = next(packet for packet in packets if isinstance(packet, Suback))
        self.inbox = [packet for packet in packets if packet is not suback]
        return suback.reason_codes

    def publish(self, topic: str, payload: bytes = b"x", qos: int = 0, **fields: Any) -> None:
        """Publish; at QoS 1 and 2 with packet identifier 1 unless another is given. Answers stay to be taken."""
        if qos:
            fields.setdefault("packet_identifier", 1)
        self.send(Publish(topic.encode(), payload, qos, **fields))

    def settle(self) -> list[Publish]:
        """Take and acknowledge everything, until nothing more comes; returns the messages."""
        messages: list[Publish] = []
        while packets := self.take():
            for packet in packets:
                if isinstance(packet, Publish):
                    messages.append(packet)
                    if packet.qos:
                        self.acknowledge(PUBACK if packet.qos == 1 else PUBREC, packet.packet_identifier)
                elif isinstance(packet, Acknowledgement) and packet.packet_type in _ANSWERS:
                    self.acknowledge(_ANSWERS[packet.packet_type], packet.packet_identifier)
        return messages

    def acknowledge(self, packet_type: int, packet_identifier: int, reason_code: int = 0) -> None:
        self.send(Acknowledgement(packet_type, packet_identifier, reason_code))

    def disconnect(self, reason_code: int = 0) -> None:
        """Say good-bye."""
        self.send(Disconnect(reason_code))

    def lose(self) -> None:
        """The network connection breaks."""
        self.connection.lost("lost", self.world.now)
        self.world.flush()

    def block(self) -> None:
        """The peer stops reading: the transport has enough."""
        self.connection.block()

    def unblock(self) -> None:
        self.connection.unblocked(self.world.now)
        self.world.flush()

    @property
    def is_closed(self) -> bool:
        """Whether the broker has ended the connection."""
        return self.transport.ended
