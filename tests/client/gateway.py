"""How do brokers without a WebSocket listener get one? A gateway from WebSocket to TCP, with or without TLS."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol


class Gateway:
    """A WebSocket server in front of a broker's port."""

    def __init__(self, port: int) -> None:
        self.requests: list[Any] = []
        """What clients sent to be upgraded."""
        self.server: Server
        self._port = port

    @property
    def port(self) -> int:
        return int(next(iter(self.server.sockets)).getsockname()[1])

    async def serve(self, outside: ServerConnection) -> None:
        self.requests.append(outside.request)
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)

        async def outwards() -> None:
            while data := await reader.read(1_000):  # small ones: a packet may take several frames
                await outside.send(data)
            await outside.close()

        carrying = asyncio.create_task(outwards())
        try:
            async for data in outside:
                assert isinstance(data, bytes)
                writer.write(data)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionClosed, OSError):
                await carrying


@contextlib.asynccontextmanager
async def gateway(port: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[Gateway]:
    """A gateway to the broker at `port` of this machine."""
    made = Gateway(port)
    subprotocols = [Subprotocol("mqtt"), Subprotocol("mqttv3.1")]
    async with serve(made.serve, "127.0.0.1", 0, ssl=tls, subprotocols=subprotocols, max_size=None) as made.server:
        yield made
