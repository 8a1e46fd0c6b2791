"""One network connection seen from inside: the outbox, the transport behind it, and what the peer can take.

Shared by broker and client. Pieces go on the outbox; a link that has some is dirty once, and one join goes to the
transport when the pass ends.
"""

from __future__ import annotations

from tidewire.engine.message import Message, encode_publish
from tidewire.engine.ports import Events, Transport
from tidewire.engine.statistics import Statistics
from tidewire.engine.timers import Timed


class Outgoing:
    """The links that have something to send in this pass."""

    def __init__(self, statistics: Statistics, events: Events) -> None:
        self.events = events
        self.dirty: list[Link] = []
        self.statistics = statistics

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
    """The sending half of a connection."""

    def __init__(self, transport: Transport, outgoing: Outgoing) -> None:
        super().__init__()
        self.transport = transport
        self.outgoing = outgoing
        self.version = 0
        self.passthrough = 0
        """The format whose bytes this peer takes as they are (4 before 5.0, 5), 0 when each packet needs a look."""
        self.outbox: list[bytes] = []
        self.outbox_bytes = 0
        self.dirty = False
        self.blocked = False
        """The transport has enough: pieces wait on the outbox."""
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
        if self.blocked or self.closed or self.peer_maximum_packet_size or self.peer_topic_aliases:
            self.passthrough = 0
        else:
            self.passthrough = 5 if self.version == 5 else 4

    def flush(self) -> None:
        """Hand the outbox to the transport, unless it has enough."""
        pieces = self.outbox
        if self.blocked or not pieces:
            return
        self.outbox = []
        self.outgoing.statistics.bytes_sent += self.outbox_bytes
        self.outbox_bytes = 0
        self.transport.write(pieces[0] if len(pieces) == 1 else b"".join(pieces))

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
