"""How does a bridge connect: to its own broker within the process, to the other one as a bridge among bridges?

Both ends are `tidewire.Client`s that keep their sessions. Which of the two brokers a message waits in follows from the
acknowledgements alone, so nothing is kept here.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final, cast

from tidewire.client.address import Address
from tidewire.client.client import Client
from tidewire.client.errors import ConnectionRefused
from tidewire.client.network import Passage, open_connection
from tidewire.engine.delivery import RELEASED
from tidewire.engine.limits import MAXIMUM_INTERVAL
from tidewire.engine.message import IDENTIFIERS
from tidewire.server.bridge_access import MARK, PREFIX, BridgeAccess
from tidewire.server.bridge_config import BridgeConfig, address, client_id, password, tls_context
from tidewire.server.listener import WRITE_HIGH_WATER_BYTES, ClientProtocol
from tidewire.wire.codes import V5, V311, ConnectReturnCode

if TYPE_CHECKING:
    from tidewire.server.server import Server

INFLIGHT: Final = 1024
"""Messages of one direction that are not acknowledged at a time: over a link of 100 ms, ten thousand a second."""

INFLIGHT_BEFORE_5: Final = 20
"""The same towards a broker that cannot say what it takes: Mosquitto ends the connection of who sends more at QoS 2."""

BRIDGE_BIT: Final = 0x80
"""Of the protocol level, before 5.0: the client is a bridge, and is not sent what it has published. Not in the
specification; Mosquitto has it, and some after it."""

_CONNECT_3_1_1: Final = b"\x00\x04MQTT\x04"


class Lost(Exception):
    """The connection to one of the brokers is gone; the cause says why."""


class BridgeClient(Client):
    """One end of a bridge. It connects when it is told to, not by itself."""

    def __init__(self, where: Address, **options: Any) -> None:
        inflight_maximum = INFLIGHT if options.get("version", "5.0") == "5.0" else INFLIGHT_BEFORE_5
        super().__init__(
            reconnect=None, on_state=_lost, inflight_maximum=inflight_maximum, receive_maximum=INFLIGHT, **options
        )
        self._settings.address = where

    @property
    def is_resumed(self) -> bool:
        """Whether the broker had kept the session when it last let us in."""
        return self.connack is not None and self.connack.session_present

    @property
    def has_properties(self) -> bool:
        """Whether it speaks MQTT 5.0."""
        return self._settings.level == V5

    def finish_earlier_life(self) -> None:
        """Before the first connection: end what the process may have left unfinished at QoS 2 when it was killed.

        Else the broker would take a new message for the one that it has by this packet identifier already. It is
        released, as every message will be again that was not acknowledged where it came from.
        """
        session = self._session
        session.identifier_maximum = INFLIGHT
        session.restore({IDENTIFIERS[number]: RELEASED for number in range(1, INFLIGHT + 1)}, [], set())


def local_client(server: Server, access: BridgeAccess, name: str) -> BridgeClient:
    """The end at our own broker, whose doors it does not come through."""
    loop = asyncio.get_running_loop()

    async def open(protocol: asyncio.Protocol) -> None:
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
        await loop.connect_accepted_socket(lambda: _LocalProtocol(server, access, name), theirs)
        await loop.connect_accepted_socket(lambda: protocol, ours)

    where = Passage(scheme="mqtt", host=f"bridge {name}", port=0, path="", open=open)
    return BridgeClient(where, client_id=PREFIX + name, session_expiry=MAXIMUM_INTERVAL, keep_alive=0)


def remote_client(config: BridgeConfig, broker: str) -> tuple[BridgeClient, Marking | None]:
    """The end at the other broker, and where it is the bit that shows it to be a bridge. Raises BridgeFault."""
    where = address(config)
    tls = tls_context(config)
    marking = None
    if config.version != "5.0":
        marking = Marking(lambda protocol: open_connection(where, protocol, tls, {}, None, "mqtt"))
    client = BridgeClient(
        Passage(**asdict(where), open=marking.open) if marking is not None else where,
        client_id=client_id(config),
        version=config.version,
        session_expiry=config.session_expiry_s,
        keep_alive=config.keep_alive_s,
        user_name=config.user_name,
        password=password(config),
        tls=tls,
        user_properties=[(MARK, broker)] if config.version == "5.0" else (),
    )
    return client, marking


class Marking:
    """Sets BRIDGE_BIT in CONNECT, if the other broker takes it."""

    def __init__(self, open: Callable[[asyncio.Protocol], Any]) -> None:
        self.is_on = True
        self._is_proven = False
        self._was_reached = False
        self._open = open

    async def open(self, protocol: asyncio.Protocol) -> None:
        """Connect, with the bit or without."""
        self._was_reached = False
        await self._open(_MarkedProtocol(self, protocol))

    def reached(self) -> None:
        """There is somebody at the other end."""
        self._was_reached = True

    def accepted(self) -> None:
        """The broker has let us in: it stays as it is now."""
        self._is_proven = True

    def refused(self, error: Exception) -> bool:
        """The broker has not. True: the next attempt is another one, so that it may be made at once."""
        if self._is_proven or not self._was_reached:
            return False
        if isinstance(error, ConnectionRefused) and (
            error.reason_code != ConnectReturnCode.UNACCEPTABLE_PROTOCOL_VERSION
        ):
            return False
        self.is_on = not self.is_on  # some say nothing, but close the connection
        return not self.is_on


class _MarkedProtocol(asyncio.Protocol):
    """Stands before a client's protocol, and at what it writes first."""

    def __init__(self, marking: Marking, inner: asyncio.Protocol) -> None:
        self._marking = marking
        self._inner = inner

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._marking.reached()
        marked = _MarkedTransport(cast(asyncio.Transport, transport)) if self._marking.is_on else transport
        self._inner.connection_made(cast(asyncio.Transport, marked))

    def data_received(self, data: bytes) -> None:
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        self._inner.connection_lost(error)


class _MarkedTransport:
    """A transport that sets the bit in the CONNECT that is written first."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._is_first = True

    def write(self, data: bytes) -> None:
        if self._is_first:
            self._is_first = False
            data = data.replace(_CONNECT_3_1_1, _CONNECT_3_1_1[:-1] + bytes([V311 | BRIDGE_BIT]), 1)
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class _LocalProtocol(ClientProtocol):
    """Our broker's end of a bridge's connection."""

    __slots__ = ("_access", "_bridge")

    def __init__(self, server: Server, access: BridgeAccess, name: str) -> None:
        super().__init__(server)
        self._access = access
        self._bridge = name

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast(asyncio.Transport, transport)
        stream.set_write_buffer_limits(high=WRITE_HIGH_WATER_BYTES)
        self.connection = self.receiver = self.server.broker.accept(
            stream, f"bridge:{self._bridge}", self.server.clock()
        )
        self._access.expect(self.connection)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.connection.allowance = None  # what it may publish in a second is for clients

    def connection_lost(self, error: Exception | None) -> None:
        self._access.forget(self.connection)
        super().connection_lost(error)


def _lost(state: str, error: Exception | None) -> None:
    """Whoever waits for the client hears of it."""
    if state == "disconnected":
        raise Lost from error
