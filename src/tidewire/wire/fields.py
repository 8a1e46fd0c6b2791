"""The data types every packet is made of (sections 1.5 and 2.2.3), read with bounds and written."""

from __future__ import annotations

from typing import Final

from tidewire.wire.errors import MalformedPacket

MAXIMUM_VARIABLE_BYTE_INTEGER: Final = 268_435_455  # 1.5.5: four bytes of seven bits
MAXIMUM_STRING_BYTES: Final = 65_535  # 1.5.4, 1.5.6: a two byte length


class Reader:
    """Reads the fields of one packet body, `data[position:end]`, and never past its end."""

    def __init__(self, data: bytes, position: int, end: int, strict: bool) -> None:
        """`strict`: refuse a Variable Byte Integer longer than needed [MQTT-1.5.5-1], new in 5.0."""
        self.data = data
        self.position = position
        self.end = end
        self.strict = strict

    def remaining(self) -> int:
        return self.end - self.position

    def one_byte(self) -> int:
        position = self.position
        if position >= self.end:
            raise MalformedPacket("the packet ends in the middle of a field")
        self.position = position + 1
        return self.data[position]

    def two_byte_integer(self) -> int:
        position = self.position
        if position + 2 > self.end:
            raise MalformedPacket("the packet ends in the middle of a two byte integer")
        self.position = position + 2
        return self.data[position] << 8 | self.data[position + 1]

    def four_byte_integer(self) -> int:
        high = self.two_byte_integer()
        return high << 16 | self.two_byte_integer()

    def variable_byte_integer(self) -> int:
        """Section 1.5.5."""
        value = 0
        shift = 0
        while True:
            byte = self.one_byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift > 21:
                raise MalformedPacket("a variable byte integer is longer than four bytes")
        if self.strict and byte == 0 and shift:
            raise MalformedPacket("a variable byte integer is longer than its value needs")
        return value

    def binary(self) -> bytes:
        """Binary Data (1.5.6): a two byte length, then that many bytes."""
        length = self.two_byte_integer()
        start = self.position
        if start + length > self.end:
            raise MalformedPacket("a string or binary field is longer than its packet")
        self.position = start + length
        return self.data[start : start + length]

    def text_bytes(self) -> bytes:
        """A UTF-8 Encoded String (1.5.4), checked, as its bytes."""
        encoded = self.binary()
        check_utf8(encoded)
        return encoded

    def text(self) -> str:
        """A UTF-8 Encoded String (1.5.4)."""
        return decode_utf8(self.binary())

    def rest(self) -> bytes:
        start = self.position
        self.position = self.end
        return self.data[start : self.end]

    def packet_identifier(self) -> int:
        """A Packet Identifier, which is never zero [MQTT-2.2.1-3]."""
        identifier = self.two_byte_integer()
        if identifier == 0:
            raise MalformedPacket("packet identifier 0")
        return identifier

    def finish(self) -> None:
        if self.position != self.end:
            raise MalformedPacket(f"{self.end - self.position} bytes too many at the end of the packet")


def decode_utf8(encoded: bytes) -> str:
    """Well-formed UTF-8 without surrogates [MQTT-1.5.4-1] or U+0000 [MQTT-1.5.4-2]; U+FEFF is kept [MQTT-1.5.4-3]."""
    try:
        text = str(encoded, "utf-8")
    except UnicodeDecodeError:
        raise MalformedPacket("a string is not well-formed UTF-8") from None
    if "\0" in text:
        raise MalformedPacket("a string contains U+0000")
    return text


def check_utf8(encoded: bytes) -> None:
    """Raise what `decode_utf8` would raise."""
    decode_utf8(encoded)


def encode_variable_byte_integer(value: int) -> bytes:
    """Section 1.5.5; ValueError outside 0 … 268 435 455."""
    if value < 0 or value > MAXIMUM_VARIABLE_BYTE_INTEGER:
        raise ValueError(f"{value} does not fit a variable byte integer (0 to 268435455)")
    if value < 0x80:
        return bytes([value])
    out = []
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode_two_byte_integer(value: int) -> bytes:
    """Section 1.5.2; ValueError outside 0 … 65 535."""
    if value < 0 or value > 0xFFFF:
        raise ValueError(f"{value} does not fit a two byte integer (0 to 65535)")
    return value.to_bytes(2, "big")


def encode_four_byte_integer(value: int) -> bytes:
    """Section 1.5.3; ValueError outside 0 … 4 294 967 295."""
    if value < 0 or value > 0xFFFF_FFFF:
        raise ValueError(f"{value} does not fit a four byte integer (0 to 4294967295)")
    return value.to_bytes(4, "big")


def encode_binary(value: bytes) -> bytes:
    """Section 1.5.6; ValueError past 65 535 bytes."""
    if len(value) > MAXIMUM_STRING_BYTES:
        raise ValueError(f"{len(value)} bytes do not fit a field of at most 65535")
    return len(value).to_bytes(2, "big") + value


def encode_text(value: str) -> bytes:
    """Section 1.5.4; ValueError past 65 535 bytes, for U+0000 and for surrogates."""
    if "\0" in value:
        raise ValueError("a string must not contain U+0000")
    return encode_binary(value.encode("utf-8"))


def encode_packet(first_byte: int, body: bytes) -> bytes:
    """Fixed header and body (section 2.1)."""
    return bytes([first_byte]) + encode_variable_byte_integer(len(body)) + body
