"""Is every packet read and written right, and every broken one refused for the right reason?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.malformed import FORMS, Form, carrier, property_bytes
from tests.wire.strategies import (
    PROPERTY_TABLE,
    TYPES_AND_VERSIONS,
    VERSIONS,
    few,
    many,
    mutations,
    packets,
    versioned_packets,
)
from tidewire.wire import codes
from tidewire.wire import packets as wire
from tidewire.wire import properties as props
from tidewire.wire.codes import V5, V31, V311
from tidewire.wire.errors import MalformedPacket, ProtocolViolation
from tidewire.wire.packets import Packet, decode
from tidewire.wire.properties import Properties


def read(data: bytes, version: int) -> Packet:
    """The packet that `data` is; its remaining length is not looked at."""
    body = 2
    while data[body - 1] > 127:
        body += 1
    return decode(data[0], data, body, len(data), version)


def named(kind: tuple[int, int]) -> str:
    packet_type, version = kind
    return f"{codes.PACKET_NAMES[packet_type]}-{version}"


# Round trips


@pytest.mark.parametrize("every", [False, True], ids=["some properties", "every property"])
@pytest.mark.parametrize("kind", TYPES_AND_VERSIONS, ids=named)
@few
@given(data=st.data())
def test_a_packet_comes_back(kind: tuple[int, int], every: bool, data: st.DataObject) -> None:
    packet_type, version = kind
    packet = data.draw(packets(packet_type, version, every))
    encoded = packet.encode(version)
    assert encoded[0] >> 4 == packet_type
    assert read(encoded, version) == packet


@pytest.mark.parametrize(
    ("version", "packet", "expected"),
    [
        (V31, wire.Connect("c", V31, keep_alive=60), "10 0f 0006 4d5149736470 03 02 003c 0001 63"),
        (V311, wire.Connect("c", V311, keep_alive=60), "10 0d 0004 4d515454 04 02 003c 0001 63"),
        (V5, wire.Connect("c", V5, False, 60), "10 0e 0004 4d515454 05 00 003c 00 0001 63"),
        (
            V5,
            wire.Connect("c", V5, will=wire.Will(b"w", b"!", 2, True), user_name="u", password=b"p"),
            "10 1b 0004 4d515454 05 f6 0000 00 0001 63 00 0001 77 0001 21 0001 75 0001 70",
        ),
        (V31, wire.Connack(True, 0), "20 02 00 00"),
        (V311, wire.Connack(True, 0), "20 02 01 00"),
        (V5, wire.Connack(False, 0x87), "20 03 00 87 00"),
        (V311, wire.Publish(b"t", b"hi", 1, True, True, 7), "3b 07 0001 74 0007 6869"),
        (V5, wire.Publish(b"t", b"hi"), "30 06 0001 74 00 6869"),
        (V311, wire.Acknowledgement(codes.PUBREL, 7, 0x92), "62 02 0007"),
        (V5, wire.Acknowledgement(codes.PUBREL, 7), "62 02 0007"),
        (V5, wire.Acknowledgement(codes.PUBREL, 7, 0x92), "62 03 0007 92"),
        (V311, wire.Subscribe(7, [wire.SubscriptionRequest(b"a", 1, True, True, 2)]), "82 06 0007 0001 61 01"),
        (V5, wire.Subscribe(7, [wire.SubscriptionRequest(b"a", 1, True, True, 2)]), "82 07 0007 00 0001 61 2d"),
        (V311, wire.Suback(7, [2, 0x80]), "90 04 0007 02 80"),
        (V5, wire.Suback(7, [2, 0x97]), "90 05 0007 00 02 97"),
        (V311, wire.Unsubscribe(7, [b"a"]), "a2 05 0007 0001 61"),
        (V5, wire.Unsubscribe(7, [b"a"]), "a2 06 0007 00 0001 61"),
        (V311, wire.Unsuback(7, [0x11]), "b0 02 0007"),
        (V5, wire.Unsuback(7, [0x11]), "b0 04 0007 00 11"),
        (V311, wire.Pingreq(), "c0 00"),
        (V311, wire.Pingresp(), "d0 00"),
        (V311, wire.Disconnect(0x8B), "e0 00"),
        (V5, wire.Disconnect(), "e0 00"),
        (V5, wire.Disconnect(0x8B), "e0 01 8b"),
        (V5, wire.Auth(), "f0 00"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Packet) else str(value),
)
def test_a_packet_is_written_byte_for_byte_as_the_specification_shows(
    version: int, packet: Packet, expected: str
) -> None:
    assert packet.encode(version) == bytes.fromhex(expected)


def test_a_connect_is_read_the_same_whatever_version_the_reader_expects() -> None:
    for version in VERSIONS:
        packet = wire.Connect("c", version, will=wire.Will(b"w"))
        for expected in VERSIONS:
            assert read(packet.encode(version), expected) == packet


# What 3.1 allows and later versions do not


@pytest.mark.parametrize("flags", ["80", "c0"])
def test_in_3_1_a_user_name_and_password_may_be_missing_although_the_flags_announce_them(flags: str) -> None:
    packet = read(bytes.fromhex(f"100f 0006 4d5149736470 03 {flags} 003c 0001 63"), V31)
    assert packet == wire.Connect("c", V31, clean_start=False, keep_alive=60)


def test_in_3_1_a_password_may_be_missing_although_the_flags_announce_it() -> None:
    packet = read(bytes.fromhex("1012 0006 4d5149736470 03 c2 003c 0001 63 0001 75"), V31)
    assert packet == wire.Connect("c", V31, keep_alive=60, user_name="u")


@pytest.mark.parametrize("flags", ["03", "0a", "1a", "22", "3b"])
def test_in_3_1_the_will_flags_are_disregarded_without_a_will_and_so_is_the_unused_bit(flags: str) -> None:
    packet = read(bytes.fromhex(f"100f 0006 4d5149736470 03 {flags} 003c 0001 63"), V31)
    assert packet == wire.Connect("c", V31, keep_alive=60)


@pytest.mark.parametrize(
    "packet",
    [
        wire.Acknowledgement(codes.PUBREL, 7),
        wire.Subscribe(7, [wire.SubscriptionRequest(b"a")]),
        wire.Unsubscribe(7, [b"a"]),
    ],
    ids=lambda packet: type(packet).__name__,
)
def test_in_3_1_a_repeated_request_may_carry_dup(packet: Packet) -> None:
    data = bytearray(packet.encode(V31))
    data[0] |= 8
    assert read(bytes(data), V31) == packet


def test_in_3_1_the_unused_bits_of_connack_and_of_a_subscription_are_not_looked_at() -> None:
    assert read(b"\x20\x02\xff\x00", V31) == wire.Connack()
    assert read(b"\x82\x06\x00\x07\x00\x01a\xfe", V31) == wire.Subscribe(7, [wire.SubscriptionRequest(b"a", 2)])


# What 5.0 leaves out when it says nothing


@pytest.mark.parametrize("packet_type", [codes.PUBACK, codes.PUBREC, codes.PUBREL, codes.PUBCOMP])
def test_an_acknowledgement_without_reason_code_or_properties_means_success(packet_type: int) -> None:
    first_byte = packet_type << 4 | (2 if packet_type == codes.PUBREL else 0)
    for body in (b"\0\7", b"\0\7\0", b"\0\7\0\0"):
        assert read(bytes([first_byte, len(body)]) + body, V5) == wire.Acknowledgement(packet_type, 7)


def test_a_disconnect_without_reason_code_or_properties_is_normal() -> None:
    for data in (b"\xe0\x00", b"\xe0\x01\x00", b"\xe0\x02\x00\x00"):
        assert read(data, V5) == wire.Disconnect()


def test_in_5_0_a_password_may_come_without_a_user_name() -> None:
    packet = wire.Connect("c", V5, password=b"token")
    assert read(packet.encode(V5), V5) == packet


def test_a_publish_may_name_its_topic_by_alias_alone() -> None:
    packet = wire.Publish(b"")
    packet.properties.integers[props.TOPIC_ALIAS] = 1
    assert read(packet.encode(V5), V5) == packet


# What is refused


@pytest.mark.parametrize(
    ("form", "version"),
    [pytest.param(form, version, id=f"{form.title}-{version}") for form in FORMS for version in form.versions],
)
def test_a_malformed_form_is_refused_with_its_reason(form: Form, version: int) -> None:
    kind, reason_code = form.verdict
    with pytest.raises(ProtocolViolation) as caught:
        read(form.data(version), version)
    assert (type(caught.value), caught.value.reason_code) == (kind, reason_code), caught.value.detail
    assert caught.value.detail


def test_what_the_malformed_forms_are_made_of_is_right_by_itself() -> None:
    for identifier, (_, _, _, allowed) in PROPERTY_TABLE.items():
        for packet in allowed:
            method = b"" if identifier == props.AUTHENTICATION_METHOD else property_bytes(props.AUTHENTICATION_METHOD)
            needs_method = packet == codes.AUTH or identifier == props.AUTHENTICATION_DATA
            first_byte, body = carrier(packet, property_bytes(identifier) + (method if needs_method else b""))
            decode(first_byte, body, 0, len(body), V5)


@pytest.mark.parametrize("packet_type", codes.ALLOWED_REASON_CODES, ids=lambda number: codes.PACKET_NAMES[number])
def test_a_reason_code_is_read_exactly_where_its_table_has_it(packet_type: int) -> None:
    for code in range(256):
        method = Properties()
        method.texts[props.AUTHENTICATION_METHOD] = "m"
        packet: Packet
        if packet_type == codes.CONNACK:
            packet = wire.Connack(False, code)
        elif packet_type == codes.SUBACK:
            packet = wire.Suback(1, [code])
        elif packet_type == codes.UNSUBACK:
            packet = wire.Unsuback(1, [code])
        elif packet_type == codes.DISCONNECT:
            packet = wire.Disconnect(code)
        elif packet_type == codes.AUTH:
            packet = wire.Auth(code, method)
        else:
            packet = wire.Acknowledgement(packet_type, 1, code)
        if code in codes.ALLOWED_REASON_CODES[packet_type]:
            assert read(packet.encode(V5), V5) == packet
        else:
            with pytest.raises(ProtocolViolation) as caught:
                read(packet.encode(V5), V5)
            assert caught.value.reason_code == 0x82


# Any bytes


def outcome(first_byte: int, data: bytes, position: int, end: int, version: int) -> object:
    """The packet, or what was said against it."""
    try:
        return decode(first_byte, data, position, end, version)
    except ProtocolViolation as error:
        return type(error), error.reason_code, error.detail


def holds(first_byte: int, body: bytes, version: int) -> None:
    """A packet or a violation, whatever surrounds the body; and a packet that can be written again."""
    alone = outcome(first_byte, body, 0, len(body), version)
    for before, after in ((b"", b"\0" * 8), (b"\xff" * 3, b"\xff" * 300), (b"\x26", b"\x00\x01a")):
        data = before + body + after
        assert outcome(first_byte, data, len(before), len(before) + len(body), version) == alone
    if isinstance(alone, Packet):
        version = alone.version if isinstance(alone, wire.Connect) else version
        assert read(alone.encode(version), version) == alone


@many
@given(st.integers(0, 255), st.binary(max_size=30), st.sampled_from(VERSIONS))
def test_any_bytes_are_a_packet_or_a_violation(first_byte: int, body: bytes, version: int) -> None:
    holds(first_byte, body, version)


@many
@given(versioned_packets(), st.data())
def test_a_damaged_packet_is_a_packet_or_a_violation(versioned: tuple[int, Packet], data: st.DataObject) -> None:
    version, packet = versioned
    encoded = packet.encode(version)
    body = 2 if encoded[1] < 128 else 3
    damaged = data.draw(mutations(encoded[:1] + encoded[body:]))
    if damaged:
        holds(damaged[0], damaged[1:], version)


@many
@given(versioned_packets(), st.data())
def test_a_packet_cut_short_is_never_taken_for_the_whole(versioned: tuple[int, Packet], data: st.DataObject) -> None:
    version, packet = versioned
    encoded = packet.encode(version)
    body = 2 if encoded[1] < 128 else 3
    for end in range(body, len(encoded)):
        assert outcome(encoded[0], encoded, body, end, version) != packet


@given(versioned_packets(), st.sampled_from(VERSIONS))
def test_a_packet_read_in_the_wrong_version_is_a_packet_or_a_violation(
    versioned: tuple[int, Packet], other: int
) -> None:
    version, packet = versioned
    encoded = packet.encode(version)
    holds(encoded[0], encoded[2 if encoded[1] < 128 else 3 :], other)


# What a caller gets wrong


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "packet",
    [
        wire.Publish(b"t", qos=3, packet_identifier=1),
        wire.Publish(b"t", qos=-1),
        wire.Publish(b"t" * 65_536),
        wire.Publish(b"t", qos=1, packet_identifier=65_536),
        wire.Connect("c", keep_alive=65_536),
        wire.Connect("c", keep_alive=-1),
        wire.Connect("\0"),
        wire.Connect("c", will=wire.Will(b"w", qos=3)),
        wire.Connect("c", will=wire.Will(b"w", b"x" * 65_536)),
        wire.Connect("c", user_name="u", password=b"x" * 65_536),
        wire.Subscribe(1, [wire.SubscriptionRequest(b"a", qos=4)]),
        wire.Subscribe(65_536, [wire.SubscriptionRequest(b"a")]),
        wire.Suback(1, [256]),
        wire.Unsubscribe(1, [b"a" * 65_536]),
        wire.Connack(False, 256),
        wire.Acknowledgement(codes.PUBACK, -1),
    ],
    ids=lambda packet: type(packet).__name__,
)
def test_a_value_that_the_format_cannot_carry_is_not_written(version: int, packet: Packet) -> None:
    with pytest.raises(ValueError):
        packet.encode(version)


def test_auth_is_not_written_before_5_0() -> None:
    for version in (V31, V311):
        with pytest.raises(ValueError, match=r"5\.0"):
            wire.Auth(0x18).encode(version)


def test_a_packet_of_no_kind_has_no_bytes() -> None:
    with pytest.raises(NotImplementedError):
        Packet().encode(V5)


def test_a_violation_carries_its_reason_code_and_its_detail() -> None:
    error = MalformedPacket("why")
    assert (error.reason_code, error.detail, str(error)) == (0x81, "why", "why")
