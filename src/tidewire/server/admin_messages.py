"""How does the administration show a message, and how does it read the properties of one?"""

from __future__ import annotations

from typing import Final

from tidewire.engine.message import Message
from tidewire.server.admin_types import MessageInfo, MessageProperties
from tidewire.wire import properties as p
from tidewire.wire.codes import PUBLISH
from tidewire.wire.errors import ProtocolViolation
from tidewire.wire.fields import Reader, encode_variable_byte_integer
from tidewire.wire.properties import Properties, read_properties

PAYLOAD_SHOWN_BYTES: Final = 64 * 1024
"""What is shown of a payload unless more is asked for: a hundred of them are an answer that a page still takes."""

NO_PROPERTIES: Final = MessageProperties()


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


def shown_properties(encoded: bytes) -> MessageProperties:
    """Those that travel with a message, as `Message.properties` has them."""
    if not encoded:
        return NO_PROPERTIES
    block = encode_variable_byte_integer(len(encoded)) + encoded
    try:
        properties = read_properties(Reader(block, 0, len(block), True), PUBLISH)
    except ProtocolViolation:  # from a damaged store: the message is worth showing without them
        return NO_PROPERTIES
    return MessageProperties(
        payload_format_indicator=properties.integers.get(p.PAYLOAD_FORMAT_INDICATOR),
        message_expiry_interval_s=properties.integers.get(p.MESSAGE_EXPIRY_INTERVAL),
        content_type=properties.texts.get(p.CONTENT_TYPE),
        response_topic=properties.texts.get(p.RESPONSE_TOPIC),
        correlation_data=properties.binaries.get(p.CORRELATION_DATA),
        user_properties=properties.user_properties,
    )


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
