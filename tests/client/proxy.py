"""What if the network fails? A proxy between client and broker that can cut, hold, swallow and refuse.

async with Proxy(broker.port) as proxy:
    async with Client(proxy.url) as client:
        proxy.cut()
"""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Final, Self

READ_BYTES: Final = 65_536


class Proxy:
    """Listens on a port of its own and carries bytes to and from the broker."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._swallowing = False
        self._cut = asyncio.Event()
        self.refusing = False
        """Whether new connections are cut at once."""
        self.accepted = 0
        """Connections so far, refused ones included."""
        self.cuts = 0
        """How often that has happened."""
        self.cut_after: list[int] = []
        """After so many bytes, both ways together, a connection is cut; one number a connection."""

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
        self.cut()
        for connection in list(self._connections):
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def cut(self) -> None:
        """Cut all connections now, without a farewell."""
        self._swallowing = False
        self._cut.set()
        self._cut = asyncio.Event()
        self._flowing.set()
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def hold(self) -> None:
        """Nothing passes until `let_go`, and nothing is lost."""
        self._flowing.clear()

    def let_go(self) -> None:
        self._flowing.set()

    def swallow(self) -> None:
        """Half open: what comes disappears, until the next `cut`."""
        self._swallowing = True

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        self.accepted += 1
        try:
            if self.refusing:
                writer.transport.abort()
                return
            there, back = await asyncio.open_connection("127.0.0.1", self._port)
            self._writers += [writer, back]
            budget = _Budget(self.cut_after.pop(0) if self.cut_after else None)
            with contextlib.suppress(OSError):
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._carry(reader, back, budget, writer))
                    group.create_task(self._carry(there, writer, budget, back))
            self.cuts += budget.is_spent()
        except (OSError, ExceptionGroup, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(task)

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, budget: _Budget, other: asyncio.StreamWriter
    ) -> None:
        cut = self._cut
        try:
            while data := await reader.read(READ_BYTES):
                await self._flowing.wait()
                if self._swallowing:
                    continue
                writer.write(data[: budget.allows(len(data))])
                await writer.drain()
                if budget.is_spent():
                    break
            if self._swallowing:
                await cut.wait()  # an end does not pass either
        finally:
            writer.close()
            if budget.is_spent():
                other.close()


class _Budget:
    """How many bytes may still pass; None: any number."""

    def __init__(self, left: int | None) -> None:
        self.left = left

    def allows(self, number: int) -> int:
        if self.left is None:
            return number
        allowed = min(number, self.left)
        self.left -= allowed
        return allowed

    def is_spent(self) -> bool:
        return self.left == 0
