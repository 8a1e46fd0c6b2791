"""How does the administration show a message, and how does it read the properties of one?"""

from __future__ import annotations

from typing import Final

from tidewire.engine.message import Message
from tidewire.server.admin_types import MessageInfo, MessageProperties, TopicSeen
from tidewire.wire import properties as p
from tidewire.wire.codes import PUBLISH
from tidewire.wire.errors import MalformedPacket, ProtocolViolation
from tidewire.wire.fields import Reader, encode_variable_byte_integer
from tidewire.wire.properties import Properties, read_properties

PAYLOAD_SHOWN_BYTES: Final = 64 * 1024
"""What is shown of a payload unless more is asked for: a hundred of them are an answer that a page still takes."""

USER_PROPERTIES_SHOWN: Final = 50
"""Of one message: a packet has room for tens of thousands, which take milliseconds to decode …"""

USER_PROPERTIES_BYTES: Final = 4 * 1024
"""… and those that are shown are no longer than this together."""

NO_PROPERTIES: Final = MessageProperties()

_PAIR_BYTES: Final = 160
"""What a User Property takes beside its characters: a tuple and two texts."""

_INTEGER_BYTES: Final = {p.PAYLOAD_FORMAT_INDICATOR: 1, p.MESSAGE_EXPIRY_INTERVAL: 4}
"""The properties of a message that have no length before them."""


def shown_message(message: Message, expires_s: float | None) -> MessageInfo:
    """A message that waits."""
    return MessageInfo(
        topic=message.topic.decode(),
        payload=message.payload[:PAYLOAD_SHOWN_BYTES],
        payload_bytes=len(message.payload),
        qos=message.qos,
        retain=message.retain,
        publisher=message.publisher,
        expires_s=expires_s,
        properties=shown_properties(message.properties),
    )


def time_left(message: Message, now: float) -> float | None:
    """Seconds until a message expires; None: it does not."""
    return message.expires_at - now if message.expires_at > 0.0 else None


def shown_properties(encoded: bytes, size: int = 0) -> MessageProperties:
    """Those that travel with a message, as `Message.properties` has them, or the beginning of `size` bytes of it.

    What comes after the User Properties that are shown is one more, that says how many bytes it is."""
    if not encoded:
        return NO_PROPERTIES
    end = _shown_end(encoded)
    block = encode_variable_byte_integer(end) + encoded[:end]
    try:
        properties = read_properties(Reader(block, 0, len(block), True), PUBLISH)
    except ProtocolViolation:  # from a damaged store: the message is worth showing without them
        return NO_PROPERTIES
    left = max(size, len(encoded)) - end
    if left:
        properties.user_properties.append(("…", f"and {left} bytes more"))
    return MessageProperties(
        payload_format_indicator=properties.integers.get(p.PAYLOAD_FORMAT_INDICATOR),
        message_expiry_interval_s=properties.integers.get(p.MESSAGE_EXPIRY_INTERVAL),
        content_type=properties.texts.get(p.CONTENT_TYPE),
        response_topic=properties.texts.get(p.RESPONSE_TOPIC),
        correlation_data=properties.binaries.get(p.CORRELATION_DATA),
        user_properties=properties.user_properties,
    )


def kept_bytes(seen: TopicSeen) -> int:
    """What the last message of a topic takes, but for its topic."""
    shown = seen.properties
    if shown is NO_PROPERTIES:
        return len(seen.payload)
    others = (shown.content_type, shown.response_topic, shown.correlation_data)
    pairs = sum(_PAIR_BYTES + len(name) + len(value) for name, value in shown.user_properties)
    return len(seen.payload) + pairs + sum(len(other) for other in others if other is not None)


def properties_of(shown: MessageProperties | None) -> Properties:
    """The other way round."""
    properties = Properties()
    if shown is None:
        return properties
    for identifier, integer in (
        (p.PAYLOAD_FORMAT_INDICATOR, shown.payload_format_indicator),
        (p.MESSAGE_EXPIRY_INTERVAL, shown.message_expiry_interval_s),
    ):
        if integer is not None:
            properties.integers[identifier] = integer
    for identifier, text in ((p.CONTENT_TYPE, shown.content_type), (p.RESPONSE_TOPIC, shown.response_topic)):
        if text is not None:
            properties.texts[identifier] = text
    if shown.correlation_data is not None:
        properties.binaries[p.CORRELATION_DATA] = shown.correlation_data
    properties.user_properties = list(shown.user_properties)
    return properties


def _shown_end(encoded: bytes) -> int:
    """Where the properties end that are shown: before a User Property too many, or one that was cut."""
    reader = Reader(encoded, 0, len(encoded), True)
    end = pairs = pairs_bytes = 0
    try:
        while reader.remaining():
            identifier = reader.one_byte()
            if identifier == p.USER_PROPERTY:
                pairs += 1
                pairs_bytes += len(reader.binary()) + len(reader.binary())
                if pairs > USER_PROPERTIES_SHOWN or pairs_bytes > USER_PROPERTIES_BYTES:
                    break
            elif identifier in _INTEGER_BYTES:
                for _ in range(_INTEGER_BYTES[identifier]):
                    reader.one_byte()
            else:
                reader.binary()
            end = reader.position
    except MalformedPacket:
        pass  # what was cut, or is from a damaged store
    return end
