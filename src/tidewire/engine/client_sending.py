"""How a client publishes on one connection: each PUBLISH starts as the last one of its topic did, encoded once."""

from __future__ import annotations

from typing import Final

from tidewire.engine.client_session import ClientSession
from tidewire.engine.limits import REMEMBERED_TOPICS
from tidewire.engine.link import Outgoing
from tidewire.engine.message import Message
from tidewire.engine.ports import Transport
from tidewire.engine.reading import Reading
from tidewire.wire.codes import V5, ReasonCode
from tidewire.wire.errors import ProtocolViolation
from tidewire.wire.fields import encode_two_byte_integer, encode_variable_byte_integer

ALIAS_BYTES: Final = 3
"""Topics up to this length get no alias: its property is as long."""

_USES_TO_SETTLE: Final = 3
"""How often a topic is encoded until it starts the same each time: plain, with its alias set, with the alias alone."""


class ClientSending(Reading):
    """The sending side of PUBLISH on one connection of a client."""

    def __init__(self, session: ClientSession, transport: Transport, outgoing: Outgoing, version: int) -> None:
        super().__init__(transport, outgoing)
        self.session = session
        self.version = version
        self._heads: dict[bytes, _Head] = {}
        self._heads_by_name: dict[str, _Head] = {}

    def publish_at_most_once(self, topic: str, payload: bytes, retain: bool) -> bool:
        """Send a QoS 0 PUBLISH without properties. False: the caller should wait until the transport has caught up.

        Raises InvalidTopic, and ProtocolViolation 0x95 when the server does not take packets of that size.
        """
        head = self._heads_by_name.get(topic)
        if head is None:
            head = self._heads_by_name[topic] = self._head(self.session.encode_topic(topic))
        length = len(payload)
        first = 0x31 if retain else 0x30
        if (length != head.length or first != head.first or head.uses < _USES_TO_SETTLE) and not self._prepare(
            head, first, length
        ):
            raise ProtocolViolation(
                ReasonCode.PACKET_TOO_LARGE,
                f"the server takes packets of at most {self.peer_maximum_packet_size} bytes, not {head.size}",
            )
        outbox = self.outbox
        outbox.append(head.prefix)
        outbox.append(payload)
        self.outbox_bytes += head.size
        statistics = self.outgoing.statistics
        statistics.publish_sent += 1
        statistics.publish_bytes_sent += length
        if not self.dirty:
            self.dirty = True
            self.outgoing.dirty.append(self)
        return self.outbox_bytes < self.session.limits.early_flush_bytes

    def put_publish(self, message: Message, packet_identifier: bytes, dup: bool, now: float) -> bool:
        """The same as `Link.put_publish`; messages without properties start as the last one of their topic did."""
        if dup or message.properties or message.expires_at > 0.0 or message.qos == 0:
            return super().put_publish(message, packet_identifier, dup, now)
        payload = message.payload
        head = self._heads.get(message.topic)
        if head is None:
            head = self._head(message.topic)
        first = 0x30 | message.qos << 1 | (1 if message.retain else 0)
        length = len(payload)
        if (length != head.length or first != head.first or head.uses < _USES_TO_SETTLE) and not self._prepare(
            head, first, length
        ):
            return False
        outbox = self.outbox
        outbox.append(head.prefix)
        outbox.append(packet_identifier)
        if head.properties:
            outbox.append(head.properties)
        outbox.append(payload)
        self.outbox_bytes += head.size
        if not self.dirty:
            self.dirty = True
            self.outgoing.dirty.append(self)
        return True

    def _head(self, topic: bytes) -> _Head:
        if len(self._heads) >= REMEMBERED_TOPICS:
            self._heads.clear()
            self._heads_by_name.clear()
        head = self._heads[topic] = _Head(topic)
        return head

    def _prepare(self, head: _Head, first: int, length: int) -> bool:
        """Encode all of a PUBLISH but its packet identifier and payload. False: the server takes none so large.

        An alias is set when a topic comes a second time, and with the third it goes alone (3.3.2.3.4).
        """
        topic = head.topic
        properties = b""
        alias = 0
        if self.version == V5:
            properties = b"\0"
            if head.uses > 0 and self.peer_topic_aliases and len(topic) > ALIAS_BYTES:
                alias = self._alias(topic)
                if alias:
                    properties = b"\x03\x23" + encode_two_byte_integer(abs(alias))
                if alias < 0:
                    topic = b""
        name = encode_two_byte_integer(len(topic)) + topic
        remaining = len(name) + len(properties) + length
        if first & 6:
            remaining += 2
        else:
            name += properties
        head.prefix = bytes([first]) + encode_variable_byte_integer(remaining) + name
        head.properties = properties
        head.size = len(head.prefix) + remaining - len(name)
        if self.peer_maximum_packet_size and head.size > self.peer_maximum_packet_size:
            head.length = -1
            if alias > 0 and self._aliases is not None:
                del self._aliases[topic]  # it was not set
            return False
        head.length = length
        head.first = first
        if head.uses < _USES_TO_SETTLE:
            head.uses = head.uses + 1 if self.peer_topic_aliases else _USES_TO_SETTLE
        return True


class _Head:
    """How messages of one topic start, encoded once."""

    def __init__(self, topic: bytes) -> None:
        self.topic = topic
        self.uses = 0
        """How often it was encoded: with the second the alias is set, with the third only the alias is sent."""
        self.first = 0
        """The first byte of the fixed header that it was encoded for, and …"""
        self.length = -1
        """… the length of the payload."""
        self.prefix = b""
        self.properties = b""
        """What comes after the packet identifier; at QoS 0 it is part of the prefix."""
        self.size = 0
