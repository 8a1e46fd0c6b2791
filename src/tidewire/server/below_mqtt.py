"""What do the layers below MQTT add to one connection: frames, records, segments?

WebSocket counts its own bytes. Of TCP the kernel tells, and so of TLS, which is what the stream has more than we put
into it. Where the kernel does not tell, it is worked out, and entered as estimated too.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any, Final

from tidewire.engine import meter
from tidewire.engine.connection import Connection
from tidewire.engine.meter import Account, Meter
from tidewire.server.tcp_info import (
    IPV4_HEADER_BYTES,
    IPV6_HEADER_BYTES,
    SYN_OPTION_BYTES,
    TCP_HEADER_BYTES,
    TIMESTAMP_BYTES,
    TcpInfo,
    tcp_info,
)

SEGMENT_BYTES: Final = 1448
"""What a full segment carries on Ethernet, with time stamps [RFC 7323]."""
RECORD_BYTES: Final = 16_384
RECORD_OVERHEAD_BYTES: Final = 22  # of TLS 1.3: head, type and tag; of TLS 1.2 about the same
CLOSE_NOTIFY_BYTES: Final = 24  # of TLS 1.3
HANDSHAKE_RECEIVED_BYTES: Final = 600
HANDSHAKE_SENT_BYTES: Final = 2600  # with a chain of two certificates

_Counts = dict[int, int]


class BelowMqtt(meter.Below):
    """The layers under one connection. `collect` adds to its client's account what has come since."""

    __slots__ = (
        "_collected",
        "_has_tls",
        "_info",
        "_inode",
        "_ip_header_bytes",
        "_is_open",
        "_is_tcp",
        "_peer_ended",
        "_socket",
        "_we_ended",
        "_websocket",
    )

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        self._websocket = getattr(transport, "websocket_bytes", None)
        """Bytes received and sent so far, framing and upgrade included."""
        self._has_tls = transport.get_extra_info("ssl_object") is not None
        self._socket: Any = transport.get_extra_info("socket")
        family = self._socket.family if self._socket is not None else None
        self._is_tcp = family in (socket.AF_INET, socket.AF_INET6)
        self._ip_header_bytes = IPV6_HEADER_BYTES if family == socket.AF_INET6 else IPV4_HEADER_BYTES
        self._is_open = self._is_tcp
        """It can be asked."""
        self._inode = _inode(self._socket) if self._is_tcp and self._has_tls else 0
        """With TLS it may be closed, and its number another's, before we hear that the connection is lost."""
        self._collected: _Counts = {}
        self._info: TcpInfo | None = None
        """What the kernel told last."""
        self._peer_ended = False
        self._we_ended = False
        """By then, where there is TLS: it says good-bye as well."""

    def look(self) -> None:
        """We have closed the connection. TLS has its socket closed before we hear that it is lost."""
        if self._has_tls:
            self._we_ended = True
            self._asked()

    def peer_ended(self) -> None:
        """The peer has: likewise."""
        if self._has_tls:
            self._peer_ended = True
            self._asked()

    def collect(self, counts: Meter, account: Account, connection: Connection, *, ended: bool) -> None:
        """`connection` has been collected up to now. `ended`: it is the last time."""
        now = self._counted(connection, ended)
        before = self._collected
        for place, amount in now.items():
            counts.add(account, place, amount - before.get(place, 0))
        self._collected = now

    def _counted(self, connection: Connection, ended: bool) -> _Counts:
        """All so far, by place in the figures."""
        received, sent = int(connection.bytes_received), int(connection.bytes_sent)
        found: _Counts = {}
        if self._websocket is not None:
            received_frames, sent_frames = self._websocket()
            found[meter.RECEIVED + meter.WEBSOCKET] = received_frames - received
            found[meter.SENT + meter.WEBSOCKET] = sent_frames - sent
            received, sent = received_frames, sent_frames
        info = self._asked()
        if info is not None:
            self._add_counted(found, info, received, sent)
            if ended and not info.is_over:
                self._add_farewell(found, info)
        else:
            self._add_estimated(found, received, sent, int(connection.reads), int(connection.writes))
        return found

    def _asked(self) -> TcpInfo | None:
        """What the kernel tells now, or told last where the socket is closed."""
        if self._is_open and (not self._has_tls or _inode(self._socket) == self._inode):
            try:
                self._info = tcp_info(self._socket, self._ip_header_bytes)
            except OSError:
                self._is_open = False
        return self._info

    def _add_counted(self, found: _Counts, info: TcpInfo, received: int, sent: int) -> None:
        if self._has_tls:
            found[meter.RECEIVED + meter.TLS] = info.received_bytes - received
            found[meter.SENT + meter.TLS] = info.sent_bytes - sent
            received, sent = info.received_bytes, info.sent_bytes
        segments_in, segments_out = info.segments_in, info.segments_out + 1  # with the answer to the SYN
        found[meter.RECEIVED + meter.SEGMENTS] = segments_in
        found[meter.SENT + meter.SEGMENTS] = segments_out
        headers_in = segments_in * info.header_bytes + SYN_OPTION_BYTES
        headers_out = segments_out * info.header_bytes + SYN_OPTION_BYTES
        found[meter.RECEIVED + meter.TCP_IP] = headers_in + info.received_bytes - received
        found[meter.SENT + meter.TCP_IP] = headers_out + info.repeated_bytes + info.sent_bytes - sent

    def _add_farewell(self, found: _Counts, info: TcpInfo) -> None:
        """What the kernel says good-bye with once we have let go of the socket."""
        for direction, segments in ((meter.RECEIVED, 1), (meter.SENT, 2 if info.is_established else 1)):
            found[direction + meter.SEGMENTS] += segments
            found[direction + meter.TCP_IP] += segments * info.header_bytes
            found[direction + meter.ESTIMATED] = segments * info.header_bytes
        if self._has_tls:
            for direction, is_counted in ((meter.RECEIVED, self._peer_ended), (meter.SENT, self._we_ended)):
                if not is_counted:
                    found[direction + meter.TLS] += CLOSE_NOTIFY_BYTES
                    found[direction + meter.ESTIMATED] += CLOSE_NOTIFY_BYTES

    def _add_estimated(self, found: _Counts, received: int, sent: int, reads: int, writes: int) -> None:
        if not self._is_tcp:
            return  # a Unix socket, or no socket at all: there is nothing below
        if self._has_tls:
            found[meter.RECEIVED + meter.TLS] = _records(received, reads) + HANDSHAKE_RECEIVED_BYTES
            found[meter.SENT + meter.TLS] = _records(sent, writes) + HANDSHAKE_SENT_BYTES
            received += found[meter.RECEIVED + meter.TLS]
            sent += found[meter.SENT + meter.TLS]
        data_in, data_out = max(reads, received // SEGMENT_BYTES), max(writes, sent // SEGMENT_BYTES)
        header_bytes = self._ip_header_bytes + TCP_HEADER_BYTES + TIMESTAMP_BYTES
        opening_and_closing = 2
        for direction, segments in ((meter.RECEIVED, data_in + data_out // 2), (meter.SENT, data_out + data_in // 2)):
            found[direction + meter.SEGMENTS] = segments + opening_and_closing
            found[direction + meter.TCP_IP] = (segments + opening_and_closing) * header_bytes
            found[direction + meter.ESTIMATED] = found[direction + meter.TCP_IP] + found.get(direction + meter.TLS, 0)


def _records(size: int, transfers: int) -> int:
    """What the records of a stream add to it."""
    return max(transfers, size // RECORD_BYTES) * RECORD_OVERHEAD_BYTES


def _inode(connection: Any) -> int:
    """What tells a socket from another that has got its number since; 0 where it is closed."""
    try:
        return os.fstat(connection.fileno()).st_ino
    except OSError:
        return 0
