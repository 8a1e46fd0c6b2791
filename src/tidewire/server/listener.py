"""Network connections: one asyncio protocol that hands bytes to the engine, and the doors it comes through."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Final, cast

from tidewire.server.below_mqtt import BelowMqtt
from tidewire.wire.codes import ReasonCode

if TYPE_CHECKING:
    from tidewire.engine.connection import Connection
    from tidewire.server.endpoint import Endpoint
    from tidewire.server.server import Server

WRITE_HIGH_WATER_BYTES: Final = 256 * 1024
"""What a transport may hold for a peer before the engine keeps the rest on its own outbox."""


SMALL_READ_BYTES: Final = 4096
"""What a read with so little brought goes out at once; after more, others may have something for the same sockets."""


class ClientProtocol(asyncio.Protocol):
    """One connection: asyncio's calls become the engine's."""

    __slots__ = ("below", "connection", "endpoint", "entered", "name", "receiver", "server", "since")

    connection: Connection
    receiver: Connection
    """Who is told of what comes: the connection, or who looks at it on the way."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.endpoint: Endpoint | None = None
        """Where it comes in."""
        self.entered = False
        """It has its place there."""
        self.name: object = None
        """The socket's name of its other end, where it is not asked: a proxy's would be the proxy's."""
        self.below: BelowMqtt | None = None
        """What the layers below MQTT cost."""
        self.since = server.clock()
        """When it came."""

    @property
    def connected(self) -> bool:
        """Whether the connection was made."""
        return hasattr(self, "connection")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)
        transport.set_write_buffer_limits(high=WRITE_HIGH_WATER_BYTES)
        if self.name is None:
            self.name = transport.get_extra_info("peername")
        self.connection = self.receiver = self.server.broker.accept(transport, written(self.name), self.server.clock())
        if self.endpoint is not None and self.endpoint.tls is not None:
            self.connection.certificate = self.endpoint.tls.certificate(transport.get_extra_info("ssl_object"))
        self.below = self.connection.traffic.below = BelowMqtt(transport)
        self.server.gate.admit(self, transport)

    def data_received(self, data: bytes) -> None:
        server = self.server
        only_messages = self.receiver.receive(data, server.clock())
        if only_messages and len(data) <= SMALL_READ_BYTES:
            server.broker.outgoing.flush()
        if not server.flush_planned:
            server.plan_flush(only_messages)

    def eof_received(self) -> bool:
        """False: our side closes as well."""
        if self.below is not None:
            self.below.peer_ended()
        return False

    def pause_writing(self) -> None:
        self.connection.block()

    def resume_writing(self) -> None:
        self.connection.unblocked(self.server.clock())
        self.server.plan_flush()

    def connection_lost(self, error: Exception | None) -> None:
        self.server.gate.leave(self)
        self.server.metering.collect(self, ended=True)
        detail = "connection closed by the client" if error is None else str(error) or type(error).__name__
        self.receiver.lost(detail, self.server.clock())
        self.server.plan_flush()


class Waiting(asyncio.Protocol):
    """Stands in for a client's protocol until the gate lets it in.

    uvloop reads from a new connection whatever `connection_made` said: one read gets here, and then it is paused.
    """

    __slots__ = ("data", "protocol", "transport")

    def __init__(self, protocol: ClientProtocol, transport: asyncio.Transport) -> None:
        self.protocol = protocol
        self.transport = transport
        self.data = b""
        transport.pause_reading()
        transport.set_protocol(self)

    def data_received(self, data: bytes) -> None:
        if not self.protocol.connection.closed:
            self.data += data
            self.transport.pause_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self.protocol.connection_lost(error)

    def let_in(self) -> None:
        """Its turn has come."""
        if not self.transport.is_closing():
            self.transport.set_protocol(self.protocol)
            self.transport.resume_reading()
            if self.data:
                self.protocol.data_received(self.data)


class Gate:
    """Lets connections in at a bounded rate and number: the bytes of those past the rate wait in the kernel."""

    def __init__(self, accept_rate: int, connections: int) -> None:
        self.connections: set[ClientProtocol] = set()
        self.admitted: Callable[[ClientProtocol], None] | None = None
        """Told of everybody who is let in, before the first byte is read; None: nobody wants to know."""
        self._rate = accept_rate
        self._limit = connections
        self._room = float(accept_rate)
        self._filled_at = monotonic()
        self._waiting: deque[Waiting] = deque()
        self._emptied: asyncio.Future[None] | None = None

    def admit(self, protocol: ClientProtocol, transport: asyncio.Transport) -> None:
        refusal = self.refusal()
        endpoint = protocol.endpoint
        if not refusal and endpoint is not None and not protocol.entered:
            refusal = endpoint.enter(host_of(protocol.name))
            protocol.entered = not refusal
        if refusal:
            protocol.connection.close(ReasonCode.SERVER_BUSY, refusal, protocol.server.clock())
            transport.abort()
            return
        self.connections.add(protocol)
        if self.admitted is not None:
            self.admitted(protocol)
        self._fill()
        if self._room >= 1.0 and not self._waiting:
            self._room -= 1.0
        else:
            self._waiting.append(Waiting(protocol, transport))
            if len(self._waiting) == 1:
                asyncio.get_running_loop().call_later(1.0 / self._rate, self._let_in)

    def change(self, accept_rate: int, connections: int) -> None:
        """Another rate and number, from the next connection on."""
        self._rate = accept_rate
        self._limit = connections

    def refusal(self) -> str:
        """Why there is no room for another connection; empty where there is."""
        return f"{self._limit} connections are open" if len(self.connections) >= self._limit else ""

    def leave(self, protocol: ClientProtocol) -> None:
        self.connections.discard(protocol)
        if protocol.endpoint is not None and protocol.entered:
            protocol.entered = False
            protocol.endpoint.leave(host_of(protocol.name))
        if self._emptied is not None and not self.connections and not self._emptied.done():
            self._emptied.set_result(None)

    async def empty(self, patience_s: float) -> bool:
        """Wait until all connections have left. False: some have not in that time."""
        if self.connections:
            self._emptied = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._emptied], timeout=patience_s)
        return not self.connections

    def _let_in(self) -> None:
        self._fill()
        while self._waiting and self._room >= 1.0:
            self._room -= 1.0
            self._waiting.popleft().let_in()
        if self._waiting:
            asyncio.get_running_loop().call_later(max(1.0 / self._rate, 0.001), self._let_in)

    def _fill(self) -> None:
        now = monotonic()
        self._room = min(float(self._rate), self._room + (now - self._filled_at) * self._rate)
        self._filled_at = now


def written(name: object) -> str:
    """The name of a socket's other end as `address:port`, or `unix`."""
    if isinstance(name, tuple) and len(name) >= 2:
        return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"
    return "unix"


def host_of(name: object) -> str:
    """Its address alone; empty for a Unix socket."""
    return str(name[0]) if isinstance(name, tuple) and name else ""


def tcp_socket(address: str, port: int) -> socket.socket:
    """A bound socket for an address; those of IPv6 take IPv6 only, so that both can be named. Raises OSError."""
    family, kind, protocol, _, name = socket.getaddrinfo(
        address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # passed on: finds peers that have vanished
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(name)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener
