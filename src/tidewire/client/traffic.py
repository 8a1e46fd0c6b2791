"""How does the engine's session meet asyncio? When bytes are written and read, and futures for whoever waits for that.

Everything that one pass of the loop produced is written when it ends, and the outbox is made safe before. Reading stops
while a stream that may lose nothing is full.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Generator
from contextlib import suppress
from threading import get_ident
from time import monotonic
from typing import TYPE_CHECKING, Any

from tidewire.client.errors import NotConnected, PublishError, reason
from tidewire.client.outbox import OutboxError
from tidewire.engine.client_connection import ClientConnection
from tidewire.engine.client_session import PENDING, ClientSession, Host, Publication
from tidewire.engine.delivery import RELEASED
from tidewire.engine.link import Outgoing
from tidewire.engine.ports import Events
from tidewire.engine.received import Message
from tidewire.engine.statistics import Statistics
from tidewire.wire.codes import ReasonCode
from tidewire.wire.packets import Packet

if TYPE_CHECKING:
    from tidewire.client.lifecycle import Lifecycle

logger = logging.getLogger("tidewire.client")


class Traffic(Host):
    """The session of one client, on its loop."""

    def __init__(self, life: Lifecycle) -> None:
        super().__init__()
        self.session = ClientSession(life.settings.limits(), self)
        self.outgoing = Outgoing(Statistics(monotonic()), _Faults())
        self.flush_planned = False
        self._life = life
        self._outbox = life.settings.outbox
        self._waiting = life.waiting
        self._for_change: set[asyncio.Future[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        """The loop's: messages may be acknowledged from others."""
        self._success: asyncio.Future[ReasonCode]

    def begin(self) -> None:
        """The client's life is on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._thread = get_ident()
        self._success = self._loop.create_future()
        self._success.set_result(ReasonCode.SUCCESS)

    # -- writing

    def plan_flush(self, commit: bool = False) -> None:
        """Write what this pass of the loop produced when it ends; with `commit` to the outbox, if to nothing else."""
        if not self.flush_planned and (self.outgoing.dirty or commit) and self._loop is not None:
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

    def wrote(self) -> None:
        """The transport takes bytes again."""
        self.plan_flush()
        self.progressed()

    # -- reading

    def received(self, connection: ClientConnection, data: bytes) -> None:
        """Bytes came. Raises ProtocolViolation."""
        connection.receive(data, monotonic())
        if not self.flush_planned:
            self.plan_flush(self._outbox is not None and self._outbox.has_changes)
        self._pause_reading_if_full()

    def read_on(self) -> None:
        """Read again, if it was a full inbox that stopped it."""
        connection = self.session.connection
        if connection is not None and connection.reading_paused:
            connection.reading_paused = False
            with suppress(RuntimeError):  # uvloop's, for a transport that is about to be lost
                connection.transport.resume_reading()

    def _pause_reading_if_full(self) -> None:
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
        life = self._life
        return (
            bool(self._for_change)
            or not self.session.is_idle()
            or life.subscriptions.expects_answers()
            or life.authenticator.expects_answer()
        )

    # -- waiting

    async def wait(self) -> None:
        """Wait until something has changed: progress of the session, connected, writable, failed, closed."""
        self.read_on()  # the change may lie behind messages that nobody reads
        future: asyncio.Future[None] = self._waiting.new_future()
        self._for_change.add(future)
        self.session.watched = True
        try:
            await future
        finally:
            self._for_change.discard(future)
            self.session.watched = bool(self._for_change)

    def end(self, error: BaseException) -> bool:
        """The client has ended: whoever waits for a change or a publication gets this. True: somebody outside does."""
        told = any([self._waiting.is_outside(future) for future in self._for_change])
        self.progressed()
        for message in self.session.unanswered():
            if isinstance(message, Publication) and message.waiter is not None:
                waiter = message.waiter
                for future in waiter if isinstance(waiter, list) else (waiter,):
                    told = self._waiting.tell(future, error) or told
        return told

    # -- the outbox

    def open_outbox(self, client_id: str) -> str:
        """Take up what the last life of the program has left, if there is an outbox; the Client Identifier for it."""
        outbox = self._outbox
        if outbox is None:
            return client_id
        try:
            owner = outbox.open()
            client_id = client_id or owner or self._life.settings.made_up_client_id()
            outbox.bind(client_id)
            stored = outbox.restore(monotonic())
        except BaseException:
            outbox.close()
            raise
        self.session.restore(
            {identifier: RELEASED if message is None else message for identifier, message in stored.inflight.items()},
            stored.queue,
            stored.received,
        )
        self.session.store = outbox
        return client_id

    def close_outbox(self) -> None:
        """Safe to call without one."""
        if self._outbox is not None:
            self.session.store = None
            self._outbox.close()

    # -- what the engine calls

    def handle(self, packet: Packet) -> None:
        self._life.server.handle(packet)

    def answered(self, publication: Publication) -> None:
        waiter = publication.waiter
        for future in waiter if isinstance(waiter, list) else (waiter,):
            if not future.done():
                _resolve(future, publication)

    def wait_for(self, publication: Publication) -> Generator[Any, Any, Any]:
        if publication.reason_code == 0:
            return self._success.__await__()
        future: asyncio.Future[ReasonCode] = self._waiting.new_future()
        if publication.reason_code != PENDING:
            _resolve(future, publication)
        elif (life := self._life).failure is not None or life.closed:
            future.set_exception(life.failure or NotConnected("the client is closed"))
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
        outbox = self._outbox
        if outbox is not None and outbox.has_changes:
            try:
                outbox.commit()
            except OutboxError as error:
                self._life.fail(error)
                return False
        return True

    def progressed(self) -> None:
        for future in self._for_change:
            if not future.done():
                future.set_result(None)

    def dropped(self, publication: Publication, why: str) -> None:
        publication.given_up = f"it was given up: {why}"
        logger.warning("dropped a message to %r: %s", publication.topic.decode(), why)


class _Faults(Events):
    def fault(self, client_identifier: str, error: BaseException) -> None:
        logger.error("cannot write to the network", exc_info=error)


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
