"""A broker under administration, on the running loop, and clients whose bytes never see a socket.

    with administered() as run:
        ...

A `Peer` stands where a network connection would: what it sends is cut as the test wants, and what it gets is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast

from tests.process import NO_LIMIT
from tidewire.server.admin import Admin
from tidewire.server.config import Config
from tidewire.server.listener import ClientProtocol
from tidewire.server.server import Server
from tidewire.wire.framing import Decoder
from tidewire.wire.packets import Connect, Packet

T = TypeVar("T")

START = 1_000_000.0
"""Seconds since 1970 when a test begins."""


class Clock:
    """Both clocks of a broker: its own, and the wall's."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now - 100.0 + START


class Setup:
    """The broker, and what it is administered by."""

    def __init__(self, server: Server, clock: Clock) -> None:
        self.server = server
        self.clock = clock
        self.admin = Admin(server, wall_clock=clock.wall)

    def peer(self, version: int = 5) -> Peer:
        """A network connection without CONNECT."""
        return Peer(self.server, version)

    def client(self, name: str, version: int = 5, **fields: Any) -> Peer:
        """A client that is connected; `fields` are those of CONNECT."""
        peer = self.peer(version)
        peer.send(Connect(name, version, **fields))
        return peer


class Peer:
    """One connection, seen from its other end."""

    def __init__(self, server: Server, version: int) -> None:
        self.version = version
        self.sent: list[Packet] = []
        self.transport = _Transport(self.leave)
        self.protocol = ClientProtocol(server)
        self.protocol.connection_made(cast(asyncio.Transport, self.transport))
        self._server = server

    @property
    def received(self) -> list[Packet]:
        """All packets so far."""
        self._server.flush()
        return Decoder(self.version, NO_LIMIT).feed(self.transport.written)

    def send(self, *packets: Packet) -> None:
        self.sent += packets
        self.send_bytes(b"".join(packet.encode(self.version) for packet in packets))

    def send_bytes(self, data: bytes, cuts: Iterable[int] = ()) -> None:
        """In one piece, or cut at these positions."""
        start = 0
        for end in [*sorted(cuts), len(data)]:
            if end > start:
                self.protocol.data_received(data[start:end])
                start = end
        self._server.flush()

    def leave(self) -> None:
        """The network connection ends."""
        if not self.transport.ended:
            self.transport.ended = True
            self.protocol.connection_lost(None)
            self._server.flush()


class _Transport:
    """Keeps what is written."""

    def __init__(self, leave: Callable[[], None]) -> None:
        self.written = b""
        self.ended = False
        self._leave = leave

    def write(self, data: bytes) -> None:
        self.written += data

    def get_extra_info(self, name: str) -> Any:
        return ("192.0.2.7", 4711) if name == "peername" else None

    def set_write_buffer_limits(self, high: int) -> None: ...
    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        asyncio.get_running_loop().call_soon(self._leave)

    abort = close

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


@asynccontextmanager
async def administered(**config: Any) -> AsyncIterator[Setup]:
    """A broker without listeners. `config` is of `server.config.Config`."""
    clock = Clock()
    limits = {"sys_interval_s": 0, **config.pop("limits", {})}
    server = Server(Config(bind=[], limits=limits, **config), clock=clock)
    try:
        yield Setup(server, clock)
    finally:
        await server.stop(0.0)


def run(work: Coroutine[Any, Any, T]) -> T:
    """To its end, on a loop of its own."""
    return asyncio.run(work)
