"""Which packets are broken, and what is said about each: every malformed form that the specifications name.

The bytes are put together here without `tidewire.wire`, so that a fault in its encoder cannot hide one in its decoder.
Forms of the fixed header's Remaining Length are in `test_framing`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tests.wire.strategies import PROPERTY_TABLE
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
    V5,
    V31,
    V311,
    WILL,
)
from tidewire.wire.errors import MalformedPacket, ProtocolError, ProtocolViolation, UnsupportedVersion

MALFORMED: Final = (MalformedPacket, 0x81)
PROTOCOL_ERROR: Final = (ProtocolError, 0x82)
UNSUPPORTED: Final = (UnsupportedVersion, 0x84)
BAD_FILTER: Final = (ProtocolViolation, 0x8F)
BAD_TOPIC: Final = (ProtocolViolation, 0x90)
Verdict = tuple[type[ProtocolViolation], int]

ALL: Final = (V31, V311, V5)
OLD: Final = (V31, V311)
SINCE_311: Final = (V311, V5)
ONLY_311: Final = (V311,)
ONLY_5: Final = (V5,)

PROPS: Final = None  # in a body: no properties, which is a zero byte in 5.0 and nothing before
ID: Final = b"\x00\x07"


@dataclass(frozen=True)
class Form:
    """A malformed packet: the versions in which it is one, and the exception and reason code that answer it."""

    title: str
    versions: tuple[int, ...]
    verdict: Verdict
    first_byte: int
    body: tuple[bytes | None, ...]

    def data(self, version: int) -> bytes:
        """The packet as it travels."""
        parts = [(b"\0" if version == V5 else b"") if part is PROPS else part for part in self.body]
        return framed(self.first_byte, b"".join(parts))


def framed(first_byte: int, body: bytes) -> bytes:
    """Fixed header and body."""
    length, header = len(body), bytearray([first_byte])
    while length > 127:
        header.append(length % 128 + 128)
        length //= 128
    return bytes([*header, length]) + body


def sized(value: bytes) -> bytes:
    """A string or binary field."""
    return len(value).to_bytes(2, "big") + value


def carrier(packet: int, properties: bytes) -> tuple[int, bytes]:
    """(first byte, body) of a 5.0 packet, right but for the encoded `properties` that it carries."""
    block = bytes([len(properties)]) + properties
    hello = sized(b"MQTT") + b"\x05"
    bodies = {
        CONNECT: hello + b"\x02\x00\x3c" + block + sized(b""),
        WILL: hello + b"\x06\x00\x3c\x00" + sized(b"") + block + sized(b"w") + sized(b""),
        CONNACK: b"\x00\x00" + block,
        PUBLISH: sized(b"t") + block + b"payload",
        SUBSCRIBE: ID + block + sized(b"a") + b"\x00",
        SUBACK: ID + block + b"\x00",
        UNSUBSCRIBE: ID + block + sized(b"a"),
        UNSUBACK: ID + block + b"\x00",
        DISCONNECT: b"\x00" + block,
        AUTH: b"\x18" + block,
    }
    flags = 2 if packet in (PUBREL, SUBSCRIBE, UNSUBSCRIBE) else 0
    return (packet or CONNECT) << 4 | flags, bodies.get(packet, ID + b"\x00" + block)


def property_bytes(identifier: int) -> bytes:
    """A valid property: its identifier and the least value that its type and meaning allow."""
    kind, least, _, _ = PROPERTY_TABLE[identifier]
    sizes = {"byte": 1, "two": 2, "four": 4, "variable": 1}
    if kind in sizes:
        return bytes([identifier]) + least.to_bytes(sizes[kind], "big")
    return bytes([identifier]) + sized(b"x") * (2 if kind == "pair" else 1)


def _fixed_headers() -> Iterator[Form]:
    yield Form("packet type 0", ALL, MALFORMED, 0x00, ())
    yield Form("packet type 0 with flags", ALL, MALFORMED, 0x07, ())
    yield Form("AUTH before 5.0", OLD, MALFORMED, 0xF0, ())
    yield Form("PUBLISH at QoS 3", ALL, MALFORMED, 0x36, (sized(b"t"), ID, PROPS))
    yield Form("PUBLISH at QoS 3 with DUP", ALL, MALFORMED, 0x3E, (sized(b"t"), ID, PROPS))
    yield Form("PUBLISH at QoS 0 with DUP", ALL, MALFORMED, 0x38, (sized(b"t"), PROPS))
    yield Form("PUBLISH at QoS 0 with DUP and RETAIN", ALL, MALFORMED, 0x39, (sized(b"t"), PROPS))
    for packet_type in range(CONNECT, AUTH + 1):
        if packet_type == PUBLISH:
            continue
        expected = 2 if packet_type in (PUBREL, SUBSCRIBE, UNSUBSCRIBE) else 0
        for flags in range(16):
            if flags != expected:
                # 3.1 speaks of DUP in these headers too, so its bit is let pass there
                versions = SINCE_311 if flags & ~8 == expected else ALL
                title = f"{PACKET_NAMES[packet_type]} with fixed header flags {flags:04b}"
                yield Form(title, versions, MALFORMED, packet_type << 4 | flags, (ID,))


_BAD_TEXTS: Final = {
    "U+0000": b"a\0b",
    "the surrogate D800": b"\xed\xa0\x80",
    "the surrogate DFFF": b"\xed\xbf\xbf",
    "a surrogate pair in place of one character": b"\xed\xa0\x81\xed\xb0\x80",
    "an overlong solidus": b"\xc0\xaf",
    "an overlong U+0000": b"\xc0\x80",
    "an overlong three byte form": b"\xe0\x80\xaf",
    "an overlong four byte form": b"\xf0\x80\x80\xaf",
    "a code point past U+10FFFF": b"\xf4\x90\x80\x80",
    "a five byte form": b"\xf8\x88\x80\x80\x80",
    "a stray continuation byte": b"a\x80",
    "a sequence cut short": b"\xe2\x82",
    "the byte FF": b"\xff",
}


def _texts() -> Iterator[Form]:
    hello = sized(b"MQTT") + b"\x04"
    for what, bad in _BAD_TEXTS.items():
        field = sized(bad)
        yield Form(f"topic name with {what}", ALL, MALFORMED, 0x30, (field, PROPS))
        yield Form(f"subscribed topic filter with {what}", ALL, MALFORMED, 0x82, (ID, PROPS, field, b"\0"))
        yield Form(f"unsubscribed topic filter with {what}", ALL, MALFORMED, 0xA2, (ID, PROPS, field))
        yield Form(f"client identifier with {what}", ALL, MALFORMED, 0x10, (hello, b"\x02\0\0", field))
        yield Form(f"will topic with {what}", ALL, MALFORMED, 0x10, (hello, b"\x06\0\0", sized(b""), field, sized(b"")))
        yield Form(f"user name with {what}", ALL, MALFORMED, 0x10, (hello, b"\x82\0\0", sized(b""), field))
        for identifier, (kind, _, _, packets) in PROPERTY_TABLE.items():
            if kind in ("text", "pair"):
                value = bytes([identifier]) + (sized(b"k") if kind == "pair" else b"") + field
                first_byte, body = carrier(min(packets), value)
                yield Form(f"property {identifier:#04x} with {what}", ONLY_5, MALFORMED, first_byte, (body,))
        first_byte, body = carrier(PUBLISH, b"\x26" + field + sized(b"v"))
        yield Form(f"user property name with {what}", ONLY_5, MALFORMED, first_byte, (body,))


def _connects() -> Iterator[Form]:
    def connect(title: str, verdict: Verdict, *body: bytes) -> Form:
        return Form(f"CONNECT with {title}", ALL, verdict, 0x10, body)

    mqtt, mqisdp, client = sized(b"MQTT"), sized(b"MQIsdp"), sized(b"c")
    for name in (b"", b"MQTTX", b"mqtt", b"MQIsd", b"HTTP", b"\xff\xfe\x00"):
        yield connect(f"protocol name {name!r}", UNSUPPORTED, sized(name), b"\x04\x02\0\0", client)
    for level in (0, 1, 2, 3, 6, 0x84, 0xFF):
        yield connect(f"MQTT level {level}", UNSUPPORTED, mqtt, bytes([level]), b"\x02\0\0", client)
    for level in (2, 4, 5, 0x83):
        yield connect(f"MQIsdp level {level}", UNSUPPORTED, mqisdp, bytes([level]), b"\x02\0\0", client)
    for version, name, props in ((V31, mqisdp, b""), (V311, mqtt, b""), (V5, mqtt, b"\0")):
        here = f"in version {version}"
        head = name + bytes([version])
        tail = b"\0\x3c" + props
        will = props + sized(b"w") + sized(b"")
        yield connect(f"will QoS 3 {here}", MALFORMED, head, b"\x1e", tail, client, will)
        yield connect(f"will topic + {here}", BAD_TOPIC, head, b"\x06", tail, client, props, sized(b"a/+"), sized(b""))
        yield connect(f"will topic # {here}", BAD_TOPIC, head, b"\x06", tail, client, props, sized(b"#"), sized(b""))
        yield connect(f"an empty will topic {here}", BAD_TOPIC, head, b"\x06", tail, client, props, sized(b""), b"\0\0")
        yield connect(f"no client identifier {here}", MALFORMED, head, b"\x02", tail)
        yield connect(f"bytes too many {here}", MALFORMED, head, b"\x02", tail, client, b"\0")
        yield connect(f"a will that is missing {here}", MALFORMED, head, b"\x06", tail, client)
        yield connect(f"a will without a payload {here}", MALFORMED, head, b"\x06", tail, client, props, sized(b"w"))
        yield connect(f"a user name cut short {here}", MALFORMED, head, b"\x82", tail, client, b"\0\x05us")
        yield connect(f"a password cut short {here}", MALFORMED, head, b"\xc2", tail, client, sized(b"u"), b"\0\x02p")
        yield connect(f"one byte of keep alive {here}", MALFORMED, head, b"\x02\0")
        yield connect(f"no flags {here}", MALFORMED, head)
        if version != V31:
            yield connect(f"the reserved flag {here}", MALFORMED, head, b"\x03", tail, client)
            for flags in (0x08, 0x10, 0x18, 0x20, 0x38):
                yield connect(
                    f"flags {flags:#04x} without a will {here}", MALFORMED, head, bytes([flags]), tail, client
                )
            yield connect(f"a user name that is missing {here}", MALFORMED, head, b"\x82", tail, client)
            yield connect(f"a password that is missing {here}", MALFORMED, head, b"\xc2", tail, client, sized(b"u"))
        if version != V5:
            yield connect(f"a password but no user name {here}", MALFORMED, head, b"\x42", tail, client, sized(b"p"))
    yield connect("an empty body", MALFORMED)
    yield connect("a protocol name cut short", MALFORMED, b"\0\x04MQ")
    yield connect("no protocol level", MALFORMED, mqtt)
    first_byte, body = carrier(CONNECT, property_bytes(0x16))
    yield Form("CONNECT with data but no method", ONLY_5, PROTOCOL_ERROR, first_byte, (body,))
    first_byte, body = carrier(WILL, b"\x08" + sized(b"reply/#"))
    yield Form("will with a wildcard in its Response Topic", ONLY_5, PROTOCOL_ERROR, first_byte, (body,))


def _connacks() -> Iterator[Form]:
    for flags in (0x02, 0x80, 0xFF):
        yield Form(f"CONNACK with flags {flags:#04x}", SINCE_311, MALFORMED, 0x20, (bytes([flags, 0]), PROPS))
    yield Form("CONNACK without a code", ALL, MALFORMED, 0x20, (b"\0",))
    yield Form("CONNACK with nothing", ALL, MALFORMED, 0x20, ())
    yield Form("CONNACK with a byte too many", ALL, MALFORMED, 0x20, (b"\0\0", PROPS, b"\0"))
    yield Form("CONNACK with return code 6", ALL, PROTOCOL_ERROR, 0x20, (b"\0\x06", PROPS))
    yield Form("CONNACK with return code 255", ALL, PROTOCOL_ERROR, 0x20, (b"\0\xff", PROPS))
    yield Form("CONNACK that refuses with a session", ONLY_311, PROTOCOL_ERROR, 0x20, (b"\1\5",))
    yield Form("CONNACK that refuses with a session", ONLY_5, PROTOCOL_ERROR, 0x20, (b"\1\x87\0",))
    yield Form("CONNACK without a property length", ONLY_5, MALFORMED, 0x20, (b"\0\0",))


def _publishes() -> Iterator[Form]:
    for topic in (b"+", b"#", b"a/+/b", b"a/#", b"a+", b"a#b"):
        yield Form(f"PUBLISH to {topic.decode()}", ALL, BAD_TOPIC, 0x30, (sized(topic), PROPS))
    yield Form("PUBLISH to an empty topic", ALL, PROTOCOL_ERROR, 0x30, (sized(b""), PROPS))
    for qos in (1, 2):
        first_byte = 0x30 | qos << 1
        title = f"PUBLISH at QoS {qos} with"
        yield Form(f"{title} packet identifier 0", ALL, MALFORMED, first_byte, (sized(b"t"), b"\0\0", PROPS))
        yield Form(f"{title} no packet identifier", ALL, MALFORMED, first_byte, (sized(b"t"),))
        yield Form(f"{title} half a packet identifier", ALL, MALFORMED, first_byte, (sized(b"t"), b"\1"))
    yield Form("PUBLISH with nothing", ALL, MALFORMED, 0x30, ())
    yield Form("PUBLISH with half a topic length", ALL, MALFORMED, 0x30, (b"\0",))
    yield Form("PUBLISH with a topic past its end", ALL, MALFORMED, 0x30, (b"\0\x05topi",))
    yield Form("PUBLISH without a property length", ONLY_5, MALFORMED, 0x30, (sized(b"t"),))
    for response_topic in (b"reply/+", b"#", b""):
        first_byte, body = carrier(PUBLISH, b"\x08" + sized(response_topic))
        yield Form(f"PUBLISH with Response Topic {response_topic!r}", ONLY_5, PROTOCOL_ERROR, first_byte, (body,))


def _acknowledgements() -> Iterator[Form]:
    for packet_type in (PUBACK, PUBREC, PUBREL, PUBCOMP):
        first_byte = packet_type << 4 | (2 if packet_type == PUBREL else 0)
        title = f"{PACKET_NAMES[packet_type]} with"
        yield Form(f"{title} nothing", ALL, MALFORMED, first_byte, ())
        yield Form(f"{title} half a packet identifier", ALL, MALFORMED, first_byte, (b"\1",))
        yield Form(f"{title} packet identifier 0", ALL, MALFORMED, first_byte, (b"\0\0",))
        yield Form(f"{title} a byte too many", OLD, MALFORMED, first_byte, (ID, b"\0"))
        yield Form(f"{title} a byte too many", ONLY_5, MALFORMED, first_byte, (ID, b"\0\0\0"))
        yield Form(f"{title} a reason code of SUBACK", ONLY_5, PROTOCOL_ERROR, first_byte, (ID, b"\x01"))
        yield Form(f"{title} a reserved reason code", ONLY_5, PROTOCOL_ERROR, first_byte, (ID, b"\xff\0"))


def _subscriptions() -> Iterator[Form]:
    field = sized(b"a")
    for first_byte, name, options in ((0x82, "SUBSCRIBE", b"\0"), (0xA2, "UNSUBSCRIBE", b"")):
        yield Form(f"{name} with no filter", ALL, PROTOCOL_ERROR, first_byte, (ID, PROPS))
        yield Form(f"{name} with nothing", ALL, MALFORMED, first_byte, ())
        yield Form(f"{name} with packet identifier 0", ALL, MALFORMED, first_byte, (b"\0\0", PROPS, field, options))
        yield Form(f"{name} with a filter cut short", ALL, MALFORMED, first_byte, (ID, PROPS, b"\0\2a"))
        yield Form(f"{name} with half a length", ALL, MALFORMED, first_byte, (ID, PROPS, field, options, b"\0"))
        yield Form(f"{name} without a property length", ONLY_5, MALFORMED, first_byte, (ID,))
        for bad in (b"", b"a#", b"#/a", b"a/#/b", b"##", b"a+", b"+a/b", b"++", b"a/b+/c", b"$share/g", b"$share/g/",
                    b"$share//a", b"$share/g+/a", b"$share/#/a", b"$share/g/a#", b"$share/"):  # fmt: skip
            body = (ID, PROPS, sized(bad), options)
            yield Form(f"{name} to {bad.decode()!r}", ALL, BAD_FILTER, first_byte, body)
    yield Form("SUBSCRIBE without options", ALL, MALFORMED, 0x82, (ID, PROPS, field))
    yield Form("SUBSCRIBE at QoS 3", OLD, MALFORMED, 0x82, (ID, field, b"\3"))
    yield Form("SUBSCRIBE at QoS 3", ONLY_5, PROTOCOL_ERROR, 0x82, (ID, PROPS, field, b"\3"))
    for bit in (0x04, 0x08, 0x10, 0x20, 0x40, 0x80):
        form = f"SUBSCRIBE with reserved option {bit:#04x}"
        versions = SINCE_311 if bit >= 0x40 else ONLY_311
        yield Form(form, versions, MALFORMED, 0x82, (ID, PROPS, field, bytes([bit])))
    yield Form("SUBSCRIBE with Retain Handling 3", ONLY_5, PROTOCOL_ERROR, 0x82, (ID, PROPS, field, b"\x30"))
    body = (ID, PROPS, sized(b"$share/g/a"), b"\x04")
    yield Form("SUBSCRIBE with No Local to a shared filter", ONLY_5, PROTOCOL_ERROR, 0x82, body)


def _subscription_answers() -> Iterator[Form]:
    for first_byte, name, versions in ((0x90, "SUBACK", ALL), (0xB0, "UNSUBACK", ONLY_5)):
        yield Form(f"{name} with no reason code", versions, PROTOCOL_ERROR, first_byte, (ID, PROPS))
        yield Form(f"{name} with a reserved code", ONLY_5, PROTOCOL_ERROR, first_byte, (ID, PROPS, b"\x7f"))
        yield Form(f"{name} with nothing", ALL, MALFORMED, first_byte, ())
        yield Form(f"{name} with packet identifier 0", ALL, MALFORMED, first_byte, (b"\0\0", PROPS, b"\0"))
        yield Form(f"{name} without a property length", ONLY_5, MALFORMED, first_byte, (ID,))
    for code in (0x03, 0x7F, 0x81, 0xFF):
        yield Form(f"SUBACK with return code {code:#04x}", OLD, MALFORMED, 0x90, (ID, bytes([code])))
    yield Form("UNSUBACK with a reason code", OLD, MALFORMED, 0xB0, (ID, b"\0"))


def _others() -> Iterator[Form]:
    yield Form("PINGREQ with content", ALL, MALFORMED, 0xC0, (b"\0",))
    yield Form("PINGRESP with content", ALL, MALFORMED, 0xD0, (b"\0",))
    yield Form("DISCONNECT with content", OLD, MALFORMED, 0xE0, (b"\0",))
    yield Form("DISCONNECT with a byte too many", ONLY_5, MALFORMED, 0xE0, (b"\0\0\0",))
    yield Form("DISCONNECT with a reason code of PUBACK", ONLY_5, PROTOCOL_ERROR, 0xE0, (b"\x10",))
    yield Form("DISCONNECT with a reserved reason code", ONLY_5, PROTOCOL_ERROR, 0xE0, (b"\x7f\0",))
    method = property_bytes(0x15)
    block = bytes([len(method)]) + method
    yield Form("AUTH with a byte too many", ONLY_5, MALFORMED, 0xF0, (b"\x18", block, b"\0"))
    yield Form("AUTH with a reserved reason code", ONLY_5, PROTOCOL_ERROR, 0xF0, (b"\x87", block))
    yield Form("AUTH without a method", ONLY_5, PROTOCOL_ERROR, 0xF0, (b"\x18\0",))
    yield Form("AUTH with a reason code alone", ONLY_5, PROTOCOL_ERROR, 0xF0, (b"\x18",))
    yield Form("AUTH with data but no method", ONLY_5, PROTOCOL_ERROR, *_carried(AUTH, property_bytes(0x16)))


def _carried(packet: int, properties: bytes) -> tuple[int, tuple[bytes]]:
    first_byte, body = carrier(packet, properties)
    return first_byte, (body,)


def _properties() -> Iterator[Form]:
    for packet in (WILL, CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP,
                   SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, DISCONNECT, AUTH):  # fmt: skip
        name = PACKET_NAMES[packet]
        for identifier, (kind, least, most, packets) in PROPERTY_TABLE.items():
            title = f"{name} with property {identifier:#04x}"
            right = property_bytes(identifier)
            if packet not in packets:
                yield Form(f"{title}, which has no place there", ONLY_5, MALFORMED, *_carried(packet, right))
                continue
            if kind != "pair" and (packet, kind) != (PUBLISH, "variable"):
                yield Form(f"{title} twice", ONLY_5, PROTOCOL_ERROR, *_carried(packet, right + right))
            for length in range(1, len(right)):
                yield Form(f"{title} cut to {length}", ONLY_5, MALFORMED, *_carried(packet, right[:length]))
            if least == 1:
                yield Form(f"{title} at 0", ONLY_5, PROTOCOL_ERROR, *_carried(packet, _zeroed(right)))
            if kind == "byte" and most == 1:
                for value in (2, 0xFF):
                    data = bytes([identifier, value])
                    yield Form(f"{title} at {value}", ONLY_5, PROTOCOL_ERROR, *_carried(packet, data))
        for identifier in (0x00, 0x04, 0x0A, 0x14, 0x20, 0x2B, 0x7F):
            data = bytes([identifier, 0])
            yield Form(f"{name} with no such property {identifier:#04x}", ONLY_5, MALFORMED, *_carried(packet, data))
        yield Form(f"{name} with a long identifier", ONLY_5, MALFORMED, *_carried(packet, b"\xa6\x00\0\1k\0\1v"))
        yield Form(f"{name} with an endless identifier", ONLY_5, MALFORMED, *_carried(packet, b"\x81\x80\x80\x80\1"))
        yield Form(f"{name} with half an identifier", ONLY_5, MALFORMED, *_carried(packet, b"\x81"))
    for number in (b"\x81\x00", b"\x80\x80\x80\x80\x01", b"\xff\xff\xff\xff", b"\xff"):
        title = f"SUBSCRIBE with Subscription Identifier {number.hex(' ')}"
        yield Form(title, ONLY_5, MALFORMED, *_carried(SUBSCRIBE, b"\x0b" + number))
    yield Form("PUBLISH with properties past its end", ONLY_5, MALFORMED, 0x30, (sized(b"t"), b"\x03\x23\x00"))
    yield Form("PUBLISH with a long property length", ONLY_5, MALFORMED, 0x30, (sized(b"t"), b"\x80\x00"))
    yield Form("PUBLISH with an endless property length", ONLY_5, MALFORMED, 0x30, (sized(b"t"), b"\xff\xff\xff\xff\1"))
    # A value that ends past the property length, whatever the bytes after it would make of it.
    yield Form("CONNACK with a property across the end", ONLY_5, MALFORMED, 0x20, (b"\0\0", b"\x01\x24\x02"))
    yield Form("PUBACK with a property across the end", ONLY_5, MALFORMED, 0x40, (ID, b"\0", b"\x03\x1f\0\2ab"))


def _zeroed(right: bytes) -> bytes:
    return right[:1] + bytes(len(right) - 1)


FORMS: Final[list[Form]] = [
    *_fixed_headers(),
    *_texts(),
    *_connects(),
    *_connacks(),
    *_publishes(),
    *_acknowledgements(),
    *_subscriptions(),
    *_subscription_answers(),
    *_others(),
    *_properties(),
]
