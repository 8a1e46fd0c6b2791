"""An application message inside the broker, encoded at most once per version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tidewire.wire.codes import V5
from tidewire.wire.fields import encode_four_byte_integer, encode_two_byte_integer, encode_variable_byte_integer

if TYPE_CHECKING:
    from tidewire.engine.meter import Branch
    from tidewire.engine.publishing import Publishing

IDENTIFIERS: Final[list[bytes]] = [encode_two_byte_integer(number) for number in range(65_536)]
"""Every packet identifier as its two bytes, made once: 3.5 MB for not making one per packet.

It is also how the engine names them: these objects know their hash and are equal by being the same, so that a table
of messages in flight costs less with them than with integers.
"""


class Message:
    """What a publisher said, as one kind of subscriber is to get it. Shared, so never changed after it was routed.

    `properties` are the encoded 5.0 properties that travel on unaltered [MQTT-3.3.2-4 and the like], without topic
    alias, message expiry and subscription identifiers; `identifiers` the encoded Subscription Identifiers.
    """

    def __init__(
        self,
        topic: bytes,
        payload: bytes,
        qos: int,
        retain: bool,
        properties: bytes = b"",
        expires_at: float = 0.0,
        publisher: str = "",
        identifiers: bytes = b"",
        origin: Message | None = None,
    ) -> None:
        self.topic = topic
        self.payload = payload
        self.qos = qos
        self.retain = retain
        self.properties = properties
        self.expires_at = expires_at
        """When the message expires, 0.0 for never (3.3.2.3.3)."""
        self.publisher = publisher
        """Client Identifier of its publisher, for No Local."""
        self.identifiers = identifiers
        self.origin = origin
        """What this is a variant of: both are one message to a store."""
        self.references = 0
        """Sessions with a store that hold it, as it is or as a variant."""
        self.safe_with = 0
        """The ticket of the commit with which it is safe for all of them."""
        self.stored_as = 0
        """The number of its row in the store, 0 while there is none."""
        self.awaited_by: Publishing | None = None
        """Whose acknowledgement waits until it is safe, or no session needs it any more."""
        self.branch: Branch | None = None
        """Where the meter counts its deliveries."""
        self._head_v3 = b""
        self._head_v5 = b""
        self._tail_v5 = b""

    def variant(self, qos: int, retain: bool, identifiers: bytes) -> Message:
        """The same message for a subscriber with other options."""
        message = Message(
            self.topic,
            self.payload,
            qos,
            retain,
            self.properties,
            self.expires_at,
            self.publisher,
            identifiers,
            self if self.origin is None else self.origin,
        )
        message.branch = self.branch
        return message

    def adopt(self, head: bytes, tail_v5: bytes) -> None:
        """Take over what its publisher sent before and (in 5.0) after the packet identifier, encoded already."""
        if tail_v5:
            self._head_v5 = head
            self._tail_v5 = tail_v5
        else:
            self._head_v3 = head

    def size(self) -> int:
        """Bytes it occupies in a queue: what it holds, not what Python adds."""
        return len(self.topic) + len(self.payload) + len(self.properties)

    def head_v3(self) -> bytes:
        """Fixed header and topic for 3.1 and 3.1.1: all that comes before the packet identifier."""
        head = self._head_v3
        if not head:
            head = self._head_v3 = _head(self, len(self.payload))
        return head

    def head_v5(self) -> bytes:
        """The same for 5.0; for messages without expiry."""
        head = self._head_v5
        if not head:
            head = self._head_v5 = _head(self, len(self.tail_v5()))
        return head

    def tail_v5(self) -> bytes:
        """Properties and payload for 5.0: all that comes after the packet identifier; for messages without expiry."""
        tail = self._tail_v5
        if not tail:
            properties = self.properties + self.identifiers
            tail = self._tail_v5 = encode_variable_byte_integer(len(properties)) + properties + self.payload
        return tail


def encode_publish(
    message: Message, version: int, packet_identifier: bytes, dup: bool, alias: int, now: float
) -> bytes:
    """The whole PUBLISH for one subscriber.

    `alias`: 0 for none, above 0 to name topic and alias, below 0 to send the alias alone (3.3.2.3.4). The Message
    Expiry Interval is what is left of it, in whole seconds [MQTT-3.3.2-6].
    """
    topic = b"" if alias < 0 else message.topic
    parts = [encode_two_byte_integer(len(topic)), topic]
    if message.qos:
        parts.append(packet_identifier)
    if version == V5:
        properties = message.properties + message.identifiers
        if message.expires_at > 0.0:
            properties += b"\x02" + encode_four_byte_integer(max(0, int(message.expires_at - now + 0.5)))
        if alias:
            properties += b"\x23" + encode_two_byte_integer(abs(alias))
        parts.append(encode_variable_byte_integer(len(properties)))
        parts.append(properties)
    parts.append(message.payload)
    body = b"".join(parts)
    return bytes([_first_byte(message) | (8 if dup else 0)]) + encode_variable_byte_integer(len(body)) + body


def _head(message: Message, tail_length: int) -> bytes:
    topic = message.topic
    length = 2 + len(topic) + (2 if message.qos else 0) + tail_length
    return (
        bytes([_first_byte(message)])
        + encode_variable_byte_integer(length)
        + encode_two_byte_integer(len(topic))
        + topic
    )


def _first_byte(message: Message) -> int:
    return 0x30 | message.qos << 1 | (1 if message.retain else 0)
