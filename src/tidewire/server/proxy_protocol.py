"""Who is behind the proxy? The header of the PROXY protocol, version 1 and 2, read to its last byte and no further."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Final

V2_SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
V1_START: Final = b"PROXY "
V1_LONGEST: Final = 107
"""Bytes of a line of version 1, its end included; the protocol's own bound."""

V2_LONGEST: Final = 4096
"""Bytes of a header of version 2 after its first 16: two addresses take at most 216, the rest is for extensions."""


class MalformedHeader(ValueError):
    """What came is no PROXY protocol header."""


async def read_header(connection: socket.socket) -> tuple[str, int] | None:
    """The (address, port) of the client; None where the proxy speaks for itself, as in its health checks.

    `connection` must not block. What follows the header stays in it. Raises MalformedHeader, or OSError.
    """
    start = await _exactly(connection, len(V1_START))
    if start == V1_START:
        return parse_v1(start + await _line(connection, V1_LONGEST - len(V1_START)))
    if not V2_SIGNATURE.startswith(start):
        raise MalformedHeader("the connection does not begin with a PROXY protocol header")
    head = start + await _exactly(connection, 16 - len(start))
    length = int.from_bytes(head[14:16], "big")
    if length > V2_LONGEST:
        raise MalformedHeader(f"the PROXY protocol header has {length} bytes, more than {V2_LONGEST}")
    return parse_v2(head, await _exactly(connection, length))


def parse_v1(line: bytes) -> tuple[str, int] | None:
    """`PROXY TCP4 192.0.2.1 192.0.2.2 56324 8883\\r\\n`. Raises MalformedHeader."""
    if not line.endswith(b"\r\n"):
        raise MalformedHeader("the PROXY protocol line does not end")
    words = line[:-2].split(b" ")
    if len(words) >= 2 and words[:2] == [b"PROXY", b"UNKNOWN"]:
        return None
    if len(words) != 6 or words[0] != b"PROXY" or words[1] not in (b"TCP4", b"TCP6"):
        raise MalformedHeader("the PROXY protocol line does not name a protocol, two addresses and two ports")
    try:
        source, _destination = [ipaddress.ip_address(word.decode("ascii")) for word in words[2:4]]
    except ValueError:
        raise MalformedHeader("the PROXY protocol line holds something that is no address") from None
    if {source.version, _destination.version} != {4 if words[1] == b"TCP4" else 6}:
        raise MalformedHeader("the PROXY protocol line holds an address of another family")
    ports = [int(word) if word.isdigit() and len(word) <= 5 else -1 for word in words[4:]]
    if not all(0 <= port <= 65_535 for port in ports):
        raise MalformedHeader("the PROXY protocol line holds something that is no port")
    return str(source), ports[0]


def parse_v2(head: bytes, rest: bytes) -> tuple[str, int] | None:
    """The 16 bytes that every header has, and as many more as they say. Raises MalformedHeader."""
    if not head.startswith(V2_SIGNATURE) or head[12] >> 4 != 2:
        raise MalformedHeader("the PROXY protocol header is of another version than 1 or 2")
    command, family = head[12] & 15, head[13]
    if command > 1:
        raise MalformedHeader(f"the PROXY protocol header has the unknown command {command}")
    if command == 0 or family not in (0x11, 0x21):  # LOCAL; or neither TCP over IPv4 nor over IPv6
        return None
    size = 4 if family == 0x11 else 16
    if len(rest) < 2 * size + 4:
        raise MalformedHeader("the PROXY protocol header ends within its addresses")
    return str(ipaddress.ip_address(rest[:size])), int.from_bytes(rest[2 * size : 2 * size + 2], "big")


async def _exactly(connection: socket.socket, count: int) -> bytes:
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < count:
        more = await loop.sock_recv(connection, count - len(data))
        if not more:
            raise MalformedHeader("the connection ended within its PROXY protocol header")
        data += more
    return data


async def _line(connection: socket.socket, longest: int) -> bytes:
    """As far as the next line feed, which is looked for before it is taken: TLS or MQTT follows at once."""
    line = b""
    while not line.endswith(b"\n"):
        if len(line) >= longest:
            raise MalformedHeader(f"the PROXY protocol line has more than {V1_LONGEST} bytes")
        line += await _exactly(connection, 1)
        try:
            there = connection.recv(longest - len(line), socket.MSG_PEEK) if len(line) < longest else b""
        except BlockingIOError:
            continue
        if not line.endswith(b"\n"):
            end = there.find(b"\n")
            line += connection.recv(end + 1 if end >= 0 else len(there))
    return line
