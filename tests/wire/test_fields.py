"""Are the data types of section 1.5 read and written right, and never past their end?"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.wire.strategies import many, texts
from tidewire.wire import fields
from tidewire.wire.errors import MalformedPacket
from tidewire.wire.fields import Reader


def reader(data: bytes, strict: bool = True) -> Reader:
    return Reader(data, 0, len(data), strict)


@many
@given(st.integers(0, 268_435_455))
@example(0)
@example(127)
@example(128)
@example(16_383)
@example(16_384)
@example(2_097_151)
@example(2_097_152)
@example(268_435_455)
def test_a_variable_byte_integer_comes_back_from_as_few_bytes_as_hold_it(value: int) -> None:
    encoded = fields.encode_variable_byte_integer(value)
    back = reader(encoded)
    assert back.variable_byte_integer() == value
    back.finish()
    assert len(encoded) == max(1, -(-value.bit_length() // 7))  # seven bits a byte, rounded up


@many
@given(st.binary(max_size=6))
def test_what_is_read_strictly_as_a_variable_byte_integer_is_written_the_same(data: bytes) -> None:
    source = reader(data)
    try:
        value = source.variable_byte_integer()
    except MalformedPacket:
        return
    assert fields.encode_variable_byte_integer(value) == data[: source.position]


@pytest.mark.parametrize("data", [b"\x80\x00", b"\x81\x00", b"\xff\x80\x00", b"\x80\x80\x80\x00"])
def test_a_variable_byte_integer_of_more_bytes_than_needed_is_refused_since_5_0_only(data: bytes) -> None:
    assert reader(data, strict=False).variable_byte_integer() == data[0] & 0x7F
    with pytest.raises(MalformedPacket):
        reader(data).variable_byte_integer()


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("data", [b"\x80\x80\x80\x80\x01", b"\xff\xff\xff\xff\x7f", b"\xff\xff\xff\xff", b"\x80", b""])
def test_a_variable_byte_integer_without_an_end_in_four_bytes_is_refused(data: bytes, strict: bool) -> None:
    with pytest.raises(MalformedPacket):
        reader(data, strict).variable_byte_integer()


@given(st.integers(0, 65_535))
def test_a_two_byte_integer_comes_back(value: int) -> None:
    assert reader(fields.encode_two_byte_integer(value)).two_byte_integer() == value


@given(st.integers(0, 2**32 - 1))
def test_a_four_byte_integer_comes_back(value: int) -> None:
    assert reader(fields.encode_four_byte_integer(value)).four_byte_integer() == value


@given(st.binary(max_size=300))
def test_binary_data_comes_back(value: bytes) -> None:
    assert reader(fields.encode_binary(value)).binary() == value


@given(texts)
@example("\ufeff kept \ufeff")  # [MQTT-1.5.4-3]
@example("\U0010ffff\u007f\u0080\uffff")
def test_a_string_comes_back(value: str) -> None:
    encoded = fields.encode_text(value)
    assert reader(encoded).text() == value
    assert reader(encoded).text_bytes() == value.encode()


def test_the_longest_string_has_65535_bytes() -> None:
    assert reader(fields.encode_text("x" * 65_535)).text() == "x" * 65_535
    with pytest.raises(ValueError, match="65536"):
        fields.encode_text("x" * 65_536)
    with pytest.raises(ValueError, match="65536"):
        fields.encode_text("é" * 32_768)


@pytest.mark.parametrize("value", ["a\0b", "\ud800", "\udfff"])
def test_a_string_that_utf8_or_mqtt_cannot_carry_is_not_written(value: str) -> None:
    with pytest.raises(ValueError):
        fields.encode_text(value)


@pytest.mark.parametrize(
    ("encode", "past"),
    [
        (fields.encode_two_byte_integer, 2**16),
        (fields.encode_four_byte_integer, 2**32),
        (fields.encode_variable_byte_integer, 2**28),
    ],
)
def test_a_number_outside_its_type_is_not_written_and_is_named(encode: Callable[[int], bytes], past: int) -> None:
    for value in (-1, past):
        with pytest.raises(ValueError, match=str(value)):
            encode(value)


@many
@given(st.binary(max_size=6))
def test_bytes_are_a_string_exactly_when_they_are_utf8_without_u_0000(data: bytes) -> None:
    expected: str | None
    try:
        expected = data.decode("utf-8")
    except UnicodeDecodeError:
        expected = None
    if expected is None or "\0" in expected:
        with pytest.raises(MalformedPacket):
            fields.decode_utf8(data)
        with pytest.raises(MalformedPacket):
            fields.check_utf8(data)
    else:
        assert fields.decode_utf8(data) == expected
        fields.check_utf8(data)


READS: list[Callable[[Reader], object]] = [
    Reader.one_byte,
    Reader.two_byte_integer,
    Reader.four_byte_integer,
    Reader.variable_byte_integer,
    Reader.binary,
    Reader.text,
    Reader.text_bytes,
    Reader.packet_identifier,
    Reader.rest,
]


@many
@given(st.binary(max_size=12), st.binary(max_size=4), st.binary(max_size=8), st.lists(st.sampled_from(READS)))
def test_no_read_depends_on_bytes_outside_of_the_packet(
    body: bytes, before: bytes, after: bytes, reads: list[Callable[[Reader], object]]
) -> None:
    alone = Reader(body, 0, len(body), True)
    within = Reader(before + body + after, len(before), len(before) + len(body), True)
    for read in reads:
        assert outcome(read, alone) == outcome(read, within)
        assert alone.remaining() == within.remaining() >= 0


def outcome(read: Callable[[Reader], object], source: Reader) -> object:
    try:
        return read(source)
    except MalformedPacket as error:
        return error.detail


def test_packet_identifier_0_is_refused() -> None:
    with pytest.raises(MalformedPacket):
        reader(b"\0\0").packet_identifier()
    assert reader(b"\0\1").packet_identifier() == 1


def test_finish_refuses_bytes_that_nothing_has_read() -> None:
    source = reader(b"ab")
    with pytest.raises(MalformedPacket, match="2 bytes"):
        source.finish()
    assert source.rest() == b"ab"
    source.finish()


@given(st.integers(0, 255), st.binary(max_size=200))
def test_a_packet_is_its_first_byte_its_length_and_its_body(first_byte: int, body: bytes) -> None:
    source = reader(fields.encode_packet(first_byte, body))
    assert source.one_byte() == first_byte
    assert source.variable_byte_integer() == len(body)
    assert source.rest() == body
