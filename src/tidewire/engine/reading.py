"""What of a stream is not a whole packet yet: kept between reads, without copying a large packet twice."""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from tidewire.engine.link import Link, Outgoing
from tidewire.engine.ports import Transport

_LARGE_PACKET_BYTES: Final = 65_536
"""From here on the parts of a packet are collected in a list, so that growing it does not copy it each time."""


class Reading(Link):
    """A link that also reads: shared by broker and client."""

    def __init__(self, transport: Transport, outgoing: Outgoing) -> None:
        super().__init__(transport, outgoing)
        self.kept = b""
        """Bytes of a packet whose end has not come."""
        self.chunks: list[bytes] | None = None
        """The same for a large one, in the parts that came."""
        self.missing: i64 = 0
        """How many bytes of it are still to come, once that is known."""

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
