"""MQTT 5.0, chapters 1 and 2: data types, fixed header, packet identifiers, properties."""

from __future__ import annotations

import pytest

from tests.conformance.exchange import end_code
from tests.conformance.v5 import block, raw_connect, raw_publish, raw_subscribe, refusal_of
from tests.conformance.v311 import ILL_FORMED, ill_formed
from tests.engine.harness import World
from tests.wire.malformed import framed, sized
from tidewire.wire.codes import PUBACK, PUBCOMP, PUBREC, PUBREL
from tidewire.wire.packets import (
    Acknowledgement,
    Publish,
    Suback,
    Subscribe,
    SubscriptionRequest,
    Unsuback,
    Unsubscribe,
)


def with_text(text: bytes) -> dict[str, bytes]:
    """A packet for every kind of place where a string may stand."""
    field = sized(text)
    return {
        "topic name": raw_publish(text),
        "topic filter": raw_subscribe(text),
        "topic filter to unsubscribe": framed(0xA2, b"\0\1\0" + field),
        "property of PUBLISH": raw_publish(encoded=b"\x03" + field),
        "property of SUBSCRIBE": raw_subscribe(encoded=b"\x26" + field + sized(b"v")),
        "property of PUBACK": framed(0x40, b"\0\1\0" + block(b"\x1f" + field)),
        "property of DISCONNECT": framed(0xE0, b"\0" + block(b"\x1f" + field)),
    }


PLACES = tuple(with_text(b""))


@pytest.mark.parametrize("place", PLACES)
@ill_formed
def test_v5_1_5_4_1_a_string_must_be_well_formed_utf_8_without_surrogates(place: str, text: bytes) -> None:
    peer = World().connect("c", 5)
    peer.send_bytes(with_text(text)[place])
    assert end_code(peer) == 0x81


@pytest.mark.parametrize("place", PLACES)
def test_v5_1_5_4_2_a_string_must_not_hold_u_0000(place: str) -> None:
    peer = World().connect("c", 5)
    peer.send_bytes(with_text(b"a\0b")[place])
    assert end_code(peer) == 0x81


def test_v5_1_5_4_3_ef_bb_bf_is_a_character_like_any_other() -> None:
    peer = World().connect("c", 5)
    peer.subscribe("\ufefft")
    pair = b"\x26" + sized(b"\xef\xbb\xbfk") + sized(b"v\xef\xbb\xbf")
    peer.send_bytes(raw_publish(b"t") + raw_publish(b"\xef\xbb\xbft", pair))
    (message,) = peer.messages()
    assert message.topic == b"\xef\xbb\xbft"
    assert message.properties.user_properties == [("\ufeffk", "v\ufeff")]


@pytest.mark.parametrize(
    "packet",
    [
        b"\x30\x85\x00" + sized(b"t") + b"\0x",
        b"\x30\x85\x80\x00" + sized(b"t") + b"\0x",
        b"\x32\x86\x00" + sized(b"t") + b"\0\1\0",
        b"\x82\x87\x00" + b"\0\1\0" + sized(b"t") + b"\0",
        b"\xc0\x80\x00",
        framed(0x30, sized(b"t") + b"\x80\x00x"),
        framed(0x82, b"\0\1" + b"\x80\x00" + sized(b"t") + b"\0"),
        raw_subscribe(encoded=b"\x0b\x81\x00"),
        raw_publish(encoded=b"\x81\x00\x01"),
    ],
    ids=[
        "remaining length",
        "remaining length of three bytes",
        "remaining length at QoS 1",
        "remaining length of SUBSCRIBE",
        "remaining length of PINGREQ",
        "property length of PUBLISH",
        "property length of SUBSCRIBE",
        "Subscription Identifier",
        "property identifier",
    ],
)
def test_v5_1_5_5_1_a_variable_byte_integer_must_be_as_short_as_it_can(packet: bytes) -> None:
    peer = World().connect("c", 5)
    peer.send_bytes(packet)
    assert end_code(peer) == 0x81


def test_v5_1_5_5_1_the_remaining_length_of_connect_must_be_as_short_as_it_can() -> None:
    right = raw_connect()
    assert refusal_of(right[:1] + bytes([right[1] | 0x80, 0]) + right[2:]) == 0x81


@pytest.mark.parametrize("length", [127, 128, 16_383, 16_384, 2_097_151, 2_097_152])
def test_v5_1_5_5_1_the_broker_writes_a_remaining_length_in_as_few_bytes_as_hold_it(length: int) -> None:
    world = World()
    peer = world.connect("c", 5)
    peer.subscribe("t", qos=1)
    packet = framed(0x32, sized(b"t") + b"\0\1\0" + bytes(length - 6))
    world.connect("d", 5).send_bytes(packet)
    assert peer.take_bytes() == packet


@pytest.mark.parametrize("bad", [b"a\0b", *ILL_FORMED.values()], ids=["U+0000", *ILL_FORMED])
def test_v5_1_5_7_1_both_parts_of_a_string_pair_must_be_valid_strings(bad: bytes) -> None:
    for name, value in ((bad, b"v"), (b"k", bad)):
        peer = World().connect("c", 5)
        peer.send_bytes(raw_publish(encoded=b"\x26" + sized(name) + sized(value)))
        assert end_code(peer) == 0x81


@pytest.mark.parametrize(
    ("first_byte", "body"),
    [
        (0x40, b"\0\1"),
        (0x50, b"\0\1"),
        (0x62, b"\0\1"),
        (0x70, b"\0\1"),
        (0x82, b"\0\1\0" + sized(b"t") + b"\0"),
        (0xA2, b"\0\1\0" + sized(b"t")),
        (0xC0, b""),
        (0xE0, b""),
        (0xF0, b""),
    ],
    ids=["PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBSCRIBE", "UNSUBSCRIBE", "PINGREQ", "DISCONNECT", "AUTH"],
)
def test_v5_2_1_3_1_reserved_flags_must_be_as_the_table_says(first_byte: int, body: bytes) -> None:
    for flags in {*range(16)} - {first_byte & 0x0F}:
        peer = World().connect("c", 5)
        peer.send_bytes(framed(first_byte & 0xF0 | flags, body))
        assert end_code(peer) == 0x81
        assert refusal_of(bytes([0x10 | (flags or 1)]) + raw_connect()[1:]) == 0x81


def test_v5_2_2_1_2_a_publish_at_qos_0_must_have_no_packet_identifier() -> None:
    peer = World().connect("c", 5)
    peer.subscribe("t", qos=2)
    peer.send_bytes(raw_publish(b"t", payload=b"\0\1x"))
    assert peer.take_bytes() == b"\x30\x07" + sized(b"t") + b"\0" + b"\0\1x"


@pytest.mark.parametrize(
    "packet",
    [
        framed(0x82, b"\0\0\0" + sized(b"t") + b"\0"),
        framed(0xA2, b"\0\0\0" + sized(b"t")),
        framed(0x32, sized(b"t") + b"\0\0\0"),
        framed(0x34, sized(b"t") + b"\0\0\0"),
    ],
    ids=["SUBSCRIBE", "UNSUBSCRIBE", "QoS 1", "QoS 2"],
)
def test_v5_2_2_1_3_packet_identifier_0_must_not_be_used(packet: bytes) -> None:
    peer = World().connect("c", 5)
    peer.send_bytes(packet)
    assert end_code(peer) == 0x81


@pytest.mark.parametrize("qos", [1, 2])
def test_v5_2_2_1_4_the_broker_must_use_free_packet_identifiers_other_than_0(qos: int) -> None:
    world = World()
    alice = world.connect("alice", 5)
    alice.subscribe("t", qos=qos)
    bob = world.connect("bob", 5)
    for identifier in (1, 2, 3):
        bob.publish("t", qos=qos, packet_identifier=identifier)
    first, second, third = (message.packet_identifier for message in alice.messages())
    assert 0 < first < second < third
    alice.acknowledge(PUBACK if qos == 1 else PUBREC, second, 0 if qos == 1 else 0x80)
    world.broker.sessions["alice"]._last_identifier = 65_534  # as if as many had come and gone meanwhile
    for identifier in (4, 5, 6):
        bob.publish("t", qos=qos, packet_identifier=identifier)
    assert [message.packet_identifier for message in alice.messages()] == [65_535, second, third + 1]


def test_v5_2_2_1_5_acknowledgements_must_repeat_the_packet_identifier() -> None:
    peer = World().connect("c", 5)
    peer.publish("t", qos=1, packet_identifier=0x1234)
    peer.publish("t", qos=2, packet_identifier=0x4321)
    peer.acknowledge(PUBREL, 0x4321)
    answers = [(packet.packet_type, packet.packet_identifier) for packet in peer.take()]  # type: ignore[attr-defined]
    assert answers == [(PUBACK, 0x1234), (PUBREC, 0x4321), (PUBCOMP, 0x4321)]
    peer.subscribe("t", qos=2)
    peer.publish("t", qos=2, packet_identifier=0x4321)
    (message,) = peer.messages()
    peer.acknowledge(PUBREC, message.packet_identifier)
    assert peer.take() == [Acknowledgement(PUBREL, message.packet_identifier)]


def test_v5_2_2_1_6_suback_and_unsuback_must_repeat_the_packet_identifier() -> None:
    peer = World().connect("c", 5)
    peer.send(Subscribe(0x1234, [SubscriptionRequest(b"t")]), Unsubscribe(0x4321, [b"t"]))
    assert peer.take() == [Suback(0x1234, [0]), Unsuback(0x4321, [0])]


def test_v5_2_2_2_1_no_properties_must_be_said_by_a_length_of_zero() -> None:
    world = World()
    peer = world.connect("c", 5)
    peer.send_bytes(raw_subscribe(b"t"))
    assert peer.take_bytes() == b"\x90\x04" + b"\0\1" + b"\0" + b"\0"
    world.connect("old").send(Publish(b"t", b"x"))
    assert peer.take_bytes() == b"\x30\x05" + sized(b"t") + b"\0" + b"x"
    peer.send_bytes(framed(0x30, sized(b"t")))
    assert end_code(peer) == 0x81
