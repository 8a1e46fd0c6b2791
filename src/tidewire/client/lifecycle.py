"""The life of a client: connect, stay connected, come back, and end with a reason that somebody hears.

| state | it ends by |
|---|---|
| closed | `connect` |
| connecting | CONNACK, or an error: raised by the first `connect`, tried again after a back-off later on |
| connected | the network, DISCONNECT from either side |
| waiting | the back-off's time |
| failed | nothing: a refusal that is permanent, or an error of the user's own handler; everybody who waits gets it |
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from contextvars import ContextVar
from inspect import isawaitable
from threading import get_ident
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from tidewire.client.errors import (
    ConnectionFailed,
    ConnectionRefused,
    NotConnected,
    PublishError,
    TidewireError,
    reason,
    refusal,
)
from tidewire.client.network import open_connection, prepare
from tidewire.client.options import Authentication, Backoff
from tidewire.client.outbox import OutboxError
from tidewire.client.settings import Settings
from tidewire.engine.client_connection import ClientConnection
from tidewire.engine.client_session import PENDING, ClientSession, Host, Publication
from tidewire.engine.delivery import RELEASED
from tidewire.engine.link import Outgoing
from tidewire.engine.ports import Events
from tidewire.engine.received import Message
from tidewire.engine.statistics import Statistics
from tidewire.wire import properties as p
from tidewire.wire.codes import V5, V31, ReasonCode
from tidewire.wire.errors import ProtocolError, ProtocolViolation
from tidewire.wire.packets import Auth, Connack, Disconnect, Packet, Suback, Unsuback

if TYPE_CHECKING:
    from tidewire.client.subscriptions import Subscriptions

logger = logging.getLogger("tidewire.client")

_INSIDE: ContextVar[bool] = ContextVar("tidewire: a task of the client itself", default=False)
"""Whether this is a handler, or a task that one has started: an error that only these hear is still unheard."""

STABLE_S: Final = 10.0
"""A connection that lasted so long was a good one: the next back-off starts anew."""

CLOSE_PATIENCE_S: Final = 2.0
"""How long the last bytes may take to leave, and the server to close, when the client has said good-bye."""


class Protocol(asyncio.Protocol):
    """asyncio's calls for one network connection, and the engine's connection behind them."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self.lifecycle = lifecycle
        self.connection: ClientConnection | None = None
        self.transport: asyncio.Transport
        self.closed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = prepare(transport)
        self.connection = self.lifecycle.new_connection(self.transport)

    def data_received(self, data: bytes) -> None:
        assert self.connection is not None
        self.lifecycle.received(self.connection, data)

    def pause_writing(self) -> None:
        if self.connection is not None:
            self.connection.block()

    def resume_writing(self) -> None:
        if self.connection is not None:
            self.connection.unblocked(monotonic())
            self.lifecycle.wrote()

    def connection_lost(self, error: Exception | None) -> None:
        self.closed.set()
        if self.connection is not None:
            detail = "the server closed the connection" if error is None else str(error) or type(error).__name__
            self.lifecycle.lost(self.connection, ConnectionFailed(f"the connection was lost: {detail}"))


class Lifecycle(Host):
    """One client's connection to its server, over and over."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        self.session = ClientSession(settings.limits(), self)
        self.unsent: list[Publication] = []
        """QoS 0 messages that wait for a connection."""
        self.client_id = settings.client_id
        self.outgoing = Outgoing(Statistics(monotonic()), _Faults())
        self.connack: Connack | None = None
        self.maximum_qos = 2
        self.retain_available = True
        self.connects = 0
        self.failure: BaseException | None = None
        """Why it has ended for good."""
        self.closed = True
        self.flush_planned = False
        self.subscriptions: Subscriptions
        """Puts itself here."""
        self.connected_again: Callable[[], None] = lambda: None
        self.ended: Callable[[BaseException], bool] = lambda error: False
        """Told of the failure; True: somebody has heard it."""
        self._connection: ClientConnection | None = None
        self._protocol: Protocol | None = None
        self._clean_start = True
        """What the last CONNECT asked for."""
        self._unanswered = self._doubtful = False
        """Whether this CONNECT, or one before it, went unanswered: the server may then have a session that lacks our
        subscriptions."""
        self._answer: asyncio.Future[Connack] | None = None
        self._reauthentication: asyncio.Future[None] | None = None
        self._loss: asyncio.Future[ConnectionFailed | ConnectionRefused] | None = None
        self._opening: asyncio.Task[None] | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._ticker: asyncio.TimerHandle | None = None
        self._waiting: set[asyncio.Future[None]] = set()
        self._waiting_for_end: set[asyncio.Future[None]] = set()
        self._inside: set[asyncio.Future[Any]] = set()
        """What tasks of our own wait for."""
        self._owner: asyncio.Task[Any] | None = None
        self._cancelled_owner = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        """The loop's: messages may be acknowledged from others."""

    # -- what the client calls

    @property
    def connected(self) -> bool:
        return self.session.connection is not None

    async def connect(self) -> None:
        """Connect for the first time, and stay so from then on. Raises ConnectionFailed or ConnectionRefused."""
        if not self.closed:
            raise RuntimeError("the client is connected already")
        self._loop = asyncio.get_running_loop()
        self._thread = get_ident()
        self._owner = None
        self.failure = None
        self._success: asyncio.Future[ReasonCode] = self._loop.create_future()
        self._success.set_result(ReasonCode.SUCCESS)
        self._open_outbox()
        self.closed = False
        self._opening = asyncio.create_task(self._open(), name="tidewire: connect")
        try:
            await asyncio.wait([self._opening])
            if self.failure is not None:  # `on_state` has raised
                raise self.failure
            if self.closed:
                raise NotConnected("the client was closed while it connected")
            self._opening.result()
        except BaseException:
            self.closed = True
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
            self._abandon()
            self._close_outbox()
            raise
        finally:
            self._opening = None
        self._supervisor = asyncio.create_task(self._supervise(), name="tidewire: stay connected")

    def own(self) -> None:
        """The current task is what a failure ends that nobody waits for."""
        self._owner = asyncio.current_task()

    async def disconnect(self, reason_code: int, session_expiry: int | None) -> None:
        """End: DISCONNECT (3.14), and wait until it has left. Before 5.0 any reason but 0 is told by silence."""
        if self.closed:
            return
        self.closed = True
        tasks = {task for task in (self._opening, self._supervisor, *self._tasks) if task is not None}
        tasks.discard(asyncio.current_task())
        for task in (self._opening, self._supervisor):
            if task in tasks:
                task.cancel()
        self._stop_ticking()
        try:
            await self._say_goodbye(reason_code, session_expiry)
        finally:
            error = NotConnected("the client was closed before the server had answered")
            self.ended(error)
            self._give_up(error)
            for task in tasks:
                task.cancel()
            try:
                self._close_outbox()
            finally:
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _say_goodbye(self, reason_code: int, session_expiry: int | None) -> None:
        connection, protocol = self._connection, self._protocol
        if connection is None or protocol is None:
            return
        transport = protocol.transport
        if connection.connected and not connection.closed and (connection.version == V5 or reason_code == 0):
            packet = Disconnect(reason_code)
            if session_expiry is not None:
                packet.properties.integers[p.SESSION_EXPIRY_INTERVAL] = session_expiry
            connection.put(packet.encode(connection.version))
            self.flush()
            self.read_on()
            # Not `close` yet: what the server sends meanwhile would be answered with a reset, and a server that sees
            # one may throw away what it has not read, DISCONNECT included. It closes, as it has to [MQTT-3.14.4-3].
            if transport.can_write_eof():
                transport.write_eof()
        else:
            transport.close()
        connection.closed = True
        self._leave(connection)
        try:
            async with asyncio.timeout(CLOSE_PATIENCE_S):
                await protocol.closed.wait()
        except TimeoutError:
            pass
        finally:
            if not protocol.closed.is_set():
                transport.abort()

    def fail(self, error: BaseException) -> None:
        """End for good: whoever waits gets the error; if nobody does, the task that opened the client is cancelled."""
        if self.failure is not None or self.closed:
            return
        self.failure = error
        if isinstance(error, TidewireError):
            logger.error("%s", error)
        connection = self._connection
        if connection is not None:
            connection.closed = True
            self._leave(connection)
            connection.transport.close()
        self._stop_ticking()
        current = asyncio.current_task()
        if self._supervisor is not None and self._supervisor is not current:
            self._supervisor.cancel()
        told = self.ended(error)
        told = self._give_up(error) or told
        owner = self._owner
        if not told and owner is not None and owner is not current and not owner.done():
            self._cancelled_owner = True
            owner.cancel()

    def uncancel(self) -> bool:
        """Whether it was `fail` alone that cancelled the task that owns the client; the cancellation is then over."""
        if not self._cancelled_owner or self._owner is None:
            return False
        self._cancelled_owner = False
        return self._owner.uncancel() == 0

    def check_open(self) -> None:
        """Raise the failure, or NotConnected if the client is not in use."""
        if self.failure is not None:
            raise self.failure
        if self.closed:
            raise NotConnected("the client is closed; use it inside `async with client:`, or call connect() first")

    async def wait_connected(self) -> None:
        """Raises the failure if it comes first."""
        while not self.connected:
            self.check_open()
            await self.wait()

    async def wait(self) -> None:
        """Wait until something has changed: progress of the session, connected, writable, failed, closed."""
        self.read_on()  # the change may lie behind messages that nobody reads
        future: asyncio.Future[None] = self.new_future()
        self._waiting.add(future)
        self.session.watched = True
        try:
            await future
        finally:
            self._waiting.discard(future)
            self.session.watched = bool(self._waiting)

    async def wait_for_end(self) -> None:
        """Wait until the client is closed. Raises what has ended it."""
        self.check_open()
        future: asyncio.Future[None] = self.new_future()
        self._waiting_for_end.add(future)
        try:
            await future
        finally:
            self._waiting_for_end.discard(future)

    def new_future(self) -> asyncio.Future[Any]:
        """A future that ends when the client does, if whoever keeps it sees to that with `tell`."""
        assert self._loop is not None
        future = self._loop.create_future()
        if _INSIDE.get():
            self._inside.add(future)
            future.add_done_callback(self._inside.discard)
        return future

    def tell(self, future: asyncio.Future[Any], error: BaseException) -> bool:
        """Whoever waits for this gets an error. True: that is somebody outside."""
        future.set_exception(error)
        return self.is_outside(future)

    def is_outside(self, future: asyncio.Future[Any]) -> bool:
        """Whether it is not one of our own tasks that waits for this."""
        return future not in self._inside

    async def reauthenticate(self) -> None:
        """Authenticate again on the open connection (4.12.1). Raises ConnectionRefused, NotConnected."""
        self.check_open()
        authentication = self.settings.authentication
        if authentication is None:
            raise ValueError("the client has no authentication= to use")
        if self._reauthentication is not None and not self._reauthentication.done():
            raise RuntimeError("the client is authenticating anew already")
        data = await _called(authentication, None)
        connection = self.session.connection
        if connection is None:
            raise NotConnected("there is no connection at the moment")
        self._reauthentication = self.new_future()
        connection.put(_auth(ReasonCode.RE_AUTHENTICATE, authentication.method, data).encode(V5))
        self.plan_flush()
        self.read_on()
        await self._reauthentication

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something beside; an error of it is the client's failure."""
        task = asyncio.create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def plan_flush(self) -> None:
        """Write what this pass of the loop produced when it ends."""
        if not self.flush_planned and self.outgoing.dirty and self._loop is not None:
            self.flush_planned = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write now."""
        self.flush_planned = False
        if self.may_write():
            self.outgoing.flush()

    async def catch_up(self) -> None:
        """Wait until the transport takes more: the back-pressure of QoS 0."""
        self.flush()
        connection = self.session.connection
        if connection is None or not connection.blocked:
            await asyncio.sleep(0)
        while (connection := self.session.connection) is not None and connection.blocked:
            await self.wait()

    def read_on(self) -> None:
        """Read again, if it was a full inbox that stopped it."""
        connection = self.session.connection
        if connection is not None and connection.reading_paused:
            connection.reading_paused = False
            with suppress(RuntimeError):  # uvloop's, for a transport that is about to be lost
                connection.transport.resume_reading()

    # -- what the protocol calls

    def new_connection(self, transport: asyncio.Transport) -> ClientConnection:
        settings = self.settings
        self._connection = ClientConnection(
            self.session,
            transport,
            self.outgoing,
            settings.level,
            settings.maximum_packet_size,
            settings.topic_alias_maximum,
            monotonic(),
        )
        return self._connection

    def received(self, connection: ClientConnection, data: bytes) -> None:
        try:
            connection.receive(data, monotonic())
        except ProtocolViolation as violation:
            if connection.connected and connection.version == V5:
                connection.put(Disconnect(violation.reason_code).encode(V5))
            self.flush()
            self.lost(connection, ConnectionFailed(f"the server broke the protocol: {violation.detail}"))
            connection.transport.close()
            return
        if not self.flush_planned:
            self.plan_flush()
        if (outbox := self.settings.outbox) is not None and outbox.has_changes and not self.flush_planned:
            self.flush_planned = True
            assert self._loop is not None
            self._loop.call_soon(self.flush)
        self.pause_reading_if_full()

    def pause_reading_if_full(self) -> None:
        """Stop reading while a stream that may not lose anything is full; not while an answer is awaited, which would
        then never come."""
        connection = self.session.connection
        if connection is None or connection.reading_paused or self._expects_answers():
            return
        for interest in self.session.reception.interests.values():
            for inbox in interest.inboxes:
                if inbox.is_full():
                    connection.reading_paused = True
                    with suppress(RuntimeError):
                        connection.transport.pause_reading()
                    return

    def _expects_answers(self) -> bool:
        return (
            bool(self._waiting)
            or not self.session.is_idle()
            or self.subscriptions.expects_answers()
            or (self._reauthentication is not None and not self._reauthentication.done())
        )

    def wrote(self) -> None:
        """The transport takes bytes again."""
        self.plan_flush()
        self.progressed()

    def lost(self, connection: ClientConnection, error: ConnectionFailed | ConnectionRefused) -> None:
        """The network connection is gone."""
        if connection.closed:
            return
        connection.closed = True
        self._leave(connection)
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        elif self._loss is not None and not self._loss.done():
            self._loss.set_result(error)

    # -- what the engine calls

    def handle(self, packet: Packet) -> None:
        if isinstance(packet, Connack):
            if self._answer is not None and not self._answer.done():
                self._admit(packet)
        elif isinstance(packet, Suback | Unsuback):
            self.subscriptions.answered(packet)
        elif isinstance(packet, Auth):
            if self.settings.authentication is None:
                raise ProtocolError("AUTH came, and CONNECT had named no Authentication Method [MQTT-4.12.0-6]")
            self.start(self._answer_challenge(packet))
        elif isinstance(packet, Disconnect):
            self._dismissed(packet)

    def answered(self, publication: Publication) -> None:
        waiter = publication.waiter
        for future in waiter if isinstance(waiter, list) else (waiter,):
            if not future.done():
                _resolve(future, publication)

    def wait_for(self, publication: Publication) -> Generator[Any, Any, Any]:
        if publication.reason_code == 0:
            return self._success.__await__()
        future: asyncio.Future[ReasonCode] = self.new_future()
        if publication.reason_code != PENDING:
            _resolve(future, publication)
        elif self.failure is not None or self.closed:
            future.set_exception(self.failure or NotConnected("the client is closed"))
        else:
            before = publication.waiter
            if before is None:
                publication.waiter = future
            else:  # one future each, so that who is cancelled does not cancel the others
                publication.waiter = [*(before if isinstance(before, list) else [before]), future]
            self.read_on()  # the answer may lie behind messages that nobody reads
        return future.__await__()

    def consumed(self, message: Message) -> None:
        if get_ident() != self._thread:
            assert self._loop is not None
            with suppress(RuntimeError):  # the loop has ended, and the connection with it
                self._loop.call_soon_threadsafe(self.consumed, message)
            return
        self.session.consumed(message)
        if not self.flush_planned:
            self.plan_flush()

    def may_write(self) -> bool:
        outbox = self.settings.outbox
        if outbox is not None and outbox.has_changes:
            try:
                outbox.commit()
            except OutboxError as error:
                self.fail(error)
                return False
        return True

    def progressed(self) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(None)

    def dropped(self, publication: Publication, why: str) -> None:
        publication.given_up = f"it was given up: {why}"
        logger.warning("dropped a message to %r: %s", publication.topic.decode(), why)

    # -- connecting

    async def _open(self) -> None:
        """The first connection."""
        attempt = 0
        while True:
            try:
                await self._connect_once(self.connects == 0)
                return
            except (ConnectionFailed, ConnectionRefused) as error:
                permanent = isinstance(error, ConnectionRefused) and error.permanent
                backoff = self.settings.reconnect
                if permanent or not self.settings.retry_first_connect or backoff is None:
                    raise
                await self._pause(backoff, attempt, error)
                attempt += 1

    async def _connect_once(self, first: bool) -> None:
        settings = self.settings
        address = settings.address
        protocol = self._protocol = Protocol(self)
        self._connection = None
        self._answer = asyncio.get_running_loop().create_future()
        self._loss = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(settings.connect_timeout):
                await open_connection(
                    address, protocol, settings.tls, settings.headers, settings.bind_address, settings.subprotocol
                )
                data = None
                if settings.authentication is not None:
                    data = await _called(settings.authentication, None)
                connection = self._connection
                assert connection is not None  # connection_made was called
                packet = settings.connect_packet(self.client_id, first, data)
                self._clean_start = packet.clean_start
                self._doubtful = self._unanswered
                self._unanswered = True
                connection.put(packet.encode(settings.level))
                self.flush()
                await self._prove(connection, await self._answer)
        except TimeoutError:
            self._abandon()
            raise ConnectionFailed(f"no answer from {address} in {settings.connect_timeout:g} s") from None
        except BaseException:
            self._abandon()
            raise
        finally:
            self._answer = None
        self.connects += 1
        self._tick()
        self._tell("connected", None)

    def _admit(self, packet: Connack) -> None:
        """CONNACK came (3.2): everything that depends on it happens in the same pass, before what follows is read."""
        answer = self._answer
        connection = self._connection
        assert answer is not None and connection is not None
        settings = self.settings
        properties = packet.properties
        self._unanswered = self._doubtful
        if packet.reason_code:
            connection.closed = True
            texts = properties.texts
            answer.set_exception(
                refusal(
                    packet.reason_code,
                    settings.level,
                    texts.get(p.REASON_STRING, ""),
                    texts.get(p.SERVER_REFERENCE),
                )
            )
            return
        self.connack = packet
        self.maximum_qos = properties.integers.get(p.MAXIMUM_QOS, 2)
        self.retain_available = properties.flag(p.RETAIN_AVAILABLE, True)
        self.client_id = properties.texts.get(p.ASSIGNED_CLIENT_IDENTIFIER, self.client_id)
        keep_alive = properties.integers.get(p.SERVER_KEEP_ALIVE, settings.keep_alive)
        session_present = packet.session_present
        if settings.level == V31 and not self._clean_start:
            packet.session_present = True  # 3.1 does not say: to send PUBREL for nothing is better than not to send it
        self._unanswered = False
        self.subscriptions.resume(connection, session_present and not self._doubtful)
        if settings.authentication is not None and p.AUTHENTICATION_DATA in properties.binaries:
            connection.block()  # nothing leaves before the server has proven itself
        connection.admitted(packet, settings.inflight_maximum, keep_alive, monotonic())
        packet.session_present = session_present
        if not self.may_write():  # what a lost session made void must not be taken up again by the next life
            return
        self.connected_again()
        answer.set_result(packet)
        self.progressed()
        self.plan_flush()

    async def _prove(self, connection: ClientConnection, packet: Connack) -> None:
        """Hand the Authentication Data of CONNACK to whoever authenticates, who may not believe the server."""
        data = packet.properties.binaries.get(p.AUTHENTICATION_DATA)
        if self.settings.authentication is not None and data is not None:
            await _called(self.settings.authentication, data)
            connection.unblocked(monotonic())
            self.wrote()

    async def _answer_challenge(self, packet: Auth) -> None:
        """The server goes on with enhanced authentication (4.12), in CONNECT or later."""
        authentication = self.settings.authentication
        connection = self._connection
        assert authentication is not None and connection is not None
        data = packet.properties.binaries.get(p.AUTHENTICATION_DATA)
        if packet.reason_code == ReasonCode.SUCCESS:
            if data is not None:
                await _called(authentication, data)
            if self._reauthentication is not None and not self._reauthentication.done():
                self._reauthentication.set_result(None)
            return
        try:
            ours = await _called(authentication, data)
        except Exception as error:
            if self._answer is None or self._answer.done():
                raise
            self._answer.set_exception(error)
            return
        connection.put(_auth(ReasonCode.CONTINUE_AUTHENTICATION, authentication.method, ours).encode(V5))
        self.plan_flush()

    def _dismissed(self, packet: Disconnect) -> None:
        """The server says good-bye (3.14)."""
        connection = self._connection
        assert connection is not None
        texts = packet.properties.texts
        error = refusal(packet.reason_code, V5, texts.get(p.REASON_STRING, ""), texts.get(p.SERVER_REFERENCE))
        detail = str(error).replace("refused the connection", "ended the connection")
        if self._reauthentication is not None and not self._reauthentication.done():
            self._reauthentication.set_exception(error)
        self.lost(connection, ConnectionRefused(error.reason_code, detail, error.permanent, error.server_reference))
        connection.transport.close()

    def _leave(self, connection: ClientConnection) -> None:
        """The session goes on without its connection."""
        connection.outbox = []
        connection.outbox_bytes = 0
        if self.session.connection is connection:
            self.session.pause()
            self.subscriptions.pause()
            if self._reauthentication is not None and not self._reauthentication.done():
                self._reauthentication.set_exception(NotConnected("the connection was lost meanwhile"))
        self._stop_ticking()
        self.progressed()

    def _abandon(self) -> None:
        """A connection that did not get as far as CONNACK."""
        connection = self._connection
        if connection is not None:
            connection.closed = True
            self._leave(connection)
            connection.transport.abort()

    # -- staying connected

    async def _supervise(self) -> None:
        attempt = 0
        while True:
            assert self._loss is not None
            began = monotonic()
            error: ConnectionFailed | ConnectionRefused = await self._loss
            if monotonic() - began >= STABLE_S:
                attempt = 0
            self._tell("disconnected", error)
            backoff = self.settings.reconnect
            while True:
                if backoff is None or (isinstance(error, ConnectionRefused) and error.permanent):
                    self.fail(error)
                    return
                await self._pause(backoff, attempt, error)
                attempt += 1
                try:
                    await self._connect_once(False)
                    break
                except (ConnectionFailed, ConnectionRefused) as again:
                    error = again
                except Exception as fault:
                    self.fail(fault)
                    return

    async def _pause(self, backoff: Backoff, attempt: int, error: Exception) -> None:
        delay = backoff.delay(attempt)
        logger.warning("%s; connecting again in %.1f s", error, delay)
        await asyncio.sleep(delay)

    def _tick(self) -> None:
        connection = self.session.connection
        if connection is None or not connection.keep_alive:
            return
        now = monotonic()
        wrong = connection.tick(now)
        if wrong:
            self.lost(connection, ConnectionFailed(f"the connection was lost: {wrong}"))
            connection.transport.abort()
            return
        self.plan_flush()
        assert self._loop is not None
        self._ticker = self._loop.call_later(connection.next_tick(now), self._tick)

    def _stop_ticking(self) -> None:
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None

    # -- ends

    def _give_up(self, error: BaseException) -> bool:
        """Whoever waits for an answer gets this instead. True: somebody outside was told."""
        told = False
        for future in self._waiting:
            told = self.is_outside(future) or told
        self.progressed()
        session = self.session
        waiting = [*(session.inflight or {}).values(), *(session.queue or ())]
        for message in [*waiting, *self.unsent]:
            if isinstance(message, Publication) and message.waiter is not None:
                waiter = message.waiter
                for future in waiter if isinstance(waiter, list) else (waiter,):
                    if not future.done():
                        told = self.tell(future, error) or told
        for answer in (self._answer, self._reauthentication, *self._waiting_for_end):
            if answer is not None and not answer.done():
                told = self.tell(answer, error) or told
        return self.subscriptions.end(error) or told

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        _INSIDE.set(True)
        try:
            await work
        except Exception as error:
            self.fail(error)
        except asyncio.CancelledError:
            if not self.closed and not _is_cancelled():  # not by us
                self.fail(TidewireError("a handler ended by itself: something that it awaited was cancelled"))
            raise

    def _tell(self, state: str, error: Exception | None) -> None:
        if self.settings.on_state is not None:
            try:
                self.settings.on_state(state, error)
            except Exception as fault:
                self.fail(fault)

    # -- the outbox

    def _open_outbox(self) -> None:
        outbox = self.settings.outbox
        if outbox is None:
            return
        try:
            owner = outbox.open()
            self.client_id = self.client_id or owner or self.settings.made_up_client_id()
            outbox.bind(self.client_id)
            stored = outbox.restore(monotonic())
        except BaseException:
            outbox.close()
            raise
        session = self.session
        session.restore(
            {identifier: RELEASED if message is None else message for identifier, message in stored.inflight.items()},
            stored.queue,
            stored.received,
        )
        session.store = outbox

    def _close_outbox(self) -> None:
        outbox = self.settings.outbox
        if outbox is not None:
            self.session.store = None
            outbox.close()


def _is_cancelled() -> bool:
    """Whether somebody has asked the current task to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class _Faults(Events):
    def fault(self, client_identifier: str, error: BaseException) -> None:
        logger.error("cannot write to the network", exc_info=error)


async def _called(authentication: Authentication, data: bytes | None) -> bytes | None:
    answer = authentication.callback(data)
    return await answer if isawaitable(answer) else answer


def _auth(reason_code: int, method: str, data: bytes | None) -> Auth:
    packet = Auth(reason_code)
    packet.properties.texts[p.AUTHENTICATION_METHOD] = method
    if data is not None:
        packet.properties.binaries[p.AUTHENTICATION_DATA] = data
    return packet


def _resolve(future: asyncio.Future[ReasonCode], publication: Publication) -> None:
    if publication.reason_code == 0:
        future.set_result(ReasonCode.SUCCESS)  # making an enumeration's member from a number takes its time
        return
    if publication.reason_code < 0x80:
        future.set_result(ReasonCode(publication.reason_code))
        return
    detail = publication.given_up or f"the server refused it: {reason(publication.reason_code)}"
    topic = publication.topic.decode()
    future.set_exception(PublishError(publication.reason_code, f"publish to {topic!r}: {detail}"))
