"""The properties of MQTT 5.0 (section 2.2.2): one table, one reader, one writer."""

from __future__ import annotations

from typing import Final

from tidewire.wire.codes import (
    AUTH,
    CONNACK,
    CONNECT,
    DISCONNECT,
    PACKET_NAMES,
    PUBACK,
    PUBCOMP,
    PUBLISH,
    PUBREC,
    PUBREL,
    SUBACK,
    SUBSCRIBE,
    UNSUBACK,
    UNSUBSCRIBE,
    WILL,
)
from tidewire.wire.errors import MalformedPacket, ProtocolError
from tidewire.wire.fields import (
    Reader,
    encode_binary,
    encode_four_byte_integer,
    encode_text,
    encode_two_byte_integer,
    encode_variable_byte_integer,
)

PAYLOAD_FORMAT_INDICATOR: Final = 0x01
MESSAGE_EXPIRY_INTERVAL: Final = 0x02
CONTENT_TYPE: Final = 0x03
RESPONSE_TOPIC: Final = 0x08
CORRELATION_DATA: Final = 0x09
SUBSCRIPTION_IDENTIFIER: Final = 0x0B
SESSION_EXPIRY_INTERVAL: Final = 0x11
ASSIGNED_CLIENT_IDENTIFIER: Final = 0x12
SERVER_KEEP_ALIVE: Final = 0x13
AUTHENTICATION_METHOD: Final = 0x15
AUTHENTICATION_DATA: Final = 0x16
REQUEST_PROBLEM_INFORMATION: Final = 0x17
WILL_DELAY_INTERVAL: Final = 0x18
REQUEST_RESPONSE_INFORMATION: Final = 0x19
RESPONSE_INFORMATION: Final = 0x1A
SERVER_REFERENCE: Final = 0x1C
REASON_STRING: Final = 0x1F
RECEIVE_MAXIMUM: Final = 0x21
TOPIC_ALIAS_MAXIMUM: Final = 0x22
TOPIC_ALIAS: Final = 0x23
MAXIMUM_QOS: Final = 0x24
RETAIN_AVAILABLE: Final = 0x25
USER_PROPERTY: Final = 0x26
MAXIMUM_PACKET_SIZE: Final = 0x27
WILDCARD_SUBSCRIPTION_AVAILABLE: Final = 0x28
SUBSCRIPTION_IDENTIFIER_AVAILABLE: Final = 0x29
SHARED_SUBSCRIPTION_AVAILABLE: Final = 0x2A

_BYTE: Final = 0
_TWO_BYTES: Final = 1
_FOUR_BYTES: Final = 2
_VARIABLE: Final = 3
_BINARY: Final = 4
_TEXT: Final = 5
_PAIR: Final = 6


class PropertyRule:
    """One row of table 2-4: what a property is called, how it is written, where it may stand, what it may hold."""

    def __init__(self, name: str, kind: int, packets: frozenset[int], least: int, most: int) -> None:
        self.name = name
        self.kind = kind
        self.packets = packets
        self.least = least
        self.most = most


def _rule(name: str, kind: int, *packets: int, least: int = 0, most: int = 0xFFFF_FFFF) -> PropertyRule:
    return PropertyRule(name, kind, frozenset(packets), least, most)


_EVERYWHERE: Final = (
    CONNECT, CONNACK, PUBLISH, WILL, PUBACK, PUBREC, PUBREL, PUBCOMP,
    SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, DISCONNECT, AUTH,
)  # fmt: skip
_ANSWERS: Final = (CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, DISCONNECT, AUTH)

RULES: Final[dict[int, PropertyRule]] = {
    PAYLOAD_FORMAT_INDICATOR: _rule("Payload Format Indicator", _BYTE, PUBLISH, WILL, most=1),
    MESSAGE_EXPIRY_INTERVAL: _rule("Message Expiry Interval", _FOUR_BYTES, PUBLISH, WILL),
    CONTENT_TYPE: _rule("Content Type", _TEXT, PUBLISH, WILL),
    RESPONSE_TOPIC: _rule("Response Topic", _TEXT, PUBLISH, WILL),
    CORRELATION_DATA: _rule("Correlation Data", _BINARY, PUBLISH, WILL),
    SUBSCRIPTION_IDENTIFIER: _rule("Subscription Identifier", _VARIABLE, PUBLISH, SUBSCRIBE, least=1),
    SESSION_EXPIRY_INTERVAL: _rule("Session Expiry Interval", _FOUR_BYTES, CONNECT, CONNACK, DISCONNECT),
    ASSIGNED_CLIENT_IDENTIFIER: _rule("Assigned Client Identifier", _TEXT, CONNACK),
    SERVER_KEEP_ALIVE: _rule("Server Keep Alive", _TWO_BYTES, CONNACK),
    AUTHENTICATION_METHOD: _rule("Authentication Method", _TEXT, CONNECT, CONNACK, AUTH),
    AUTHENTICATION_DATA: _rule("Authentication Data", _BINARY, CONNECT, CONNACK, AUTH),
    REQUEST_PROBLEM_INFORMATION: _rule("Request Problem Information", _BYTE, CONNECT, most=1),
    WILL_DELAY_INTERVAL: _rule("Will Delay Interval", _FOUR_BYTES, WILL),
    REQUEST_RESPONSE_INFORMATION: _rule("Request Response Information", _BYTE, CONNECT, most=1),
    RESPONSE_INFORMATION: _rule("Response Information", _TEXT, CONNACK),
    SERVER_REFERENCE: _rule("Server Reference", _TEXT, CONNACK, DISCONNECT),
    REASON_STRING: _rule("Reason String", _TEXT, *_ANSWERS),
    RECEIVE_MAXIMUM: _rule("Receive Maximum", _TWO_BYTES, CONNECT, CONNACK, least=1),
    TOPIC_ALIAS_MAXIMUM: _rule("Topic Alias Maximum", _TWO_BYTES, CONNECT, CONNACK),
    TOPIC_ALIAS: _rule("Topic Alias", _TWO_BYTES, PUBLISH),  # 0 is refused by the engine: 0x94 [MQTT-3.3.2-8]
    MAXIMUM_QOS: _rule("Maximum QoS", _BYTE, CONNACK, most=1),
    RETAIN_AVAILABLE: _rule("Retain Available", _BYTE, CONNACK, most=1),
    USER_PROPERTY: _rule("User Property", _PAIR, *_EVERYWHERE),
    MAXIMUM_PACKET_SIZE: _rule("Maximum Packet Size", _FOUR_BYTES, CONNECT, CONNACK, least=1),
    WILDCARD_SUBSCRIPTION_AVAILABLE: _rule("Wildcard Subscription Available", _BYTE, CONNACK, most=1),
    SUBSCRIPTION_IDENTIFIER_AVAILABLE: _rule("Subscription Identifier Available", _BYTE, CONNACK, most=1),
    SHARED_SUBSCRIPTION_AVAILABLE: _rule("Shared Subscription Available", _BYTE, CONNACK, most=1),
}


class Properties:
    """The properties of one packet or will.

    `integers`, `texts` and `binaries` map a property identifier to its one value; User Properties keep their order
    [MQTT-3.1.3-10], and a PUBLISH may carry several Subscription Identifiers.
    """

    def __init__(self) -> None:
        self.integers: dict[int, int] = {}
        self.texts: dict[int, str] = {}
        self.binaries: dict[int, bytes] = {}
        self.user_properties: list[tuple[str, str]] = []
        self.subscription_identifiers: list[int] = []

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Properties)
            and self.integers == other.integers
            and self.texts == other.texts
            and self.binaries == other.binaries
            and self.user_properties == other.user_properties
            and self.subscription_identifiers == other.subscription_identifiers
        )

    def __hash__(self) -> int:
        raise TypeError("Properties can change, so they have no hash")

    def __repr__(self) -> str:
        named: dict[str, object] = {}
        for identifier, integer in self.integers.items():
            named[RULES[identifier].name] = integer
        for identifier, text in self.texts.items():
            named[RULES[identifier].name] = text
        for identifier, binary in self.binaries.items():
            named[RULES[identifier].name] = binary
        if self.subscription_identifiers:
            named["Subscription Identifier"] = self.subscription_identifiers
        if self.user_properties:
            named["User Property"] = self.user_properties
        return f"Properties({named})"

    def integer(self, identifier: int, default: int) -> int:
        return self.integers.get(identifier, default)

    def flag(self, identifier: int, default: bool) -> bool:
        return self.integers.get(identifier, int(default)) == 1

    def encode(self) -> bytes:
        """Property Length and properties (2.2.2.1). ValueError for a value that does not fit its type."""
        body = self.encode_body()
        return encode_variable_byte_integer(len(body)) + body

    def encode_body(self) -> bytes:
        out: list[bytes] = []
        for identifier, integer in self.integers.items():
            rule = RULES[identifier]
            if not rule.least <= integer <= rule.most:
                raise ValueError(f"{rule.name} must lie between {rule.least} and {rule.most}, not {integer}")
            out.append(bytes([identifier]) + _encode_integer(rule, integer))
        for identifier, text in self.texts.items():
            out.append(bytes([identifier]) + encode_text(text))
        for identifier, binary in self.binaries.items():
            out.append(bytes([identifier]) + encode_binary(binary))
        for value in self.subscription_identifiers:
            if value < 1:
                raise ValueError(f"Subscription Identifier must be at least 1, not {value}")
            out.append(b"\x0b" + encode_variable_byte_integer(value))
        for key, text in self.user_properties:
            out.append(b"\x26" + encode_text(key) + encode_text(text))
        return b"".join(out)


def read_properties(reader: Reader, packet: int) -> Properties:
    """Read Property Length and properties of `packet` (a packet type, or WILL).

    Raises MalformedPacket for an unknown identifier or one that does not belong there, ProtocolError for one given
    twice or a value out of range.
    """
    packet_end = reader.end
    reader.end = _properties_end(reader)
    properties = Properties()
    while reader.remaining():
        identifier = reader.variable_byte_integer()
        rule = RULES.get(identifier)
        if rule is None:
            raise MalformedPacket(f"property 0x{identifier:02x} does not exist")
        if packet not in rule.packets:
            raise MalformedPacket(f"{rule.name} does not belong in {PACKET_NAMES[packet]}")
        if identifier == USER_PROPERTY:
            key = reader.text()
            properties.user_properties.append((key, reader.text()))
        elif identifier == SUBSCRIPTION_IDENTIFIER:
            if properties.subscription_identifiers and packet != PUBLISH:
                raise ProtocolError("Subscription Identifier is given twice")
            properties.subscription_identifiers.append(_checked(rule, reader.variable_byte_integer()))
        elif rule.kind == _TEXT:
            if identifier in properties.texts:
                raise ProtocolError(f"{rule.name} is given twice")
            properties.texts[identifier] = reader.text()
        elif rule.kind == _BINARY:
            if identifier in properties.binaries:
                raise ProtocolError(f"{rule.name} is given twice")
            properties.binaries[identifier] = reader.binary()
        else:
            if identifier in properties.integers:
                raise ProtocolError(f"{rule.name} is given twice")
            properties.integers[identifier] = _read_integer(reader, rule)
    reader.end = packet_end
    return properties


def _properties_end(reader: Reader) -> int:
    length = reader.variable_byte_integer()
    end = reader.position + length
    if end > reader.end:
        raise MalformedPacket("the property length runs past the packet")
    return end


def _read_integer(reader: Reader, rule: PropertyRule) -> int:
    if rule.kind == _BYTE:
        return _checked(rule, reader.one_byte())
    if rule.kind == _TWO_BYTES:
        return _checked(rule, reader.two_byte_integer())
    return _checked(rule, reader.four_byte_integer())


def _checked(rule: PropertyRule, value: int) -> int:
    if not rule.least <= value <= rule.most:
        raise ProtocolError(f"{rule.name} must not be {value}")
    return value


def _encode_integer(rule: PropertyRule, value: int) -> bytes:
    if rule.kind == _BYTE:
        return bytes([value])
    if rule.kind == _TWO_BYTES:
        return encode_two_byte_integer(value)
    return encode_four_byte_integer(value)
