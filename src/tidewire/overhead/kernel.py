"""What does the kernel say of one TCP connection? `TCP_INFO` of Linux, and when nothing is under way any more."""

from __future__ import annotations

import socket
from contextlib import suppress
from time import monotonic, sleep
from typing import Final, NamedTuple

from tidewire.overhead.errors import MeasurementError
from tidewire.server.tcp_info import IPV4_HEADER_BYTES, TCP_HEADER_BYTES, TIMESTAMP_BYTES, TIMESTAMPS, raw_tcp_info

UDP_HEADER_BYTES: Final = 8
ETHERNET_MSS: Final = 1460
"""Asked for on every socket, so that segments are cut as on a link of 1500 bytes, and not as on loopback."""

PATIENCE_S: Final = 5.0
"""How long a connection may take to fall quiet. A delayed acknowledgement takes 40 ms, or 200."""
LOOK_AGAIN_S: Final = 0.0005

_SELECTIVE, _SCALING = 2, 4  # bits of tcpi_options
_CLOSED: Final = 7


class TcpInfo(NamedTuple):
    """Counted by the kernel since the connection was opened, seen from one of its ends."""

    closed: bool
    options: int
    unacknowledged: int
    """Segments that were sent and not acknowledged."""
    unsent_bytes: int
    sent_bytes: int
    """Without what was sent again …"""
    repeated_bytes: int
    """… which is this much."""
    received_bytes: int
    """A FIN counts as one."""
    segments_out: int
    """All: SYN, data, pure acknowledgements, FIN."""
    segments_in: int
    data_segments_out: int
    data_segments_in: int

    @property
    def header_bytes(self) -> int:
        """IP and TCP header of a segment, with the option that each carries after the SYN."""
        return IPV4_HEADER_BYTES + TCP_HEADER_BYTES + (TIMESTAMP_BYTES if self.options & TIMESTAMPS else 0)

    @property
    def syn_bytes(self) -> int:
        """How much longer a SYN is: segment size, selective acknowledgement, window scale, as negotiated."""
        selective = self.options & _SELECTIVE and not self.options & TIMESTAMPS  # else it stands in their padding
        return 4 + (4 if selective else 0) + (4 if self.options & _SCALING else 0)

    def header_total(self, segments: int) -> int:
        """Bytes of IP and TCP headers of that many segments, the first of which is a SYN."""
        return segments * self.header_bytes + self.syn_bytes


def tcp_info(connection: socket.socket) -> TcpInfo:
    """What the kernel has counted so far. Raises MeasurementError where it does not tell."""
    values = raw_tcp_info(connection)
    if values is None:
        raise MeasurementError(
            "only the kernel of Linux (4.19 or newer) counts the segments of a connection (TCP_INFO); "
            "run this there, in a container for example"
        )
    return TcpInfo(
        closed=values[0] == _CLOSED,
        options=values[5],
        unacknowledged=values[12],
        unsent_bytes=values[38],
        sent_bytes=values[48] - values[49],
        repeated_bytes=values[49],
        received_bytes=values[35],
        segments_out=values[36],
        segments_in=values[37],
        data_segments_out=values[41],
        data_segments_in=values[40],
    )


def prepare(connection: socket.socket) -> None:
    """Set a socket up before it connects or listens: segments of Ethernet, and each message at once."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, ETHERNET_MSS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def is_quiet(connection: socket.socket) -> bool:
    """Whether all that was sent has been acknowledged; what we owe the peer is sent on the way.

    That acknowledgement would go out alone after 40 ms anyway: asking for it here spares the wait, not the segment.
    """
    info = tcp_info(connection)
    if info.closed:
        return True
    with suppress(OSError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 2)  # what is owed, now, …
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)  # … and the next as delayed as ever
    return not info.unacknowledged and not info.unsent_bytes


def wait_until_quiet(connection: socket.socket, *, closed: bool = False) -> TcpInfo:
    """Return the counts when nothing is under way any more, or when both sides have closed. Raises MeasurementError."""
    deadline = monotonic() + PATIENCE_S
    while not (tcp_info(connection).closed if closed else is_quiet(connection)):
        if monotonic() > deadline:
            raise MeasurementError(f"a connection did not fall quiet in {PATIENCE_S:g} s")
        sleep(LOOK_AGAIN_S)
    return tcp_info(connection)
