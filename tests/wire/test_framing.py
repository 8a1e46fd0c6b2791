"""Are packets found in a stream wherever it is cut?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.strategies import VERSIONS, cuts, many, mutations, streams, versioned_packets
from tidewire.wire.codes import V5, V31, V311
from tidewire.wire.errors import MalformedPacket, ProtocolViolation
from tidewire.wire.framing import Decoder, find_packet
from tidewire.wire.packets import Connect, Packet, Pingreq, Pingresp, Publish

LARGE = 268_435_460


def encoded(version: int, packets: list[Packet]) -> bytes:
    return b"".join(packet.encode(version) for packet in packets)


@many
@given(streams(), st.data())
def test_a_stream_gives_the_same_packets_wherever_it_is_cut(
    stream: tuple[int, list[Packet]], data: st.DataObject
) -> None:
    version, packets = stream
    decoder = Decoder(version, LARGE)
    pieces = data.draw(cuts(encoded(version, packets)))
    assert [packet for piece in pieces for packet in decoder.feed(piece)] == packets


@given(streams())
def test_a_stream_gives_the_same_packets_byte_by_byte(stream: tuple[int, list[Packet]]) -> None:
    version, packets = stream
    decoder = Decoder(version, LARGE)
    data = encoded(version, packets)
    assert [packet for byte in data for packet in decoder.feed(bytes([byte]))] == packets


@given(versioned_packets())
def test_a_packet_comes_with_its_last_byte_and_not_before(versioned: tuple[int, Packet]) -> None:
    version, packet = versioned
    data = packet.encode(version)
    decoder = Decoder(version, LARGE)
    assert decoder.feed(data[:-1]) == []
    assert decoder.feed(data[-1:]) == [packet]
    assert decoder.feed(b"") == []


@many
@given(streams(), st.data())
def test_a_damaged_stream_gives_the_same_packets_and_the_same_fault_wherever_it_is_cut(
    stream: tuple[int, list[Packet]], data: st.DataObject
) -> None:
    version, packets = stream
    damaged = data.draw(mutations(encoded(version, packets)))
    seen, fault = everything(version, data.draw(cuts(damaged)))
    all_seen, same_fault = everything(version, [bytes([byte]) for byte in damaged])
    assert fault == same_fault
    assert seen == all_seen[: len(seen)]  # of the piece with the fault, `feed` gives no packets
    assert fault or seen == all_seen


def everything(version: int, pieces: list[bytes]) -> tuple[list[Packet], str]:
    """The packets, then the fault that ended them."""
    decoder = Decoder(version, LARGE)
    packets: list[Packet] = []
    for piece in pieces:
        try:
            packets += decoder.feed(piece)
        except ProtocolViolation as error:
            return packets, error.detail
    return packets, ""


@pytest.mark.parametrize("version", VERSIONS)
def test_a_connect_brings_the_version_of_what_follows_it(version: int) -> None:
    following = Publish(b"t", b"\x00payload")
    decoder = Decoder(V5 if version == V311 else V311, LARGE)
    connect = Connect("c", version)
    assert decoder.feed(connect.encode(version) + following.encode(version)) == [connect, following]
    assert decoder.version == version


@pytest.mark.parametrize(
    ("length", "header"),
    [(0, "00"), (127, "7f"), (128, "8001"), (16_383, "ff7f"), (16_384, "808001"), (2_097_151, "ffff7f"),
     (2_097_152, "80808001"), (268_435_455, "ffffff7f")],
)  # fmt: skip
def test_the_remaining_length_is_read_at_every_border(length: int, header: str) -> None:
    data = b"xx\x30" + bytes.fromhex(header)
    assert find_packet(data, 2, LARGE, True) == (len(data), len(data) + length)


@pytest.mark.parametrize("data", [b"", b"\x30", b"\x30\x80", b"\x30\xff\xff\xff"])
def test_the_end_of_a_packet_is_unknown_until_its_length_is_whole(data: bytes) -> None:
    assert find_packet(data, 0, LARGE)[1] == -1


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("data", [b"\x30\x80\x80\x80\x80\x01", b"\x30\xff\xff\xff\xff", b"\xc0\x80\x80\x80\x80\x00"])
def test_a_remaining_length_of_five_bytes_is_refused_at_its_fourth(version: int, data: bytes) -> None:
    decoder = Decoder(version, LARGE)
    assert decoder.feed(data[:4]) == []
    with pytest.raises(MalformedPacket) as caught:
        decoder.feed(data[4:5])
    assert caught.value.reason_code == 0x81


@pytest.mark.parametrize("data", [b"\xc0\x80\x00", b"\xc0\x80\x80\x00", b"\xc0\x80\x80\x80\x00"])
def test_a_remaining_length_of_more_bytes_than_needed_is_refused_since_5_0(data: bytes) -> None:
    with pytest.raises(MalformedPacket) as caught:
        Decoder(V5, LARGE).feed(data)
    assert caught.value.reason_code == 0x81
    for version in (V31, V311):
        assert Decoder(version, LARGE).feed(data) == [Pingreq()]


def test_a_packet_past_the_maximum_size_is_refused_before_its_body_has_come() -> None:
    with pytest.raises(ProtocolViolation) as caught:
        Decoder(V5, 100).feed(b"\x30\x63")
    assert caught.value.reason_code == 0x95
    assert Decoder(V5, 100).feed(b"\x30\x62") == []


def test_a_packet_of_the_maximum_size_passes() -> None:
    packet = Publish(b"t", b"x" * 96)
    data = packet.encode(V311)
    assert Decoder(V311, len(data)).feed(data + b"\xd0\x00") == [packet, Pingresp()]
    with pytest.raises(ProtocolViolation):
        Decoder(V311, len(data) - 1).feed(data)
