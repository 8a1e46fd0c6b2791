"""One network connection seen from inside: the outbox, the transport behind it, and what the peer can take.

Shared by broker and client. Pieces go on the outbox; a link that has some is dirty once, and one join goes to the
transport when the pass ends.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from mypy_extensions import i64

from tidewire.engine.message import Message, encode_publish
from tidewire.engine.meter import SENT, Traffic
from tidewire.engine.ports import Events, Transport
from tidewire.engine.statistics import Statistics
from tidewire.engine.timers import Timed
from tidewire.wire.codes import PUBLISH, V5
from tidewire.wire.fields import MAXIMUM_VARIABLE_BYTE_INTEGER, Reader
from tidewire.wire.framing import find_packet

HELD_BYTES: Final = 4 * 1024 * 1024
"""What may wait on one link for the store; past it the link counts as blocked, as if its peer did not read."""


class Outgoing:
    """The links that have something to send in this pass."""

    def __init__(self, statistics: Statistics, events: Events) -> None:
        self.events = events
        self.dirty: list[Link] = []
        self.statistics = statistics
        self.released = 0
        """Nothing waits for the store's commits up to this ticket any more."""
        self._holding: dict[Link, None] = {}

    def hold(self, link: Link) -> None:
        """A link has pieces that wait for the store."""
        self._holding[link] = None

    def release(self, ticket: int) -> list[Link]:
        """Nothing waits for the commits up to this ticket any more: it goes out with the next flush.

        Returns the links that were blocked because too much waited, and are not any more.
        """
        self.released = max(self.released, ticket)
        unblocked: list[Link] = []
        for link in list(self._holding):
            if not link.held:
                del self._holding[link]
            if not link.dirty:
                link.dirty = True
                self.dirty.append(link)
            if link.held_back:
                link.held_back = False
                unblocked.append(link)
        return unblocked

    def flush(self) -> None:
        """One write a dirty link. A link that cannot be written to loses its transport, and the others nothing."""
        dirty = self.dirty
        while dirty:
            self.dirty = []
            for link in dirty:
                link.dirty = False
                try:
                    link.flush()
                except Exception as error:
                    self.events.fault("", error)
                    link.transport.abort()  # which ends the connection as a lost one
            dirty = self.dirty


class Link(Timed):
    """The sending half of a connection.

    What a message touches at each of a thousand subscribers comes first, and so lies side by side in memory."""

    def __init__(self, transport: Transport, outgoing: Outgoing) -> None:
        super().__init__()
        self.passthrough = 0
        """The format whose bytes this peer takes as they are (4 before 5.0, 5), 0 when each packet needs a look."""
        self.outbox: list[bytes] = []
        self.outbox_bytes: i64 = 0
        self.publish_sent: i64 = 0
        self.payload_sent: i64 = 0
        """Since the meter collected them; bytes and writes are counted from the beginning."""
        self.bytes_sent: i64 = 0
        self.writes: i64 = 0
        self.dirty = False
        self.blocked = False
        """The transport has enough: pieces wait on the outbox."""
        self.barred = False
        """A budget is used up: messages to this peer wait, and those of QoS 0 are dropped."""
        self.held = 0
        """The ticket of the store's commit that the outbox waits for, 0 for none."""
        self.outgoing = outgoing
        self.transport = transport
        self.traffic = Traffic()
        """What else the meter wants to know."""
        self.version = 0
        self.held_back = False
        """It is blocked because too much waits for the store."""
        self._segments: deque[_Segment] | None = None
        """Pieces before those on the outbox, that wait for earlier commits."""
        self.closed = False
        self.peer_maximum_packet_size = 0
        """The peer's Maximum Packet Size (3.1.2.11.4), 0 for none."""
        self.peer_topic_aliases = 0
        """How many aliases the peer lets us set (3.1.2.11.5)."""
        self._aliases: dict[bytes, int] | None = None

    def put(self, piece: bytes) -> None:
        """Send these bytes when the pass ends."""
        self.outbox.append(piece)
        self.outbox_bytes += len(piece)
        if not self.dirty:
            self.dirty = True
            self.outgoing.dirty.append(self)

    def put_publish(self, message: Message, packet_identifier: bytes, dup: bool, now: float) -> bool:
        """Send a PUBLISH with all that is particular to this peer. False: it is larger than the peer takes."""
        alias = self._alias(message.topic)
        packet = encode_publish(message, self.version, packet_identifier, dup, alias, now)
        if self.peer_maximum_packet_size and len(packet) > self.peer_maximum_packet_size:
            if alias > 0 and self._aliases is not None:
                del self._aliases[message.topic]
            return False
        self.put(packet)
        return True

    def refresh_passthrough(self) -> None:
        """Decide anew whether shared bytes can go out as they are."""
        if self.blocked or self.closed or self.barred or self.peer_maximum_packet_size or self.peer_topic_aliases:
            self.passthrough = 0
        else:
            self.passthrough = 5 if self.version == 5 else 4

    def flush(self) -> None:
        """Hand the outbox to the transport, unless it has enough."""
        if self.held:
            self._flush_released()
            return
        pieces = self.outbox
        if self.blocked or not pieces:
            return
        self.outbox = []
        size = self.outbox_bytes
        self.outgoing.statistics.bytes_sent += size
        self.bytes_sent += size
        self.writes += 1
        self.outbox_bytes = 0
        self.transport.write(pieces[0] if len(pieces) == 1 else b"".join(pieces))

    def hold(self, ticket: int) -> None:
        """What is put from here on leaves when the store has everything up to this ticket; 0: nothing is held."""
        if ticket <= self.held:
            return
        if self.outbox:
            if self._segments is None:
                self._segments = deque()
            self._segments.append(_Segment(self.held, self.outbox))
            self.outbox = []
        self.held = ticket
        self.outgoing.hold(self)

    def abandon_held(self) -> None:
        """Let go of what waits for the store: the connection ends before."""
        if self.held:
            self.blocked = False
            self._flush_released()
            if self.held:
                self.held = 0
                for segment in self._segments or ():
                    self._count_abandoned(b"".join(segment.pieces))
                self._segments = None
                self.abandon()

    def abandon(self) -> None:
        """Let go of what nobody will take."""
        self._count_abandoned(b"".join(self.outbox))
        self.outbox = []
        self.outbox_bytes = 0

    def _count_abandoned(self, packets: bytes) -> None:
        """Whole packets that were counted, and were never handed to the transport."""
        position = 0
        while position < len(packets):
            packet_type = packets[position] >> 4
            body, end = find_packet(packets, position, MAXIMUM_VARIABLE_BYTE_INTEGER + 5)
            if packet_type == PUBLISH:
                reader = Reader(packets, body, end, True)
                body += 2 + reader.two_byte_integer() + (2 if packets[position] & 6 else 0)
                if self.version == V5:
                    reader.position = body
                    properties = reader.variable_byte_integer()
                    body = reader.position + properties
                self.publish_sent -= 1
                self.payload_sent -= end - body
            else:
                self.traffic.count(SENT, packet_type, -1, position - end)
            position = end

    def _flush_released(self) -> None:
        """Hand on what the store has by now."""
        if self.blocked:
            return
        released = self.outgoing.released
        segments = self._segments
        pieces: list[bytes] = []
        while segments and segments[0].ticket <= released:
            pieces += segments.popleft().pieces
        if not segments:
            self._segments = None
            if self.held <= released:
                self.held = 0
                pieces += self.outbox
                self.outbox = []
        if pieces:
            data = b"".join(pieces)
            self.outgoing.statistics.bytes_sent += len(data)
            self.bytes_sent += len(data)
            self.writes += 1
            self.outbox_bytes -= len(data)
            self.transport.write(data)
        if self.outbox_bytes > HELD_BYTES:
            self.held_back = True
            self.block()

    def block(self) -> None:
        """The transport has enough."""
        self.blocked = True
        self.passthrough = 0

    def unblock(self) -> None:
        """The transport takes bytes again."""
        self.blocked = False
        self.refresh_passthrough()
        if self.outbox and not self.dirty:
            self.dirty = True
            self.outgoing.dirty.append(self)

    def _alias(self, topic: bytes) -> int:
        """What `encode_publish` takes: the alias of a topic, negative once the peer knows it."""
        if not self.peer_topic_aliases:
            return 0
        aliases = self._aliases
        if aliases is None:
            aliases = self._aliases = {}
        alias = aliases.get(topic, 0)
        if alias:
            return -alias
        if len(aliases) >= self.peer_topic_aliases:
            return 0
        alias = len(aliases) + 1
        aliases[topic] = alias
        return alias


class _Segment:
    """Pieces that wait for one commit."""

    def __init__(self, ticket: int, pieces: list[bytes]) -> None:
        self.ticket = ticket
        self.pieces = pieces
