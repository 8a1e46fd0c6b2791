"""Does the broker keep chapters 1 and 2 of MQTT 3.1.1: strings, fixed header flags, packet identifiers?"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conformance.v311 import (
    ID,
    ill_formed,
    old_versions,
    raw_connect,
    raw_publish,
    raw_subscribe,
    raw_unsubscribe,
    refused_silently,
)
from tests.engine.harness import Peer, World
from tests.wire.malformed import framed
from tidewire.wire.codes import (
    CONNECT,
    DISCONNECT,
    PINGREQ,
    PUBACK,
    PUBCOMP,
    PUBLISH,
    PUBREC,
    PUBREL,
    SUBSCRIBE,
    UNSUBSCRIBE,
    V311,
    ReasonCode,
)
from tidewire.wire.packets import (
    Acknowledgement,
    Packet,
    Pingreq,
    Publish,
    Suback,
    Subscribe,
    SubscriptionRequest,
    Unsuback,
    Unsubscribe,
)

STRINGS: dict[str, Callable[[bytes], bytes]] = {
    "client identifier": lambda text: raw_connect(0x02, text),
    "will topic": lambda text: raw_connect(0x06, b"alice", text, b"payload"),
    "user name": lambda text: raw_connect(0x82, b"alice", text),
    "topic name": lambda text: raw_publish(0x30, text, b"payload"),
    "topic filter": raw_subscribe,
    "topic filter to unsubscribe": raw_unsubscribe,
}
"""Every text string that a client sends."""

every_string = pytest.mark.parametrize("place", STRINGS)
packet_identifiers = pytest.mark.parametrize("identifier", [1, 255, 256, 65_535])


def send_string(place: str, text: bytes) -> Peer:
    """A connection that has just sent a packet with `text` in it; what it was answered before is taken."""
    world = World()
    data = STRINGS[place](text)
    peer = world.open() if data[0] >> 4 == CONNECT else world.connect("alice")
    peer.send_bytes(data)
    return peer


@every_string
@ill_formed
def test_v311_1_5_3_1_a_string_that_is_not_utf_8_ends_the_connection(place: str, text: bytes) -> None:
    assert not send_string(place, b"well formed").is_closed
    assert refused_silently(send_string(place, text))


@every_string
@pytest.mark.parametrize("text", [b"\0", b"a\0", b"\0a", b"a\0b"])
def test_v311_1_5_3_2_a_string_with_u_0000_ends_the_connection(place: str, text: bytes) -> None:
    assert refused_silently(send_string(place, text))


@old_versions
def test_v311_1_5_3_3_a_byte_order_mark_is_a_character_and_stays(version: int) -> None:
    world = World()
    bob = world.connect("bob", version)
    marked = world.connect("\ufeffbob", version)
    assert not bob.is_closed
    bob.subscribe("topic")
    marked.subscribe("\ufefftopic")
    world.connect("alice", version).publish("\ufefftopic")
    assert bob.messages() == []
    assert marked.messages() == [Publish(b"\xef\xbb\xbftopic", b"x")]


def first_byte_of_answer(world: World, packet: Packet) -> int:
    peer = world.connect("alice")
    peer.send(packet)
    return peer.take_bytes()[0]


def test_v311_2_2_2_1_reserved_flags_are_sent_as_in_the_table() -> None:
    world = World()
    opening = world.open()
    opening.send_bytes(raw_connect(0x02, b"opening"))
    assert opening.take_bytes()[0] == 0x20
    requests = [SubscriptionRequest(b"a", 2)]
    assert first_byte_of_answer(world, Subscribe(1, requests)) == 0x90
    assert first_byte_of_answer(world, Unsubscribe(1, [b"a"])) == 0xB0
    assert first_byte_of_answer(world, Pingreq()) == 0xD0
    assert first_byte_of_answer(world, Publish(b"b", qos=1, packet_identifier=1)) == 0x40
    assert first_byte_of_answer(world, Publish(b"b", qos=2, packet_identifier=1)) == 0x50
    assert first_byte_of_answer(world, Acknowledgement(PUBREC, 1)) == 0x62
    assert first_byte_of_answer(world, Acknowledgement(PUBREL, 1)) == 0x70


WITH_RESERVED_FLAGS = {
    CONNECT: (0, raw_connect(0x02, b"alice")[2:]),
    PUBACK: (0, ID),
    PUBREC: (0, ID),
    PUBREL: (2, ID),
    PUBCOMP: (0, ID),
    SUBSCRIBE: (2, raw_subscribe(b"a")[2:]),
    UNSUBSCRIBE: (2, raw_unsubscribe(b"a")[2:]),
    PINGREQ: (0, b""),
    DISCONNECT: (0, b""),
}
"""What a client may send, but for PUBLISH: the flags that it must have, and a body."""


@pytest.mark.parametrize("packet_type", WITH_RESERVED_FLAGS)
@pytest.mark.parametrize("flags", range(16))
def test_v311_2_2_2_2_wrong_fixed_header_flags_end_the_connection(packet_type: int, flags: int) -> None:
    world = World()
    peer = world.open() if packet_type == CONNECT else world.connect("alice")
    expected, body = WITH_RESERVED_FLAGS[packet_type]
    peer.send_bytes(framed(packet_type << 4 | flags, body))
    found_malformed = ReasonCode.MALFORMED_PACKET in world.events.log[-1]
    assert found_malformed == (flags != expected)
    if found_malformed:
        assert refused_silently(peer)


WITHOUT_IDENTIFIER = {
    "SUBSCRIBE": raw_subscribe(b"a"),
    "UNSUBSCRIBE": raw_unsubscribe(b"a"),
    "PUBLISH at QoS 1": raw_publish(PUBLISH << 4 | 2, b"a", ID),
    "PUBLISH at QoS 2": raw_publish(PUBLISH << 4 | 4, b"a", ID),
}


@pytest.mark.parametrize("title", WITHOUT_IDENTIFIER)
def test_v311_2_3_1_1_a_packet_identifier_must_not_be_zero(title: str) -> None:
    world = World()
    packet = WITHOUT_IDENTIFIER[title]
    peer = world.connect("alice")
    peer.send_bytes(packet)
    assert not peer.is_closed
    peer.take_bytes()
    peer.send_bytes(packet.replace(ID, b"\0\0"))
    assert refused_silently(peer)


def test_v311_2_3_1_4_the_server_takes_free_packet_identifiers_and_never_zero() -> None:
    world = World()
    bob = world.connect("bob")
    bob.subscribe("a", qos=1)
    alice = world.connect("alice")
    batch = Publish(b"a", qos=1, packet_identifier=1).encode(V311) * 1000
    still_open: set[int] = set()
    for _ in range(67):  # more than there are identifiers
        alice.send_bytes(batch)
        identifiers = [message.packet_identifier for message in bob.messages()]
        assert len(set(identifiers)) == len(identifiers) == 1000
        assert 0 not in identifiers
        assert not still_open.intersection(identifiers)
        still_open.add(identifiers[0])
        acknowledgements = [Acknowledgement(PUBACK, identifier) for identifier in identifiers[1:]]
        if len(still_open) > 20:
            acknowledgements.append(Acknowledgement(PUBACK, still_open.pop()))
        bob.send(*acknowledgements)


def test_v311_2_3_1_5_a_qos_0_publish_has_no_packet_identifier() -> None:
    world = World()
    bob = world.connect("bob")
    bob.subscribe("a", qos=2)
    world.connect("alice").send_bytes(b"\x30\x06\x00\x01a\x00\x07x")
    assert bob.take_bytes() == b"\x30\x06\x00\x01a\x00\x07x"
    assert bob.take() == []


@old_versions
@packet_identifiers
def test_v311_2_3_1_6_acknowledgements_repeat_the_identifier_of_their_publish(version: int, identifier: int) -> None:
    world = World()
    alice = world.connect("alice", version)
    alice.publish("a", qos=1, packet_identifier=identifier)
    assert alice.take() == [Acknowledgement(PUBACK, identifier)]
    alice.publish("a", qos=2, packet_identifier=identifier)
    assert alice.take() == [Acknowledgement(PUBREC, identifier)]
    alice.acknowledge(PUBREL, identifier)
    assert alice.take() == [Acknowledgement(PUBCOMP, identifier)]
    bob = world.connect("bob", version)
    bob.subscribe("a", qos=2)
    alice.publish("a", qos=2)
    [message] = bob.messages()
    bob.acknowledge(PUBREC, message.packet_identifier)
    assert bob.take() == [Acknowledgement(PUBREL, message.packet_identifier)]


@old_versions
@packet_identifiers
def test_v311_2_3_1_7_suback_and_unsuback_repeat_the_identifier_of_their_request(version: int, identifier: int) -> None:
    alice = World().connect("alice", version)
    alice.send(Subscribe(identifier, [SubscriptionRequest(b"a")]))
    assert alice.take() == [Suback(identifier, [0])]
    alice.send(Unsubscribe(identifier, [b"a"]))
    assert alice.take() == [Unsuback(identifier)]
