"""Where packets begin and end in a stream (section 2.1), cut anywhere."""

from __future__ import annotations

from tidewire.wire.codes import V5, ReasonCode
from tidewire.wire.errors import MalformedPacket, ProtocolViolation
from tidewire.wire.packets import Connect, Packet, decode


class Decoder:
    """Turns a stream of bytes into packets, for either side of a connection.

    `feed` keeps what is not yet whole. The broker and the client read their streams in place (`engine.connection`);
    this is the plain form for tools, tests and whoever wants packets.
    """

    def __init__(self, version: int, maximum_packet_size: int) -> None:
        """`version`: until a CONNECT brings its own; `maximum_packet_size`: in bytes, header included."""
        self.version = version
        self.maximum_packet_size = maximum_packet_size
        self._kept = b""

    def feed(self, data: bytes) -> list[Packet]:
        """The packets that are whole now. Raises ProtocolViolation as `decode` does, 0x95 past the maximum size."""
        data = self._kept + data
        packets: list[Packet] = []
        position = 0
        while True:
            body, end = find_packet(data, position, self.maximum_packet_size, self.version == V5)
            if end < 0 or end > len(data):
                break
            packet = decode(data[position], data, body, end, self.version)
            if isinstance(packet, Connect):
                self.version = packet.version
            packets.append(packet)
            position = end
        self._kept = data[position:]
        return packets


def find_packet(data: bytes, position: int, maximum_packet_size: int, strict: bool = False) -> tuple[int, int]:
    """Start of the body and end of the packet that starts at `position`; the end is -1 while its length is unknown.

    The end may lie past the data that is there. Raises MalformedPacket for a Remaining Length of five bytes (2.1.4) or,
    if `strict`, of more than it needs ([MQTT-1.5.5-1], new in 5.0), and ProtocolViolation 0x95 past
    `maximum_packet_size` bytes, as soon as the length is known.
    """
    length = 0
    shift = 0
    body = position + 1
    size = len(data)
    while True:
        if body >= size:
            return body, -1
        byte = data[body]
        body += 1
        length |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift > 21:
            raise MalformedPacket("the remaining length is longer than four bytes")
    if strict and byte == 0 and shift:
        raise MalformedPacket("the remaining length is longer than its value needs")
    end = body + length
    if end - position > maximum_packet_size:
        raise ProtocolViolation(
            ReasonCode.PACKET_TOO_LARGE,
            f"a packet of {end - position} bytes is larger than the maximum of {maximum_packet_size}",
        )
    return body, end
