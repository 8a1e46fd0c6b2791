"""What the conformance tests of 5.0 share: access, properties, lasting clients, and what came back."""

from __future__ import annotations

from tests.engine.harness import Peer, World
from tests.wire.malformed import framed
from tidewire.engine.ports import Access, Principal
from tidewire.wire import properties as p
from tidewire.wire.codes import V5
from tidewire.wire.packets import Disconnect, Packet, Publish
from tidewire.wire.properties import Properties

TIGHT_BYTES = 20
"""A Maximum Packet Size that takes a CONNACK and every plain acknowledgement, but no explanation in words."""


class Denying(Access):
    """Allows everything but topics that begin with `denied`."""

    def __init__(self) -> None:
        super().__init__()
        self.unrestricted = False

    def may_publish(self, principal: Principal, topic: bytes) -> bool:
        return not topic.startswith(b"denied")

    def may_subscribe(self, principal: Principal, topic_filter: bytes) -> bool:
        return not topic_filter.startswith(b"denied")


def properties(**values: int | str | bytes) -> Properties:
    """Properties by the names of `tidewire.wire.properties`, in lower case."""
    result = Properties()
    for name, value in values.items():
        identifier = getattr(p, name.upper())
        if isinstance(value, int):
            result.integers[identifier] = value
        elif isinstance(value, str):
            result.texts[identifier] = value
        else:
            result.binaries[identifier] = value
    return result


def lasting(world: World, client_identifier: str, **values: int) -> Peer:
    """A client whose session outlives its connection by an hour, new or taken up again."""
    values.setdefault("session_expiry_interval", 3600)
    return world.connect(client_identifier, V5, clean_start=False, properties=properties(**values))


def subscriber(world: World, topic_filter: str = "t", qos: int = 2, name: str = "subscriber", **values: int) -> Peer:
    """A client with a lasting session and one subscription."""
    peer = lasting(world, name, **values)
    assert peer.subscribe(topic_filter, qos=qos) == [qos]
    return peer


def payloads(peer: Peer) -> list[bytes]:
    """Of the messages that came since the last take."""
    return [message.payload for message in peer.messages()]


def only_message(peer: Peer) -> Publish:
    """The one packet that came since the last take, a PUBLISH."""
    packets = peer.take()
    assert len(packets) == 1 and isinstance(packets[0], Publish), packets
    return packets[0]


def end_code(peer: Peer) -> int:
    """The connection was ended, and its last packet is a DISCONNECT with this reason code."""
    packets = peer.take()
    assert peer.is_closed
    assert packets and isinstance(packets[-1], Disconnect), packets
    return packets[-1].reason_code


def answer_to(first_byte: int, *body: bytes) -> int:
    """The reason code of the DISCONNECT that a connected client gets for these bytes."""
    peer = World().connect("client", V5)
    peer.send_bytes(framed(first_byte, b"".join(body)))
    return end_code(peer)


def tight_answer(packet: Packet) -> Packet:
    """The one answer, within its Maximum Packet Size, to a client that takes `TIGHT_BYTES`; `denied…` is denied."""
    peer = World(Denying()).connect("tight", V5, properties=properties(maximum_packet_size=TIGHT_BYTES))
    peer.send(packet)
    data = peer.take_bytes()
    assert len(data) <= TIGHT_BYTES
    (answer,) = peer.decoder.feed(data)
    return answer
