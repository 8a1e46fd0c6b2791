"""How does the client prove who it is, and believe the server? Enhanced authentication (4.12), in CONNECT and later."""

from __future__ import annotations

import asyncio
from inspect import isawaitable
from time import monotonic
from typing import TYPE_CHECKING

from tidewire.client.errors import NotConnected
from tidewire.engine.client_connection import ClientConnection
from tidewire.wire import properties as p
from tidewire.wire.codes import V5, ReasonCode
from tidewire.wire.errors import ProtocolError
from tidewire.wire.packets import Auth, Connack

if TYPE_CHECKING:
    from tidewire.client.lifecycle import Lifecycle


class Authenticator:
    """The client's side of its authentication method, if it has one."""

    def __init__(self, life: Lifecycle) -> None:
        self._life = life
        self._given = life.settings.authentication
        self._answer: asyncio.Future[None] | None = None
        """To authenticating anew."""

    # -- connecting

    async def begin(self) -> bytes | None:
        """The Authentication Data for CONNECT."""
        return None if self._given is None else await self._called(None)

    def must_believe(self, packet: Connack) -> bool:
        """Whether CONNACK has data in which the server proves itself: nothing should leave before it is believed."""
        return self._given is not None and p.AUTHENTICATION_DATA in packet.properties.binaries

    async def believe(self, connection: ClientConnection, packet: Connack) -> None:
        """Hand the Authentication Data of CONNACK to whoever authenticates, who may not believe the server."""
        if self.must_believe(packet):
            await self._called(packet.properties.binaries[p.AUTHENTICATION_DATA])
            connection.unblocked(monotonic())
            self._life.traffic.wrote()

    # -- any time

    async def reauthenticate(self) -> None:
        """Authenticate again on the open connection (4.12.1). Raises ConnectionRefused, NotConnected."""
        life = self._life
        life.check_open()
        if self._given is None:
            raise ValueError("the client has no authentication= to use")
        if self.expects_answer():
            raise RuntimeError("the client is authenticating anew already")
        data = await self._called(None)
        connection = life.session.connection
        if connection is None:
            raise NotConnected("there is no connection at the moment")
        self._answer = life.waiting.new_future()
        self._send(connection, ReasonCode.RE_AUTHENTICATE, data)
        life.traffic.read_on()
        await self._answer

    def expects_answer(self) -> bool:
        """Whether somebody waits for authenticating anew."""
        return self._answer is not None and not self._answer.done()

    def handle(self, packet: Auth) -> None:
        """AUTH came (3.15)."""
        if self._given is None:
            raise ProtocolError("AUTH came, and CONNECT had named no Authentication Method [MQTT-4.12.0-6]")
        self._life.start(self._go_on(packet))

    def end(self, error: BaseException) -> bool:
        """No answer will come. True: somebody outside has been told."""
        return self._life.waiting.tell(self._answer, error)

    # -- inside

    async def _go_on(self, packet: Auth) -> None:
        connection = self._life.server.connection
        assert connection is not None
        data = packet.properties.binaries.get(p.AUTHENTICATION_DATA)
        if packet.reason_code == ReasonCode.SUCCESS:
            if data is not None:
                await self._called(data)
            if self._answer is not None and not self._answer.done():
                self._answer.set_result(None)
            return
        try:
            ours = await self._called(data)
        except Exception as error:
            if not self._life.server.give_up(error):
                raise
            return
        self._send(connection, ReasonCode.CONTINUE_AUTHENTICATION, ours)

    async def _called(self, data: bytes | None) -> bytes | None:
        assert self._given is not None
        answer = self._given.callback(data)
        return await answer if isawaitable(answer) else answer

    def _send(self, connection: ClientConnection, reason_code: int, data: bytes | None) -> None:
        assert self._given is not None
        packet = Auth(reason_code)
        packet.properties.texts[p.AUTHENTICATION_METHOD] = self._given.method
        if data is not None:
            packet.properties.binaries[p.AUTHENTICATION_DATA] = data
        connection.put(packet.encode(V5))
        self._life.traffic.plan_flush()
