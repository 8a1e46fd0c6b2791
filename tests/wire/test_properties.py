"""Are properties read and written as table 2-4 says? (Their malformed forms are in `malformed`.)"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.strategies import PROPERTY_TABLE, few, many, properties
from tidewire.wire import codes
from tidewire.wire import properties as props
from tidewire.wire.errors import MalformedPacket, ProtocolViolation
from tidewire.wire.fields import Reader
from tidewire.wire.properties import Properties, read_properties

CARRIERS = sorted(PROPERTY_TABLE[props.USER_PROPERTY][3])


def read(data: bytes, packet: int) -> Properties:
    source = Reader(data, 0, len(data), True)
    result = read_properties(source, packet)
    source.finish()
    return result


@pytest.mark.parametrize("every", [False, True], ids=["some", "every"])
@pytest.mark.parametrize("packet", CARRIERS, ids=lambda packet: codes.PACKET_NAMES[packet])
@few
@given(data=st.data())
def test_properties_come_back(packet: int, every: bool, data: st.DataObject) -> None:
    written = data.draw(properties(packet, every))
    back = read(written.encode(), packet)
    assert back == written
    assert back.user_properties == written.user_properties  # in their order [MQTT-3.1.3-10]
    assert repr(back).startswith("Properties(")


def test_the_rules_are_those_of_table_2_4() -> None:
    assert set(props.RULES) == set(PROPERTY_TABLE)
    for identifier, (_, _, _, packets) in PROPERTY_TABLE.items():
        assert props.RULES[identifier].packets == packets, props.RULES[identifier].name


def test_every_property_is_written_with_its_identifier_and_type() -> None:
    written = Properties()
    written.integers = {0x01: 1, 0x13: 60, 0x02: 2}
    written.texts = {0x03: "é"}
    written.binaries = {0x09: b"\xff"}
    written.subscription_identifiers = [200]
    written.user_properties = [("k", "v"), ("k", "")]
    assert written.encode() == bytes.fromhex(
        "23" "0101" "13003c" "0200000002" "030002c3a9" "090001ff" "0bc801" "2600016b000176" "2600016b0000"
    )  # fmt: skip


def test_no_properties_are_one_zero_byte() -> None:
    assert Properties().encode() == b"\0"
    assert read(b"\0", codes.CONNECT) == Properties()


def test_a_publish_may_carry_several_subscription_identifiers() -> None:
    assert read(b"\x04\x0b\x01\x0b\x01", codes.PUBLISH).subscription_identifiers == [1, 1]


def test_reading_leaves_off_after_the_property_length() -> None:
    source = Reader(b"\x02\x01\x01\x01\x01", 0, 5, True)
    assert read_properties(source, codes.PUBLISH).integers == {props.PAYLOAD_FORMAT_INDICATOR: 1}
    assert source.rest() == b"\x01\x01"


def test_a_value_that_crosses_the_property_length_is_malformed_whatever_follows() -> None:
    for follows in (b"\x00", b"\x01", b"\x02"):
        with pytest.raises(MalformedPacket):
            read(b"\x01\x01" + follows, codes.PUBLISH)


@many
@given(st.binary(max_size=40), st.sampled_from(CARRIERS))
def test_any_bytes_are_properties_or_a_violation(body: bytes, packet: int) -> None:
    data = bytes([len(body)]) + body
    try:
        back = read(data, packet)
    except ProtocolViolation:
        return
    assert read(back.encode(), packet) == back


def _integer(identifier: int, value: int) -> Callable[[Properties], None]:
    def change(written: Properties) -> None:
        written.integers[identifier] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        _integer(props.MAXIMUM_QOS, 2),
        _integer(props.RETAIN_AVAILABLE, -1),
        _integer(props.RECEIVE_MAXIMUM, 0),
        _integer(props.RECEIVE_MAXIMUM, 65_536),
        _integer(props.TOPIC_ALIAS, 65_536),
        _integer(props.MAXIMUM_PACKET_SIZE, 0),
        _integer(props.SESSION_EXPIRY_INTERVAL, 2**32),
        lambda written: written.subscription_identifiers.append(0),
        lambda written: written.subscription_identifiers.append(268_435_456),
        lambda written: written.user_properties.append(("k", "\0")),
        lambda written: written.texts.update({props.CONTENT_TYPE: "x" * 65_536}),
        lambda written: written.binaries.update({props.CORRELATION_DATA: b"x" * 65_536}),
    ],
)
def test_a_value_that_does_not_fit_is_not_written(change: Callable[[Properties], None]) -> None:
    written = Properties()
    change(written)
    with pytest.raises(ValueError):
        written.encode()


def test_an_absent_property_has_the_default_that_the_caller_gives() -> None:
    written = Properties()
    assert written.integer(props.RECEIVE_MAXIMUM, 65_535) == 65_535
    assert written.flag(props.RETAIN_AVAILABLE, True)
    assert not written.flag(props.REQUEST_RESPONSE_INFORMATION, False)
    written.integers = {props.RECEIVE_MAXIMUM: 3, props.RETAIN_AVAILABLE: 0}
    assert written.integer(props.RECEIVE_MAXIMUM, 65_535) == 3
    assert not written.flag(props.RETAIN_AVAILABLE, True)


def test_properties_are_compared_by_what_they_hold_and_have_no_hash() -> None:
    one, other = Properties(), Properties()
    assert one == other
    assert one != object()
    other.user_properties.append(("k", "v"))
    assert one != other
    with pytest.raises(TypeError):
        hash(one)


def test_properties_are_shown_by_their_names() -> None:
    shown = Properties()
    shown.integers[props.TOPIC_ALIAS] = 5
    shown.texts[props.CONTENT_TYPE] = "json"
    shown.binaries[props.CORRELATION_DATA] = b"c"
    shown.subscription_identifiers.append(9)
    shown.user_properties.append(("k", "v"))
    assert repr(shown) == (
        "Properties({'Topic Alias': 5, 'Content Type': 'json', 'Correlation Data': b'c', "
        "'Subscription Identifier': [9], 'User Property': [('k', 'v')]})"
    )
