"""What both sides do alike when they read: incomplete packets, packet identifiers, topic aliases, acknowledgements.

What of a stream is not a whole packet yet is kept between reads, without copying a large packet twice.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from tidewire.engine.link import Link, Outgoing
from tidewire.engine.message import IDENTIFIERS
from tidewire.engine.meter import SENT
from tidewire.engine.ports import Transport
from tidewire.wire.codes import V5, ReasonCode
from tidewire.wire.errors import MalformedPacket, ProtocolError, ProtocolViolation

PUBACK_HEAD: Final = b"\x40\x02"
PUBREC_HEAD: Final = b"\x50\x02"
PUBCOMP_HEAD: Final = b"\x70\x02"

_LARGE_PACKET_BYTES: Final = 65_536
"""From here on the parts of a packet are collected in a list, so that growing it does not copy it each time."""


class Reading(Link):
    """A link that also reads: shared by broker and client."""

    def __init__(self, transport: Transport, outgoing: Outgoing) -> None:
        super().__init__(transport, outgoing)
        self.bytes_received: i64 = 0
        self.reads: i64 = 0
        """From the beginning; what follows, since the meter collected it."""
        self.pubacks_received: i64 = 0
        self.pubacks_sent: i64 = 0
        self.publish_received: i64 = 0
        self.publish_bytes_received: i64 = 0
        """Of whole packets."""
        self.payload_received: i64 = 0
        self.kept = b""
        """Bytes of a packet whose end has not come."""
        self.chunks: list[bytes] | None = None
        """The same for a large one, in the parts that came."""
        self.missing: i64 = 0
        """How many bytes of it are still to come, once that is known."""
        self._topic_aliases: dict[int, bytes] | None = None
        """Those that the peer has set."""

    def join(self, data: bytes) -> bytes:
        """What was kept and what came; empty while a large packet is not whole."""
        chunks = self.chunks
        if chunks is None:
            data = self.kept + data
            self.kept = b""
            return data
        self.missing -= len(data)
        if len(chunks[-1]) + len(data) <= _LARGE_PACKET_BYTES:
            chunks[-1] += data  # a list of crumbs would take many times their bytes
        else:
            chunks.append(data)
        if self.missing > 0:
            return b""
        self.chunks = None
        self.missing = 0
        return b"".join(chunks)

    def keep(self, data: bytes, position: i64) -> None:
        """Keep what follows the last whole packet."""
        if position < len(data):
            self.kept = data[position:]
        if self.missing > _LARGE_PACKET_BYTES:
            self.chunks = [self.kept]
            self.kept = b""
        else:
            self.missing = 0

    def resolve_alias(self, topic: bytes, alias: int, maximum: int) -> bytes:
        """The topic that an alias stands for: a new one if it comes with a topic (3.3.2.3.4)."""
        if alias == 0 or alias > maximum:
            raise ProtocolViolation(
                ReasonCode.TOPIC_ALIAS_INVALID, f"topic alias {alias} is not between 1 and {maximum}"
            )
        aliases = self._topic_aliases
        if aliases is None:
            aliases = self._topic_aliases = {}
        if topic:
            aliases[alias] = topic
            return topic
        known = aliases.get(alias)
        if known is None:
            raise ProtocolError(f"topic alias {alias} was never set")
        return known

    def put_answer(self, head: bytes, identifier: bytes, reason_code: int) -> None:
        """PUBACK, PUBREC or PUBCOMP; before 5.0 there is only the positive one [MQTT-3.3.5-2]."""
        if reason_code and self.version == V5:
            self.put(head[:1] + b"\x03" + identifier + bytes([reason_code]))
            self.traffic.count(SENT, head[0] >> 4, 1, 5)
        else:
            first: i64 = head[0]
            if first == 0x40:
                self.pubacks_sent += 1
            elif first == 0x50:
                self.traffic.pubrecs_sent += 1
            else:
                self.traffic.pubcomps_sent += 1
            outbox = self.outbox
            outbox.append(head)
            outbox.append(identifier)
            self.outbox_bytes += 4
            if not self.dirty:
                self.dirty = True
                self.outgoing.dirty.append(self)
        self.outgoing.statistics.control_sent += 1


def packet_identifier(data: bytes, position: i64) -> bytes:
    """A Packet Identifier as the one object that stands for it, never zero [MQTT-2.2.1-3]."""
    high: i64 = data[position]
    number = high << 8 | data[position + 1]
    if number == 0:
        raise MalformedPacket("packet identifier 0")
    return IDENTIFIERS[number]
