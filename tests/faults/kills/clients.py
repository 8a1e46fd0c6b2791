"""What all clients of the load share: they live on when the broker is killed, and connect again when it is back.

They do what the specification asks of a client with a lasting session, and note down what they see. They keep their
own state of sections 4.3 and 4.4, so that they owe nothing to the engine that they are to find fault with; only the
bytes are `tidewire.wire`'s.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from tests.faults.kills.broker import Unwell
from tests.faults.kills.judge import History
from tests.process import NO_LIMIT
from tidewire.wire.codes import V5
from tidewire.wire.framing import Decoder
from tidewire.wire.packets import Connack, Connect, Disconnect, Packet
from tidewire.wire.properties import RECEIVE_MAXIMUM, SESSION_EXPIRY_INTERVAL, Properties

HOUR_S: Final = 3600
RECEIVE_MAXIMUM_ASKED: Final = 12
"""Few, so that much waits in the queues."""


class Target:
    """Where the broker is while it lives, and a count of what it acknowledged: the clock of the load."""

    def __init__(self) -> None:
        self.port = 0
        self.over = False
        """The load ends: what is under way comes to its end."""
        self.arrival = asyncio.Event()
        """Set when a subscriber gets something."""
        self._alive = asyncio.Event()
        self._life = 0
        self._count = 0
        self._waiting: list[tuple[int, asyncio.Event]] = []

    async def life(self) -> int:
        """The number of this life, once it has begun."""
        await self._alive.wait()
        return self._life

    def lives(self, life: int) -> bool:
        return self._alive.is_set() and self._life == life

    def begin(self) -> None:
        self._life += 1
        self._alive.set()

    def end(self) -> None:
        self._alive.clear()

    def end_load(self) -> None:
        self.over = True
        for _, event in self._waiting:
            event.set()

    def count(self) -> None:
        """One acknowledgement more."""
        self._count += 1
        for due, event in self._waiting:
            if self._count >= due:
                event.set()
        self._waiting = [(due, event) for due, event in self._waiting if not event.is_set()]

    def after(self, count: int) -> asyncio.Event:
        """Set after so many acknowledgements more, or at the end of the load."""
        event = asyncio.Event()
        if self.over:
            event.set()
        self._waiting.append((self._count + count, event))
        return event


class Wire:
    """One connection, packet by packet."""

    def __init__(self, version: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._version = version
        self._reader = reader
        self._writer = writer
        self._decoder = Decoder(version, NO_LIMIT)
        self._inbox: deque[Packet] = deque()

    @classmethod
    async def open(cls, port: int, connect: Connect) -> tuple[Wire, Connack]:
        """Connect; raises Unwell when refused."""
        wire = cls(connect.version, *await asyncio.open_connection("127.0.0.1", port))
        wire.send(connect)
        connack = await wire.receive()
        if not isinstance(connack, Connack) or connack.reason_code:
            raise Unwell(f"{connect.client_identifier}: CONNECT was answered by {connack}")
        return wire, connack

    def send(self, packet: Packet) -> None:
        if not self._writer.is_closing():  # what is still in the inbox is answered into the void
            self._writer.write(packet.encode(self._version))

    async def receive(self) -> Packet:
        """The next packet. Raises ConnectionError at the end of the connection."""
        while not self._inbox:
            data = await self._reader.read(65_536)
            if not data:
                raise ConnectionResetError("it ended the connection")
            self._inbox += self._decoder.feed(data)
        packet = self._inbox.popleft()
        if isinstance(packet, Disconnect):
            raise ConnectionResetError(f"it sent DISCONNECT {packet.reason_code:#x}")
        return packet

    def leave(self, in_peace: bool = True) -> None:
        """With DISCONNECT, or just cut off."""
        if in_peace:
            self.send(Disconnect())
            self._writer.close()
        else:
            self._writer.transport.abort()


class Client:
    """One lasting session."""

    def __init__(self, name: str, version: int, target: Target, history: History) -> None:
        self.name = name
        self.target = target
        self.history = history
        self.done = False
        self._version = version
        self._known = False

    async def run(self) -> None:
        """Live with the broker until all is done. Raises Unwell where it ends a connection while it lives."""
        while not self.done:
            await self.wait()
            life = await self.target.life()
            try:
                await self._live()
            except OSError as error:
                if self.target.lives(life):
                    raise Unwell(f"{self.name}: the broker lives, but {error}") from error

    async def wait(self) -> None:
        """Before connecting."""

    async def live(self, wire: Wire) -> None:
        """From CONNACK to the end of the connection."""
        raise NotImplementedError

    def forget(self) -> None:
        """The broker has no session of ours: neither have we."""
        raise NotImplementedError

    async def _live(self) -> None:
        connect = Connect(self.name, self._version, clean_start=False)
        if self._version == V5:
            connect.properties = lasting()
        wire, connack = await Wire.open(self.target.port, connect)
        try:
            if not connack.session_present:
                if self._known:
                    self.history.faults.append(f"{self.name}: its session is gone")
                self.forget()
            self._known = True
            await self.live(wire)
        finally:
            wire.leave(in_peace=False)


def lasting() -> Properties:
    """Of a session that outlives the test."""
    properties = Properties()
    properties.integers = {SESSION_EXPIRY_INTERVAL: HOUR_S, RECEIVE_MAXIMUM: RECEIVE_MAXIMUM_ASKED}
    return properties
