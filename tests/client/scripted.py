"""What if a server does what no broker here does? One that a test scripts, packet by packet.

async def script(peer: Peer) -> None:
    await peer.accept()
    peer.send(Disconnect(0x8B))

async with ScriptedServer(script) as server:
    ...
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from tests.process import NO_LIMIT
from tidewire.wire.framing import Decoder
from tidewire.wire.packets import Connack, Connect, Packet, Suback, Subscribe, Unsuback, Unsubscribe

READ_BYTES: Final = 65_536
_PacketT = TypeVar("_PacketT", bound=Packet)


class Peer:
    """The server's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.number = number
        """How many connections came before."""
        self.connect = Connect()
        """What the client asked for, after `accept`."""
        self._reader = reader
        self._writer = writer
        self._decoder = Decoder(5, NO_LIMIT)
        self._inbox: list[Packet] = []

    async def receive(self) -> Packet | None:
        """The next packet; None when the client has gone."""
        while not self._inbox:
            data = await self.read_some()
            if not data:
                return None
            self._inbox += self._decoder.feed(data)
        return self._inbox.pop(0)

    async def read_some(self) -> bytes:
        """Bytes, whatever they mean; none when the client has gone."""
        try:
            return await self._reader.read(READ_BYTES)
        except ConnectionError:
            return b""

    async def expect(self, kind: type[_PacketT]) -> _PacketT:
        """The next packet, which has to be of this kind."""
        packet = await self.receive()
        assert isinstance(packet, kind), packet
        return packet

    async def accept(self, connack: Connack | None = None) -> Connect:
        """Take CONNECT and answer it."""
        await self.expect_connect()
        self.send(connack or Connack())
        return self.connect

    async def expect_connect(self) -> Connect:
        """Take CONNECT."""
        self.connect = await self.expect(Connect)
        return self.connect

    async def grant(self) -> Subscribe:
        """Take SUBSCRIBE and grant what it asks for."""
        packet = await self.expect(Subscribe)
        self.send(Suback(packet.packet_identifier, [request.qos for request in packet.requests]))
        return packet

    async def serve(self) -> None:
        """Grant and acknowledge everything until the client has gone; PUBLISH is not answered."""
        while (packet := await self.receive()) is not None:
            if isinstance(packet, Subscribe):
                self.send(Suback(packet.packet_identifier, [request.qos for request in packet.requests]))
            elif isinstance(packet, Unsubscribe):
                self.send(Unsuback(packet.packet_identifier, [0] * len(packet.topic_filters)))

    async def serve_nothing(self) -> None:
        """Read, and answer nothing, until the client has gone."""
        while await self.receive() is not None:
            pass

    def is_quiet(self) -> bool:
        """Whether nothing has come that `receive` has not returned."""
        return not self._inbox and not self._reader._buffer  # type: ignore[attr-defined]

    def send(self, *packets: Packet) -> None:
        self.send_bytes(b"".join(packet.encode(self._decoder.version) for packet in packets))

    def send_bytes(self, data: bytes) -> None:
        self._writer.write(data)

    def close(self) -> None:
        self._writer.close()

    def abort(self) -> None:
        self._writer.transport.abort()


class ScriptedServer:
    """Runs a script for each connection; what goes wrong in one comes out at the end of the block."""

    def __init__(self, script: Callable[[Peer], Awaitable[Any]]) -> None:
        self.connections = 0
        self._script = script
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._faults: list[Exception] = []

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"mqtt://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._faults:
            raise self._faults[0]

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        peer = Peer(reader, writer, self.connections)
        self.connections += 1
        try:
            await self._script(peer)
        except Exception as error:
            self._faults.append(error)
        finally:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                writer.close()
            self._tasks.discard(task)
