"""What does the kernel say of one TCP connection? `TCP_INFO`, where there is one."""

from __future__ import annotations

import socket
import struct
import sys
from typing import Any, Final, NamedTuple

IPV4_HEADER_BYTES: Final = 20
IPV6_HEADER_BYTES: Final = 40
TCP_HEADER_BYTES: Final = 20  # without options [RFC 9293]
TIMESTAMP_BYTES: Final = 12  # the option that most segments carry, padded
SYN_OPTION_BYTES: Final = 8
"""How much longer a SYN is: segment size and window scale; that selective acknowledgement may be used stands in the
padding of the timestamps."""

TIMESTAMPS: Final = 1  # of tcpi_options
_FORMAT: Final = struct.Struct("=8B24I4Q6I4Q2I2Q")  # struct tcp_info up to tcpi_bytes_retrans, since Linux 4.19
_COUNTS: Final = struct.Struct("=B4xB122xQ3I52x2Q")  # of it: state, options, bytes and segments
_ESTABLISHED: Final = 1
_OVER: Final = 7
_PEER_HAS_CLOSED: Final = frozenset((6, 8, 9, 11))  # TIME_WAIT, CLOSE_WAIT, LAST_ACK, CLOSING


class TcpInfo(NamedTuple):
    """Counted by the kernel since the connection was opened."""

    received_bytes: int
    """Of the stream, read by us or not."""
    sent_bytes: int
    """Of the stream: what we gave to the kernel."""
    repeated_bytes: int
    """That were sent again."""
    segments_in: int
    segments_out: int
    """All of them, but for our answer to the SYN: the kernel counts for the listening socket until then."""
    header_bytes: int
    """IP and TCP header of a segment."""
    is_established: bool
    """Neither side has closed it."""
    is_over: bool
    """Both have, or one has reset it: there is nothing to come."""


def raw_tcp_info(connection: Any) -> tuple[int, ...] | None:
    """The fields of `struct tcp_info`, in their order, of which the first bit fields are one byte each; None where the
    kernel does not tell. Raises OSError for a socket that is closed."""
    return _unpacked(connection, _FORMAT)


def tcp_info(connection: Any, ip_header_bytes: int) -> TcpInfo | None:
    """What the kernel has counted so far; None where it does not tell. Raises OSError for a socket that is closed."""
    values = _unpacked(connection, _COUNTS)
    if values is None:
        return None
    state, options, received_bytes, segments_out, segments_in, unsent_bytes, written_bytes, repeated_bytes = values
    header_bytes = ip_header_bytes + TCP_HEADER_BYTES + (TIMESTAMP_BYTES if options & TIMESTAMPS else 0)
    return TcpInfo(
        received_bytes - (state in _PEER_HAS_CLOSED),  # the kernel counts a FIN as a byte
        written_bytes - repeated_bytes + unsent_bytes,
        repeated_bytes,
        segments_in,
        segments_out,
        header_bytes,
        state == _ESTABLISHED,
        state == _OVER,
    )


def _unpacked(connection: Any, form: struct.Struct) -> tuple[int, ...] | None:
    if sys.platform != "linux":
        return None
    raw = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _FORMAT.size)
    return form.unpack(raw) if len(raw) == _FORMAT.size else None
