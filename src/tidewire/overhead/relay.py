"""How are the bytes of somebody else's library counted? They go through a relay, which asks the kernel."""

from __future__ import annotations

import asyncio
import itertools
import socket
from contextlib import suppress
from typing import Final

from tidewire.overhead.costs import Direction, Traffic
from tidewire.overhead.errors import MeasurementError
from tidewire.overhead.kernel import (
    LOOK_AGAIN_S,
    PATIENCE_S,
    UDP_HEADER_BYTES,
    TcpInfo,
    is_quiet,
    prepare,
    tcp_info,
)
from tidewire.server.tcp_info import IPV4_HEADER_BYTES

READ_BYTES: Final = 1 << 18


class TcpRelay:
    """Between clients and a server on loopback. What is counted is the connection between client and relay."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listening = socket.socket()
        prepare(self._listening)
        self._listening.bind(("127.0.0.1", 0))
        self._listening.listen()
        self._listening.setblocking(False)
        self.port: int = self._listening.getsockname()[1]
        self._handshakes = 0
        self._clients: list[socket.socket] = []
        self._servers: list[socket.socket] = []
        self._passed: dict[socket.socket, dict[bool, int]] = {}
        """Bytes of each client; True is to the server."""
        self._open: set[asyncio.Task[None]] = set()
        self._turns: list[bool] = []
        self._accepting: asyncio.Task[None] | None = None

    async def open(self) -> None:
        self._accepting = asyncio.get_running_loop().create_task(self._accept())

    async def traffic(self, *, closed: bool = False) -> Traffic:
        """All so far, once nothing is under way any more; `closed`: once all connections are. MeasurementError."""
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        while not all(tcp_info(client).closed if closed else is_quiet(client) for client in self._clients):
            if asyncio.get_running_loop().time() > deadline:
                raise MeasurementError(f"a connection did not fall quiet in {PATIENCE_S:g} s")
            await asyncio.sleep(LOOK_AGAIN_S)
        total = Traffic()
        for client in self._clients:
            total += _seen_by_the_client(tcp_info(client), self._passed[client])
        return total

    def round_trips(self) -> int:
        """How often an answer came back since this was asked last, TCP's handshakes included."""
        turns, self._turns = self._turns, []
        handshakes, self._handshakes = self._handshakes, 0
        return handshakes + _answers(turns)

    async def close(self) -> None:
        tasks = [task for task in (self._accepting, *self._open) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for each in (self._listening, *self._clients, *self._servers):
            each.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            client, _ = await loop.sock_accept(self._listening)
            server = socket.socket()
            server.setblocking(False)
            prepare(server)
            self._clients.append(client)
            self._handshakes += 1
            passed = self._passed[client] = {True: 0, False: 0}
            self._servers.append(server)
            await loop.sock_connect(server, ("127.0.0.1", self._server_port))
            for source, sink in ((client, server), (server, client)):
                self._open.add(loop.create_task(self._pass_on(source, sink, source is client, passed)))

    async def _pass_on(
        self, source: socket.socket, sink: socket.socket, to_server: bool, passed: dict[bool, int]
    ) -> None:
        """One way, to its end. Then both ways end: some servers leave a client that has gone waiting for its FIN."""
        loop = asyncio.get_running_loop()
        with suppress(OSError):  # it may break off as well
            while data := await loop.sock_recv(source, READ_BYTES):
                self._turns.append(to_server)
                await loop.sock_sendall(sink, data)
                passed[to_server] += len(data)
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_WR)


def _seen_by_the_client(info: TcpInfo, passed: dict[bool, int]) -> Traffic:
    """The other end's counts. The kernel does not count the SYN that it answers with before the connection is ours."""
    below = info.header_total(info.segments_in)
    sent = Direction(protocol=passed[True], tcp_ip=below, segments=info.segments_in)
    segments = info.segments_out + 1
    below = info.header_total(segments) + info.repeated_bytes
    return Traffic(sent, Direction(protocol=passed[False], tcp_ip=below, segments=segments))


class UdpRelay(asyncio.DatagramProtocol):
    """Between one client and a server on loopback; counts datagrams, each with its IP and UDP header."""

    def __init__(self, server_port: int) -> None:
        self.port = 0
        self._server = ("127.0.0.1", server_port)
        self._client: tuple[str, int] | None = None
        self._sent = self._received = Direction()
        self._turns: list[bool] = []
        self._transport: asyncio.DatagramTransport | None = None

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, ("127.0.0.1", 0))
        self.port = self._transport.get_extra_info("sockname")[1]

    async def traffic(self, *, closed: bool = False) -> Traffic:
        """All so far. There is no connection that could be open."""
        return Traffic(self._sent, self._received)

    def round_trips(self) -> int:
        turns, self._turns = self._turns, []
        return _answers(turns)

    async def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        assert self._transport is not None
        datagram = Direction(protocol=len(data), tcp_ip=IPV4_HEADER_BYTES + UDP_HEADER_BYTES, segments=1)
        to_server = address != self._server
        self._turns.append(to_server)
        if to_server:
            self._client = address
            self._sent += datagram
            self._transport.sendto(data, self._server)
        elif self._client is not None:
            self._received += datagram
            self._transport.sendto(data, self._client)


def _answers(turns: list[bool]) -> int:
    return sum(1 for before, after in itertools.pairwise(turns) if before and not after)
