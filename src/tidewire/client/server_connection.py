"""How does a connection to the server begin and end? CONNECT and CONNACK, Keep Alive, DISCONNECT, and being lost."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Final

from tidewire.client.errors import ConnectionFailed, ConnectionLost, ConnectionRefused, NotConnected, refusal
from tidewire.client.network import ENCRYPTED, OLDER_VERSION, Passage, open_connection, prepare
from tidewire.engine.client_connection import ClientConnection
from tidewire.wire import properties as p
from tidewire.wire.codes import V5, V31, ReasonCode
from tidewire.wire.errors import ProtocolViolation
from tidewire.wire.packets import Auth, Connack, Disconnect, Packet, Suback, Unsuback

if TYPE_CHECKING:
    from tidewire.client.lifecycle import Lifecycle

_OLDER_SERVER: Final = b"\x20\x02\x00\x01"
"""CONNACK of a server that knows no MQTT 5.0, to one who asks for it (3.1.1, 3.1.2.2): there it is a malformed one."""

_TLS_ALERT: Final = b"\x15\x03"
"""How a server answers that speaks TLS alone (RFC 8446, 5.1)."""


class ServerConnection:
    """The connection to the server: there is one at a time, and another after it."""

    def __init__(self, life: Lifecycle) -> None:
        self.client_id = life.settings.client_id
        self.connack: Connack | None = None
        """The last that said yes."""
        self.connects = 0
        self.connection: ClientConnection | None = None
        """The newest, from the TCP connection on; the session's is one that CONNACK has admitted."""
        self.loss: asyncio.Future[ConnectionFailed | ConnectionRefused]
        """Done when the connection is gone."""
        self._life = life
        self._settings = life.settings
        self._session = life.session
        self.traffic = life.traffic
        self._protocol: Protocol | None = None
        self._clean_start = True
        """What the last CONNECT asked for."""
        self._unanswered = self._doubtful = False
        """Whether this CONNECT, or one before it, went unanswered: the server may then have a session that lacks our
        subscriptions."""
        self._answer: asyncio.Future[Connack] | None = None
        self._ticker: asyncio.TimerHandle | None = None

    # -- beginning

    async def open(self) -> None:
        """Connect once. Raises ConnectionFailed, ConnectionRefused, or what whoever authenticates raises."""
        settings = self._settings
        address = settings.address
        authenticator = self._life.authenticator
        loop = asyncio.get_running_loop()
        protocol = self._protocol = Protocol(self)
        self.connection = None
        self._answer = loop.create_future()
        self.loss = loop.create_future()
        try:
            async with asyncio.timeout(settings.connect_timeout):
                await open_connection(
                    address, protocol, settings.tls, settings.headers, settings.bind_address, settings.subprotocol
                )
                data = await authenticator.begin()
                connection = self.connection
                assert connection is not None  # connection_made was called
                packet = settings.connect_packet(self.client_id, self.connects == 0, data)
                self._clean_start = packet.clean_start
                self._doubtful = self._unanswered
                self._unanswered = True
                connection.put(packet.encode(settings.level))
                self.traffic.flush()
                await authenticator.believe(connection, await self._answer)
        except TimeoutError:
            self.abandon()
            raise ConnectionFailed(f"no answer from {address} in {settings.connect_timeout:g} s") from None
        except BaseException:
            self.abandon()
            raise
        finally:
            self._answer = None
        self.connects += 1
        self._tick()

    def abandon(self) -> None:
        """Give up a connection that did not get as far as CONNACK."""
        connection = self.connection
        if connection is not None:
            connection.closed = True
            self._leave(connection)
            connection.transport.abort()

    def give_up(self, error: BaseException) -> bool:
        """Whoever waits for CONNACK gets this. True: somebody does."""
        return self._life.waiting.tell(self._answer, error)

    # -- ending

    async def close(self, reason_code: int, session_expiry: int | None, patience_s: float) -> None:
        """DISCONNECT (3.14), and wait until it has left, but not for ever. Before 5.0 any reason but 0 is told by
        silence."""
        connection, protocol = self.connection, self._protocol
        if connection is None or protocol is None:
            return
        transport = protocol.transport
        if connection.connected and not connection.closed and (connection.version == V5 or reason_code == 0):
            packet = Disconnect(reason_code)
            if session_expiry is not None:
                packet.properties.integers[p.SESSION_EXPIRY_INTERVAL] = session_expiry
            connection.put(packet.encode(connection.version))
            self.traffic.flush()
            self.traffic.read_on()
            # Not `close` yet: what the server sends meanwhile would be answered with a reset, and a server that sees
            # one may throw away what it has not read, DISCONNECT included. It closes, as it has to [MQTT-3.14.4-3].
            if transport.can_write_eof():
                with suppress(OSError):  # it is gone already
                    transport.write_eof()
        else:
            transport.close()
        connection.closed = True
        self._leave(connection)
        try:
            async with asyncio.timeout(patience_s):
                await protocol.closed.wait()
        except TimeoutError:
            pass
        finally:
            if not protocol.closed.is_set():
                transport.abort()

    def drop(self) -> None:
        """End it without a word."""
        connection = self.connection
        if connection is not None:
            connection.closed = True
            self._leave(connection)
            connection.transport.close()

    # -- what the protocol calls

    def made(self, transport: asyncio.Transport) -> ClientConnection:
        """The network connection is there."""
        settings = self._settings
        self.connection = ClientConnection(
            self._session,
            transport,
            self.traffic.outgoing,
            settings.level,
            settings.maximum_packet_size,
            settings.topic_alias_maximum,
            monotonic(),
        )
        return self.connection

    def broken(self, connection: ClientConnection, violation: ProtocolViolation, data: bytes) -> None:
        """The server broke the protocol with these bytes: it is told so (4.13.1), and that is all. What came instead
        of CONNACK may show what it speaks."""
        if not connection.connected and connection.version == V5 and data == _OLDER_SERVER:
            self.handle(Connack(reason_code=ReasonCode.UNSUPPORTED_PROTOCOL_VERSION))
            return
        if not connection.connected and data.startswith(_TLS_ALERT):
            self.lost(connection, ConnectionLost(f"the server speaks TLS: {ENCRYPTED}"))
            connection.transport.close()
            return
        if connection.connected and connection.version == V5:
            connection.put(Disconnect(violation.reason_code).encode(V5))
        self.traffic.flush()
        self.lost(connection, ConnectionFailed(f"the server broke the protocol: {violation.detail}"))
        connection.transport.close()

    def lost(self, connection: ClientConnection, error: ConnectionFailed | ConnectionRefused) -> None:
        """The network connection is gone."""
        if connection.closed:
            return
        connection.closed = True
        self._leave(connection)
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        elif not self.loss.done():
            self.loss.set_result(error)

    @property
    def doubt(self) -> str:
        """What to think of a connection that ends before CONNACK: to a server that waits for TLS, CONNECT is none."""
        address = self._settings.address
        plain = address.scheme == "mqtt" and not isinstance(address, Passage)
        return " before CONNACK" + f"; it may want TLS: {ENCRYPTED}" * plain

    # -- what came

    def handle(self, packet: Packet) -> None:
        """A packet that is no message and no acknowledgement of one."""
        if isinstance(packet, Connack):
            if self._answer is not None and not self._answer.done():
                self._admit(packet, self._answer)
        elif isinstance(packet, Suback | Unsuback):
            self._life.subscriptions.answered(packet)
        elif isinstance(packet, Auth):
            self._life.authenticator.handle(packet)
        elif isinstance(packet, Disconnect):
            self._dismissed(packet)

    def _admit(self, packet: Connack, answer: asyncio.Future[Connack]) -> None:
        """CONNACK came (3.2): everything that depends on it happens in the same pass, before what follows is read."""
        life = self._life
        connection = self.connection
        assert connection is not None
        settings = self._settings
        properties = packet.properties
        self._unanswered = self._doubtful
        if packet.reason_code:
            connection.closed = True
            texts = properties.texts
            told = texts.get(p.REASON_STRING, "")
            if packet.reason_code == ReasonCode.UNSUPPORTED_PROTOCOL_VERSION:
                told = f"{told}; take an older one: {OLDER_VERSION}".removeprefix("; ")
            answer.set_exception(refusal(packet.reason_code, settings.level, told, texts.get(p.SERVER_REFERENCE)))
            return
        self.connack = packet
        self.client_id = properties.texts.get(p.ASSIGNED_CLIENT_IDENTIFIER, self.client_id)
        keep_alive = properties.integers.get(p.SERVER_KEEP_ALIVE, settings.keep_alive)
        self._unanswered = False
        life.publishing.admitted(packet)
        life.subscriptions.resume(connection, packet.session_present and not self._doubtful)
        if life.authenticator.must_believe(packet):
            connection.block()  # nothing leaves before the server has proven itself
        # 3.1 does not say whether it has the session: to send PUBREL for nothing is better than not to send it.
        session_present = packet.session_present or (settings.level == V31 and not self._clean_start)
        connection.admitted(properties, session_present, settings.inflight_maximum, keep_alive, monotonic())
        if not self.traffic.may_write():  # what a lost session made void must not be taken up again by the next life
            return
        answer.set_result(packet)
        self.traffic.progressed()
        self.traffic.plan_flush()

    def _dismissed(self, packet: Disconnect) -> None:
        """The server says good-bye (3.14)."""
        connection = self.connection
        assert connection is not None
        texts = packet.properties.texts
        error = refusal(packet.reason_code, V5, texts.get(p.REASON_STRING, ""), texts.get(p.SERVER_REFERENCE))
        detail = str(error).replace("refused the connection", "ended the connection")
        self._life.authenticator.end(error)
        self.lost(connection, ConnectionRefused(error.reason_code, detail, error.permanent, error.server_reference))
        connection.transport.close()

    # -- inside

    def _leave(self, connection: ClientConnection) -> None:
        """The session goes on without its connection."""
        connection.outbox = []
        connection.outbox_bytes = 0
        if self._session.connection is connection:
            self._session.pause()
            self._life.subscriptions.pause()
            self._life.authenticator.end(NotConnected("the connection was lost meanwhile"))
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None
        self.traffic.progressed()

    def _tick(self) -> None:
        connection = self._session.connection
        if connection is None or not connection.keep_alive:
            return
        now = monotonic()
        wrong = connection.tick(now)
        if wrong:
            self.lost(connection, ConnectionLost(wrong))
            connection.transport.abort()
            return
        self.traffic.plan_flush()
        self._ticker = asyncio.get_running_loop().call_later(connection.next_tick(now), self._tick)


class Protocol(asyncio.Protocol):
    """asyncio's calls for one network connection, and the engine's connection behind them."""

    def __init__(self, server: ServerConnection) -> None:
        self.server = server
        self.traffic = server.traffic
        self.connection: ClientConnection | None = None
        self.transport: asyncio.Transport
        self.closed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = prepare(transport)
        self.connection = self.server.made(self.transport)

    def data_received(self, data: bytes) -> None:
        assert self.connection is not None
        try:
            self.traffic.received(self.connection, data)
        except ProtocolViolation as violation:
            self.server.broken(self.connection, violation, data)

    def pause_writing(self) -> None:
        if self.connection is not None:
            self.connection.block()

    def resume_writing(self) -> None:
        if self.connection is not None:
            self.connection.unblocked(monotonic())
            self.traffic.wrote()

    def connection_lost(self, error: Exception | None) -> None:
        self.closed.set()
        if self.connection is not None:
            detail = "the server closed the connection" if error is None else str(error) or type(error).__name__
            if not self.connection.connected:
                detail += self.server.doubt
            self.server.lost(self.connection, ConnectionLost(detail))
