"""Every control packet of MQTT 3.1, 3.1.1 and 5.0 (chapter 3): what it holds, how it is written, how it is read.

`decode` reads one packet of either direction; `packet.encode(version)` writes it. Topics are UTF-8 bytes, as they
travel. The broker's hot path reads PUBLISH and its acknowledgements in place instead (`engine.connection`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from tidewire.wire.codes import (
    ALLOWED_REASON_CODES,
    AUTH,
    CONNACK,
    CONNECT,
    DISCONNECT,
    PACKET_NAMES,
    PINGREQ,
    PINGRESP,
    PUBACK,
    PUBCOMP,
    PUBLISH,
    PUBREL,
    SUBACK,
    SUBSCRIBE,
    UNSUBACK,
    UNSUBSCRIBE,
    V5,
    V31,
    V311,
    WILL,
    ReasonCode,
)
from tidewire.wire.errors import InvalidTopic, MalformedPacket, ProtocolError, ProtocolViolation, UnsupportedVersion
from tidewire.wire.fields import (
    Reader,
    encode_binary,
    encode_packet,
    encode_text,
    encode_two_byte_integer,
)
from tidewire.wire.properties import (
    AUTHENTICATION_DATA,
    AUTHENTICATION_METHOD,
    RESPONSE_TOPIC,
    TOPIC_ALIAS,
    Properties,
    read_properties,
)
from tidewire.wire.topics import SHARE_PREFIX, check_topic_filter, check_topic_name

_PROTOCOL_NAMES: Final[dict[int, bytes]] = {V31: b"MQIsdp", V311: b"MQTT", V5: b"MQTT"}


class Packet:
    """Any control packet."""

    def encode(self, version: int) -> bytes:
        """The whole packet for a protocol version. Raises ValueError for a value that the format cannot carry."""
        raise NotImplementedError


@dataclass
class Will:
    """The Will Message inside CONNECT (3.1.2.5, 3.1.3.2)."""

    topic: bytes
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    properties: Properties = field(default_factory=Properties)


@dataclass
class Connect(Packet):
    """Connection request (3.1). `clean_start` is called Clean Session before 5.0; `keep_alive` is in seconds."""

    client_identifier: str = ""
    version: int = V311
    clean_start: bool = True
    keep_alive: int = 0
    will: Will | None = None
    user_name: str | None = None
    password: bytes | None = None
    properties: Properties = field(default_factory=Properties)

    def encode(self, version: int) -> bytes:
        flags = 0x02 if self.clean_start else 0
        payload = [encode_text(self.client_identifier)]
        will = self.will
        if will is not None:
            flags |= 0x04 | _checked_qos(will.qos) << 3 | (0x20 if will.retain else 0)
            if version == V5:
                payload.append(will.properties.encode())
            payload += [encode_binary(will.topic), encode_binary(will.payload)]
        if self.user_name is not None:
            flags |= 0x80
            payload.append(encode_text(self.user_name))
        if self.password is not None:
            flags |= 0x40
            payload.append(encode_binary(self.password))
        head = [
            encode_binary(_PROTOCOL_NAMES[version]),
            bytes([version, flags]),
            encode_two_byte_integer(self.keep_alive),
        ]
        if version == V5:
            head.append(self.properties.encode())
        return encode_packet(CONNECT << 4, b"".join(head + payload))


@dataclass
class Connack(Packet):
    """Connect acknowledgement (3.2). `reason_code` is a ConnectReturnCode before 5.0."""

    session_present: bool = False
    reason_code: int = 0
    properties: Properties = field(default_factory=Properties)

    def encode(self, version: int) -> bytes:
        flags = 1 if self.session_present and version != V31 else 0  # Session Present is new in 3.1.1
        body = bytes([flags, self.reason_code])
        if version == V5:
            body += self.properties.encode()
        return encode_packet(CONNACK << 4, body)


@dataclass
class Publish(Packet):
    """An application message on its way (3.3). `packet_identifier` is 0 at QoS 0."""

    topic: bytes
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    dup: bool = False
    packet_identifier: int = 0
    properties: Properties = field(default_factory=Properties)

    def encode(self, version: int) -> bytes:
        first = PUBLISH << 4 | (8 if self.dup else 0) | _checked_qos(self.qos) << 1 | (1 if self.retain else 0)
        parts = [encode_binary(self.topic)]
        if self.qos:
            parts.append(encode_two_byte_integer(self.packet_identifier))
        if version == V5:
            parts.append(self.properties.encode())
        parts.append(self.payload)
        return encode_packet(first, b"".join(parts))


@dataclass
class Acknowledgement(Packet):
    """PUBACK, PUBREC, PUBREL or PUBCOMP (3.4 to 3.7), told apart by `packet_type`."""

    packet_type: int
    packet_identifier: int
    reason_code: int = 0
    properties: Properties = field(default_factory=Properties)

    def encode(self, version: int) -> bytes:
        first = self.packet_type << 4 | (2 if self.packet_type == PUBREL else 0)
        body = encode_two_byte_integer(self.packet_identifier)
        if version == V5:
            properties = self.properties.encode()
            if len(properties) > 1:
                body += bytes([self.reason_code]) + properties
            elif self.reason_code:
                body += bytes([self.reason_code])
        return encode_packet(first, body)


@dataclass
class SubscriptionRequest:
    """One topic filter of a SUBSCRIBE with its options (3.8.3.1); before 5.0 only `qos` travels."""

    topic_filter: bytes
    qos: int = 0
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0

    def options(self) -> int:
        return (
            _checked_qos(self.qos)
            | (4 if self.no_local else 0)
            | (8 if self.retain_as_published else 0)
            | self.retain_handling << 4
        )


@dataclass
class Subscribe(Packet):
    """Subscribe request (3.8)."""

    packet_identifier: int
    requests: list[SubscriptionRequest]
    properties: Properties = field(default_factory=Properties)

    def encode(self, version: int) -> bytes:
        parts = [encode_two_byte_integer(self.packet_identifier)]
        if version == V5:
            parts.append(self.properties.encode())
        for request in self.requests:
            options = request.options() if version == V5 else _checked_qos(request.qos)
            parts += [encode_binary(request.topic_filter), bytes([options])]
        return encode_packet(SUBSCRIBE << 4 | 2, b"".join(parts))


@dataclass
class Suback(Packet):
    """Subscribe acknowledgement (3.9): one reason code a filter, in the order asked."""

    packet_identifier: int
    reason_codes: list[int]
    properties: Properties = field(default_factory=Properties)

    def encode(self, version: int) -> bytes:
        body = encode_two_byte_integer(self.packet_identifier)
        if version == V5:
            body += self.properties.encode()
        return encode_packet(SUBACK << 4, body + bytes(self.reason_codes))


@dataclass
class Unsubscribe(Packet):
    """Unsubscribe request (3.10)."""

    packet_identifier: int
    topic_filters: list[bytes]
    properties: Properties = field(default_factory=Properties)

    def encode(self, version: int) -> bytes:
        parts = [encode_two_byte_integer(self.packet_identifier)]
        if version == V5:
            parts.append(self.properties.encode())
        for topic_filter in self.topic_filters:
            parts.append(encode_binary(topic_filter))
        return encode_packet(UNSUBSCRIBE << 4 | 2, b"".join(parts))


@dataclass
class Unsuback(Packet):
    """Unsubscribe acknowledgement (3.11); `reason_codes` travel in 5.0 only."""

    packet_identifier: int
    reason_codes: list[int] = field(default_factory=list)
    properties: Properties = field(default_factory=Properties)

    def encode(self, version: int) -> bytes:
        body = encode_two_byte_integer(self.packet_identifier)
        if version == V5:
            body += self.properties.encode() + bytes(self.reason_codes)
        return encode_packet(UNSUBACK << 4, body)


@dataclass
class Pingreq(Packet):
    """Ping request (3.12)."""

    def encode(self, version: int) -> bytes:
        return b"\xc0\x00"


@dataclass
class Pingresp(Packet):
    """Ping response (3.13)."""

    def encode(self, version: int) -> bytes:
        return b"\xd0\x00"


@dataclass
class Disconnect(Packet):
    """The last packet of a connection (3.14); before 5.0 it has no content and only clients send it."""

    reason_code: int = 0
    properties: Properties = field(default_factory=Properties)

    def encode(self, version: int) -> bytes:
        return encode_packet(DISCONNECT << 4, _reason_and_properties(self.reason_code, self.properties, version))


@dataclass
class Auth(Packet):
    """Authentication exchange (3.15), 5.0 only."""

    reason_code: int = 0
    properties: Properties = field(default_factory=Properties)

    def encode(self, version: int) -> bytes:
        if version != V5:
            raise ValueError(f"AUTH is new in MQTT 5.0, protocol level {version} has none")
        return encode_packet(AUTH << 4, _reason_and_properties(self.reason_code, self.properties, version))


def _reason_and_properties(reason_code: int, properties: Properties, version: int) -> bytes:
    if version != V5:
        return b""
    encoded = properties.encode()
    if len(encoded) > 1:
        return bytes([reason_code]) + encoded
    return bytes([reason_code]) if reason_code else b""


def _checked_qos(qos: int) -> int:
    if not 0 <= qos <= 2:
        raise ValueError(f"QoS must be 0, 1 or 2, not {qos}")
    return qos


def decode(first_byte: int, data: bytes, position: int, end: int, version: int) -> Packet:
    """Read the packet with body `data[position:end]`; `first_byte` is its fixed header's.

    `version` is the connection's protocol level; CONNECT brings its own. Raises ProtocolViolation (MalformedPacket,
    ProtocolError, UnsupportedVersion) with the reason code that names the fault.
    """
    packet_type = first_byte >> 4
    check_flags(first_byte, version)
    reader = Reader(data, position, end, version == V5)
    packet: Packet
    if packet_type == PUBLISH:
        packet = _decode_publish(first_byte, reader, version)
    elif PUBACK <= packet_type <= PUBCOMP:
        packet = _decode_acknowledgement(packet_type, reader, version)
    elif packet_type == CONNECT:
        packet = _decode_connect(reader)
    elif packet_type == CONNACK:
        packet = _decode_connack(reader, version)
    elif packet_type == SUBSCRIBE:
        packet = _decode_subscribe(reader, version)
    elif packet_type == SUBACK:
        packet = _decode_suback(reader, version)
    elif packet_type == UNSUBSCRIBE:
        packet = _decode_unsubscribe(reader, version)
    elif packet_type == UNSUBACK:
        packet = _decode_unsuback(reader, version)
    elif packet_type == PINGREQ:
        packet = Pingreq()
    elif packet_type == PINGRESP:
        packet = Pingresp()
    elif packet_type == DISCONNECT:
        packet = _decode_disconnect(reader, version)
    elif packet_type == AUTH and version == V5:
        packet = _decode_auth(reader)
    else:
        raise MalformedPacket(f"packet type {packet_type} is reserved")
    reader.finish()
    return packet


_TLS_HANDSHAKE: Final = 0x16
"""What a TLS connection begins with (RFC 8446, 5.1), and a CONNECT never."""


def check_flags(first_byte: int, version: int) -> None:
    """The fixed header's flags (2.1.3, [MQTT-2.1.3-1]; PUBLISH: [MQTT-3.3.1-2, 3.3.1-4])."""
    packet_type = first_byte >> 4
    flags = first_byte & 0x0F
    if packet_type == PUBLISH:
        if flags & 0x06 == 0x06:
            raise MalformedPacket("PUBLISH asks for QoS 3")
        if flags & 0x0E == 0x08:
            raise MalformedPacket("PUBLISH at QoS 0 is marked as a duplicate")
        return
    expected = 0x02 if packet_type in (PUBREL, SUBSCRIBE, UNSUBSCRIBE) else 0
    if version == V31:
        flags &= ~0x08  # 3.1 lets a repeated SUBSCRIBE, UNSUBSCRIBE or PUBREL carry DUP
    if flags != expected:
        guess = "; is this TLS, on a listener without it?" if first_byte == _TLS_HANDSHAKE else ""
        raise MalformedPacket(f"{PACKET_NAMES[packet_type]} has flags {flags:04b} in its fixed header{guess}")


def _decode_connect(reader: Reader) -> Connect:
    name = reader.binary()
    if name not in (b"MQTT", b"MQIsdp"):
        raise UnsupportedVersion(f"protocol name {name[:16]!r} is not MQTT")
    version = reader.one_byte()
    if _PROTOCOL_NAMES.get(version, b"") != name:
        raise UnsupportedVersion(f"protocol level {version} of {name.decode()} is not served")
    reader.strict = version == V5
    flags = reader.one_byte()
    if flags & 0x01 and version != V31:
        raise MalformedPacket("the reserved CONNECT flag is set")
    has_will = flags & 0x04 != 0
    will_qos = flags >> 3 & 0x03
    if has_will and will_qos == 3:
        raise MalformedPacket("the will asks for QoS 3")
    if not has_will and flags & 0x38 and version != V31:  # 3.1 disregards them
        raise MalformedPacket("will flags are set without a will")
    if version != V5 and flags & 0xC0 == 0x40:
        raise MalformedPacket("CONNECT has a password without a user name")
    packet = Connect(version=version, clean_start=flags & 0x02 != 0, keep_alive=reader.two_byte_integer())
    if version == V5:
        packet.properties = read_properties(reader, CONNECT)
        _check_authentication(packet.properties)
    packet.client_identifier = reader.text()
    if has_will:
        will_properties = read_properties(reader, WILL) if version == V5 else Properties()
        topic = _topic_name(reader.text_bytes())
        packet.will = Will(topic, reader.binary(), will_qos, flags & 0x20 != 0, will_properties)
        _check_response_topic(will_properties)
    if flags & 0x80 and not (version == V31 and reader.remaining() == 0):  # 3.1 lets the flags outrun the payload
        packet.user_name = reader.text()
    if flags & 0x40 and not (version == V31 and reader.remaining() == 0):
        packet.password = reader.binary()
    return packet


def _decode_connack(reader: Reader, version: int) -> Connack:
    flags = reader.one_byte()
    if version == V31:
        flags = 0  # 3.1 uses none of them
    if flags & 0xFE:
        raise MalformedPacket("reserved CONNACK flags are set")
    packet = Connack(flags == 1, reader.one_byte())
    if version == V5:
        _check_reason_code(CONNACK, packet.reason_code)
        packet.properties = read_properties(reader, CONNACK)
    elif packet.reason_code > 5:
        raise ProtocolError(f"CONNACK return code {packet.reason_code} is reserved")
    if packet.session_present and packet.reason_code:
        raise ProtocolError("CONNACK refuses, yet speaks of a session")
    return packet


def _decode_publish(first_byte: int, reader: Reader, version: int) -> Publish:
    topic = reader.text_bytes()
    qos = first_byte >> 1 & 0x03
    packet = Publish(topic, b"", qos, first_byte & 1 != 0, first_byte & 8 != 0)
    if qos:
        packet.packet_identifier = reader.packet_identifier()
    if version == V5:
        packet.properties = read_properties(reader, PUBLISH)
        _check_response_topic(packet.properties)
    if topic:
        _topic_name(topic)
    elif TOPIC_ALIAS not in packet.properties.integers:
        raise ProtocolError("PUBLISH has neither a topic name nor a topic alias")
    packet.payload = reader.rest()
    return packet


def _decode_acknowledgement(packet_type: int, reader: Reader, version: int) -> Acknowledgement:
    packet = Acknowledgement(packet_type, reader.packet_identifier())
    if version == V5 and reader.remaining():
        packet.reason_code = reader.one_byte()
        _check_reason_code(packet_type, packet.reason_code)
        if reader.remaining():
            packet.properties = read_properties(reader, packet_type)
    return packet


def _decode_subscribe(reader: Reader, version: int) -> Subscribe:
    packet = Subscribe(reader.packet_identifier(), [])
    if version == V5:
        packet.properties = read_properties(reader, SUBSCRIBE)
    while reader.remaining():
        topic_filter = _topic_filter(reader.text_bytes())
        options = reader.one_byte()
        if version == V31:
            options &= 0x03
        if options & (0xC0 if version == V5 else 0xFC):
            raise MalformedPacket("reserved subscription options are set")
        if options & 0x03 == 3:
            if version == V5:
                raise ProtocolError("a subscription asks for QoS 3")  # so says 3.8.3.1; malformed in 3.1.1 [3-8.3-4]
            raise MalformedPacket("a subscription asks for QoS 3")
        handling = options >> 4
        if handling == 3:
            raise ProtocolError("Retain Handling must not be 3")
        no_local = options & 4 != 0
        if no_local and topic_filter.startswith(SHARE_PREFIX):
            raise ProtocolError("No Local is not allowed on a shared subscription")
        packet.requests.append(SubscriptionRequest(topic_filter, options & 0x03, no_local, options & 8 != 0, handling))
    if not packet.requests:
        raise ProtocolError("SUBSCRIBE has no topic filter")
    return packet


def _decode_suback(reader: Reader, version: int) -> Suback:
    packet = Suback(reader.packet_identifier(), [])
    if version == V5:
        packet.properties = read_properties(reader, SUBACK)
    while reader.remaining():
        code = reader.one_byte()
        if version == V5:
            _check_reason_code(SUBACK, code)
        elif code not in (0, 1, 2, 0x80):
            raise MalformedPacket(f"SUBACK return code 0x{code:02x} is reserved")
        packet.reason_codes.append(code)
    if not packet.reason_codes:
        raise ProtocolError("SUBACK has no reason code")
    return packet


def _decode_unsubscribe(reader: Reader, version: int) -> Unsubscribe:
    packet = Unsubscribe(reader.packet_identifier(), [])
    if version == V5:
        packet.properties = read_properties(reader, UNSUBSCRIBE)
    while reader.remaining():
        packet.topic_filters.append(_topic_filter(reader.text_bytes()))
    if not packet.topic_filters:
        raise ProtocolError("UNSUBSCRIBE has no topic filter")
    return packet


def _decode_unsuback(reader: Reader, version: int) -> Unsuback:
    packet = Unsuback(reader.packet_identifier())
    if version == V5:
        packet.properties = read_properties(reader, UNSUBACK)
        while reader.remaining():
            code = reader.one_byte()
            _check_reason_code(UNSUBACK, code)
            packet.reason_codes.append(code)
        if not packet.reason_codes:
            raise ProtocolError("UNSUBACK has no reason code")
    return packet


def _decode_disconnect(reader: Reader, version: int) -> Disconnect:
    packet = Disconnect()
    if version == V5 and reader.remaining():
        packet.reason_code = reader.one_byte()
        _check_reason_code(DISCONNECT, packet.reason_code)
        if reader.remaining():
            packet.properties = read_properties(reader, DISCONNECT)
    return packet


def _decode_auth(reader: Reader) -> Auth:
    packet = Auth()
    if reader.remaining():
        packet.reason_code = reader.one_byte()
        _check_reason_code(AUTH, packet.reason_code)
        if reader.remaining():
            packet.properties = read_properties(reader, AUTH)
        if AUTHENTICATION_METHOD not in packet.properties.texts:
            raise ProtocolError("AUTH does not name its Authentication Method")  # 3.15.2.2.2
    return packet


def _check_reason_code(packet_type: int, reason_code: int) -> None:
    if reason_code not in ALLOWED_REASON_CODES[packet_type]:
        raise ProtocolError(f"{PACKET_NAMES[packet_type]} must not carry reason code 0x{reason_code:02x}")


def _check_authentication(properties: Properties) -> None:
    if AUTHENTICATION_DATA in properties.binaries and AUTHENTICATION_METHOD not in properties.texts:
        raise ProtocolError("Authentication Data without an Authentication Method")


def _check_response_topic(properties: Properties) -> None:
    """[MQTT-3.3.2-14]: no wildcards."""
    response_topic = properties.texts.get(RESPONSE_TOPIC)
    if response_topic is not None:
        try:
            check_topic_name(response_topic.encode())
        except InvalidTopic as error:
            raise ProtocolError(f"Response Topic: {error}") from None


def _topic_name(topic: bytes) -> bytes:
    """[MQTT-3.3.2-2], [MQTT-4.7.3-1]."""
    try:
        check_topic_name(topic)
    except InvalidTopic as error:
        raise ProtocolViolation(ReasonCode.TOPIC_NAME_INVALID, str(error)) from None
    return topic


def _topic_filter(topic_filter: bytes) -> bytes:
    """[MQTT-4.7.1-2, 4.7.1-3, 4.7.3-1, 4.8.2-1, 4.8.2-2]."""
    try:
        check_topic_filter(topic_filter)
    except InvalidTopic as error:
        raise ProtocolViolation(ReasonCode.TOPIC_FILTER_INVALID, str(error)) from None
    return topic_filter
