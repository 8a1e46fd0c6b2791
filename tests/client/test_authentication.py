"""Does enhanced authentication (4.12) work, at the beginning and later on, with a callback of either kind?"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.client.helpers import SOON, passes, run, until
from tests.client.scripted import Peer, ScriptedServer
from tidewire import Authentication, Client, ConnectionFailed, ConnectionRefused, NotConnected
from tidewire.wire import properties as p
from tidewire.wire.codes import ReasonCode
from tidewire.wire.packets import Auth, Connack, Disconnect

METHOD = "PLUS-ONE"


def auth(reason_code: int, data: bytes) -> Auth:
    packet = Auth(reason_code)
    packet.properties.texts[p.AUTHENTICATION_METHOD] = METHOD
    packet.properties.binaries[p.AUTHENTICATION_DATA] = data
    return packet


def data_of(packet: Any) -> bytes | None:
    assert packet.properties.texts[p.AUTHENTICATION_METHOD] == METHOD
    data: bytes | None = packet.properties.binaries.get(p.AUTHENTICATION_DATA)
    return data


def plus_one(data: bytes | None) -> bytes:
    return b"begin" if data is None else bytes([data[0] + 1])


async def plus_one_later(data: bytes | None) -> bytes:
    await asyncio.sleep(0)
    return plus_one(data)


async def admit(peer: Peer) -> None:
    """Two challenges, and in."""
    assert data_of(await peer.expect_connect()) == b"begin"
    for number in (1, 2):
        peer.send(auth(ReasonCode.CONTINUE_AUTHENTICATION, bytes([number])))
        answer = await peer.expect(Auth)
        assert (answer.reason_code, data_of(answer)) == (ReasonCode.CONTINUE_AUTHENTICATION, bytes([number + 1]))
    peer.send(Connack())


@pytest.mark.parametrize("callback", [plus_one, plus_one_later])
def test_challenges_are_answered_on_every_connection(callback: Any) -> None:
    async def script(peer: Peer) -> None:
        await admit(peer)
        if peer.number == 0:
            peer.abort()
        await peer.serve()

    async def test() -> None:
        async with ScriptedServer(script) as server:
            client = Client(server.url, authentication=Authentication(METHOD, callback), reconnect=SOON)
            async with client:
                await until(lambda: client.statistics.connects == 2)

    run(test())


def test_the_server_may_say_no() -> None:
    async def script(peer: Peer) -> None:
        await peer.expect_connect()
        peer.send(Connack(False, ReasonCode.BAD_AUTHENTICATION_METHOD))

    async def test() -> None:
        async with ScriptedServer(script) as server:
            client = Client(server.url, authentication=Authentication(METHOD, plus_one))
            with pytest.raises(ConnectionRefused, match="bad authentication method") as caught:
                await client.connect()
            assert caught.value.permanent

    run(test())


def test_what_the_callback_raises_comes_out_of_connect() -> None:
    async def script(peer: Peer) -> None:
        await peer.expect_connect()
        peer.send(auth(ReasonCode.CONTINUE_AUTHENTICATION, b"?"))
        await peer.serve_nothing()

    def broken(data: bytes | None) -> bytes:
        if data is None:
            return b""
        raise ZeroDivisionError("mine")

    async def test() -> None:
        async with ScriptedServer(script) as server:
            with pytest.raises(ZeroDivisionError, match="mine"):
                await Client(server.url, authentication=Authentication(METHOD, broken)).connect()

    run(test())


def test_a_challenge_that_nobody_can_answer_ends_the_connection() -> None:
    async def script(peer: Peer) -> None:
        await peer.expect_connect()
        peer.send(auth(ReasonCode.CONTINUE_AUTHENTICATION, b"?"))
        await peer.serve_nothing()

    async def test() -> None:
        async with ScriptedServer(script) as server:
            with pytest.raises(ConnectionFailed, match="AUTH"):
                await Client(server.url).connect()

    run(test())


def test_authenticating_anew() -> None:
    async def script(peer: Peer) -> None:
        await admit(peer)
        packet = await peer.expect(Auth)
        assert (packet.reason_code, data_of(packet)) == (ReasonCode.RE_AUTHENTICATE, b"begin")
        peer.send(auth(ReasonCode.CONTINUE_AUTHENTICATION, b"\x07"))
        assert data_of(await peer.expect(Auth)) == b"\x08"
        peer.send(auth(ReasonCode.SUCCESS, b"\x09"))
        await peer.expect(Auth)
        peer.send(Disconnect(ReasonCode.NOT_AUTHORIZED))

    async def test() -> None:
        async with ScriptedServer(script) as server:
            client = Client(server.url, authentication=Authentication(METHOD, plus_one_later))
            await client.connect()
            await client.reauthenticate()
            anew = asyncio.create_task(client.reauthenticate())
            await passes(3)
            with pytest.raises(RuntimeError, match="authenticating anew already"):
                await client.reauthenticate()
            with pytest.raises(ConnectionRefused, match="not authorized"):
                await anew
            await client.disconnect()

    run(test())


def test_authenticating_anew_ends_with_the_connection() -> None:
    async def script(peer: Peer) -> None:
        await admit(peer)
        if peer.number == 0:
            await peer.expect(Auth)
            peer.abort()
        await peer.serve()

    async def test() -> None:
        async with ScriptedServer(script) as server:
            client = Client(server.url, authentication=Authentication(METHOD, plus_one), reconnect=SOON)
            async with client:
                with pytest.raises(NotConnected, match="the connection was lost meanwhile"):
                    await client.reauthenticate()
                await until(lambda: client.statistics.connects == 2)
        with pytest.raises(NotConnected):
            await client.reauthenticate()

    run(test())


def test_who_has_no_authentication_cannot_authenticate_anew() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.serve()

    async def test() -> None:
        async with ScriptedServer(script) as server, Client(server.url) as client:
            with pytest.raises(ValueError, match="the client has no authentication= to use"):
                await client.reauthenticate()

    run(test())


def test_nothing_is_sent_to_a_server_that_does_not_prove_itself() -> None:
    came: list[object] = []
    ended: list[int] = []

    async def script(peer: Peer) -> None:
        await peer.expect_connect()
        connack = Connack(session_present=peer.number > 0)
        connack.properties.texts[p.AUTHENTICATION_METHOD] = METHOD
        connack.properties.binaries[p.AUTHENTICATION_DATA] = b"proof" if peer.number == 0 else b"forged"
        peer.send(connack)
        while (packet := await peer.receive()) is not None:
            came.append((peer.number, type(packet).__name__))
            peer.abort()
        ended.append(peer.number)

    async def believe(data: bytes | None) -> bytes | None:
        if data == b"forged":
            raise PermissionError("the server is another one")
        return b"begin"

    async def test() -> None:
        async with ScriptedServer(script) as server:
            with pytest.raises(PermissionError, match="another one"):
                async with Client(
                    server.url, session_expiry=60, reconnect=SOON, authentication=Authentication(METHOD, believe)
                ) as client:
                    await client.publish("a", b"secret", qos=1)
            await until(lambda: ended == [0, 1])

    run(test())
    assert came == [(0, "Publish")]
