"""Which packets does one client send and get? Seen at its connection, from outside the engine, while somebody looks.

Nobody else's connection is touched: a newcomer is looked at until its CONNECT has said who it is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Self, cast

from tidewire.server.admin_packet_shown import CLOSED, LARGEST_PACKET, Shower
from tidewire.server.admin_types import PacketSeen, PacketsSeen
from tidewire.wire.codes import CONNECT, V311
from tidewire.wire.errors import ProtocolViolation
from tidewire.wire.framing import find_packet
from tidewire.wire.packets import Connect, decode

if TYPE_CHECKING:
    from tidewire.engine.connection import Connection
    from tidewire.server.listener import ClientProtocol
    from tidewire.server.server import Server

KEPT_PACKETS: Final = 10_000
"""Packets of a feed that wait to be taken: what a page shows, and some."""

TAKEN_AT_ONCE: Final = 500
"""Packets that one `take` brings: showing more keeps the loop from the broker's messages."""

KEPT_BYTES: Final = 8 * 1024 * 1024
"""What waits, in bytes."""

PACKET_KEPT_BYTES: Final = 64 * 1024
"""What is kept of a packet: of a longer PUBLISH only the payload is cut."""

NAMELESS_PACKETS: Final = 64
"""Packets of a connection that wait until it is known whose it is: CONNECT, and some AUTH."""


@dataclass(slots=True)
class Noted:
    """A packet as it passed."""

    at: float
    connection: int
    incoming: bool
    version: int
    data: bytes
    """Its first `PACKET_KEPT_BYTES`; CLOSED: the connection has ended; empty: what came is no packet."""
    size: int
    detail: str = ""


class PacketFeed:
    """The packets of one client; `async with`, or `close` it at the end."""

    def __init__(self, watch: Watch, name: str, kept_packets: int) -> None:
        self.name = name
        """The client's identifier."""
        self.dropped = 0
        """Packets that were not taken in time: the oldest give way."""
        self._watch = watch
        self._kept_packets = kept_packets
        self._kept: deque[Noted] = deque()
        self._kept_bytes = 0
        self._came = asyncio.Event()
        self._shower = Shower()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def take(self) -> PacketsSeen:
        """The first that wait, in the order of the connection; others with the next call."""
        packets: list[PacketSeen] = []
        while self._kept and len(packets) < TAKEN_AT_ONCE:
            noted = self._kept.popleft()
            self._kept_bytes -= len(noted.data)
            packets.append(self._shower.show(noted))
        if not self._kept:
            self._came.clear()
        return PacketsSeen(packets=packets, dropped=self.dropped)

    async def wait(self) -> None:
        """Until there is something to take."""
        await self._came.wait()

    def close(self) -> None:
        """Look no longer."""
        self._watch.close(self)

    def note(self, noted: Noted) -> None:
        self._kept.append(noted)
        self._kept_bytes += len(noted.data)
        self._came.set()
        while len(self._kept) > self._kept_packets or self._kept_bytes > KEPT_BYTES:
            self._kept_bytes -= len(self._kept.popleft().data)
            self.dropped += 1
            self._shower.missed()


class Watch:
    """All that is looked at in one broker."""

    def __init__(self, server: Server, wall_clock: Callable[[], float]) -> None:
        self.wall_clock = wall_clock
        self._server = server
        self._feeds: dict[str, list[PacketFeed]] = {}
        self._taps: list[Tap] = []
        self._connections = 0

    @staticmethod
    def of(server: Server, wall_clock: Callable[[], float]) -> Watch:
        """The one of a broker."""
        if server.watch is None:
            server.watch = Watch(server, wall_clock)
        return server.watch

    def feed(self, name: str, kept_packets: int) -> PacketFeed:
        feed = PacketFeed(self, name, kept_packets)
        self._feeds.setdefault(name, []).append(feed)
        self._server.gate.admitted = self._newcomer
        session = self._server.broker.sessions.get(name)
        if session is not None and session.connection is not None and not any(tap.name == name for tap in self._taps):
            for protocol in self._server.gate.connections:
                if protocol.connection is session.connection:
                    self._tap(protocol, name)
                    break
        return feed

    def close(self, feed: PacketFeed) -> None:
        feeds = self._feeds.get(feed.name, [])
        if feed in feeds:
            feeds.remove(feed)
        if not feeds:
            self._feeds.pop(feed.name, None)
        if not self._feeds:
            self._server.gate.admitted = None
        for tap in list(self._taps):
            if not self._feeds or (tap.name and tap.name not in self._feeds):
                self.remove(tap)

    def remove(self, tap: Tap) -> None:
        """This connection is of no interest any more."""
        if tap in self._taps:
            self._taps.remove(tap)
            tap.loosen()

    def feeds_of(self, name: str) -> list[PacketFeed]:
        return self._feeds.get(name, [])

    def next_connection(self) -> int:
        self._connections += 1
        return self._connections

    def _newcomer(self, protocol: ClientProtocol) -> None:
        self._tap(protocol, "")

    def _tap(self, protocol: ClientProtocol, name: str) -> None:
        if protocol.receiver is protocol.connection:  # else it is looked at already
            self._taps.append(Tap(self, protocol, name))


class Tap:
    """Stands between a protocol and the engine's connection, and between that and its transport."""

    def __init__(self, watch: Watch, protocol: ClientProtocol, name: str) -> None:
        self.name = name
        """Of the client, once that is known."""
        self.inner = protocol.connection
        self._watch = watch
        self._protocol = protocol
        self._transport = _TappedTransport(self, self.inner.transport)
        self._number = watch.next_connection() if name else 0
        self._version = self.inner.version or V311
        self._nameless: list[Noted] = []
        self._incoming = Splitter()
        self._outgoing = Splitter()
        self._loose = False
        for begun in self.inner.chunks or [self.inner.kept]:  # of a packet whose end is still to come
            self._note(True, begun)
        protocol.receiver = cast("Connection", self)
        self.inner.transport = self._transport

    def receive(self, data: bytes, now: float) -> bool:
        if self.inner.closed:
            return False
        self._note(True, data)
        only_messages = self.inner.receive(data, now)
        if not self.name and self.inner.session is not None:
            self._named(self.inner.session.client_identifier)
        return only_messages

    def sent(self, data: bytes) -> None:
        """Bytes for the client."""
        if not self.name and self.inner.session is not None:
            self._named(self.inner.session.client_identifier)
        if not self._loose:
            self._note(False, data)

    def lost(self, detail: str, now: float) -> None:
        was_ours = self.inner.closed
        self.inner.lost(detail, now)
        if not self._loose:
            self._keep(False, CLOSED, 0, "" if was_ours else detail)
            self._watch.remove(self)

    def loosen(self) -> None:
        """Stand in the way no longer."""
        self._loose = True
        self._protocol.receiver = self.inner
        if self.inner.transport is self._transport:
            self.inner.transport = self._transport.inner

    def _note(self, incoming: bool, data: bytes) -> None:
        splitter = self._incoming if incoming else self._outgoing
        for packet, size in splitter.split(data):
            if incoming and packet and packet[0] >> 4 == CONNECT:
                self._connect(packet)
            self._keep(incoming, packet, size, splitter.fault if not packet else "")
            if self._loose:
                return

    def _connect(self, packet: bytes) -> None:
        """Who it says it is, and in which version."""
        try:
            body, end = find_packet(packet, 0, LARGEST_PACKET)
            connect = decode(packet[0], packet, body, end, V311)
        except ProtocolViolation:
            return
        if isinstance(connect, Connect):
            self._version = connect.version
            if connect.client_identifier and not self.name:
                self._named(connect.client_identifier)

    def _named(self, name: str) -> None:
        """It is known whose connection it is."""
        self.name = name
        nameless, self._nameless = self._nameless, []
        feeds = self._watch.feeds_of(name)
        if not feeds:
            self._watch.remove(self)
            return
        self._number = self._watch.next_connection()
        for feed in feeds:
            for noted in nameless:
                feed.note(replace(noted, connection=self._number))

    def _keep(self, incoming: bool, packet: bytes, size: int, detail: str) -> None:
        noted = Noted(self._watch.wall_clock(), self._number, incoming, self._version, packet, size, detail)
        if self.name:
            for feed in self._watch.feeds_of(self.name):
                feed.note(noted)
        elif len(self._nameless) < NAMELESS_PACKETS:
            self._nameless.append(noted)


class _TappedTransport:
    """A connection's transport, at which its tap looks."""

    def __init__(self, tap: Tap, inner: Any) -> None:
        self._tap = tap
        self.inner = inner

    def write(self, data: bytes) -> None:
        self._tap.sent(data)
        self.inner.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class Splitter:
    """A stream of bytes as packets, of long ones only the beginning."""

    def __init__(self) -> None:
        self.fault = ""
        """Why there are no more packets."""
        self._kept = b""
        self._long = b""
        """The beginning of a long packet …"""
        self._long_size = 0
        self._rest = 0
        """… and how much of it is still to come."""

    def split(self, data: bytes) -> list[tuple[bytes, int]]:
        """(beginning, size) of the packets that are whole now; an empty one, once, for what is no packet."""
        if self.fault:
            return []
        packets: list[tuple[bytes, int]] = []
        position = 0
        if self._rest:
            position = min(self._rest, len(data))
            self._rest -= position
            if self._rest:
                return packets
            packets.append((self._long, self._long_size))
            self._long = b""
        elif self._kept:
            data = self._kept + data
        self._kept = b""
        try:
            while True:
                end = find_packet(data, position, LARGEST_PACKET)[1]
                size = end - position
                if end < 0 or (end > len(data) and min(size, PACKET_KEPT_BYTES) > len(data) - position):
                    break
                begin = data[position : position + min(size, PACKET_KEPT_BYTES)]
                if end > len(data):
                    self._long, self._long_size, self._rest = begin, size, end - len(data)
                    return packets
                packets.append((begin, size))
                position = end
        except ProtocolViolation as violation:
            self.fault = violation.detail
            packets.append((b"", len(data) - position))
            return packets
        self._kept = data[position:]
        return packets
